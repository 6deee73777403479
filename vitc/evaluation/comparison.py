"""Two models on the same images: is one better, or was it chance?"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from vitc.arrays import Array
from vitc.errors import shown
from vitc.evaluation.figures import figures
from vitc.evaluation.intervals import LEVEL, RESAMPLES, Interval, bootstrap, percentiles
from vitc.evaluation.predictions import Predictions


class Test(NamedTuple):
    """A test of "there is no difference": what was seen, and how rare that would be by chance."""

    statistic: float
    p_value: float


class Comparison(NamedTuple):
    """differences: of each figure, second minus first, with its interval over shared resamples.
    flips: images that only the first, and only the second has right. mcnemar, delong: of accuracy
    and AUROC; None where they do not apply: with groups, for both take images as independent, and
    DeLong's for other tasks than two classes."""

    differences: dict[str, Interval]
    flips: tuple[int, int]
    mcnemar: Test | None
    delong: Test | None


def compare(
    first: Predictions,
    second: Predictions,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """The paired comparison of two models. Raises `ValueError` unless both saw the same images, in
    one order, with the same labels, classes and groups."""
    for name in ("ids", "classes", "groups"):
        if getattr(first, name) != getattr(second, name):
            raise ValueError(f"the two predictions differ in their {name}: these are other images")
    if not np.array_equal(first.labels, second.labels):
        raise ValueError("the two predictions differ in their labels")
    names, one = bootstrap(first, resamples, seed)
    _, other = bootstrap(second, resamples, seed)
    values = [figures(p.labels, p.probabilities, names) for p in (first, second)]
    differences = {
        name: Interval(
            float(values[1][i] - values[0][i]), *percentiles(other[:, i] - one[:, i], level)
        )
        for i, name in enumerate(names)
    }
    right = [_right(p) for p in (first, second)]
    flips = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    alone = first.groups is None
    return Comparison(
        differences,
        flips,
        mcnemar(*flips) if alone else None,
        delong(first.labels, first.probabilities[:, 1], second.probabilities[:, 1])
        if alone and first.task == "binary"
        else None,
    )


def _right(predictions: Predictions) -> Array:
    if predictions.task == "multilabel":
        found: Array = ((predictions.probabilities > 0.5) == predictions.labels).all(axis=1)
        return found
    found = predictions.probabilities.argmax(axis=1) == predictions.labels
    return found


def mcnemar(only_first: int, only_second: int) -> Test:
    """The exact test of McNemar (1947): of the images that one model alone has right, are half the
    first one's? Two-sided; the statistic is the share of the second."""
    total = only_first + only_second
    if total == 0:
        return Test(float("nan"), 1.0)
    return Test(only_second / total, float(binomtest(only_second, total).pvalue))


def delong(labels: Array, first: Array, second: Array) -> Test:
    """The test of DeLong et al. (1988) that two scores of the same images have the same AUROC, with
    the ranks of Sun and Xu (2014). The statistic is normal: (second - first) / standard error.

    labels: (N,) of 0 and 1. first, second: scores (N,). Raises `ValueError` for one class only.
    """
    areas, covariance = delong_covariance(labels, np.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference = areas[1] - areas[0]
    if variance <= 0:
        return Test(0.0 if difference == 0 else float("inf"), 1.0 if difference == 0 else 0.0)
    statistic = difference / np.sqrt(variance)
    return Test(float(statistic), float(2 * norm.sf(abs(statistic))))


def delong_covariance(labels: Array, scores: Array) -> tuple[Array, Array]:
    """(areas (M,), their covariance (M, M)) of scores (M, N)."""
    ones, zeros = scores[:, labels == 1], scores[:, labels == 0]
    m, n = ones.shape[1], zeros.shape[1]
    if m < 2 or n < 2:
        raise ValueError(f"DeLong's test needs 2 images of each class, got {shown((n, m))}")
    among = rankdata(np.concatenate([ones, zeros], axis=1), axis=1)
    of_ones = (among[:, :m] - rankdata(ones, axis=1)) / n  # share of the zeros below each one
    of_zeros = 1 - (among[:, m:] - rankdata(zeros, axis=1)) / m
    areas: Array = of_ones.mean(axis=1)
    covariance: Array = np.cov(of_ones) / m + np.cov(of_zeros) / n
    return areas, covariance
