"""Smoothing: even ranges of activations and weights before they are quantised."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.program import Program

_NORMS = ("norm", "rms_norm")
_REACH = 4.0  # standard deviations
_BOUND = 1e5  # of a factor, and 1 / _BOUND


class Pair(NamedTuple):
    """A norm whose output only linear layers read, by the names of their parameters."""

    norm_weight: str
    norm_bias: str  # "" where it has none
    weights: tuple[str, ...]


def norm_pairs(program: Program, names: Sequence[str]) -> list[Pair]:
    """The pairs of a program; names: of the entries of its table. Norms over pieces of a row, and
    parameters that are read twice, are in none."""
    operations = program.operations
    readers: dict[int, list[str]] = {}
    for op in operations:
        for value in op.inputs:
            readers.setdefault(value, []).append(names[op.params[0]] if op.kind == "linear" else "")
    uses = Counter(index for op in operations for index in op.params)
    pairs = []
    for op in operations:
        weights = readers.get(op.output, [""])
        own = [*op.params, *(names.index(weight) for weight in weights if weight)]
        whole = op.kind in _NORMS and program.core.params[op.params[0]] == op.shape[-1:]
        if whole and all(weights) and all(uses[index] == 1 for index in own):
            gain, *shift = (names[index] for index in op.params)
            pairs.append(Pair(gain, "".join(shift), tuple(weights)))
    return pairs


def expected_activation(state: Mapping[str, Array], pair: Pair) -> Array:
    """(K,): what a norm lets through, known without data: about `_REACH` standard deviations of
    weight, plus bias."""
    shift = np.abs(state[pair.norm_bias]) if pair.norm_bias else 0
    reach: Array = _REACH * np.abs(state[pair.norm_weight]) + shift
    return reach


def factors(
    state: Mapping[str, Array], pair: Pair, activation: Array, strength: float = 0.5
) -> Array:
    """(K,): what the output of a norm is divided by: activation^strength / weight^(1 - strength) of
    the greatest magnitudes of a channel (SmoothQuant, Xiao et al. 2023).

    A channel that a norm makes large takes the 8 bits from all others. It is divided by this factor
    in the norm and multiplied by it in the next weights, which changes no function.
    """
    columns = [
        np.abs(state[name]).reshape(len(state[name]), -1).max(axis=0) for name in pair.weights
    ]
    weight = np.max(columns, axis=0)
    used = (activation > 0) & (weight > 0)
    ratio = np.where(used, activation, 1) ** strength / np.where(used, weight, 1) ** (1 - strength)
    return np.clip(np.where(used, ratio, 1), 1 / _BOUND, _BOUND).astype(np.float32)


class Changed(Mapping[str, Array]):
    """A state dict with some values changed, each at the time when it is read.

    smooth: by the names of weights (M, K), the factors (K,) of their inputs; those in pairs are
    taken, with the norms before them. correction: by the names of biases, what is added to them.
    """

    def __init__(
        self,
        state: Mapping[str, Array],
        pairs: Collection[Pair],
        smooth: Mapping[str, Array],
        correction: Mapping[str, Array] | None = None,
    ) -> None:
        self._state, self._correction = state, correction or {}
        found = [pair for pair in pairs if pair.weights[0] in smooth]
        self._columns = {name: smooth[name] for pair in found for name in pair.weights}
        self._norms = {
            name: smooth[pair.weights[0]]
            for pair in found
            for name in (pair.norm_weight, pair.norm_bias)
        }

    def __getitem__(self, name: str) -> Array:
        value = self._state[name]
        if name in self._norms:
            value = value / self._norms[name]
        if name in self._columns:
            value = (value.reshape(len(value), -1) * self._columns[name]).reshape(value.shape)
        if name in self._correction:
            value = value + self._correction[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def smoothed(state: Mapping[str, Array], pairs: Collection[Pair]) -> Mapping[str, Array]:
    """The same function with the ranges of activations and weights evened out, channel by channel,
    at strength 1/2 and with the activations that are known without data."""
    smooth: dict[str, Array] = {}
    for pair in pairs:
        found = factors(state, pair, expected_activation(state, pair))
        smooth |= dict.fromkeys(pair.weights, found)
    return Changed(state, pairs, smooth)
