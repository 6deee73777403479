"""Predictions and targets as users pass them, read by the task of a metric."""

from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.errors import shown
from vitc.functional import softmax
from vitc.tape import Output

TASKS = ("binary", "multiclass", "multilabel")
IGNORED = -1  # in a target that was read
ROW_SUM = 1e-3  # by which a row of probabilities may miss 1


class Task:
    """A task and how its inputs are read.

    binary: preds and target of one shape, target 0 or 1. multiclass: scores (N, num_classes) or
    labels (N,), target (N,). multilabel: preds and target (N, num_labels), target 0 or 1.
    ignore_index: a target that does not count.
    """

    def __init__(
        self,
        task: str,
        num_classes: int | None,
        num_labels: int | None,
        ignore_index: int | None,
        from_logits: bool | None,
        known: tuple[str, ...] = TASKS,
    ) -> None:
        self.kind: str = checks.one_of("task", task, known)
        self.width = self._width(num_classes, num_labels)
        self.ignore_index = checks.optional(
            checks.integer, "ignore_index", ignore_index, -(2**63), 2**63 - 1
        )
        if from_logits is not None and not isinstance(from_logits, bool):
            raise TypeError(f"from_logits is {shown(from_logits)}, expected True, False or None")
        self.from_logits = from_logits

    def _width(self, classes: Any, labels: Any) -> int:
        """How many classes or labels there are; 2 for a binary task."""
        multilabel = self.kind == "multilabel"
        name, given = ("num_labels", labels) if multilabel else ("num_classes", classes)
        other, surplus = ("num_classes", classes) if multilabel else ("num_labels", labels)
        if surplus is not None:
            raise ValueError(f"{other} is {shown(surplus)}: a {self.kind} task has none")
        if self.kind == "binary":
            return 2 if given is None else checks.integer(name, given, 2, 2)
        if given is None:
            raise ValueError(f"a {self.kind} task needs {name}")
        return checks.integer(name, given, 1)

    @property
    def ignored_class(self) -> int:
        """The number of the class that does not count; -1 if it is none of them."""
        index = self.ignore_index
        inside = self.kind == "multiclass" and index is not None and 0 <= index < self.width
        return int(index or 0) if inside else -1

    # ------------------------------------------------------------------------------- reading

    def labels(self, preds: Any, target: Any, threshold: float) -> tuple[Array, Array]:
        """(predicted, target) as labels, of one shape: the class of the largest score, the first of
        equal ones; or whether a probability is above the threshold."""
        if as_array(preds).dtype.kind in "iub":
            chosen = _whole("preds", preds)
            self._check_shape(chosen, as_array(target), scores=False)
            true = self.target(target)
            self._check_range("preds", chosen, self._values)
            return chosen, true
        scores = self.scores(preds, target, probabilities=self.kind != "multiclass")
        true = self.target(target)
        if self.kind == "multiclass":
            return scores.argmax(axis=1), true
        return (scores > threshold).astype(np.int64), true

    def scores(self, preds: Any, target: Any, *, probabilities: bool) -> Array:
        """preds as float64; probabilities: these are made of logits, or checked."""
        given = as_array(preds)
        if given.dtype.kind != "f":
            raise TypeError(
                f"preds have dtype {shown(given.dtype)}, expected scores in floating point"
            )
        values = given.astype(np.float64).view(np.ndarray)
        self._check_shape(values, as_array(target), scores=True)
        if not np.isfinite(values).all():
            sample = int(np.argwhere(~np.isfinite(values))[0][0]) if values.ndim else 0
            raise ValueError(f"preds of sample {sample} are not finite (NaN or infinity)")
        logits = isinstance(preds, Output) if self.from_logits is None else self.from_logits
        if not logits and (probabilities or self.from_logits is False):
            self._check_probabilities(values)
        return self._probabilities(values) if logits and probabilities else values

    def target(self, target: Any) -> Array:
        """target as int64, with IGNORED for what does not count."""
        true = _whole("target", target)
        if self.ignore_index is not None:
            ignored = true == self.ignore_index
            self._check_range("target", true[~ignored], self._values)
            return np.where(ignored, IGNORED, true)
        self._check_range("target", true, self._values)
        return true

    @property
    def _values(self) -> int:
        return self.width if self.kind == "multiclass" else 2

    def _probabilities(self, logits: Array) -> Array:
        if self.kind == "multiclass":
            return softmax(logits)
        return np.exp(-np.logaddexp(0.0, -logits))  # the sigmoid, at any size

    def _check_probabilities(self, values: Array) -> None:
        hint = "pass probabilities, or say from_logits=True"
        if values.size and not 0 <= values.min() <= values.max() <= 1:
            wrong = values[(values < 0) | (values > 1)][0]
            raise ValueError(f"preds hold {wrong:g}, which is no probability: {hint}")
        if self.kind == "multiclass":
            sums = values.sum(axis=1)
            off = np.flatnonzero(np.abs(sums - 1) > ROW_SUM)
            if len(off):
                raise ValueError(
                    f"preds of sample {off[0]} add up to {sums[off[0]]:g} and not to 1: {hint}"
                )

    def _check_shape(self, preds: Array, target: Array, *, scores: bool) -> None:
        if self.kind == "binary":
            expected: tuple[int, ...] = target.shape
        elif self.kind == "multilabel":
            expected = (*target.shape[:1], self.width)
        else:
            expected = (*target.shape[:1], self.width) if scores else target.shape[:1]
        wanted = target.shape[:1] if self.kind == "multiclass" else expected
        if preds.shape != expected or target.shape != wanted:
            raise ValueError(
                f"preds have shape {preds.shape} and target has shape {target.shape}, expected "
                f"{self._wanted(scores)}"
            )

    def _wanted(self, scores: bool) -> str:
        if self.kind == "binary":
            return 'one shape; two columns are task="multiclass", num_classes=2'
        if self.kind == "multilabel":
            return f"(N, {self.width}) for both"
        return f"(N, {self.width}) and (N,)" if scores else "(N,) for both"

    def _check_range(self, name: str, labels: Array, count: int) -> None:
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            wrong = labels[(labels < 0) | (labels >= count)][0]
            raise ValueError(f"{name} has a label {wrong}, expected 0 to {count - 1}")


def _whole(name: str, values: Any) -> Array:
    array = as_array(values)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} has dtype {shown(array.dtype)}, expected integers")
    return array.astype(np.int64).view(np.ndarray)
