"""Smoothing: even ranges of activations and weights before they are quantised."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.program import Program

_NORMS = ("norm", "rms_norm")


class Pair(NamedTuple):
    """A norm whose output only a linear layer reads, by the names of their parameters."""

    norm_weight: str
    norm_bias: str  # "" where it has none
    weight: str


def norm_pairs(program: Program, names: Sequence[str]) -> list[Pair]:
    """The pairs of a program; names: of the entries of its table."""
    operations = program.operations
    makers = {op.output: op for op in operations}
    reads = Counter(value for op in operations for value in op.inputs)
    pairs = []
    for op in operations:
        before = makers.get(op.inputs[0]) if op.kind == "linear" else None
        if before is not None and before.kind in _NORMS and reads[before.output] == 1:
            gain, *shift = (names[index] for index in before.params)
            pairs.append(Pair(gain, "".join(shift), names[op.params[0]]))
    return pairs


def smoothed(state: Mapping[str, Array], pairs: Collection[Pair]) -> dict[str, Array]:
    """The same function with the ranges of activations and weights evened out, channel by channel.

    A channel that a norm makes large takes the 8 bits from all others. It is divided by s in the
    norm and multiplied by s in the next weight, s = sqrt(largest activation / largest weight): the
    rule of SmoothQuant (Xiao et al. 2023) with strength 1/2. What the norm lets through is known
    without data: about `reach` standard deviations of weight, plus bias.
    """
    reach = 4.0
    out = {name: np.array(value) for name, value in state.items()}
    for pair in pairs:
        gain, weight = out[pair.norm_weight], out[pair.weight]
        shift = out[pair.norm_bias] if pair.norm_bias else np.zeros_like(gain)
        columns = weight.reshape(len(weight), -1)
        activation = reach * np.abs(gain) + np.abs(shift)
        ratio = activation / np.maximum(np.abs(columns).max(axis=0), 1e-12)
        s = np.sqrt(np.where(activation > 0, ratio, 1)).astype(np.float32)
        gain /= s
        shift /= s
        columns *= s
    return out
