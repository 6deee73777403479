"""All that is said about a model on labelled images, as plain data for JSON, CSV and the report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from vitc.arrays import Array
from vitc.errors import nearest, shown
from vitc.evaluation import conformal, selective
from vitc.evaluation.calibration import (
    cross_scaled,
    fit_temperature,
    reliability,
    scaled,
)
from vitc.evaluation.comparison import Comparison
from vitc.evaluation.figures import FIGURES, confusion
from vitc.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    by_group,
    intervals,
    percentiles,
    resampled,
    share_bounds,
)
from vitc.evaluation.mistakes import likely_label_errors, most_uncertain, most_wrong, typical
from vitc.evaluation.predictions import Predictions

MOST_VALUES = 50  # of a column that splits the table
_CALIBRATED = ("log_loss", "brier", "adaptive_ece")
_COVERAGES = (0.8, 0.9, 0.95)
_RISKS = (0.01, 0.02, 0.05, 0.1)
_POINTS = 400  # of a curve, at most


def study(
    predictions: Predictions,
    *,
    by: Sequence[str] = (),
    held_out: Predictions | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures with intervals, by class and by column, curves, calibration, sets and mistakes.

    by: names of columns of the predictions; a table is split by each. held_out: predictions on
    images set aside for it, from which the temperature and the thresholds of sets are taken; None:
    they are cross-fitted on the images themselves. resamples, seed: of the bootstrap.

    Returns a dict of str, int, float, bool, None (undefined), lists and dicts. Raises `ValueError`
    for a column that does not exist or that has more than 50 values.
    """
    _check_columns(predictions, by)
    given = intervals(predictions, resamples=resamples, seed=seed)
    content = {
        "task": predictions.task,
        "images": len(predictions),
        "units": len(predictions.units),
        "grouped": predictions.groups is not None,
        "classes": list(predictions.classes),
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "figures": _table(given),
        "per_class": _per_class(predictions, resamples, seed),
        "by": {
            column: {
                value: {"images": count, "figures": _table(found)}
                for value, (count, found) in by_group(
                    predictions, column, resamples=resamples, seed=seed
                ).items()
            }
            for column in by
        },
        "curves": _curves(predictions),
        "calibration": _calibration(predictions, held_out, seed),
        "confusion": None,
        "conformal": None,
        "selective": None,
        "mistakes": None,
    }
    if predictions.task != "multilabel":
        content |= {
            "confusion": confusion(predictions.labels, predictions.probabilities),
            "conformal": _conformal(predictions, held_out, seed),
            "selective": _selective(predictions),
            "mistakes": _mistakes(predictions),
        }
    return dict(plain(content))


def _check_columns(predictions: Predictions, by: Sequence[str]) -> None:
    for column in by:
        if column not in predictions.columns:
            known = nearest(column, predictions.columns)
            raise ValueError(f"there is no column {shown(column)} to split by; {known}")
        count = len(set(predictions.columns[column]))
        if count > MOST_VALUES:
            raise ValueError(
                f"column {shown(column)} has {count} values, at most {MOST_VALUES} are compared"
            )


