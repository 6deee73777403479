"""The figures of an evaluation: one table, each by scikit-learn or by its published formula."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.metrics import average_precision_score, roc_curve

from vitc.arrays import Array

AT = 0.95  # the specificity at which sensitivity is read, and the reverse
_LEAST = np.finfo(np.float64).eps  # of a probability in a logarithm, as in scikit-learn


class Figure(NamedTuple):
    """value(labels, probabilities): labels as in `Predictions`, probabilities (N, K); NaN where it
    is undefined, as the area under a curve is if there is only one class. best: 1 or 0. tasks:
    those that it is for."""

    title: str
    value: Callable[[Array, Array], float]
    best: int
    tasks: tuple[str, ...] = ("binary", "multiclass", "multilabel")


def _chosen(probabilities: Array) -> Array:
    chosen: Array = probabilities.argmax(axis=1)
    return chosen


def _columns(labels: Array, probabilities: Array) -> list[tuple[Array, Array]]:
    """(label of 0 or 1, score) of class 1 if there are two, else of each class or label."""
    if labels.ndim == 2:
        return [(labels[:, k], probabilities[:, k]) for k in range(labels.shape[1])]
    if probabilities.shape[1] == 2:
        return [(labels, probabilities[:, 1])]
    return [
        ((labels == k).astype(np.int64), probabilities[:, k]) for k in range(probabilities.shape[1])
    ]


def _mean(score: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    """The mean of a score over the classes, or of class 1 if there are two. NaN if one is NaN."""

    def value(labels: Array, probabilities: Array) -> float:
        return float(np.mean([score(*column) for column in _columns(labels, probabilities)]))

    return value


def _accuracy(labels: Array, probabilities: Array) -> float:
    if labels.ndim == 2:
        return float(np.mean((probabilities > 0.5) == labels))
    return float(np.mean(_chosen(probabilities) == labels))


def _exact(labels: Array, probabilities: Array) -> float:
    return float(np.mean(((probabilities > 0.5) == labels).all(axis=1)))


def confusion(labels: Array, probabilities: Array) -> Array:
    """(K, K) counts: true classes in rows, predicted in columns. Of one class per image."""
    classes = probabilities.shape[1]
    pairs = labels * classes + _chosen(probabilities)
    counts: Array = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return counts


def _balanced_accuracy(labels: Array, probabilities: Array) -> float:
    """The mean over the classes that occur of the share that is found; for two classes the mean of
    sensitivity and specificity (scikit-learn's `balanced_accuracy_score`)."""
    if labels.ndim == 2:
        return float(
            np.mean([_recall_mean(y, s > 0.5) for y, s in _columns(labels, probabilities)])
        )
    counts = confusion(labels, probabilities)
    there = counts.sum(axis=1)
    return float(np.mean(np.diag(counts)[there > 0] / there[there > 0]))


def _recall_mean(label: Array, positive: Array) -> float:
    if label.min() == label.max():
        return float("nan")
    return float((positive[label == 1].mean() + (~positive[label == 0]).mean()) / 2)


def _f1(labels: Array, probabilities: Array) -> float:
    """Of class 1 if there are two, else the mean over the classes that occur or are predicted."""
    if labels.ndim == 1 and probabilities.shape[1] > 2:
        counts = confusion(labels, probabilities)
        total = counts.sum(axis=0) + counts.sum(axis=1)
        return float(np.mean(2 * np.diag(counts)[total > 0] / total[total > 0]))
    pairs = _columns(labels, probabilities)
    said = [_chosen(probabilities) == 1] if labels.ndim == 1 else [s > 0.5 for _, s in pairs]
    return float(np.mean([_one_f1(y, p) for (y, _), p in zip(pairs, said, strict=True)]))


def _one_f1(label: Array, positive: Array) -> float:
    total = int(label.sum() + positive.sum())
    return float("nan") if total == 0 else 2 * int((label * positive).sum()) / total


def _mcc(labels: Array, probabilities: Array) -> float:
    """Matthews' correlation for K classes (Gorodkin 2004), as scikit-learn's
    `matthews_corrcoef`; NaN if only one class occurs or is predicted."""
    counts = confusion(labels, probabilities).astype(np.float64)
    true, said, n = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = (n * n - said @ said) * (n * n - true @ true)
    if spread == 0:
        return float("nan")
    return float((np.trace(counts) * n - true @ said) / np.sqrt(spread))


def _two_sided(label: Array) -> bool:
    return bool(label.min() != label.max())


def auroc(label: Array, score: Array) -> float:
    """Of labels 0 and 1: the chance that a 1 has the higher score, ties half (Mann-Whitney)."""
    ones = int(label.sum())
    if not _two_sided(label):
        return float("nan")
    ranks = rankdata(score)[label == 1].sum()
    return float((ranks - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


def _average_precision(label: Array, score: Array) -> float:
    if not label.any():
        return float("nan")
    return float(average_precision_score(label, score))


def _roc(label: Array, score: Array) -> tuple[Array, Array]:
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    return false, true


def _sensitivity(label: Array, score: Array) -> float:
    """The best sensitivity at a threshold whose specificity is at least `AT`."""
    if not _two_sided(label):
        return float("nan")
    false, true = _roc(label, score)
    return float(true[1 - false >= AT - 1e-12].max())


def _specificity(label: Array, score: Array) -> float:
    """The best specificity at a threshold whose sensitivity is at least `AT`."""
    if not _two_sided(label):
        return float("nan")
    false, true = _roc(label, score)
    return float((1 - false[true >= AT - 1e-12]).max())


def _targets(labels: Array, probabilities: Array) -> Array:
    return labels if labels.ndim == 2 else np.eye(probabilities.shape[1])[labels]


def _brier(labels: Array, probabilities: Array) -> float:
    """The square error, summed over classes (Brier 1950); of class 1 alone if there are two, as
    scikit-learn's `brier_score_loss`; for several labels the mean over them."""
    errors = (probabilities - _targets(labels, probabilities)) ** 2
    if labels.ndim == 2 or probabilities.shape[1] == 2:
        return float(errors.mean())
    return float(errors.sum(axis=1).mean())


def _log_loss(labels: Array, probabilities: Array) -> float:
    p = np.clip(probabilities, _LEAST, 1 - _LEAST)
    if labels.ndim == 2:
        return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))
    return float(-np.mean(np.log(p[np.arange(len(p)), labels])))


def confidence(labels: Array, probabilities: Array) -> tuple[Array, Array]:
    """(confidence, whether it was right): of the chosen class; for two classes the probability of
    class 1 and whether it occurred; for several labels all of them in one."""
    if labels.ndim == 2:
        return probabilities.ravel(), labels.ravel()
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], labels
    return probabilities.max(axis=1), (_chosen(probabilities) == labels).astype(np.int64)


