"""vitc.evaluation against scikit-learn, published examples, brute force and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs
from sklearn.preprocessing import label_binarize

from vitc.evaluation import (
    FIGURES,
    Predictions,
    bootstrap,
    by_group,
    compare,
    coverage_at,
    cross_scaled,
    delong,
    fit_temperature,
    intervals,
    likely_label_errors,
    mcnemar,
    measured,
    most_uncertain,
    most_wrong,
    reliability,
    risk_coverage,
    scaled,
    sets,
    share_bounds,
    threshold,
    typical,
)
from vitc.evaluation.comparison import delong_covariance
from vitc.evaluation.conformal import coverage
from vitc.evaluation.figures import figures, names_for
from vitc.evaluation.intervals import percentiles, resampled


def drawn(seed: int = 0, n: int = 200, classes: int = 3, skill: float = 1.5, **more) -> Predictions:
    """Predictions that are right more often than not, and calibrated."""
    generator = np.random.default_rng(seed)
    logits = skill * generator.normal(size=(n, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1)
    names = [f"class {k}" for k in range(classes)]
    return Predictions(probabilities, labels.clip(0, classes - 1), names, **more)


def several(seed: int = 0, n: int = 120) -> Predictions:
    generator = np.random.default_rng(seed)
    probabilities = generator.random((n, 4))
    labels = (generator.random((n, 4)) < probabilities).astype(int)
    return Predictions(probabilities, labels, list("abcd"))


# ------------------------------------------------------------------------------------- predictions

OK = (np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([0, 1]), ["a", "b"])
REFUSED = [
    ((OK[0].astype(int), *OK[1:]), TypeError, "dtype int64, expected floating point"),
    ((OK[0], OK[1].astype(float), OK[2]), TypeError, "labels have dtype float64"),
    ((OK[0], OK[1], ["a", "b", "c"]), ValueError, r"shape \(2, 2\), expected .* 3 classes"),
    ((OK[0], OK[1], ["a", "a"]), ValueError, "the same name"),
    ((OK[0], np.array([0, 2]), OK[2]), ValueError, "image 1 has the label 2, expected 0 to 1"),
    ((OK[0], np.array([0]), OK[2]), ValueError, r"labels have shape \(1,\), expected \(2,\)"),
    ((OK[0] * math.nan, *OK[1:]), ValueError, "NaN or infinity for 2 of 2 images: 0, 1"),
    ((OK[0] * 3 - 1, *OK[1:]), ValueError, "image 0 has a probability outside"),
    ((OK[0] * 0.5, *OK[1:]), ValueError, "of image 0 add up to 0.5, expected 1"),
    ((OK[0][:0], OK[1][:0], OK[2]), ValueError, "no images"),
    ((*OK, ["x"]), ValueError, "1 ids for 2 images"),
    ((*OK, ["x", "y"], ["p"]), ValueError, "1 groups for 2 images"),
]


@pytest.mark.parametrize(("given", "error", "words"), REFUSED)
def test_what_is_not_a_prediction_is_named(given: tuple, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        Predictions(*given)


def test_units_are_groups_or_images() -> None:
    alone = drawn(n=4)
    assert [unit.tolist() for unit in alone.units] == [[0], [1], [2], [3]]
    grouped = drawn(n=4, groups=["q", "p", "q", "p"])
    assert [unit.tolist() for unit in grouped.units] == [[1, 3], [0, 2]]
    part = grouped.take(np.array([True, False, True, False]))
    assert part.groups == ("q", "q") and part.ids == ("0", "2") and len(part.units) == 1


def test_one_of_two_classes_is_the_positive() -> None:
    p = drawn(classes=2)
    swapped = p.with_positive("class 0")
    assert swapped.classes == ("class 1", "class 0") and p.with_positive("class 1") is p
    names = ("auroc", "accuracy", "average_precision")
    one, other = (figures(q.labels, q.probabilities, names) for q in (p, swapped))
    assert one[:2] == pytest.approx(other[:2])
    expected = theirs.average_precision_score(1 - p.labels, p.probabilities[:, 0])
    assert other[2] == pytest.approx(expected) != one[2]
    with pytest.raises(ValueError, match="'class 2', expected class 0, class 1"):
        p.with_positive("class 2")
    with pytest.raises(ValueError, match="3 classes"):
        drawn().with_positive("class 0")


# ------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_figures_are_those_of_scikit_learn(classes: int, seed: int, ties: bool) -> None:
    p = drawn(seed, classes=classes)
    scores = p.probabilities.round(1) if ties else p.probabilities
    scores = scores / scores.sum(axis=1, keepdims=True)
    y, chosen = p.labels, scores.argmax(axis=1)
    binary = classes == 2
    f1 = theirs.f1_score(y, chosen, average="binary" if binary else "macro")
    hot = label_binarize(y, classes=range(classes))
    expected = {
        "accuracy": theirs.accuracy_score(y, chosen),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, chosen),
        "f1": f1,
        "mcc": theirs.matthews_corrcoef(y, chosen),
        "auroc": theirs.roc_auc_score(y, scores[:, 1])
        if binary
        else theirs.roc_auc_score(y, scores, multi_class="ovr"),
        "average_precision": theirs.average_precision_score(y, scores[:, 1])
        if binary
        else theirs.average_precision_score(hot, scores, average="macro"),
        "brier": theirs.brier_score_loss(y, scores[:, 1] if binary else scores),
        "log_loss": theirs.log_loss(y, scores),
    }
    names = names_for("binary" if binary else "multiclass")
    found = dict(zip(names, figures(y, scores, names), strict=True))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_figures_of_several_labels_are_those_of_scikit_learn() -> None:
    p = several()
    y, scores = p.labels, p.probabilities
    names = names_for("multilabel")
    found = dict(zip(names, figures(y, scores, names), strict=True))
    balanced = [theirs.balanced_accuracy_score(y[:, k], scores[:, k] > 0.5) for k in range(4)]
    expected = {
        "accuracy": 1 - theirs.hamming_loss(y, scores > 0.5),
        "exact_match": theirs.accuracy_score(y, scores > 0.5),
        "balanced_accuracy": np.mean(balanced),
        "f1": theirs.f1_score(y, scores > 0.5, average="macro"),
        "auroc": theirs.roc_auc_score(y, scores),
        "average_precision": theirs.average_precision_score(y, scores),
        "brier": np.mean([theirs.brier_score_loss(y[:, k], scores[:, k]) for k in range(4)]),
        "log_loss": np.mean([theirs.log_loss(y[:, k], scores[:, k]) for k in range(4)]),
    }
    assert "mcc" not in found
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("seed", range(5))
def test_operating_points_are_the_best_of_all_thresholds(seed: int) -> None:
    p = drawn(seed, classes=2, n=80)
    score, y = p.probabilities[:, 1].round(1), p.labels
    both = []
    for limit in [*np.unique(score), 2.0]:
        said = score >= limit
        both.append((said[y == 1].mean(), (~said[y == 0]).mean()))
    rounded = np.stack([1 - score, score], axis=1)
    found = figures(y, rounded, ("sensitivity", "specificity"))
    assert found[0] == pytest.approx(max(sens for sens, spec in both if spec >= 0.95))
    assert found[1] == pytest.approx(max(spec for sens, spec in both if sens >= 0.95))


def test_the_adaptive_error_by_hand() -> None:
    said = np.array([0.9] * 5 + [0.6] * 5)
    p = np.stack([1 - said, said], axis=1)
    y = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 1])  # 3 of 5 at 0.9, 5 of 5 at 0.6
    assert figures(y, p, ("adaptive_ece",))[0] == pytest.approx((0.3 + 0.4) / 2)


def test_one_class_only_is_undefined_and_not_zero() -> None:
    p = drawn(classes=2, n=30)
    y = np.zeros(30, np.int64)
    names = names_for("binary")
    found = dict(zip(names, figures(y, p.probabilities, names), strict=True))
    for name in ("auroc", "average_precision", "sensitivity", "specificity", "mcc"):
        assert math.isnan(found[name]), name
    assert found["accuracy"] == (p.probabilities.argmax(axis=1) == 0).mean()


# ------------------------------------------------------------------------------------- intervals


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Coverage of the 95 % intervals of accuracy, Brier score and AUROC over 150 draws."""
    big = drawn(1000, n=200_000, classes=2)
    names = ("accuracy", "auroc", "brier")
    truth = figures(big.labels, big.probabilities, names)
    held = np.zeros(3)
    for seed in range(150):
        p = drawn(seed, n=100, classes=2)

        def values(chosen: np.ndarray, p: Predictions = p) -> np.ndarray:
            return figures(p.labels[chosen], p.probabilities[chosen], names)

        for k, sample in enumerate(resampled(p.units, values, 200).T):
            low, high = percentiles(sample)
            held[k] += low <= truth[k] <= high
    assert (held / 150 > 0.88).all() and (held / 150 < 0.995).all(), held / 150


