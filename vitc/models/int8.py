"""Parameters in 8 bits: which, and how their table looks. Their values are found in
`vitc.quantization`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vitc.models.init import Draw, Entry, constant
from vitc.program import Program

# In each mode, what stands behind the weight: its suffix, and how it starts. All are of one number,
# but the first, which has one per output channel.
FOLLOWERS: Mapping[str, Mapping[str, Draw]] = {
    "dynamic": {"weight_scale": constant(1)},
    "static": {
        "weight_scale": constant(1),
        "input_scale": constant(1),
        "input_zero_point": constant(0),
    },
}

_LINEAR = ("linear", "linear_int8", "linear_int8_static")


def linear_weights(program: Program) -> list[int]:
    """The weights, by their index, of all linear layers of a program."""
    return [op.params[0] for op in program.operations if op.kind in _LINEAR]


def inner_linears(program: Program) -> list[int]:
    """The weights, by their index, of the linear layers that are neither the first (it sees pixels)
    nor the last (it gives the logits), nor see distances instead of tokens: those are small, and
    sensitive."""
    operations = program.operations
    kinds = {op.output: op.kind for op in operations}
    fixed: set[int] = set()
    for op in operations:
        if op.kind == "relative_coordinates" or (op.inputs and fixed.issuperset(op.inputs)):
            fixed.add(op.output)
    readers = {value for op in operations for value in op.inputs}
    return [
        op.params[0]
        for op in operations
        if op.kind == "linear"
        and op.output in readers
        and op.inputs[0] not in fixed
        and kinds.get(op.inputs[0]) not in ("patchify", "select", "dropout")
    ]


def int8_entries(entries: Sequence[Entry], names: Collection[str], mode: str) -> list[Entry]:
    """The table with the named weights in int8, each followed by the entries of its mode."""

    def changed() -> Iterator[Entry]:
        for entry in entries:
            if entry.name not in names:
                yield entry
                continue
            yield entry._replace(int8=mode)
            for suffix, draw in FOLLOWERS[mode].items():
                shape = entry.shape[:1] if suffix == "weight_scale" else (1,)
                yield Entry(beside(entry.name, suffix), shape, draw)

    return list(changed())


def plain_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The table without 8 bits."""
    behind = {beside(e.name, suffix) for e in entries if e.int8 for suffix in FOLLOWERS[e.int8]}
    return [entry._replace(int8="") for entry in entries if entry.name not in behind]


def beside(weight: str, suffix: str) -> str:
    """blocks.0.attn.qkv.weight, input_scale -> blocks.0.attn.qkv.input_scale"""
    return weight.removesuffix("weight") + suffix


def int8_in(state: Mapping[str, Any]) -> list[str]:
    """The weights of a state dict that are in 8 bits."""
    return [name for name, value in state.items() if getattr(value, "dtype", None) == np.int8]


def check_int8(state: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Raises `ValueError` for scales and zero points that cannot be: all scales are positive, with
    a finite inverse, and zero points whole numbers from 0 to 255."""
    for entry in entries:
        for suffix in FOLLOWERS[entry.int8] if entry.int8 else ():
            name = beside(entry.name, suffix)
            values = np.asarray(state.get(name, 1), np.float32)
            if suffix.endswith("scale"):
                good, expected = values >= np.finfo(np.float32).tiny, "positive scales"
            else:
                good = (values == np.rint(values)) & (values >= 0) & (values <= 255)
                expected = "whole numbers from 0 to 255"
            if not good.all():
                raise ValueError(f"{name} holds {values[~good].flat[0]:g}, expected {expected}")
