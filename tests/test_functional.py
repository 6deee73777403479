"""vitc.functional against torch.nn.functional, values and gradients."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

from vitc import functional as F
from vitc import nn
from vitc.tape import Loss, Output, no_grad

TOLERANCE = 1e-12  # relative, float64


@pytest.fixture
def logits() -> tuple[nn.Linear, Output, torch.Tensor]:
    """A layer, whose bias gradient sums the gradients of its output, its output, and the same."""
    layer = nn.Linear(6, 5, dtype="float64")
    x = np.random.default_rng(0).standard_normal((7, 6))
    out = layer(x)
    return layer, out, torch.tensor(np.array(out), requires_grad=True)


def check(layer: nn.Linear, loss: Loss, expected: torch.Tensor, leaf: torch.Tensor) -> None:
    expected.backward()
    loss.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=TOLERANCE)
    np.testing.assert_allclose(
        layer.bias.grad, leaf.grad.sum(0).numpy(), rtol=TOLERANCE, atol=TOLERANCE
    )


LABELS = np.array([0, 4, 2, 2, 1, 3, 0])
PROBABILITIES = np.random.default_rng(1).dirichlet(np.ones(5), 7)
WEIGHT = np.array([1.0, 0.5, 2.0, 1.5, 0.25])


@pytest.mark.parametrize("target", [LABELS, PROBABILITIES], ids=["labels", "probabilities"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_equals_torch(logits, target, weight, smoothing, reduction) -> None:
    layer, out, leaf = logits
    loss = F.cross_entropy(
        out, target, weight=weight, label_smoothing=smoothing, reduction=reduction
    )
    expected = TF.cross_entropy(
        leaf,
        torch.tensor(target),
        weight=None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing,
        reduction=reduction,
    )
    check(layer, loss, expected, leaf)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_ignored_labels_equal_torch(logits, weight) -> None:
    layer, out, leaf = logits
    labels = np.where(LABELS == 2, -1, LABELS)
    loss = F.cross_entropy(out, labels, weight=weight, ignore_index=-1, label_smoothing=0.1)
    expected = TF.cross_entropy(
        leaf,
        torch.tensor(labels),
        weight=None if weight is None else torch.tensor(weight),
        ignore_index=-1,
        label_smoothing=0.1,
    )
    check(layer, loss, expected, leaf)


def test_all_labels_ignored_is_no_number_and_no_gradient(logits) -> None:
    layer, out, leaf = logits
    loss = F.cross_entropy(out, np.full(7, -100))
    assert np.isnan(float(loss))
    loss.backward()
    assert not np.any(layer.bias.grad)


def test_sample_weights_weigh_the_mean(logits) -> None:
    layer, out, leaf = logits
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    rows = TF.cross_entropy(leaf, torch.tensor(LABELS), reduction="none")
    expected = (rows * torch.tensor(weights)).sum() / weights.sum()
    check(layer, F.cross_entropy(out, LABELS, sample_weight=weights), expected, leaf)


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div_of_log_softmax_equals_torch(logits, reduction, log_target) -> None:
    layer, out, leaf = logits
    target = np.log(PROBABILITIES) if log_target else PROBABILITIES
    loss = F.kl_div(F.log_softmax(out / 2.0, dim=1), target, reduction, log_target)
    expected = TF.kl_div(
        TF.log_softmax(leaf / 2.0, dim=1),
        torch.tensor(target),
        reduction=reduction,
        log_target=log_target,
    )
    check(layer, loss, expected, leaf)


def test_kl_div_with_zero_probabilities(logits) -> None:
    layer, out, leaf = logits
    target = np.eye(5)[LABELS]
    loss = F.kl_div(F.log_softmax(out), target)
    check(
        layer,
        loss,
        TF.kl_div(TF.log_softmax(leaf, 1), torch.tensor(target), reduction="batchmean"),
        leaf,
    )


def test_distillation_equals_torch(logits) -> None:
    layer, out, leaf = logits
    teacher, t = np.random.default_rng(2).standard_normal((7, 5)), 4.0
    soft = F.kl_div(F.log_softmax(out / t, dim=1), F.softmax(teacher / t, dim=1)) * (t * t)
    loss = 0.3 * F.cross_entropy(out, LABELS) + 0.7 * soft
    expected_soft = TF.kl_div(
        TF.log_softmax(leaf / t, 1), TF.softmax(torch.tensor(teacher) / t, 1), reduction="batchmean"
    )
    expected = 0.3 * TF.cross_entropy(leaf, torch.tensor(LABELS)) + 0.7 * t * t * expected_soft
    check(layer, loss, expected, leaf)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_and_log_softmax_equal_torch(dim: int) -> None:
    x = np.random.default_rng(3).standard_normal((4, 3)) * 30
    for ours, theirs in ((F.softmax, TF.softmax), (F.log_softmax, TF.log_softmax)):
        # Near 0 the logarithm of a sum close to 1 has no more than absolute accuracy.
        expected = theirs(torch.tensor(x), dim).numpy()
        np.testing.assert_allclose(ours(x, dim), expected, rtol=1e-12, atol=1e-14)


def test_tensors_and_lists_are_taken(logits) -> None:
    _, out, _ = logits
    value = float(F.cross_entropy(out, LABELS))
    assert float(F.cross_entropy(torch.tensor(np.array(out)), torch.tensor(LABELS))) == value
    assert float(F.cross_entropy(np.array(out).tolist(), LABELS.astype(np.uint8))) == pytest.approx(
        value
    )


def test_bad_labels_and_shapes_are_named(logits) -> None:
    _, out, _ = logits
    with pytest.raises(ValueError, match="label 9 of sample 3 .* expected 0 to 4"):
        F.cross_entropy(out, [0, 1, 2, 9, 0, 0, 0])
    with pytest.raises(ValueError, match="-1"):
        F.cross_entropy(out, [0, 1, 2, -1, 0, 0, 0])
    with pytest.raises(ValueError, match="7"):
        F.cross_entropy(out, [0, 1])
    with pytest.raises(ValueError, match=r"\(5,\)|5"):
        F.cross_entropy(out, LABELS, weight=np.ones(4))
    with pytest.raises(ValueError, match=r"\(5,\), expected \(batch, classes\)"):
        F.cross_entropy(out[0], [1])
    with pytest.raises(ValueError, match="'none'.*mean, sum"):
        F.cross_entropy(out, LABELS, reduction="none")
    with pytest.raises(TypeError, match="bool"):
        F.cross_entropy(out, LABELS == 2)
    with pytest.raises(ValueError, match=r"\(7, 4\), expected \(7, 5\)"):
        F.kl_div(out, np.ones((7, 4)))
    with pytest.raises(ValueError, match="label_smoothing"):
        F.cross_entropy(out, LABELS, label_smoothing=1.5)


def test_metrics_may_be_computed_from_plain_numbers(logits) -> None:
    _, out, _ = logits
    with no_grad():
        assert float(F.cross_entropy(np.array(out), LABELS)) == float(F.cross_entropy(out, LABELS))


# ------------------------------------------------------------------------------- classes

CLASSES: list[tuple[str, dict[str, Any], np.ndarray]] = [
    ("CrossEntropyLoss", {}, LABELS),
    ("CrossEntropyLoss", dict(weight=WEIGHT, label_smoothing=0.1, ignore_index=2), LABELS),
    ("CrossEntropyLoss", dict(reduction="sum"), PROBABILITIES),
    ("BCEWithLogitsLoss", {}, PROBABILITIES),
    ("BCEWithLogitsLoss", dict(weight=WEIGHT, pos_weight=2 * WEIGHT), PROBABILITIES),
    ("KLDivLoss", {}, PROBABILITIES),
    ("KLDivLoss", dict(reduction="batchmean", log_target=True), np.log(PROBABILITIES)),
    ("MSELoss", dict(reduction="sum"), PROBABILITIES),
]


@pytest.mark.parametrize(("name", "options", "target"), CLASSES)
def test_losses_as_classes_equal_torchs(logits, name, options, target) -> None:
    layer, out, leaf = logits
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = getattr(torch.nn, name)(**theirs)(leaf, torch.tensor(target))
    loss = getattr(nn, name)(**options)
    assert repr(loss).startswith(f"{name}(reduction=")
    check(layer, loss(out, target), expected, leaf)


@pytest.mark.parametrize("name", [name for name in nn.__all__ if name.endswith("Loss")])
def test_a_loss_has_the_arguments_of_torchs(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (nn, torch.nn))
    assert [(p.name, p.default) for p in ours.values()] == [
        (p.name, p.default) for p in theirs.values()
    ]
    for old in ("size_average", "reduce"):
        with pytest.raises(ValueError, match=f"{old} is True, expected None: say it with red"):
            getattr(nn, name)(**{old: True})
    with pytest.raises(ValueError, match="reduction is 'none', expected one of mean, "):
        getattr(nn, name)(reduction="none")


def test_what_torch_has_and_this_has_not_is_named() -> None:
    with pytest.raises(AttributeError, match="no 'BCELoss'; did you mean .*@vitc.loss"):
        nn.BCELoss  # noqa: B018
    with pytest.raises(AttributeError, match="vitc.nn has no 'Conv2d'; known: BCEWith"):
        nn.Conv2d  # noqa: B018
    with pytest.raises(ValueError, match="label_smoothing is 2"):
        nn.CrossEntropyLoss(label_smoothing=2)
    with pytest.raises(TypeError, match="ignore_index is None"):
        nn.CrossEntropyLoss(ignore_index=None)


@pytest.mark.parametrize(("labels", "classes"), [(LABELS, -1), (LABELS, 7), ([[1, 0], [2, 2]], 3)])
def test_one_hot_equals_torchs(labels, classes) -> None:
    expected = TF.one_hot(torch.tensor(labels), classes).numpy()
    found = F.one_hot(labels, classes)
    assert np.array_equal(found, expected) and found.dtype == np.int64


def test_labels_that_one_hot_cannot_place_are_named() -> None:
    with pytest.raises(ValueError, match="a label is 4, expected 0 to 2"):
        F.one_hot(LABELS, 3)
    with pytest.raises(ValueError, match="a label is -1, expected 0 to 1"):
        F.one_hot([-1, 1])
    with pytest.raises(TypeError, match="dtype float64, expected integers"):
        F.one_hot([0.0, 1.0])
    with pytest.raises(ValueError, match="no labels from which num_classes"):
        F.one_hot(np.zeros(0, np.int64))
    assert F.one_hot(np.zeros(0, np.int64), 3).shape == (0, 3)
