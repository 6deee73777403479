"""vitc.training.metrics against figures computed by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from vitc.training.metrics import classification_metrics


def test_two_classes_by_hand() -> None:
    """Two of three negatives and one of two positives are right; 5 of 6 pairs are in order."""
    positive = np.array([0.1, 0.4, 0.6, 0.45, 0.9])
    labels = np.array([0, 0, 0, 1, 1])
    figures = classification_metrics(np.stack([1 - positive, positive], axis=1), labels)
    assert figures == {
        "accuracy": pytest.approx(3 / 5),
        "balanced_accuracy": pytest.approx((2 / 3 + 1 / 2) / 2),
        "auroc": pytest.approx(5 / 6),
    }


def test_more_classes_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 200).astype(np.float32)
    labels = generator.integers(0, 4, 200)
    figures = classification_metrics(probabilities, labels)
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    expected = metrics.roc_auc_score(labels, wide, multi_class="ovr")
    assert figures["auroc"] == pytest.approx(expected, rel=1e-12)
    balanced = metrics.balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    assert figures["balanced_accuracy"] == pytest.approx(balanced, rel=1e-12)


def test_without_a_sample_of_some_class_there_is_no_auroc() -> None:
    figures = classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    assert np.isnan(figures["auroc"]) and figures["balanced_accuracy"] == 0.5
