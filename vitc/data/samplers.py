"""Which samples an epoch has, in the loader's place: weighted, class-balanced, by groups.

A sampler is given to `DataLoader(sampler=...)`, which tells it the epoch. Its draws depend on the
seed and the epoch alone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import index as as_index
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.data import random
from vitc.errors import shown
from vitc.tape import clock


class Sampler:
    """The samples of an epoch. seed: None for that of the loader."""

    def __init__(self, length: int, seed: int | None) -> None:
        self.length, self.seed, self.epoch = as_index(length), seed, 0
        if self.length < 1:
            raise ValueError(f"an epoch of {shown(length)} samples, expected 1 or more")

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self.drawn(clock.seed, self.epoch))

    def drawn(self, seed: int, epoch: int) -> list[int]:
        """The samples of an epoch of a loader with this seed."""
        indices: list[int] = self.indices(seed if self.seed is None else self.seed, epoch).tolist()
        return indices

    def indices(self, seed: int, epoch: int) -> Array:
        """int64 (length,), the samples in order."""
        raise NotImplementedError


class WeightedRandomSampler(Sampler):
    """Samples drawn in proportion to their weights: torch's class of that name.

    weights: a number from 0 per sample, such as `CSVDataset.weights`; they need not add up to 1.
    num_samples: of an epoch, None for as many as there are weights. replacement: a sample may come
    several times, each time augmented anew; without it, an epoch takes at most each once (by the
    keys of Efraimidis and Spirakis, 2006).

    Raises `ValueError` for weights below 0 or without a sum, and for more samples than there are
    without replacement.
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int | None = None,
        replacement: bool = True,
        seed: int | None = None,
    ) -> None:
        self.weights = np.array(as_array(weights), np.float64)
        self.replacement = bool(replacement)
        super().__init__(len(self.weights) if num_samples is None else num_samples, seed)
        _check_weights(self.weights)
        drawable = int(np.sum(self.weights > 0))
        if not self.replacement and self.length > drawable:
            raise ValueError(
                f"{self.length} samples without replacement, {drawable} have a weight above 0"
            )

    def indices(self, seed: int, epoch: int) -> Array:
        if self.replacement:
            ends = np.cumsum(self.weights)
            drawn = random.uniform(seed, epoch, self.length) * ends[-1]
            # Rounding may give the very end, which belongs to the last sample that has a weight.
            last = int(np.flatnonzero(self.weights)[-1])
            found: Array = np.minimum(np.searchsorted(ends, drawn, side="right"), last)
            return found
        drawn = random.uniform(seed, epoch, len(self.weights))
        with np.errstate(divide="ignore"):
            keys = -np.log1p(-drawn) / self.weights
        return np.argsort(keys, kind="stable")[: self.length]


def _check_weights(weights: Array) -> None:
    if weights.ndim != 1:
        raise ValueError(f"weights of shape {weights.shape}, expected one per sample")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0) or not np.any(weights > 0):
        raise ValueError("weights are finite numbers from 0 of which one or more are above 0")


class ClassBalancedSampler(WeightedRandomSampler):
    """Samples drawn so that rare classes come more often: by the effective number of samples.

    A class of n samples has the effective number (1 - beta^n) / (1 - beta), and its samples the
    inverse of that as their weight (Cui et al., arXiv 1901.05555). beta: 0 weighs all samples
    alike, towards 1 all classes alike. targets: integers, one label per sample.
    """

    def __init__(
        self,
        targets: Sequence[int] | Array,
        beta: float = 0.9999,
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> None:
        checks.below_one("beta", beta)
        labels = [as_index(label) for label in targets]
        weight = {k: (1 - beta) / (1 - beta**n) for k, n in Counter(labels).items()}
        super().__init__([weight[label] for label in labels], num_samples, seed=seed)


class GroupSampler(Sampler):
    """At most per_group samples of every group in an epoch, other ones in each, in mixed order.

    For groups of very different size, such as patients with few images and with many. groups: a
    name per sample, such as `CSVDataset.groups`.
    """

    def __init__(self, groups: Sequence[Any], per_group: int = 1, seed: int | None = None) -> None:
        self.per_group = checks.integer("per_group", per_group, 1)
        self.groups = list(groups)
        sizes = Counter(self.groups).values()
        super().__init__(sum(min(size, self.per_group) for size in sizes), seed)

    def indices(self, seed: int, epoch: int) -> Array:
        taken: Counter[Any] = Counter()
        chosen = []
        for index in random.order(seed, epoch, len(self.groups)).tolist():
            group = self.groups[index]
            taken[group] += 1
            if taken[group] <= self.per_group:
                chosen.append(index)
        return np.array(chosen)
