"""The one way to make another program of one that is there."""

from collections.abc import Callable, Sequence

from vitc.program.operation import Op, Port, Program, Value

Add = Callable[[Op], Value]
Change = Callable[[Op, Add], Value]


def rewrite(
    program: Program,
    change: Change,
    *,
    inputs: Sequence[Port] = (),
    outputs: Sequence[Value] | None = None,
) -> Program:
    """The program with every operation as `change` writes it.

    change(op, add) is called for each operation in order, with its inputs numbered as in the new
    list. It writes what takes the place of op, by add(operation), which gives the number of the
    value that the operation makes, and returns the value that replaces that of op:

        def change(op: Op, add: Add) -> Value:
            return add(op.replace(causal=1) if op.kind == "attention" else op)

    inputs: added behind those of the program; the first has the number len(program.inputs).
    outputs: values of the new list, to take the place of the program's outputs; the sequence may be
    filled while `change` is called. They are matrices. Otherwise outputs, and whether they are
    vectors, are kept. So are the borders of blocks; operations that no output needs are left out.
    """
    new = [Value(i) for i in range(len(program.inputs))]  # by the number in the old list
    first = len(program.inputs) + len(inputs)
    written: list[Op] = []

    def add(op: Op) -> Value:
        written.append(op)
        return Value(first + len(written) - 1)

    for op in program.operations:
        new.append(change(op._replace(inputs=tuple(new[value] for value in op.inputs)), add))
    core = program.core
    given = [new[value] for value in core.outputs] if outputs is None else list(outputs)
    kept, numbers = _needed(written, first, given)
    return Program.close(
        (*program.inputs, *inputs),
        core.params,
        kept,
        [numbers[value] for value in given],
        [numbers[new[value]] for value in core.borders if new[value] in numbers],
        vector=program.vector and outputs is None,
    )


def _needed(
    operations: list[Op], first: int, outputs: Sequence[Value]
) -> tuple[list[Op], dict[Value, Value]]:
    """The operations that the outputs depend on, and the new number of each value that is left.

    first: the number of the value that the first operation makes.
    """
    read = set(outputs)
    for i in reversed(range(len(operations))):
        if first + i in read:
            read |= set(operations[i].inputs)
    numbers = {Value(i): Value(i) for i in range(first)}
    kept: list[Op] = []
    for i, op in enumerate(operations):
        if first + i in read:
            numbers[Value(first + i)] = Value(first + len(kept))
            kept.append(op._replace(inputs=tuple(numbers[value] for value in op.inputs)))
    return kept, numbers
