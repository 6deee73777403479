"""What a classifier is worth on labelled images; the figures are scikit-learn's."""

import numpy as np

from vitc.arrays import Array


def classification_metrics(probabilities: Array, labels: Array) -> dict[str, float]:
    """accuracy, balanced_accuracy and auroc of probabilities (N, classes) against labels (N,).

    auroc: of the second class if there are two, else the mean over classes of one against the rest;
    NaN if a class has no sample. Raises `ImportError` if scikit-learn is not installed.
    """
    try:
        from sklearn import metrics
    except ImportError:
        raise ImportError('these metrics need scikit-learn: pip install "vitc[train]"') from None
    chosen = probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    auroc = float("nan")
    if len(np.unique(labels)) == classes > 1:
        scores = probabilities[:, 1] if classes == 2 else probabilities.astype(np.float64)
        if classes > 2:
            scores = scores / scores.sum(axis=1, keepdims=True)  # to the last digit, for its check
        auroc = metrics.roc_auc_score(labels, scores, multi_class="ovr")
    return {
        "accuracy": float(metrics.accuracy_score(labels, chosen)),
        "balanced_accuracy": _balanced(labels, chosen, classes),
        "auroc": float(auroc),
    }


def _balanced(labels: Array, chosen: Array, classes: int) -> float:
    """The mean over the classes that occur of their share of right answers: scikit-learn's
    balanced_accuracy_score, without its warning for a class that is predicted and does not occur.
    """
    shares = [np.mean(chosen[labels == c] == c) for c in range(classes) if np.any(labels == c)]
    return float(np.mean(shares))
