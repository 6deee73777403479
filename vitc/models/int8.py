"""Parameters in 8 bits: which, how their table looks, and how their values are found."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.models.init import Row, constant

_NORMS = ("norm", "rms_norm")


def inner_linears(core: _vitc.Program) -> list[int]:
    """The weights, as rows of the table, of the linear layers that are neither the first (it sees
    pixels) nor the last (it gives the logits): those two are small, and sensitive."""
    kinds = {op["output"]: op["kind"] for op in core.operations}
    readers = {value for op in core.operations for value in op["inputs"]}
    return [
        op["params"][0]
        for op in core.operations
        if op["kind"] == "linear"
        and op["output"] in readers
        and kinds.get(op["inputs"][0]) not in ("patchify", "select", "dropout")
    ]


def int8_rows(rows: Sequence[Row], names: Collection[str]) -> list[Row]:
    """The table with the named weights in int8, each followed by its row of scales."""

    def changed() -> Iterator[Row]:
        for row in rows:
            if row.name not in names:
                yield row
                continue
            yield Row(row.name, row.shape, constant(0), int8=True)
            yield Row(scale_name(row.name), row.shape[:1], constant(1))

    return list(changed())


def scale_name(weight: str) -> str:
    """blocks.0.attn.qkv.weight -> blocks.0.attn.qkv.weight_scale"""
    return f"{weight}_scale"


class Pair(NamedTuple):
    """A norm whose output only a linear layer reads, by the names of their parameters."""

    norm_weight: str
    norm_bias: str  # "" where it has none
    weight: str


def norm_pairs(core: _vitc.Program, names: Sequence[str]) -> list[Pair]:
    """The pairs of a program; names: of the rows of its table."""
    makers = {op["output"]: op for op in core.operations}
    reads = Counter(value for op in core.operations for value in op["inputs"])
    pairs = []
    for op in core.operations:
        before = makers.get(op["inputs"][0]) if op["kind"] == "linear" else None
        if before is None or before["kind"] not in _NORMS:
            continue
        if reads[before["output"]] == 1:
            gain, *shift = (names[row] for row in before["params"])
            pairs.append(Pair(gain, "".join(shift), names[op["params"][0]]))
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


def int8_state(state: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """The state dict with the named weights in int8 and their scales."""
    out: dict[str, Array] = {}
    for name, value in state.items():
        if name in names:
            out[name], out[scale_name(name)] = quantize_weight(value)
        else:
            out[name] = value
    return out


def quantize_weight(weight: Array) -> tuple[Array, Array]:
    """Weight (M, ...) as int8 from -127 to 127 and scales (M,): symmetric, per output channel.

    scale = max|w| / 127; a channel of zeros has scale 1.
    """
    rows = weight.reshape(len(weight), -1)
    largest = np.abs(rows).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    whole = np.rint(rows / scale[:, None]).clip(-127, 127).astype(np.int8)
    return whole.reshape(weight.shape), scale
