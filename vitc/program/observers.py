"""Programs that show what is inside of another: what its layers read and give, and its blocks."""

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

from vitc.program.operation import Op, Port, Program, Value
from vitc.program.rewrite import Add, rewrite


class Observed(NamedTuple):
    """A program that gives what linear layers read, and of each of its outputs the weights, by
    their index, of the layers that read it."""

    program: Program
    readers: tuple[tuple[int, ...], ...]


def with_observed(program: Program, weights: Collection[int]) -> Observed:
    """The program up to the last linear layer whose weight is one of these, given by their index;
    its outputs are what those layers read, (N, K), each once.

    Raises `ValueError` if there is no such layer.
    """
    found: list[Value] = []
    readers: dict[Value, tuple[int, ...]] = {}

    def change(op: Op, add: Add) -> Value:
        if op.kind == "linear" and op.params[0] in weights:
            value = op.inputs[0]
            found.extend(() if value in readers else (value,))
            readers[value] = (*readers.get(value, ()), op.params[0])
        return add(op)

    if not any(op.kind == "linear" and op.params[0] in weights for op in program.operations):
        raise ValueError("no linear layer has one of these weights")
    made = rewrite(program, change, outputs=found)
    return Observed(made, tuple(readers[value] for value in found))


def with_layer_outputs(program: Program, weights: Collection[int]) -> Program:
    """The program up to the last linear layer, of any precision, whose weight is one of these,
    given by their index; its outputs are what those layers give, (N, M), in their order."""
    found: list[Value] = []

    def change(op: Op, add: Add) -> Value:
        value = add(op)
        if op.kind.startswith("linear") and op.params[0] in weights:
            found.append(value)
        return value

    return rewrite(program, change, outputs=found)


def blocks_of(program: Program) -> list[Program]:
    """The blocks of a program, each as one of its own: the tokens before it (N, D) -> those behind
    it. What does not depend on the image, such as a table of angles, is in each that reads it.

    Raises `ValueError` if a block also reads something of the image besides those tokens.
    """
    borders = program.core.borders
    return [_part(program, *ends) for ends in pairwise(borders)]


def _part(program: Program, start: int, end: int) -> Program:
    """From one value, which becomes the only input, to another."""
    first = len(program.inputs)
    kept = {Value(start): Value(0)}  # by the number in the whole list
    operations: list[Op] = []
    shapes = dict(enumerate(program.core.inputs))
    shapes |= {op.output: op.shape for op in program.operations}
    needed = _leading_to(program, start, end)
    if any(value < first for value in needed):
        raise ValueError("a block reads the image itself, besides the tokens before it")
    for op in program.operations:
        if op.output in needed:
            operations.append(op._replace(inputs=tuple(kept[value] for value in op.inputs)))
            kept[op.output] = Value(len(operations))
    port = Port.of(tuple(shapes[start]), vector=False)
    outputs = [kept[Value(end)]]
    return Program.close([port], program.core.params, operations, outputs, [], vector=False)


def _leading_to(program: Program, start: int, end: int) -> set[int]:
    """The values that `end` is computed from, with it, and without `start` and what is before."""
    makers = {op.output: op for op in program.operations}
    needed: set[int] = set()
    waiting = [end]
    while waiting:
        value = waiting.pop()
        if value != start and value not in needed:
            needed.add(value)
            waiting += makers[Value(value)].inputs if value in makers else ()
    return needed
