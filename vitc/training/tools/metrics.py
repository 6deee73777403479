"""What a classifier is worth on labelled images."""

from vitc.arrays import Array
from vitc.metrics import AUROC, Accuracy, BalancedAccuracy


def auroc(classes: int) -> AUROC:
    """Of the second class if there are two, else the mean over classes of one against the rest;
    it takes what `ranked` gives."""
    if classes == 2:
        return AUROC("binary")
    return AUROC("multiclass", num_classes=classes, from_logits=False)


def ranked(probabilities: Array) -> Array:
    """(N,) of the second class if there are two classes, else all (N, classes)."""
    return probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities


def classification_metrics(probabilities: Array, labels: Array) -> dict[str, float]:
    """accuracy, balanced_accuracy and auroc of probabilities (N, classes) against labels (N,).

    auroc: of the second class if there are two, else the mean over classes of one against the rest;
    NaN if a class has no sample. Raises `ImportError` if scikit-learn is not installed.
    """
    classes = probabilities.shape[1]
    several = dict(task="multiclass", num_classes=classes, from_logits=False)
    return {
        "accuracy": float(Accuracy(**several)(probabilities, labels)),
        "balanced_accuracy": float(BalancedAccuracy(**several)(probabilities, labels)),
        "auroc": float(auroc(classes)(ranked(probabilities), labels)),
    }
