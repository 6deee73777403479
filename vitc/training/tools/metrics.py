"""What a classifier is worth on labelled images."""

from vitc.arrays import Array
from vitc.metrics import AUROC, Accuracy, BalancedAccuracy


def classification_metrics(probabilities: Array, labels: Array) -> dict[str, float]:
    """accuracy, balanced_accuracy and auroc of probabilities (N, classes) against labels (N,).

    auroc: of the second class if there are two, else the mean over classes of one against the rest;
    NaN if a class has no sample. Raises `ImportError` if scikit-learn is not installed.
    """
    classes = probabilities.shape[1]
    several = dict(task="multiclass", num_classes=classes, from_logits=False)
    auroc = AUROC("binary") if classes == 2 else AUROC(**several)
    return {
        "accuracy": float(Accuracy(**several)(probabilities, labels)),
        "balanced_accuracy": float(BalancedAccuracy(**several)(probabilities, labels)),
        "auroc": float(auroc(probabilities[:, 1] if classes == 2 else probabilities, labels)),
    }
