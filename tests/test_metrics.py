"""vitc.metrics against scikit-learn, torchmetrics and figures computed by hand."""

import inspect
import math
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

import oracle  # noqa: F401  torchvision, which torchmetrics imports, imports after this
import vitc
from vitc import functional as F
from vitc import metrics
from vitc.metrics import UndefinedMetricWarning
from vitc.tape import Output
from vitc.training.tools.metrics import classification_metrics

tm = pytest.importorskip("torchmetrics", reason="an oracle of these tests")
N, C, L = 300, 4, 3
GENERATOR = np.random.default_rng(0)
LOGITS = (GENERATOR.standard_normal((N, C)) * 2).astype(np.float32)
LOGITS[::7] = np.round(LOGITS[::7])  # equal scores
TARGET = np.where(GENERATOR.random(N) < 0.4, LOGITS.argmax(1), GENERATOR.integers(0, C, N))
PROBABILITIES = F.softmax(LOGITS)
SCORES = 1 / (1 + np.exp(-np.round(GENERATOR.standard_normal((N, L)) * 2, 1)))
FLAGS = (GENERATOR.random((N, L)) < SCORES).astype(np.int64)
IGNORING = np.where(GENERATOR.random(N) < 0.2, -100, TARGET)
FLAGS_IGNORING = np.where(GENERATOR.random((N, L)) < 0.2, -1, FLAGS)
MANY, SEVERAL = dict(task="multiclass", num_classes=C), dict(task="multilabel", num_labels=L)
BATCHES = [slice(0, 100), slice(100, 101), slice(101, 250), slice(250, N)]


def ours(name: str, preds: Any, target: Any, **options: Any) -> Any:
    """Over batches, one of them through the call, and in the middle from a state."""
    metric = getattr(metrics, name)(**options)
    for i, batch in enumerate(BATCHES):
        if i == 2:
            state, metric = metric.state_dict(), getattr(metrics, name)(**options)
            metric.load_state_dict(state)
        (metric if i % 2 else metric.update)(preds[batch], target[batch])
    return metric.compute()