def bins(said: Array, right: Array, count: int = 15) -> tuple[Array, Array, Array]:
    """Bins of equal size: (images, mean confidence, share that is right) of each; fewer bins if
    there are fewer than 5 images for one."""
    order = np.argsort(said, kind="stable")
    parts = np.array_split(order, max(1, min(count, len(said) // 5)))
    return (
        np.array([len(part) for part in parts]),
        np.array([said[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
    )


def _adaptive_ece(labels: Array, probabilities: Array) -> float:
    """The mean distance of confidence and accuracy over bins of equal size (Nixon et al. 2019,
    with 15 bins)."""
    size, said, right = bins(*confidence(labels, probabilities))
    return float(np.sum(size * np.abs(said - right)) / size.sum())


_ONE_CLASS = ("binary", "multiclass")
FIGURES: dict[str, Figure] = {
    "accuracy": Figure("accuracy", _accuracy, 1),
    "exact_match": Figure("all labels right", _exact, 1, ("multilabel",)),
    "balanced_accuracy": Figure("balanced accuracy", _balanced_accuracy, 1),
    "f1": Figure("F1", _f1, 1),
    "mcc": Figure("Matthews correlation", _mcc, 1, _ONE_CLASS),
    "auroc": Figure("AUROC", _mean(auroc), 1),
    "average_precision": Figure("average precision", _mean(_average_precision), 1),
    "sensitivity": Figure(f"sensitivity at specificity {AT:g}", _mean(_sensitivity), 1),
    "specificity": Figure(f"specificity at sensitivity {AT:g}", _mean(_specificity), 1),
    "brier": Figure("Brier score", _brier, 0),
    "log_loss": Figure("log loss", _log_loss, 0),
    "adaptive_ece": Figure("adaptive calibration error", _adaptive_ece, 0),
}


def figures(labels: Array, probabilities: Array, names: tuple[str, ...]) -> Array:
    """The values of these figures, in order, as float64."""
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return np.array([FIGURES[name].value(labels, probabilities) for name in names])


def names_for(task: str) -> tuple[str, ...]:
    """The names of the figures of a task."""
    return tuple(name for name, figure in FIGURES.items() if task in figure.tasks)
