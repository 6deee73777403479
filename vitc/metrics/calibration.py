"""Whether probabilities are as high as they should be."""

from typing import Any

import numpy as np

from vitc import checks
from vitc.metrics.counts import ratio
from vitc.metrics.inputs import IGNORED, Task
from vitc.metrics.metric import Metric, State, undefined


class CalibrationError(Metric):
    """How far confidence and accuracy are apart, over n_bins bins of equal width (Guo et al. 2017);
    torchmetrics' `CalibrationError`.

    The confidence is the largest probability (multiclass), which is right or not, or the
    probability of class 1 (binary), which occurs or not. A bin holds its lower bound, the last one
    both; torchmetrics gives confidences of exactly 1 a bin of their own.

    norm: "l1" (the expected error: the mean of a bin's distance, by its samples), "l2" (the root of
    the mean of its square) or "max" (of the worst bin). Other arguments: see `vitc.metrics`.
    """

    def __init__(
        self,
        task: str,
        *,
        n_bins: int = 15,
        norm: str = "l1",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        from_logits: bool | None = None,
    ) -> None:
        known = ("binary", "multiclass")
        self._task = Task(task, num_classes, None, ignore_index, from_logits, known)
        self.task, self.n_bins = task, checks.integer("n_bins", n_bins, 1)
        self.norm = checks.one_of("norm", norm, ("l1", "l2", "max"))
        super().__init__()

    def _empty(self) -> State:
        counts = np.zeros((2, self.n_bins), np.int64)  # samples, and those that are right
        return {"counts": counts, "confidence": np.zeros(self.n_bins)}

    def _measure(self, preds: Any, target: Any) -> State:
        probabilities = self._task.scores(preds, target, probabilities=True)
        true = self._task.target(target)
        kept = true != IGNORED
        confidence, true = probabilities[kept], true[kept]
        if self.task == "multiclass":
            true = confidence.argmax(axis=1) == true
            confidence = confidence.max(axis=1)
        bounds = np.linspace(0, 1, self.n_bins + 1)
        bins = np.minimum(np.searchsorted(bounds, confidence, "right") - 1, self.n_bins - 1)
        samples = np.bincount(bins, minlength=self.n_bins)
        right = np.bincount(bins[true == 1], minlength=self.n_bins)
        return {
            "counts": np.stack([samples, right]).astype(np.int64),
            "confidence": np.bincount(bins, confidence, self.n_bins),
        }

    def _value(self, state: State) -> Any:
        samples, right = state["counts"]
        found = samples > 0
        if not found.any():
            undefined("the calibration error is undefined: no sample was seen")
            return np.float64(np.nan)
        distance = np.abs(right - state["confidence"])[found]  # times the samples of the bin
        if self.norm == "max":
            return (distance / samples[found]).max()
        if self.norm == "l2":
            return np.sqrt((distance**2 / samples[found]).sum() / samples.sum())
        return ratio(distance.sum(), samples.sum(), "")
