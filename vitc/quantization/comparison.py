"""Two models on the same images: accuracies, flips, and how sure they are."""

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array

_CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A share, or a difference of shares, with its confidence interval of 95 %."""

    value: float
    low: float
    high: float


def share(count: int, total: int, confidence: float = _CONFIDENCE) -> Estimate:
    """count of total, with Wilson's score interval (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, spread = count / total, z * z / total
    centre = (p + spread / 2) / (1 + spread)
    half = z * math.sqrt(p * (1 - p) / total + spread / (4 * total)) / (1 + spread)
    return Estimate(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))


def paired_difference(lost: int, won: int, total: int, confidence: float = _CONFIDENCE) -> Estimate:
    """(lost - won) / total of pairs, with Wald's interval after half a pair was added to each of
    the four cells (Agresti and Min 2005): it does not shrink to a point where nothing differs."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    all_, difference = total + 2, lost - won
    centre = difference / all_
    half = z * math.sqrt(max(lost + won + 1 - difference**2 / all_, 0)) / all_
    value = difference / total
    return Estimate(
        value, min(value, max(-1.0, centre - half)), max(value, min(1.0, centre + half))
    )


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided probability of so unequal flips if both directions were as likely
    (McNemar 1947, with the binomial distribution)."""
    flips, least = lost + won, min(lost, won)
    tail = sum(math.comb(flips, i) for i in range(least + 1))
    return float(min(1.0, 2 * tail / 2**flips))


class Comparison(NamedTuple):
    """A changed model against the one it was made of, image by image.

    agreeing: images with the same class as before. error: the relative L2 distance of the logits.
    Of labelled images, else None: right_before, right; lost, won: right before and wrong now, and
    the other way round.
    """

    images: int
    agreeing: int
    error: float
    right_before: int | None = None
    right: int | None = None
    lost: int | None = None
    won: int | None = None

    @property
    def agreement(self) -> Estimate:
        return share(self.agreeing, self.images)

    @property
    def accuracy(self) -> Estimate | None:
        return None if self.right is None else share(self.right, self.images)

    @property
    def drop(self) -> Estimate | None:
        """Of the accuracy; negative where it rose."""
        if self.lost is None or self.won is None:
            return None
        return paired_difference(self.lost, self.won, self.images)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, and the estimates with their intervals."""
        found: dict[str, Any] = {k: v for k, v in self._asdict().items() if v is not None}
        found["agreement"] = self.agreement._asdict()
        if self.accuracy and self.drop and self.lost is not None and self.won is not None:
            found |= {"accuracy": self.accuracy._asdict(), "drop": self.drop._asdict()}
            found["mcnemar_p"] = mcnemar(self.lost, self.won)
        return found


def compare(before: Array, after: Array, labels: Array | None = None) -> Comparison:
    """Of logits (N, classes) on the same images, and their labels (N,) if there are any."""
    old, new = before.argmax(axis=1), after.argmax(axis=1)
    change, size = (float(np.linalg.norm(x)) for x in (after.astype(float) - before, before))
    counts = len(old), int(np.sum(old == new)), change / max(size, 1e-30)
    if labels is None:
        return Comparison(*counts)
    was, is_ = old == labels, new == labels
    return Comparison(
        *counts,
        right_before=int(was.sum()),
        right=int(is_.sum()),
        lost=int(np.sum(was & ~is_)),
        won=int(np.sum(is_ & ~was)),
    )