def test_a_group_is_one_unit() -> None:
    """Ten copies of each image add nothing: the interval is that of the images alone."""
    alone = drawn(3, n=60, classes=2)
    copies = np.repeat(np.arange(60), 10)
    grouped = Predictions(
        alone.probabilities[copies],
        alone.labels[copies],
        alone.classes,
        groups=[str(i).zfill(2) for i in copies],
    )
    one, ten = (intervals(p, resamples=300)["accuracy"] for p in (alone, grouped))
    assert one == pytest.approx(ten)
    torn = Predictions(grouped.probabilities, grouped.labels, grouped.classes)
    narrow = intervals(torn, resamples=300)["accuracy"]
    assert narrow.high - narrow.low < 0.5 * (one.high - one.low)


def test_a_perfect_score_has_an_interval() -> None:
    p = Predictions(np.eye(2)[[0, 1] * 10] * 0.9 + 0.05, np.array([0, 1] * 10), ["a", "b"])
    found = intervals(p, resamples=100)["accuracy"]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 20))  # Clopper and Pearson, n of n
    assert share_bounds(3, 10, 10) == pytest.approx(
        tuple(stats.beta.ppf([0.025, 0.975], [3, 4], [8, 7]))
    )


def test_a_model_that_says_one_thing_has_no_interval_of_no_width() -> None:
    """Balanced accuracy is 1/2 on every resample, which is no evidence for 1/2."""
    p = Predictions(np.tile([0.7, 0.3], (30, 1)), np.array([0, 0, 1] * 10), ["a", "b"])
    found = intervals(p, resamples=100)["balanced_accuracy"]
    assert found.value == 0.5 and math.isnan(found.low)


