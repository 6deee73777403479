"""Selective prediction: the error among the images that a model is surest of."""

from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.evaluation.predictions import Predictions


class RiskCurve(NamedTuple):
    """coverage: shares of the images that are answered, rising to 1; risk: the share of wrong
    answers among them; confidence: the least of them; area: under the curve, the mean risk (AURC,
    Geifman et al. 2019)."""

    coverage: Array
    risk: Array
    confidence: Array
    area: float


def risk_coverage(predictions: Predictions) -> RiskCurve:
    """The curve over all thresholds on the largest probability; images of equal confidence are
    answered together. For one class per image."""
    if predictions.task == "multilabel":
        raise ValueError("selective prediction is for one class per image")
    said = predictions.probabilities.max(axis=1)
    wrong = predictions.probabilities.argmax(axis=1) != predictions.labels
    order = np.argsort(-said, kind="stable")
    answered = np.arange(1, len(said) + 1)
    errors = np.cumsum(wrong[order])
    last = np.append(np.flatnonzero(np.diff(said[order])), len(said) - 1)  # of equal ones
    sizes = np.diff(np.append(0, answered[last]))
    risk = errors[last] / answered[last]
    return RiskCurve(
        answered[last] / len(said),
        risk,
        said[order][last],
        float(np.sum(sizes * risk) / len(said)),
    )


def coverage_at(curve: RiskCurve, risk: float) -> float:
    """The largest share of images that can be answered with at most this risk; 0 if none can."""
    allowed = curve.coverage[curve.risk <= risk]
    return float(allowed.max()) if len(allowed) else 0.0
