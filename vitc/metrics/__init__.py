"""Metrics of a classifier, over any number of batches, under torchmetrics' names.

    accuracy = vitc.metrics.Accuracy(task="multiclass", num_classes=3)
    accuracy.update(preds, target)   # or accuracy(preds, target), which returns the batch's value
    accuracy.compute()               # over all batches since the last reset()

Accuracies, F1, the confusion matrix and calibration are counts, made here with NumPy. AUROC,
average precision and sensitivity at a specificity are read from curves by scikit-learn, on scores
that are kept until the end: its figures are those that others compare with, ties included, and who
does not need them needs no scikit-learn. Tests compare all with scikit-learn and torchmetrics.

**What preds are** is never guessed from their range:

- integers are labels: predicted classes, or 0 and 1;
- what a model of vitc returns holds logits, also reshaped or detached (but a slice of it is a plain
  array), and so does any array with from_logits=True;
- all other floating point numbers, or all with from_logits=False, are probabilities: each from 0 to
  1, and a row of classes adds up to 1.

Where scores are only ranked (curves of binary and multilabel tasks) logits and probabilities give
the same, and neither is checked. NaN and infinity are refused.

**What is undefined** (a class that does not occur, a label that nobody predicted) is NaN, with an
`UndefinedMetricWarning` when it is computed, never 0; means say in their docstrings what they do.

A metric is anything with `update(preds, target)`, `compute()` and `reset()`. Those here have also
`state_dict()` and `load_state_dict()`, so that an epoch can be continued: the counts are exact.
"""

from typing import Any

from vitc.errors import nearest, shown
from vitc.metrics.calibration import CalibrationError
from vitc.metrics.counts import Accuracy, BalancedAccuracy, ConfusionMatrix, F1Score
from vitc.metrics.curves import AUROC, AveragePrecision, SensitivityAtSpecificity
from vitc.metrics.metric import Metric, UndefinedMetricWarning

F1 = F1Score

__all__ = [
    "AUROC",
    "F1",
    "Accuracy",
    "AveragePrecision",
    "BalancedAccuracy",
    "CalibrationError",
    "ConfusionMatrix",
    "F1Score",
    "Metric",
    "SensitivityAtSpecificity",
    "UndefinedMetricWarning",
]


def __getattr__(name: str) -> Any:
    """A name of torchmetrics for one task is that of all, with task=."""
    for task in ("Binary", "Multiclass", "Multilabel"):
        own = name.removeprefix(task)
        if own != name and own in __all__:
            raise AttributeError(f"vitc.metrics has no {name}: write {own}(task={task.lower()!r})")
    raise AttributeError(f"vitc.metrics has no {shown(name)}; {nearest(name, __all__)}")