def test_what_most_resamples_leave_undefined_has_no_interval() -> None:
    p = drawn(n=40, classes=2)
    y = np.zeros(40, np.int64)
    y[0] = 1  # missing from 1 resample in 3
    found = intervals(Predictions(p.probabilities, y, p.classes), resamples=200)
    assert math.isnan(found["auroc"].low) and not math.isnan(found["auroc"].value)
    assert not math.isnan(found["brier"].low)


def test_resamples_depend_on_the_seed_alone() -> None:
    p = drawn(n=50)
    one, two = bootstrap(p, 100, seed=1)[1], bootstrap(p, 100, seed=1)[1]
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, bootstrap(p, 100, seed=2)[1])
    with pytest.raises(ValueError, match="resamples is 10"):
        bootstrap(p, 10)


def test_a_column_splits_the_table() -> None:
    p = drawn(n=60, columns={"site": ["north"] * 40 + ["south"] * 20})
    found = by_group(p, "site", resamples=100)
    assert {name: count for name, (count, _) in found.items()} == {"north": 40, "south": 20}
    whole = intervals(p.take(np.arange(40)), resamples=100)
    assert found["north"][1]["accuracy"] == whole["accuracy"]
    with pytest.raises(KeyError):
        by_group(p, "device")


# ------------------------------------------------------------------------------------- comparison


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_its_definition(seed: int, ties: bool) -> None:
    """Placements counted pair by pair, as DeLong et al. write them down."""
    generator = np.random.default_rng(seed)
    y = np.array([1] * 15 + [0] * 25)
    scores = generator.normal(size=(2, 40)) + y
    scores = scores.round() if ties else scores
    ones, zeros = scores[:, y == 1], scores[:, y == 0]
    wins = (ones[:, :, None] > zeros[:, None, :]) + 0.5 * (ones[:, :, None] == zeros[:, None, :])
    areas, covariance = delong_covariance(y, scores)
    np.testing.assert_allclose(areas, [theirs.roc_auc_score(y, s) for s in scores])
    expected = np.cov(wins.mean(axis=2)) / 15 + np.cov(wins.mean(axis=1)) / 25
    np.testing.assert_allclose(covariance, expected)
    difference = areas[1] - areas[0]
    error = math.sqrt(expected[0, 0] + expected[1, 1] - 2 * expected[0, 1])
    found = delong(y, *scores)
    assert found.statistic == pytest.approx(difference / error)
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-abs(difference / error)))


