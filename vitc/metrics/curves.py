"""Metrics that are read from a curve over all thresholds, by scikit-learn."""

from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.errors import listed, shown
from vitc.metrics.inputs import IGNORED, Task
from vitc.metrics.metric import Metric, State, undefined

AVERAGES = ("macro", "weighted", "none", None)


class _Ranking(Metric):
    """Keeps the scores (N, columns) and the target of all batches: 8 bytes per score. Of a binary
    task there is one column, of a multiclass task one for each class against the rest."""

    _keeps = True

    def __init__(self, task: Task, average: str | None) -> None:
        _scikit_learn()
        known = ("micro", *AVERAGES) if task.kind == "multilabel" else AVERAGES
        self.task, self.average = task.kind, checks.one_of("average", average, known)
        if task.kind == "binary" and average != "macro":
            raise ValueError(f"average is {shown(average)}, but a binary task has one value")
        self._task = task
        super().__init__()

    def _empty(self) -> State:
        columns = 1 if self.task == "binary" else self._task.width
        labels = columns if self.task == "multilabel" else 1
        return {
            "scores": np.zeros((0, columns)),
            "target": np.zeros((0, labels), np.int64),
        }

    def _measure(self, preds: Any, target: Any) -> State:
        scores = self._task.scores(preds, target, probabilities=self.task == "multiclass")
        true = self._task.target(target)
        if self.task == "multilabel":
            return {"scores": scores, "target": true}
        kept = true != IGNORED
        columns = 1 if self.task == "binary" else self._task.width
        return {"scores": scores[kept].reshape(-1, columns), "target": true[kept].reshape(-1, 1)}

    def _columns(self, state: State) -> list[tuple[Array, Array]]:
        """(target of 0 and 1, scores) of each class or label."""
        scores, target = state["scores"], state["target"]
        if self.task == "binary":
            return [(target[:, 0], scores[:, 0])]
        if self.task == "multiclass":
            return [
                ((target[:, 0] == k).astype(np.int64), scores[:, k]) for k in range(scores.shape[1])
            ]
        if self.average == "micro":
            scores, target = scores.reshape(-1, 1), target.reshape(-1, 1)
        kept = [target[:, k] != IGNORED for k in range(scores.shape[1])]
        return [(target[keep, k], scores[keep, k]) for k, keep in enumerate(kept)]

    def _of(self, true: Array, scores: Array) -> float:
        """The value of one column, NaN if it is undefined."""
        raise NotImplementedError

    def _value(self, state: State) -> Any:
        columns = self._columns(state)
        values = np.array([self._of(*column) for column in columns])
        counts = np.arange(len(values)) != self._task.ignored_class
        bad = np.flatnonzero(np.isnan(values) & counts).tolist()
        single = self.task == "binary" or self.average == "micro"
        if bad:
            where = "" if single else f" of class {listed(bad)}"
            undefined(f"{type(self).__name__}{where} is undefined: there is nothing to tell apart")
        if single:
            return np.float64(values[0])
        if self.average in ("none", None):
            return values
        weights = np.array([true.sum() if self.average == "weighted" else 1 for true, _ in columns])
        found = counts & (weights > 0)
        return np.float64(
            np.average(values[found], weights=weights[found]) if found.any() else np.nan
        )


class AUROC(_Ranking):
    """The area under the ROC curve, of each class against the rest; scikit-learn's roc_auc_score,
    torchmetrics' `AUROC`.

    average: "macro" (mean over classes), "weighted" (by how often they occur), "none" for an array
    (classes,), of a multilabel task also "micro" (all labels as one). max_fpr: of a binary task the
    standardised area up to this false positive rate (McClish 1989). Other arguments: see
    `vitc.metrics`.

    NaN where all samples or none are of a class; with one that does not occur the mean is NaN too,
    unless it is weighted. Raises `ImportError` if scikit-learn is not installed.
    """

    def __init__(
        self,
        task: str,
        *,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: str | None = "macro",
        max_fpr: float | None = None,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(Task(task, num_classes, num_labels, ignore_index, from_logits), average)
        self.max_fpr = checks.optional(checks.probability, "max_fpr", max_fpr)
        if max_fpr == 0 or (max_fpr is not None and task != "binary"):
            raise ValueError(f"max_fpr is {max_fpr}, expected above 0, of a binary task")

    def _of(self, true: Array, scores: Array) -> float:
        if not 0 < true.sum() < len(true):
            return float("nan")
        return float(_scikit_learn().roc_auc_score(true, scores, max_fpr=self.max_fpr))


class AveragePrecision(_Ranking):
    """The mean of precision over recall, of each class against the rest; scikit-learn's
    average_precision_score, torchmetrics' `AveragePrecision`.

    NaN for a class that does not occur, where scikit-learn warns and gives 0. Arguments and errors:
    as of `AUROC`.
    """

    def __init__(
        self,
        task: str,
        *,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: str | None = "macro",
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(Task(task, num_classes, num_labels, ignore_index, from_logits), average)

    def _of(self, true: Array, scores: Array) -> float:
        if not true.any():
            return float("nan")
        return float(_scikit_learn().average_precision_score(true, scores))


class SensitivityAtSpecificity(_Ranking):
    """The largest sensitivity (recall) of those thresholds whose specificity is at least
    min_specificity, on scikit-learn's roc_curve.

    A number, or an array (classes,) for multiclass and multilabel tasks. `operating_threshold()`
    gives the score from which on a sample is positive; torchmetrics returns both as one tuple, and
    compares 1 - (false positive rate), which misses specificities by rounding. NaN where all
    samples or none are of a class. Other arguments and errors: as of `AUROC`.
    """

    def __init__(
        self,
        task: str,
        min_specificity: float,
        *,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        self.min_specificity = checks.probability("min_specificity", min_specificity)
        read = Task(task, num_classes, num_labels, ignore_index, from_logits)
        super().__init__(read, "macro" if task == "binary" else "none")

    def _of(self, true: Array, scores: Array) -> float:
        return self._point(true, scores)[0]

    def operating_threshold(self) -> Any:
        """The threshold of that sensitivity, the highest if there are several, in the scale of the
        scores; infinity if nothing may be positive. A number or an array (classes,)."""
        points = [self._point(*column)[1] for column in self._columns(self._state())]
        return np.float64(points[0]) if self.task == "binary" else np.array(points)

    def _point(self, true: Array, scores: Array) -> tuple[float, float]:
        """(sensitivity, threshold)."""
        negatives = len(true) - int(true.sum())
        if negatives in (0, len(true)):
            return float("nan"), float("nan")
        curve = _scikit_learn().roc_curve(true, scores, drop_intermediate=False)
        false_positives = np.rint(curve[0] * negatives)
        allowed = (negatives - false_positives) / negatives >= self.min_specificity
        best = int(np.argmax(np.where(allowed, curve[1], -1.0)))
        return float(curve[1][best]), float(curve[2][best])


def _scikit_learn() -> Any:
    try:
        from sklearn import metrics
    except ImportError:
        raise ImportError('this metric needs scikit-learn: pip install "vitc[metrics]"') from None
    return metrics
