"""Metrics that are counted: accuracies, F1 and the confusion matrix."""

from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.errors import listed, shown
from vitc.metrics.inputs import IGNORED, Task
from vitc.metrics.metric import Metric, State, undefined

AVERAGES = ("micro", "macro", "weighted", "none", None)


class _Counting(Metric):
    """Counts by class or label: hits, predicted, support (how many there are) and seen."""

    def __init__(
        self,
        task: Task,
        threshold: float = 0.5,
        average: str | None = "micro",
        top_k: int = 1,
    ) -> None:
        self.task = task.kind
        self.average = checks.one_of("average", average, AVERAGES)
        self.threshold = checks.probability("threshold", threshold)
        self.top_k = checks.integer("top_k", top_k, 1, task.width)
        if task.kind == "binary" and average != "micro":
            raise ValueError(
                f"average is {shown(average)}, but a binary task has one value; over both classes: "
                'task="multiclass", num_classes=2'
            )
        if task.kind != "multiclass" and top_k != 1:
            raise ValueError(f"top_k is {top_k}, which is for multiclass tasks")
        self._task = task
        super().__init__()

    def _empty(self) -> State:
        return {"counts": np.zeros((4, self._task.width), np.int64)}

    def _measure(self, preds: Any, target: Any) -> State:
        task = self._task
        if self.top_k > 1:
            return {"counts": self._top_k(preds, target)}
        chosen, true = task.labels(preds, target, self.threshold)
        kept = true != IGNORED
        if task.kind == "multilabel":
            rows = [(true == 1) & (chosen == 1), (chosen == 1) & kept, true == 1, kept]
            return {"counts": np.stack([row.sum(axis=0, dtype=np.int64) for row in rows])}
        chosen, true = chosen[kept], true[kept]
        return {"counts": self._by_class(true[chosen == true], chosen, true)}

    def _by_class(self, hits: Array, chosen: Array, true: Array) -> Array:
        width = self._task.width
        counts = [np.bincount(labels, minlength=width) for labels in (hits, chosen, true)]
        return np.stack([*counts, np.full(width, len(true))]).astype(np.int64)

    def _top_k(self, preds: Any, target: Any) -> Array:
        """A hit is a class with fewer than top_k before it: larger scores, and equal ones that come
        first. Of what is predicted nothing is counted."""
        scores, true = (
            self._task.scores(preds, target, probabilities=False),
            self._task.target(target),
        )
        scores, true = scores[true != IGNORED], true[true != IGNORED]
        own = scores[np.arange(len(true)), true][:, None]
        first = np.arange(scores.shape[1]) < true[:, None]
        before = (scores > own) | ((scores == own) & first)
        hits = true[before.sum(axis=1) < self.top_k]
        return self._by_class(hits, np.zeros(0, np.int64), true)

    def _averaged(self, above: Array, below: Array, support: Array, what: str) -> Any:
        """above / below by class, averaged. A class where below is 0 is in no mean."""
        if self.average == "micro":
            return ratio(above.sum(), below.sum(), "no sample was seen")
        counts = np.arange(len(below)) != self._task.ignored_class
        missing = np.flatnonzero((below == 0) & counts)
        if len(missing):
            undefined(f"{what} of class {listed(missing.tolist())} is undefined: it does not occur")
        with np.errstate(invalid="ignore"):
            scores = np.where(counts & (below > 0), above / np.maximum(below, 1), np.nan)
        if self.average in ("none", None):
            return scores
        weights = support if self.average == "weighted" else np.ones_like(support)
        found = ~np.isnan(scores)
        return ratio((scores * weights)[found].sum(), weights[found].sum(), "no class occurs")


