"""Conformal prediction: sets of classes that hold the true one as often as was asked for."""

from typing import NamedTuple

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.evaluation.predictions import Predictions

METHODS = ("lac", "aps")


class Coverage(NamedTuple):
    """How often the set held the true class, its mean size, and the share of sets of one class;
    measured on images that the threshold was not taken from."""

    coverage: float
    size: float
    single: float


def scores(probabilities: Array, method: str = "lac") -> Array:
    """(N, K): how badly each class fits. "lac": one minus its probability (Sadinle et al. 2019);
    "aps": the probability of all classes that are at least as likely (Romano et al. 2020, without
    their random draw, so that the sets are a little too large, never too small)."""
    checks.one_of("method", method, METHODS)
    if method == "lac":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    found = np.empty_like(probabilities)
    sums = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    np.put_along_axis(found, order, sums, axis=1)
    return found


def threshold(predictions: Predictions, level: float = 0.9, method: str = "lac") -> float:
    """The score up to which a class is in the set, from images that are set aside for it: the
    ceil((n + 1) level)-th smallest score of a true class (Vovk et al. 2005); infinity if there are
    too few images for the level.

    The guarantee: of new images that are drawn as these were, at least `level` have their class in
    their set, on average over such draws. It holds for independent images.
    """
    checks.below_one("level", level)
    if predictions.task == "multilabel":
        raise ValueError("conformal sets are for one class per image")
    n = len(predictions)
    rank = int(np.ceil((n + 1) * level))
    if rank > n:
        return float("inf")
    true = scores(predictions.probabilities, method)[np.arange(n), predictions.labels]
    return float(np.sort(true)[rank - 1])


def sets(probabilities: Array, limit: float, method: str = "lac") -> Array:
    """(N, K) of bool: the classes in the set of each image. A set may be empty ("lac": no class is
    likely enough), which says that the image is unlike those that the threshold is from."""
    found: Array = scores(probabilities, method) <= limit
    return found


def coverage(predictions: Predictions, limit: float, method: str = "lac") -> Coverage:
    """What sets with this threshold are worth on labelled images."""
    chosen = sets(predictions.probabilities, limit, method)
    size = chosen.sum(axis=1)
    held = chosen[np.arange(len(chosen)), predictions.labels]
    return Coverage(float(held.mean()), float(size.mean()), float((size == 1).mean()))


def measured(
    predictions: Predictions,
    level: float = 0.9,
    method: str = "lac",
    repeats: int = 100,
    seed: int = 0,
) -> Coverage:
    """The mean over repeated halvings of the units: the threshold from one half, the coverage on
    the other."""
    units, generator = predictions.units, np.random.default_rng(seed)
    if len(units) < 2:
        raise ValueError("coverage is measured on other units than the threshold: there is one")
    found = []
    for _ in range(checks.integer("repeats", repeats, 1)):
        order = generator.permutation(len(units))
        halves = np.array_split(order, 2)
        own, rest = (predictions.take(np.concatenate([units[i] for i in h])) for h in halves)
        found.append(coverage(rest, threshold(own, level, method), method))
    return Coverage(*(float(value) for value in np.mean(found, axis=0)))
