"""Intervals: how far a figure may be from what it would be on all images of this kind."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from vitc import checks
from vitc.arrays import Array
from vitc.evaluation.figures import figures, names_for
from vitc.evaluation.predictions import Predictions

RESAMPLES = 1000
LEVEL = 0.95
LEAST_DEFINED = 0.9  # of the resamples must have a value; otherwise there is no interval
_SHARES = ("accuracy", "exact_match")  # figures that are a share of the images


class Interval(NamedTuple):
    """A figure, and the bounds of its interval; NaN where these are undefined."""

    value: float
    low: float
    high: float


def bootstrap(
    predictions: Predictions, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[tuple[str, ...], Array]:
    """(names, values): of every figure of the task on each of some resamples, (resamples, names).

    A resample draws as many units as there are, with replacement (Efron 1979): images, or whole
    groups, since images of one patient say less together than of several (cluster bootstrap). The
    draws depend on seed and number of units alone, so two models on the same images are compared
    on the same resamples.
    """
    names = names_for(predictions.task)

    def values(chosen: Array) -> Array:
        return figures(predictions.labels[chosen], predictions.probabilities[chosen], names)

    return names, resampled(predictions.units, values, resamples, seed)


def check_resamples(resamples: int) -> int:
    """The number, at least 100; `ValueError` otherwise."""
    return checks.integer("resamples", resamples, 100)


def resampled(
    units: Sequence[Array], values: Callable[[Array], Array], resamples: int, seed: int = 0
) -> Array:
    """values(indices of images) of resamples of the units, (resamples, ...)."""
    check_resamples(resamples)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        drawn = generator.integers(len(units), size=len(units))
        found.append(values(np.concatenate([units[i] for i in drawn])))
    return np.array(found)


def percentiles(values: Array, level: float = LEVEL) -> tuple[float, float]:
    """The bounds between which `level` of the resampled values are; NaN if fewer than 9 of 10
    resamples have a value, as where a class has next to no image, or if all are the same, which
    says nothing about others."""
    defined = values[np.isfinite(values)]
    if len(defined) < LEAST_DEFINED * len(values) or defined.min() == defined.max():
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(
    predictions: Predictions, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval]:
    """Every figure of the task with its bootstrap interval (percentiles).

    Resamples of a share of 0 or 1 are all alike: its bounds are those of Clopper and Pearson (1934)
    with the number of units instead.
    """
    checks.probability("level", level)
    names, drawn = bootstrap(predictions, resamples, seed)
    given = figures(predictions.labels, predictions.probabilities, names)
    found = {}
    for name, value, sample in zip(names, given, drawn.T, strict=True):
        low, high = percentiles(sample, level)
        if name in _SHARES and value in (0, 1):
            low, high = share_bounds(int(value), 1, len(predictions.units), level)
        found[name] = Interval(float(value), low, high)
    return found


def share_bounds(count: int, of: int, units: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact bounds (Clopper and Pearson 1934) of a share count / of that was seen on `units`
    independent units."""
    found = binomtest(round(units * count / of), units).proportion_ci(level, "exact")
    return float(found.low), float(found.high)


def by_group(
    predictions: Predictions, column: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[int, dict[str, Interval]]]:
    """value of a column -> (number of images, every figure with its interval).

    column: a name in `columns`. Raises `KeyError` for another one.
    """
    values = np.array(predictions.columns[column])
    found = {}
    for value in sorted(set(values.tolist())):
        part = predictions.take(values == value)
        found[str(value)] = (len(part), intervals(part, resamples=resamples, seed=seed))
    return found
