"""What a model is worth: figures with intervals, comparisons, calibration, leaks and mistakes.

    predictions = Predictions(probabilities, labels, ["good", "crack"], groups=patients)
    intervals(predictions)["auroc"]            # value, low, high
    compare(predictions, of_another_model)     # differences, McNemar, DeLong
    cross_scaled(predictions)                  # probabilities with a temperature
    duplicates({"train": paths, "test": more}) # images in two splits

`vitc evaluate` does all of it for a checkpoint and writes the report. Figures are scikit-learn's,
tests are SciPy's where they have them; both come with the extra `metrics`.
"""

from vitc.evaluation.needs import VERSIONS  # first: it says what is missing

# isort: split
from vitc.evaluation.calibration import cross_scaled, fit_temperature, reliability, scaled
from vitc.evaluation.comparison import Comparison, Test, compare, delong, mcnemar
from vitc.evaluation.conformal import Coverage, coverage, measured, sets, threshold
from vitc.evaluation.figures import FIGURES, Figure, confusion
from vitc.evaluation.intervals import (
    Interval,
    bootstrap,
    by_group,
    check_resamples,
    intervals,
    share_bounds,
)
from vitc.evaluation.leakage import Pair, duplicates, perceptual_hash, shared_groups
from vitc.evaluation.mistakes import (
    LabelIssue,
    likely_label_errors,
    most_uncertain,
    most_wrong,
    typical,
)
from vitc.evaluation.predictions import Predictions
from vitc.evaluation.selective import RiskCurve, coverage_at, risk_coverage

__all__ = [
    "FIGURES",
    "VERSIONS",
    "Comparison",
    "Coverage",
    "Figure",
    "Interval",
    "LabelIssue",
    "Pair",
    "Predictions",
    "RiskCurve",
    "Test",
    "bootstrap",
    "by_group",
    "check_resamples",
    "compare",
    "confusion",
    "coverage",
    "coverage_at",
    "cross_scaled",
    "delong",
    "duplicates",
    "fit_temperature",
    "intervals",
    "likely_label_errors",
    "mcnemar",
    "measured",
    "most_uncertain",
    "most_wrong",
    "perceptual_hash",
    "reliability",
    "risk_coverage",
    "scaled",
    "sets",
    "share_bounds",
    "shared_groups",
    "threshold",
    "typical",
]