def theirs(name: str, preds: Any, target: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = getattr(tm, name, None) or getattr(tm.classification, name)
        found = metric(**options)(torch.tensor(preds), torch.tensor(target))
    return np.array([x.numpy() for x in found]) if isinstance(found, tuple) else found.numpy()


# ------------------------------------------------------------------------------- torchmetrics

CASES: list[tuple[str, Any, Any, dict[str, Any]]] = [
    *(
        (name, preds, target, dict(average=average, **options))
        for name in ("Accuracy", "F1Score")
        for average in ("micro", "macro", "weighted", "none", None)
        for preds, target, options in (
            (PROBABILITIES, TARGET, MANY),
            (PROBABILITIES, IGNORING, dict(ignore_index=-100, **MANY)),
            (SCORES, FLAGS, SEVERAL),
            (SCORES, FLAGS_IGNORING, dict(ignore_index=-1, threshold=0.3, **SEVERAL)),
        )
    ),
    *(
        (name, SCORES[:, 0], FLAGS[:, 0], dict(task="binary", threshold=threshold))
        for name in ("Accuracy", "F1Score", "ConfusionMatrix")
        for threshold in (0.5, 0.2)
    ),
    ("Accuracy", PROBABILITIES.argmax(1), TARGET, MANY),
    ("Accuracy", SCORES > 0.5, FLAGS, SEVERAL),
    ("Accuracy", LOGITS[1:N:7], TARGET[1:N:7], dict(top_k=2, from_logits=True, **MANY)),
    *(
        ("ConfusionMatrix", preds, target, dict(normalize=normalize, **options))
        for normalize in (None, "none", "true", "pred", "all")
        for preds, target, options in (
            (PROBABILITIES, IGNORING, dict(ignore_index=-100, **MANY)),
            (SCORES, FLAGS, SEVERAL),
        )
    ),
    *(
        ("CalibrationError", preds, target, dict(norm=norm, n_bins=bins, **options))
        for norm in ("l1", "l2", "max")
        for bins in (15, 4)
        for preds, target, options in (
            (PROBABILITIES, TARGET, MANY),
            (PROBABILITIES, IGNORING, dict(ignore_index=-100, **MANY)),
            (SCORES[:, 0], FLAGS[:, 0], dict(task="binary")),
        )
    ),
    *(
        (name, preds, target, dict(average=average, **options))
        for name in ("AUROC", "AveragePrecision")
        for average in ("macro", "weighted", "none")
        for preds, target, options in (
            (PROBABILITIES, IGNORING, dict(ignore_index=-100, **MANY)),
            (SCORES, FLAGS_IGNORING, dict(ignore_index=-1, **SEVERAL)),
        )
    ),
    ("AUROC", SCORES, FLAGS, dict(average="micro", **SEVERAL)),
    ("AUROC", SCORES[:, 0], FLAGS[:, 0], dict(task="binary")),
    ("AUROC", SCORES[:, 0], FLAGS[:, 0], dict(task="binary", max_fpr=0.3)),
    ("AveragePrecision", SCORES[:, 0], FLAGS[:, 0], dict(task="binary")),
]


@pytest.mark.parametrize(("name", "preds", "target", "options"), CASES)
def test_figures_are_torchmetrics(name, preds, target, options) -> None:
    """Theirs are in float32."""
    own = {k: v for k, v in options.items() if k != "from_logits"}
    if name == "AUROC" and own.get("average") == "micro":
        expected = sk.roc_auc_score(target, preds, average="micro")  # which torchmetrics lacks here
    else:
        expected = theirs(name, preds, target, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        found = ours(name, preds, target, **options)
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    assert np.asarray(found).dtype == (
        np.int64 if name == "ConfusionMatrix" and not np.any(expected % 1) else np.float64
    )


def test_confidences_of_one_are_in_the_last_bin() -> None:
    """Two of 1.0, one of which is right, and one of 0.9 that is right: torchmetrics has them in two
    bins (0.1 and 0.5 apart), here |2 - 2.9| / 3."""
    preds, target = np.array([1.0, 1.0, 0.9]), np.array([1, 0, 1])
    found = ours_of(metrics.CalibrationError("binary", n_bins=5), preds, target)
    assert found == pytest.approx(0.3, rel=1e-12)


def ours_of(metric: metrics.Metric, preds: Any, target: Any) -> Any:
    metric.update(preds, target)
    return metric.compute()


# ------------------------------------------------------------------------------- scikit-learn


def test_figures_are_scikit_learns() -> None:
    chosen, exact = PROBABILITIES.argmax(1), dict(rel=1e-14)
    assert ours("Accuracy", PROBABILITIES, TARGET, **MANY) == sk.accuracy_score(TARGET, chosen)
    balanced = sk.balanced_accuracy_score(TARGET, chosen)
    assert ours("BalancedAccuracy", chosen, TARGET, **MANY) == pytest.approx(balanced, **exact)
    f1 = sk.f1_score(TARGET, chosen, average="macro")
    macro = ours("F1Score", PROBABILITIES, TARGET, average="macro", **MANY)
    assert macro == pytest.approx(f1, **exact)
    matrix = sk.confusion_matrix(TARGET, chosen)
    assert np.array_equal(ours("ConfusionMatrix", PROBABILITIES, TARGET, **MANY), matrix)
    wide = PROBABILITIES.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    for average in ("macro", "weighted"):
        auroc = sk.roc_auc_score(TARGET, wide, multi_class="ovr", average=average)
        found = ours("AUROC", wide, TARGET, average=average, **MANY)
        assert found == pytest.approx(auroc, **exact)
        precision = sk.average_precision_score(TARGET, wide, average=average)
        found = ours("AveragePrecision", wide, TARGET, average=average, **MANY)
        assert found == pytest.approx(precision, **exact)
    flags, scores = FLAGS[:, 0], SCORES[:, 0]
    f1 = sk.f1_score(flags, scores > 0.5)
    assert ours("F1Score", scores, flags, task="binary") == pytest.approx(f1, **exact)
    assert ours("AUROC", scores, flags, task="binary") == sk.roc_auc_score(flags, scores)


@pytest.mark.parametrize("least", [0.0, 0.5, 0.9, 0.93, 1.0])
def test_the_sensitivity_at_a_specificity_is_that_of_a_threshold(least: float) -> None:
    """Of every threshold that there is, and torchmetrics' where its rounding does not miss one."""
    metric = metrics.SensitivityAtSpecificity("binary", least)
    flags, scores = FLAGS[:, 0], SCORES[:, 0]
    found = ours_of(metric, scores, flags)
    tried = {math.inf: (1.0, 0.0)}
    for threshold in np.unique(scores):
        positive = scores >= threshold
        tried[threshold] = np.mean(~positive[flags == 0]), np.mean(positive[flags == 1])
    allowed = {
        t: sensitivity for t, (specificity, sensitivity) in tried.items() if specificity >= least
    }
    assert found == pytest.approx(max(allowed.values()), rel=1e-14)
    threshold = metric.operating_threshold()
    assert threshold == max(t for t, s in allowed.items() if s == max(allowed.values()))
    expected = theirs(
        "SensitivityAtSpecificity", scores, flags, task="binary", min_specificity=least
    )
    assert found == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize(("negatives", "wrong"), [(100, 7), (25, 14)])
def test_a_specificity_that_is_just_reached_counts(negatives: int, wrong: int) -> None:
    """In floating point 1 - 7 / 100 is below 93 / 100, and 25 times 14 / 25 is above 14."""
    target = np.repeat([0, 1], [negatives, 10])
    scores = np.repeat([0.1, 0.8], [negatives - wrong, wrong + 10])
    least = (negatives - wrong) / negatives
    found = ours_of(metrics.SensitivityAtSpecificity("binary", least), scores, target)
    assert found == 1.0 and 1 - wrong / negatives < least


def test_sensitivities_of_classes_and_labels() -> None:
    for preds, target, options in ((PROBABILITIES, TARGET, MANY), (SCORES, FLAGS, SEVERAL)):
        metric = metrics.SensitivityAtSpecificity(min_specificity=0.8, **options)
        found = ours_of(metric, preds, target)
        expected = theirs(
            "SensitivityAtSpecificity",
            preds.astype(np.float64),
            target,
            min_specificity=0.8,
            **options,
        )
        np.testing.assert_allclose(found, expected[0], atol=1e-6)
        assert metric.operating_threshold().shape == found.shape == (preds.shape[1],)


# ------------------------------------------------------------------------------- what preds are


def test_what_a_model_returns_holds_logits() -> None:
    """Whatever their range is; a plain array holds probabilities, or is refused."""
    small = Output.wrap(np.array([[0.2, 0.3], [0.9, 0.1]], np.float32), None)
    two = dict(task="multiclass", num_classes=2)
    expected = metrics.CalibrationError(**two)(F.softmax(small), [0, 0])
    assert metrics.CalibrationError(**two)(small, [0, 0]) == pytest.approx(expected, rel=1e-6)
    again = metrics.CalibrationError(from_logits=True, **two)(np.array(small), [0, 0])
    assert again == pytest.approx(expected, rel=1e-6)
    one = Output.wrap(np.array([0.2, -0.2], np.float32), None)
    assert metrics.Accuracy("binary")(one, [1, 0]) == 1.0
    assert metrics.Accuracy("binary")(np.array([0.2, 0.6]), [0, 1]) == 1.0
    with pytest.raises(
        ValueError, match="add up to 0.5 and not to 1: pass probabilities, or say f"
    ):
        metrics.CalibrationError(**two)(np.array(small), [0, 0])
    with pytest.raises(ValueError, match="add up to 0.5 and not to 1"):
        metrics.AUROC(from_logits=False, **two)(small, [0, 1])
    with pytest.raises(ValueError, match="hold -0.2, which is no probability"):
        metrics.Accuracy("binary")(np.array(one), [1, 0])


def test_a_models_output_is_taken_as_it_is() -> None:
    model = vitc.create_model("test_vit", num_classes=3, depth=1, img_size=16)
    logits = model(np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32))
    three = dict(task="multiclass", num_classes=3)
    for name in ("Accuracy", "AUROC", "CalibrationError"):
        metric = getattr(metrics, name)(**three)
        assert metric(logits, [0, 1, 2, 0]) == metric(F.softmax(np.float64(logits)), [0, 1, 2, 0])


def test_of_ranks_logits_and_probabilities_give_the_same() -> None:
    logits = np.log(SCORES / (1 - SCORES))
    for name in ("AUROC", "AveragePrecision"):
        for options in (dict(task="binary"), SEVERAL):
            column = (slice(None), 0) if options["task"] == "binary" else slice(None)
            values = [ours(name, x[column], FLAGS[column], **options) for x in (SCORES, logits)]
            assert values[0] == pytest.approx(values[1], rel=1e-12)


# ------------------------------------------------------------------------------- undefined


def alone(name: str, **options: Any) -> metrics.Metric:
    return getattr(metrics, name)(**options)


def test_what_is_undefined_is_nan_and_said() -> None:
    missing = np.where(TARGET == 2, 0, TARGET)
    for name, where in (("AUROC", "class 2"), ("AveragePrecision", "class 2")):
        with pytest.warns(UndefinedMetricWarning, match=where):
            assert np.isnan(ours(name, PROBABILITIES, missing, **MANY))
        with pytest.warns(UndefinedMetricWarning, match=where):
            values = ours(name, PROBABILITIES, missing, average="none", **MANY)
        assert np.isnan(values).tolist() == [False, False, True, False]
        with pytest.warns(UndefinedMetricWarning, match=where):
            assert np.isfinite(ours(name, PROBABILITIES, missing, average="weighted", **MANY))
    with pytest.warns(UndefinedMetricWarning, match="accuracy of class 2 is undefined"):
        found = ours("BalancedAccuracy", PROBABILITIES, missing, **MANY)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = sk.balanced_accuracy_score(missing, PROBABILITIES.argmax(1))
    assert found == pytest.approx(expected, rel=1e-14)
    with pytest.warns(UndefinedMetricWarning, match="class 1, 3"):
        f1 = ours_of(alone("F1Score", average="none", **MANY), [0, 2, 2], [0, 0, 2])
    np.testing.assert_allclose(f1, [2 / 3, np.nan, 2 / 3, np.nan])
    with pytest.warns(UndefinedMetricWarning, match="'true' is undefined where there is no"):
        rows = ours_of(alone("ConfusionMatrix", normalize="true", **MANY), [0, 2], [0, 0])
    assert rows[0].tolist() == [0.5, 0, 0.5, 0] and np.isnan(rows[1:]).all()


EVERY = [
    ("Accuracy", MANY),
    ("Accuracy", dict(task="binary")),
    ("BalancedAccuracy", MANY),
    ("F1Score", dict(task="binary")),
    ("F1Score", dict(average="macro", **SEVERAL)),
    ("CalibrationError", MANY),
    ("AUROC", dict(task="binary")),
    ("AUROC", MANY),
    ("AveragePrecision", dict(task="binary")),
    ("SensitivityAtSpecificity", dict(task="binary", min_specificity=0.9)),
]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_without_a_sample_there_is_no_value(name, options) -> None:
    metric = alone(name, **options)
    with pytest.warns(UndefinedMetricWarning):
        assert math.isnan(metric.compute())
    assert isinstance(metric.compute(), float)


def test_a_batch_without_a_class_has_nan_and_no_warning() -> None:
    metric = metrics.AUROC("binary")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metric(np.array([0.3, 0.4]), [1, 1]))
        metric(np.array([0.2]), [0])
        assert metric.compute() == 1.0