class Accuracy(_Counting):
    """The share of right answers; torchmetrics' `Accuracy`.

    task, num_classes, num_labels, ignore_index, from_logits: see `vitc.metrics`. threshold: of
    binary and multilabel probabilities. average: "micro" (over all samples; of a multilabel task
    over all labels), "macro" (mean over classes), "weighted" (by how often they occur), or "none"
    for an array (classes,). top_k: the class is among the k largest scores (multiclass).

    Of a class it is the share of its samples that are found, and the mean is one over classes that
    occur, as scikit-learn's balanced accuracy; torchmetrics counts a class that is predicted and
    does not occur as 0.
    """

    def __init__(
        self,
        task: str,
        *,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: str | None = "micro",
        top_k: int = 1,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        read = Task(task, num_classes, num_labels, ignore_index, from_logits)
        super().__init__(read, threshold, average, top_k)

    def _value(self, state: State) -> Any:
        hits, predicted, support, seen = state["counts"]
        if self.task != "multilabel":
            return self._averaged(hits, support, support, "the accuracy")
        return self._averaged(seen - predicted - support + 2 * hits, seen, support, "the accuracy")


class BalancedAccuracy(_Counting):
    """The mean over classes of the share of their samples that are found; scikit-learn's
    balanced_accuracy_score. A class that does not occur is left out, with a warning.

    Arguments: as of `Accuracy`, for binary and multiclass tasks.
    """

    def __init__(
        self,
        task: str,
        *,
        threshold: float = 0.5,
        num_classes: int | None = None,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        known = ("binary", "multiclass")
        super().__init__(Task(task, num_classes, None, ignore_index, from_logits, known), threshold)
        self.average = "macro"

    def _value(self, state: State) -> Any:
        hits, _, support, _ = state["counts"]
        return self._averaged(hits, support, support, "the accuracy")


class F1Score(_Counting):
    """2 * hits / (predicted + occurring): the harmonic mean of precision and recall; torchmetrics'
    `F1Score`, scikit-learn's f1_score.

    Of a binary task it is that of class 1. A class that neither occurs nor is predicted is left out
    of means, with a warning, as by scikit-learn for labels that are not given. Arguments: as of
    `Accuracy`.
    """

    def __init__(
        self,
        task: str,
        *,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: str | None = "micro",
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        read = Task(task, num_classes, num_labels, ignore_index, from_logits)
        super().__init__(read, threshold, average)

    def _value(self, state: State) -> Any:
        hits, predicted, support, _ = state["counts"]
        if self.task == "binary":
            below = predicted[1] + support[1]
            return ratio(2 * hits[1], below, "no sample is of class 1 or taken for it")
        return self._averaged(2 * hits, predicted + support, support, "F1")


class ConfusionMatrix(Metric):
    """How often class i (row) was taken for class j (column): int64 (2, 2) or (classes, classes),
    of a multilabel task (labels, 2, 2); torchmetrics' `ConfusionMatrix`.

    normalize: None, or shares of what is "true" (a row adds up to 1), of what is predicted ("pred",
    a column), or of "all", in float64; NaN where there is nothing. Other arguments: as of
    `Accuracy`.
    """

    def __init__(
        self,
        task: str,
        *,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        normalize: str | None = None,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        known = ("true", "pred", "all", "none", None)
        self.task = task
        self.normalize: str | None = checks.one_of("normalize", normalize, known)
        self.threshold = checks.probability("threshold", threshold)
        self._task = Task(task, num_classes, num_labels, ignore_index, from_logits)
        super().__init__()

    def _empty(self) -> State:
        width = self._task.width
        shape = (width, 2, 2) if self.task == "multilabel" else (width, width)
        return {"counts": np.zeros(shape, np.int64)}

    def _measure(self, preds: Any, target: Any) -> State:
        chosen, true = self._task.labels(preds, target, self.threshold)
        counts = self._empty()["counts"]
        kept = true != IGNORED
        if self.task == "multilabel":
            label = np.broadcast_to(np.arange(self._task.width), true.shape)
            np.add.at(counts, (label[kept], true[kept], chosen[kept]), 1)
        else:
            np.add.at(counts, (true[kept], chosen[kept]), 1)
        return {"counts": counts}

    def _value(self, state: State) -> Any:
        counts = state["counts"]
        if self.normalize in ("none", None):
            return counts.copy()
        axes: dict[str, tuple[int, ...]] = {"true": (-1,), "pred": (-2,), "all": (-2, -1)}
        total = counts.sum(axis=axes[self.normalize], keepdims=True)
        if not total.all():
            undefined(f"a share of {shown(self.normalize)} is undefined where there is no sample")
        shares = np.full(counts.shape, np.nan)
        return np.divide(counts, total, out=shares, where=total > 0)


def ratio(above: Any, below: Any, why: str) -> np.float64:
    """above / below; NaN and a warning where below is 0."""
    if below == 0:
        undefined(f"the metric is undefined: {why}")
        return np.float64(np.nan)
    return np.float64(above) / np.float64(below)
