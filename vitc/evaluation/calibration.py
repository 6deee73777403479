"""Are probabilities what they say: temperature scaling, and reliability."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from vitc.arrays import Array
from vitc.evaluation.figures import FIGURES, bins, confidence
from vitc.evaluation.predictions import Predictions

FOLDS = 5
_BOUNDS = (-5.0, 5.0)  # of the logarithm of a temperature
_TINY = 1e-30


class Reliability(NamedTuple):
    """Bins of equal size: images, mean confidence and share that was right, (bins,) each."""

    images: Array
    confidence: Array
    accuracy: Array


def reliability(predictions: Predictions, count: int = 10) -> Reliability:
    """The reliability diagram; confidence as for the calibration error."""
    said, right = confidence(predictions.labels, predictions.probabilities)
    return Reliability(*bins(said, right, count))


def scaled(probabilities: Array, temperature: float, *, several: bool = False) -> Array:
    """softmax(logits / temperature), from probabilities (N, K), whose logarithms are logits;
    several: sigmoid instead, each label for itself."""
    if several:
        p = np.clip(probabilities, _TINY, 1 - 1e-16)
        scores = (np.log(p) - np.log1p(-p)) / temperature
        found: Array = 1 / (1 + np.exp(-scores))
        return found
    scores = np.log(np.maximum(probabilities, _TINY)) / temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(predictions: Predictions) -> float:
    """The temperature with the least log loss on these images (Guo et al. 2017), which must not be
    those that are then reported; between e^-5 and e^5."""
    several, loss = predictions.task == "multilabel", FIGURES["log_loss"].value

    def at(logarithm: float) -> float:
        values = scaled(predictions.probabilities, float(np.exp(logarithm)), several=several)
        return loss(predictions.labels, values)

    found = minimize_scalar(at, bounds=_BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def cross_scaled(predictions: Predictions, seed: int = 0) -> tuple[Predictions, list[float]]:
    """(the predictions with scaled probabilities, the temperatures): each fold of the units is
    scaled by a temperature that was fitted on the other folds, so no image decides its own."""
    units = predictions.units
    order = np.random.default_rng(seed).permutation(len(units))
    probabilities = predictions.probabilities.copy()
    temperatures = []
    for fold in np.array_split(order, min(FOLDS, len(units))):
        own = np.concatenate([units[i] for i in fold])
        rest = np.setdiff1d(np.arange(len(predictions)), own)
        if not len(rest):
            raise ValueError("one unit cannot be calibrated by others: there are none")
        temperatures.append(fit_temperature(predictions.take(rest)))
        probabilities[own] = scaled(
            probabilities[own], temperatures[-1], several=predictions.task == "multilabel"
        )
    return replace(predictions, probabilities=probabilities), temperatures