def test_an_ignored_class_is_in_no_mean() -> None:
    for name in ("Accuracy", "F1Score", "AUROC"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metric = alone(name, average="macro", ignore_index=1, **MANY)
            found = ours_of(metric, PROBABILITIES, TARGET)
            values = alone(name, average="none", ignore_index=1, **MANY)
            by_class = ours_of(values, PROBABILITIES, TARGET)
        assert np.isnan(by_class).tolist() == [False, True, False, False]
        assert found == pytest.approx(np.nanmean(by_class), rel=1e-14)


# ------------------------------------------------------------------------------- refused

REFUSED: list[tuple[str, dict[str, Any], Any, Any, type[Exception], str]] = [
    ("Accuracy", dict(task="multi"), 0, 0, ValueError, "task is 'multi', expected one of binary"),
    ("BalancedAccuracy", dict(task="multilabel"), 0, 0, ValueError, "task is 'multilabel'"),
    ("Accuracy", dict(task="multiclass"), 0, 0, ValueError, "a multiclass task needs num_classes"),
    ("Accuracy", dict(task="binary", num_classes=3), 0, 0, ValueError, "num_classes is 3"),
    ("Accuracy", dict(num_labels=3, **MANY), 0, 0, ValueError, "num_labels is 3: a multiclass"),
    ("Accuracy", dict(average="mean", **MANY), 0, 0, ValueError, "average is 'mean'"),
    ("Accuracy", dict(top_k=5, **MANY), 0, 0, ValueError, "top_k is 5, expected 1 to 4"),
    ("Accuracy", dict(task="binary", top_k=2), 0, 0, ValueError, "top_k is 2, which is for multi"),
    (
        "F1Score",
        dict(task="binary", average="macro"),
        0,
        0,
        ValueError,
        "a binary task has one val",
    ),
    ("AUROC", dict(average="micro", **MANY), 0, 0, ValueError, "average is 'micro'"),
    (
        "AUROC",
        dict(max_fpr=0.1, **MANY),
        0,
        0,
        ValueError,
        "max_fpr is 0.1, expected above 0, of a",
    ),
    ("Accuracy", dict(from_logits=1, **MANY), 0, 0, TypeError, "from_logits is 1"),
    ("Accuracy", dict(ignore_index=0.5, **MANY), 0, 0, TypeError, "ignore_index is 0.5"),
    ("ConfusionMatrix", dict(normalize="row", **MANY), 0, 0, ValueError, "normalize is 'row'"),
    ("CalibrationError", dict(norm="l3", **MANY), 0, 0, ValueError, "norm is 'l3'"),
    ("Accuracy", MANY, LOGITS * np.nan, TARGET, ValueError, r"preds of sample 0 are not finite"),
    ("AUROC", MANY, LOGITS + np.inf, TARGET, ValueError, "preds of sample 0 are not finite"),
    (
        "Accuracy",
        MANY,
        PROBABILITIES,
        TARGET + 1,
        ValueError,
        "target has a label 4, expected 0 to 3",
    ),
    ("Accuracy", MANY, TARGET - 1, TARGET, ValueError, "preds has a label -1, expected 0 to 3"),
    ("Accuracy", MANY, PROBABILITIES, TARGET * 1.0, TypeError, "target has dtype float64"),
    ("Accuracy", MANY, PROBABILITIES[:, :3], TARGET, ValueError, r"expected \(N, 4\) and \(N,\)"),
    ("Accuracy", MANY, PROBABILITIES, FLAGS, ValueError, r"expected \(N, 4\) and \(N,\)"),
    ("Accuracy", MANY, TARGET[1:], TARGET, ValueError, r"expected \(N,\) for both"),
    ("AUROC", MANY, TARGET, TARGET, TypeError, "preds have dtype int64, expected scores"),
    (
        "AUROC",
        dict(task="binary"),
        SCORES[:, :1],
        FLAGS[:, 0],
        ValueError,
        "expected one shape; two",
    ),
    ("F1Score", SEVERAL, SCORES[:, :2], FLAGS[:, :2], ValueError, r"expected \(N, 3\) for both"),
]


@pytest.mark.parametrize(("name", "options", "preds", "target", "kind", "words"), REFUSED)
def test_what_cannot_be_read_is_named_and_changes_nothing(
    name, options, preds, target, kind, words
) -> None:
    if isinstance(preds, int):
        with pytest.raises(kind, match=words):
            alone(name, **options)
        return
    metric = alone(name, **options)
    good = {"multiclass": (PROBABILITIES, TARGET), "multilabel": (SCORES, FLAGS)}
    metric.update(*good.get(metric.task, (SCORES[:, 0], FLAGS[:, 0])))
    before = metric.compute()
    for call in (metric.update, metric):
        with pytest.raises(kind, match=words):
            call(preds, target)
    assert metric.compute() == before


def test_a_state_of_another_metric_is_refused_and_changes_nothing() -> None:
    metric = metrics.Accuracy(**MANY)
    metric.update(PROBABILITIES, TARGET)
    before = metric.compute()
    other = metrics.Accuracy("binary").state_dict()
    states: list[tuple[Any, str]] = [
        (other, r"counts of the state has shape \(4, 2\), expected that of \(4, 4\)"),
        ({"counts": np.zeros((4, 4))}, "has dtype float64, expected int64"),
        (metrics.CalibrationError(**MANY).state_dict(), r"holds \['confidence', 'counts'\], exp"),
    ]
    for state, words in states:
        with pytest.raises(ValueError, match=words):
            metric.load_state_dict(state)
        assert metric.compute() == before
    scores = metrics.AUROC("binary")
    with pytest.raises(ValueError, match="scores of the state has infinities or NaN"):
        scores.load_state_dict({"scores": np.full((1, 1), np.nan), "target": np.ones((1, 1), int)})


def test_a_state_is_a_copy_and_reset_forgets() -> None:
    metric = metrics.ConfusionMatrix(**MANY)
    metric.update(PROBABILITIES, TARGET)
    state = metric.state_dict()
    state["counts"][:] = 0
    metric.compute()[:] = 0
    assert metric.compute().sum() == N
    metric.reset()
    assert metric.compute().sum() == 0
    assert repr(metric) == "ConfusionMatrix(task='multiclass', normalize=None, threshold=0.5)"


def test_arguments_have_torchmetrics_names_and_defaults() -> None:
    names = ("Accuracy", "F1Score", "AUROC", "AveragePrecision", "ConfusionMatrix")
    for name in (*names, "CalibrationError", "SensitivityAtSpecificity"):
        theirs = getattr(tm, name, None) or getattr(tm.classification, name)
        wanted = inspect.signature(theirs.__new__).parameters
        for argument, parameter in inspect.signature(getattr(metrics, name)).parameters.items():
            if argument != "from_logits":
                assert parameter.default == wanted[argument].default, (name, argument)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'needs scikit-learn: pip install "vitc\[metrics\]"'):
        metrics.AUROC("binary")
    assert ours("Accuracy", PROBABILITIES, TARGET, **MANY) > 0.4


def test_names_that_are_not_there_are_told() -> None:
    with pytest.raises(
        AttributeError, match=r"MulticlassF1Score: write F1Score\(task='multiclass'\)"
    ):
        metrics.MulticlassF1Score  # noqa: B018
    with pytest.raises(AttributeError, match="no 'BinaryDice'; known: AUROC, Accuracy"):
        metrics.BinaryDice  # noqa: B018


# ------------------------------------------------------------------------------- of a classifier


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
    expected = sk.roc_auc_score(labels, wide, multi_class="ovr")
    assert figures["auroc"] == pytest.approx(expected, rel=1e-12)
    balanced = sk.balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    assert figures["balanced_accuracy"] == pytest.approx(balanced, rel=1e-12)


def test_without_a_sample_of_some_class_there_is_no_auroc() -> None:
    figures = classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    assert np.isnan(figures["auroc"]) and figures["balanced_accuracy"] == 0.5