def test_delong_rejects_as_often_as_it_says() -> None:
    """Of equal scores with noise of their own, 5 in 100 are called different."""
    generator, rejected = np.random.default_rng(0), 0
    y = np.array([0, 1] * 40)
    for _ in range(400):
        shared = generator.normal(size=80) + y
        noisy = shared + 0.7 * generator.normal(size=(2, 80))
        rejected += delong(y, *noisy).p_value < 0.05
    assert 8 <= rejected <= 36  # of 400; 20 are expected


def test_delong_of_twins() -> None:
    y, score = np.array([0, 1] * 5), np.arange(10.0)
    assert delong(y, score, score) == (0, 1)
    with pytest.raises(ValueError, match=r"2 images of each class, got \(9, 1\)"):
        delong(np.array([1] + [0] * 9), score, score)


def test_mcnemar_is_the_exact_test() -> None:
    # Agresti's table of approval: 150 against 86 changed their mind.
    assert mcnemar(150, 86).p_value == pytest.approx(stats.binomtest(86, 236).pvalue)
    assert mcnemar(2, 0) == (0, 0.5)
    assert mcnemar(0, 0).p_value == 1


def test_two_models_are_compared_on_the_same_resamples() -> None:
    first = drawn(0, classes=2)
    worse = 0.7 * first.probabilities + 0.3 * drawn(9, classes=2).probabilities
    second = Predictions(worse, first.labels, first.classes)
    found = compare(first, second, resamples=200)
    both = [intervals(p, resamples=200)["auroc"] for p in (first, second)]
    difference = found.differences["auroc"]
    assert difference.value == pytest.approx(both[1].value - both[0].value)
    width = difference.high - difference.low
    assert width < 0.7 * (both[0].high - both[0].low)  # paired: narrower than either
    assert found.mcnemar == mcnemar(*found.flips)
    assert found.delong == delong(first.labels, first.probabilities[:, 1], worse[:, 1])
    same = compare(first, first, resamples=100).differences["log_loss"]
    assert same.value == 0 and math.isnan(same.low)


def test_groups_have_no_test_that_takes_images_as_independent() -> None:
    groups = [str(i // 2) for i in range(200)]
    first, second = (drawn(s, classes=2, groups=groups) for s in (0, 0))
    found = compare(first, second, resamples=100)
    assert found.mcnemar is None and found.delong is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (drawn(1), "differ in their labels"),
        (drawn(0, ids=[f"x{i}" for i in range(200)]), "differ in their ids"),
        (drawn(0, groups=["g"] * 200), "differ in their groups"),
    ],
)
def test_other_images_are_not_compared(other: Predictions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compare(drawn(0), other)


# ------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_temperature_is_found_again(temperature: float) -> None:
    calibrated = drawn(5, n=20_000)
    off = scaled(calibrated.probabilities, 1 / temperature)
    found = fit_temperature(Predictions(off, calibrated.labels, calibrated.classes))
    assert found == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(scaled(off, temperature), calibrated.probabilities, rtol=1e-9)


def test_several_labels_are_scaled_each_for_itself() -> None:
    p = several(n=5000)
    off = scaled(p.probabilities, 0.5, several=True)
    assert fit_temperature(Predictions(off, p.labels, p.classes)) == pytest.approx(2, rel=0.1)


def test_no_image_decides_its_own_temperature() -> None:
    groups = [str(i // 4) for i in range(200)]
    overconfident = scaled(drawn(2).probabilities, 0.3)
    p = Predictions(overconfident, drawn(2).labels, drawn(2).classes, groups=groups)
    better, temperatures = cross_scaled(p)
    assert len(temperatures) == 5 and min(temperatures) > 2
    before, after = (intervals(q, resamples=100)["log_loss"].value for q in (p, better))
    assert after < before
    moved = p.labels.copy()
    moved[:4] = (moved[:4] + 1) % 3  # another answer of one unit leaves its own scale as it is
    again, _ = cross_scaled(Predictions(overconfident, moved, p.classes, groups=groups))
    np.testing.assert_array_equal(again.probabilities[:4], better.probabilities[:4])
    assert not np.array_equal(again.probabilities[4:], better.probabilities[4:])


def test_reliability_holds_all_images() -> None:
    found = reliability(drawn(n=203))
    assert found.images.sum() == 203 and len(found.images) == 10
    assert (np.diff(found.confidence) >= 0).all()
    right = (drawn(n=203).probabilities.argmax(1) == drawn(n=203).labels).mean()
    assert (found.images * found.accuracy).sum() / 203 == pytest.approx(right)


# ------------------------------------------------------------------------------------- conformal


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_hold_the_class_as_often_as_was_asked(method: str) -> None:
    held = []
    for seed in range(60):
        both = drawn(seed, n=400, classes=4)
        limit = threshold(both.take(np.arange(100)), 0.9, method)
        held.append(coverage(both.take(np.arange(100, 400)), limit, method).coverage)
    assert np.mean(held) > 0.9 - 0.01
    if method == "lac":
        assert np.mean(held) < 0.93


def test_the_threshold_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]])
    found = threshold(Predictions(p, np.array([0, 1, 1, 0]), ["a", "b"]), 0.6)
    assert found == pytest.approx(1 - 0.7)  # the third of 0.1, 0.2, 0.3, 0.6
    assert sets(p, found).tolist() == [[True, False], [False, False], [False, True], [True, False]]
    few = Predictions(p, np.array([0, 1, 1, 0]), ["a", "b"])
    assert threshold(few, 0.9) == math.inf and sets(p, math.inf).all()


