"""Images to look at: those that the model has most wrong, doubts most, or whose label it doubts."""

from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.evaluation.predictions import Predictions


class LabelIssue(NamedTuple):
    """An image whose label may be wrong: its number, the label, the class that is more likely, and
    the probability of the label."""

    image: int
    label: int
    likely: int
    probability: float


def likely_label_errors(predictions: Predictions) -> list[LabelIssue]:
    """Images whose label is likely to be wrong, the surest first (confident learning, Northcutt et
    al. 2021, pruned by the probability of the label).

    A class is confident at the mean probability that images with its label give it. An image whose
    label is k, and that is confident of another class and not of k, is listed. The probabilities
    must not come from training on these images; the model's own errors are listed too, so look.
    """
    if predictions.task == "multilabel":
        raise ValueError("label errors are searched for one class per image")
    p, labels = predictions.probabilities, predictions.labels
    needed = np.full(p.shape[1], np.inf)  # a class without images is never confident
    for k in np.unique(labels):
        needed[k] = p[labels == k, k].mean()
    confident = np.where(p >= needed, p, -1.0)
    likely = confident.argmax(axis=1)
    listed = (
        (confident.max(axis=1) >= 0) & (likely != labels) & (p[_each(p), labels] < needed[labels])
    )
    own = p[_each(p), labels]
    order = np.flatnonzero(listed)[np.argsort(own[listed], kind="stable")]
    return [LabelIssue(int(i), int(labels[i]), int(likely[i]), float(own[i])) for i in order]


def most_wrong(predictions: Predictions, count: int = 12) -> list[int]:
    """The images that are wrong, those surest of a wrong class first."""
    p = predictions.probabilities
    wrong = np.flatnonzero(p.argmax(axis=1) != predictions.labels)
    return _first(wrong, -p.max(axis=1)[wrong], count)


def most_uncertain(predictions: Predictions, count: int = 12) -> list[int]:
    """The images with the least distance between their two likeliest classes."""
    ranked = np.sort(predictions.probabilities, axis=1)
    return _first(np.arange(len(ranked)), ranked[:, -1] - ranked[:, -2], count)


def typical(predictions: Predictions, count: int = 12) -> list[int]:
    """Right ones with the middle confidence of those of their class, from each class in turn."""
    p, labels = predictions.probabilities, predictions.labels
    right = p.argmax(axis=1) == labels
    queues = []
    for k in range(p.shape[1]):
        own = np.flatnonzero(right & (labels == k))
        if len(own):
            away = np.abs(p[own, k] - np.median(p[own, k]))
            queues.append(_first(own, away, count))
    turns = [queue[i] for i in range(count) for queue in queues if i < len(queue)]
    return turns[:count]


def _each(p: Array) -> Array:
    return np.arange(len(p))


def _first(indices: Array, rank: Array, count: int) -> list[int]:
    return [int(i) for i in indices[np.argsort(rank, kind="stable")][:count]]