def plain(value: Any) -> Any:
    """As JSON has it: NaN and infinity are None, arrays are lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _table(found: Mapping[str, Interval]) -> dict[str, Any]:
    return {
        name: {"title": FIGURES[name].title, "best": FIGURES[name].best, **interval._asdict()}
        for name, interval in found.items()
    }


# ---------------------------------------------------------------------------------- by class


def _per_class(predictions: Predictions, resamples: int, seed: int) -> dict[str, Any]:
    """Of each class: images that have it, how many of these are found (sensitivity), and how many
    of those that are called so are (precision), with intervals over units."""
    said = _said(predictions)
    true = _true(predictions)

    def shares(chosen: Array) -> Array:
        both = (said[chosen] & true[chosen]).sum(axis=0)
        with np.errstate(invalid="ignore"):
            return np.stack([both / true[chosen].sum(axis=0), both / said[chosen].sum(axis=0)])

    drawn = resampled(predictions.units, shares, resamples, seed)
    given, units = shares(np.arange(len(predictions))), predictions.units
    content = {}
    for k, name in enumerate(predictions.classes):
        found = []
        for i, of in enumerate((true[:, k], said[:, k])):
            low, high = percentiles(drawn[:, i, k])
            if given[i, k] in (0, 1):
                seen = sum(1 for unit in units if of[unit].any())
                low, high = share_bounds(int(given[i, k]), 1, seen)
            found.append({"value": given[i, k], "low": low, "high": high})
        content[name] = {
            "images": int(true[:, k].sum()),
            "found": int((said & true)[:, k].sum()),
            "sensitivity": found[0],
            "precision": found[1],
        }
    return content


def _said(predictions: Predictions) -> Array:
    """(N, K) of bool: what the model calls an image."""
    p = predictions.probabilities
    said: Array = (
        p > 0.5 if predictions.task == "multilabel" else np.eye(p.shape[1], dtype=bool)[p.argmax(1)]
    )
    return said


def _true(predictions: Predictions) -> Array:
    labels = predictions.labels
    true: Array = (
        labels == 1 if labels.ndim == 2 else np.eye(len(predictions.classes), dtype=bool)[labels]
    )
    return true


# ---------------------------------------------------------------------------------- curves


def _curves(predictions: Predictions) -> dict[str, Any]:
    """ROC and precision-recall of class 1 if there are two, else of each against the rest; of
    classes that occur and are not all there is."""
    true = _true(predictions)
    chosen = [1] if predictions.task == "binary" else range(len(predictions.classes))
    content = {}
    for k in chosen:
        if true[:, k].min() == true[:, k].max():
            continue
        score = predictions.probabilities[:, k]
        false, right, _ = roc_curve(true[:, k], score)
        precision, recall, _ = precision_recall_curve(true[:, k], score, drop_intermediate=True)
        content[predictions.classes[k]] = {
            "false_positive_rate": _thinned(false),
            "true_positive_rate": _thinned(right),
            "recall": _thinned(recall),
            "precision": _thinned(precision),
            "share": float(true[:, k].mean()),
        }
    return content


def _thinned(values: Array) -> list[float]:
    """At most `_POINTS` of them, with both ends."""
    if len(values) > _POINTS:
        values = values[np.linspace(0, len(values) - 1, _POINTS).round().astype(int)]
    return [float(value) for value in values]


# ---------------------------------------------------------------------------------- calibration


def _calibration(
    predictions: Predictions, held_out: Predictions | None, seed: int
) -> dict[str, Any] | None:
    if held_out is None and len(predictions.units) < 2:
        return None
    if held_out is not None:
        temperatures = [fit_temperature(held_out)]
        several = predictions.task == "multilabel"
        probabilities = scaled(predictions.probabilities, temperatures[0], several=several)
        after = replace(predictions, probabilities=probabilities)
    else:
        after, temperatures = cross_scaled(predictions, seed)
    return {
        "from": "images set aside" if held_out is not None else "the other folds of these images",
        "temperatures": temperatures,
        "before": _of_calibration(predictions),
        "after": _of_calibration(after),
    }


def _of_calibration(predictions: Predictions) -> dict[str, Any]:
    values = {
        name: FIGURES[name].value(predictions.labels, predictions.probabilities)
        for name in _CALIBRATED
    }
    return {**values, "reliability": reliability(predictions)._asdict()}


# ---------------------------------------------------------------------------------- sets, risk


def _conformal(
    predictions: Predictions, held_out: Predictions | None, seed: int
) -> dict[str, Any] | None:
    if held_out is None and len(predictions.units) < 2:
        return None
    content: dict[str, Any] = {
        "from": "images set aside" if held_out is not None else "repeated halves of these images",
        "sets": [],
    }
    for method in conformal.METHODS:
        for level in _COVERAGES:
            if held_out is None:
                found = conformal.measured(predictions, level, method, seed=seed)
                limit = None
            else:
                limit = conformal.threshold(held_out, level, method)
                found = conformal.coverage(predictions, limit, method)
            content["sets"].append(
                {"method": method, "asked": level, "threshold": limit, **found._asdict()}
            )
    return content


def _selective(predictions: Predictions) -> dict[str, Any]:
    curve = selective.risk_coverage(predictions)
    return {
        "coverage": _thinned(curve.coverage),
        "risk": _thinned(curve.risk),
        "area": curve.area,
        "coverage_at_risk": {f"{r:g}": selective.coverage_at(curve, r) for r in _RISKS},
    }


def _mistakes(predictions: Predictions) -> dict[str, Any]:
    return {
        "most_wrong": most_wrong(predictions),
        "most_uncertain": most_uncertain(predictions),
        "typical": typical(predictions),
        "label_issues": [issue._asdict() for issue in likely_label_errors(predictions)],
    }


def comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    content = {
        "differences": _table(found.differences),
        "only_first_right": found.flips[0],
        "only_second_right": found.flips[1],
        "mcnemar": None if found.mcnemar is None else found.mcnemar._asdict(),
        "delong": None if found.delong is None else found.delong._asdict(),
    }
    return dict(plain(content))