def test_aps_adds_up_the_likelier_classes() -> None:
    p = np.array([[0.5, 0.2, 0.3]])
    assert sets(p, 0.8 + 1e-9, "aps").tolist() == [[True, False, True]]


def test_coverage_is_measured_on_other_units() -> None:
    groups = [str(i // 2) for i in range(400)]
    found = measured(drawn(4, n=400, groups=groups), 0.8, repeats=50)
    assert 0.77 < found.coverage < 0.86 and 1 <= found.size <= 3 and 0 <= found.single <= 1
    with pytest.raises(ValueError, match="one"):
        measured(drawn(n=5, groups=["a"] * 5))


# ------------------------------------------------------------------------------------- selective


def test_risk_and_coverage_by_hand() -> None:
    said = np.array([0.9, 0.8, 0.8, 0.6])
    p = Predictions(np.stack([said, 1 - said], 1), np.array([0, 1, 0, 1]), ["a", "b"])
    curve = risk_coverage(p)
    assert curve.coverage.tolist() == [0.25, 0.75, 1]
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])
    assert curve.confidence.tolist() == [0.9, 0.8, 0.6]
    assert curve.area == pytest.approx((1 * 0 + 2 / 3 + 1 / 2) / 4)
    assert coverage_at(curve, 0.34) == 0.75 and coverage_at(curve, -1) == 0


# ------------------------------------------------------------------------------------- mistakes


def test_a_wrong_label_is_found() -> None:
    p = drawn(7, n=300, skill=5)
    labels = p.probabilities.argmax(axis=1)
    sure = np.flatnonzero(p.probabilities.max(axis=1) > 0.99)[:5]
    labels[sure] = (labels[sure] + 1) % 3
    found = likely_label_errors(Predictions(p.probabilities, labels, p.classes))
    assert sorted(issue.image for issue in found) == sorted(sure.tolist())
    assert all(issue.likely == p.probabilities[issue.image].argmax() for issue in found)
    assert [i.probability for i in found] == sorted(i.probability for i in found)


def test_the_images_to_look_at() -> None:
    said = np.array([0.9, 0.7, 0.51, 0.2, 0.8])
    p = Predictions(np.stack([said, 1 - said], 1), np.array([1, 0, 0, 0, 0]), ["a", "b"])
    assert most_wrong(p) == [0, 3]
    assert most_uncertain(p, 2) == [2, 1]
    assert typical(p, 1) == [1]


def test_every_figure_has_a_task_and_a_direction() -> None:
    assert all(figure.tasks and figure.best in (0, 1) for figure in FIGURES.values())


def test_an_interval_holds_its_share_of_the_resamples() -> None:
    values = np.linspace(0, 1, 1001)
    assert percentiles(values) == pytest.approx((0.025, 0.975))
    assert percentiles(values, 0.9) == pytest.approx((0.05, 0.95))
