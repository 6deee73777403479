"""Losses against torch, torchvision and timm in float64, against differences, and own losses."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import vitc
from oracle import timm
from vitc import functional as F
from vitc import losses, nn
from vitc.tape import Output, no_grad

# After oracle, which lets torchvision be imported.
sigmoid_focal_loss = importlib.import_module("torchvision.ops").sigmoid_focal_loss

TOLERANCE = 1e-12  # relative, float64
ROWS, CLASSES = 6, 5
RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 4, 2, 2, 1, 3])
SOFT = RANDOM.random((ROWS, CLASSES))
HARD = (SOFT > 0.5).astype(float)
PROBABILITIES = RANDOM.dirichlet(np.ones(CLASSES), ROWS)
WEIGHT = np.array([1.0, 0.5, 2.0, 1.5, 0.25])
SAMPLES = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])


def tensor(x) -> torch.Tensor:
    return torch.tensor(x)


def outputs(scale: float = 2.0) -> tuple[nn.Linear, Output, torch.Tensor]:
    """A layer whose output stands for logits, the output, and the same as torch's leaf."""
    layer = nn.Linear(8, CLASSES, dtype="float64")
    with layer.edit() as weights:
        weights["weight"][:] = np.random.default_rng(3).standard_normal((CLASSES, 8)) * scale
    out = layer(np.random.default_rng(4).standard_normal((ROWS, 8)))
    return layer, out, torch.tensor(np.array(out), requires_grad=True)


def check(ours, expected, scale: float = 2.0) -> None:
    """The value, and the gradient of each logit: the layer's bias takes one row at a time."""
    layer, out, leaf = outputs(scale)
    loss, reference = ours(out), expected(leaf)
    reference.backward()
    assert float(loss) == pytest.approx(reference.item(), rel=TOLERANCE)
    gradient = sum(term for _, term in loss._terms)
    np.testing.assert_allclose(
        gradient / loss.weight, leaf.grad.numpy(), rtol=TOLERANCE, atol=TOLERANCE
    )
    loss.backward()
    np.testing.assert_allclose(layer.bias.grad, leaf.grad.sum(0).numpy(), atol=TOLERANCE)
    with no_grad():
        assert float(ours(np.array(out))) == float(loss)


def weighed(rows: torch.Tensor) -> torch.Tensor:
    """The mean over samples of a loss per element, each sample with its weight."""
    return (rows.mean(1) * tensor(SAMPLES)).sum() / SAMPLES.sum()


@pytest.mark.parametrize("target", [SOFT, HARD], ids=["soft", "hard"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("pos_weight", [None, WEIGHT[::-1].copy()])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_cross_entropy_equals_torch(target, weight, pos_weight, reduction) -> None:
    torchs = [None if w is None else tensor(w) for w in (weight, pos_weight)]
    check(
        lambda x: F.binary_cross_entropy_with_logits(x, target, weight, reduction, pos_weight),
        lambda x: TF.binary_cross_entropy_with_logits(
            x, tensor(target), torchs[0], pos_weight=torchs[1], reduction=reduction
        ),
    )


@pytest.mark.parametrize("alpha", [0.25, -1])
@pytest.mark.parametrize("gamma", [0, 0.5, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_binary_focal_loss_equals_torchvision(alpha, gamma, reduction) -> None:
    check(
        lambda x: F.sigmoid_focal_loss(x, HARD, alpha, gamma, reduction),
        lambda x: sigmoid_focal_loss(x, tensor(HARD), alpha, gamma, reduction),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("target", [LABELS, PROBABILITIES], ids=["labels", "probabilities"])
def test_the_focal_loss_over_classes_is_its_formula(gamma, target) -> None:
    """torch's autograd on -sum q (1 - p)^gamma log p."""
    one_hot = np.eye(CLASSES)[target] if target.ndim == 1 else target

    def expected(x: torch.Tensor) -> torch.Tensor:
        logs = TF.log_softmax(x, 1)
        q = tensor(one_hot * 0.9 + 0.1 / CLASSES) * tensor(WEIGHT)
        total = WEIGHT[LABELS].sum() if target.ndim == 1 else ROWS
        return -(q * (1 - logs.exp()) ** gamma * logs).sum() / total

    check(lambda x: F.focal_loss(x, target, gamma, WEIGHT, label_smoothing=0.1), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_squared_error_equals_torch(reduction) -> None:
    check(
        lambda x: F.mse_loss(x, SOFT, reduction),
        lambda x: TF.mse_loss(x, tensor(SOFT), reduction=reduction),
    )


def test_sample_weights_weigh_each_loss() -> None:
    options = dict(reduction="none")
    check(
        lambda x: F.binary_cross_entropy_with_logits(x, SOFT, sample_weight=SAMPLES),
        lambda x: weighed(TF.binary_cross_entropy_with_logits(x, tensor(SOFT), **options)),
    )
    check(
        lambda x: F.sigmoid_focal_loss(x, HARD, sample_weight=SAMPLES),
        lambda x: weighed(sigmoid_focal_loss(x, tensor(HARD))),
    )
    check(
        lambda x: F.mse_loss(x, SOFT, sample_weight=SAMPLES),
        lambda x: weighed(TF.mse_loss(x, tensor(SOFT), **options)),
    )
    check(
        lambda x: F.kl_div(x, PROBABILITIES, "mean", sample_weight=SAMPLES),
        lambda x: weighed(TF.kl_div(x, tensor(PROBABILITIES), **options)),
    )


def test_features_of_any_shape_have_a_distance() -> None:
    model = vitc.create_model("test_vit", num_classes=0, dtype="float64", depth=1, img_size=48)
    x = np.random.default_rng(1).standard_normal((2, 3, 48, 48))
    features = model.forward_features(x)
    loss = F.mse_loss(features, np.zeros(features.shape))
    assert float(loss) == pytest.approx(float((np.array(features) ** 2).mean()), rel=TOLERANCE)
    loss.backward()
    assert model.norm.bias.grad.any()


def test_losses_of_a_mean_add_up() -> None:
    check(
        lambda x: 0.3 * F.cross_entropy(x, LABELS) + 0.7 * F.mse_loss(x, SOFT),
        lambda x: 0.3 * TF.cross_entropy(x, tensor(LABELS)) + 0.7 * TF.mse_loss(x, tensor(SOFT)),
    )


# ------------------------------------------------------------------------------- timm's


def test_losses_of_timms_names_equal_timms() -> None:
    binary = [
        (LABELS, dict()),
        (LABELS, dict(smoothing=0.2, sum_classes=True)),
        (LABELS, dict(target_threshold=0.2)),
        (SOFT, dict(target_threshold=0.3, smoothing=0.0)),
        (SOFT, dict(smooth_dense=True, smoothing=0.3)),
        (SOFT, dict(pos_weight=2.0)),
    ]
    for target, options in binary:
        check(
            lambda x, t=target, o=options: losses.BinaryCrossEntropy(**o)(x, t),
            lambda x, t=target, o=options: timm.loss.BinaryCrossEntropy(**o)(x, tensor(t)),
        )
    check(
        lambda x: losses.LabelSmoothingCrossEntropy(0.2)(x, LABELS),
        lambda x: timm.loss.LabelSmoothingCrossEntropy(0.2)(x, tensor(LABELS)),
    )
    check(
        lambda x: losses.SoftTargetCrossEntropy()(x, PROBABILITIES),
        lambda x: timm.loss.SoftTargetCrossEntropy()(x, tensor(PROBABILITIES)),
    )


@pytest.mark.parametrize("splits", [2, 3])
@pytest.mark.parametrize("scale", [2.0, 20.0], ids=["near", "far apart"])
def test_the_jensen_shannon_divergence_equals_timms(splits, scale) -> None:
    """Far apart, some of the mixture is cut at 1e-7."""
    views = outputs(scale)[2].detach().softmax(1).reshape(splits, -1, CLASSES)
    assert bool((views.mean(0) < 1e-7).any()) == (scale == 20.0)
    check(
        lambda x: losses.JsdCrossEntropy(splits)(x, LABELS),
        lambda x: timm.loss.JsdCrossEntropy(splits)(x, tensor(LABELS)),
        scale,
    )


# ------------------------------------------------------------------------------- custom


@vitc.loss
def absolute(x, y):
    """Of the distance, with a gradient that is right."""
    return np.abs(x - y).sum(), np.sign(x - y), len(x)


def test_a_loss_of_ones_own_is_like_the_others() -> None:
    check(
        lambda x: absolute(x, SOFT),
        lambda x: TF.l1_loss(x, tensor(SOFT), reduction="sum") / ROWS,
    )


def test_a_wrong_gradient_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert vitc.check_grad(absolute, (ROWS, CLASSES), SOFT) < 1e-8
    assert "differences give" in capsys.readouterr().out

    def wrong(x, y):
        gradient = np.sign(x - y)
        gradient[3, 1] *= 1.01
        return np.abs(x - y).sum(), gradient, len(x)

    with pytest.raises(ValueError, match=r"gradient at \(3, 1\) is 1.01"):
        vitc.check_grad(wrong, (ROWS, CLASSES), np.zeros((ROWS, CLASSES)) - 9)


CORE = {
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS, WEIGHT, label_smoothing=0.1),
    "focal": lambda x: F.focal_loss(x, PROBABILITIES, 1.5, WEIGHT),
    "binary": lambda x: F.binary_cross_entropy_with_logits(x, SOFT, WEIGHT, pos_weight=WEIGHT),
    "binary focal": lambda x: F.sigmoid_focal_loss(x, SOFT, 0.3, 1.5),
    "divergence": lambda x: F.kl_div(x, PROBABILITIES),
    "squared": lambda x: F.mse_loss(x, SOFT, sample_weight=SAMPLES),
    "jsd": lambda x: losses.JsdCrossEntropy(3)(x, LABELS),
}


@pytest.mark.parametrize("name", CORE)
def test_every_loss_agrees_with_differences(name: str) -> None:
    """Central differences in float64: 1e-6 relative."""
    layer = nn.Linear(CLASSES, CLASSES, dtype="float64")  # for an output that has a gradient

    def parts(x):
        loss = CORE[name](layer(x))
        with no_grad():
            value = CORE[name](np.asarray(layer(x)))
        ((_, gradient),) = loss._terms
        return value.value, gradient @ np.asarray(layer.weight.data), loss.weight

    assert vitc.check_grad(parts, (ROWS, CLASSES)) <= 1e-6


def test_what_does_not_fit_is_named() -> None:
    _, x, _ = outputs()
    with pytest.raises(ValueError, match=r"\(6, 4\), expected \(6, 5\)"):
        F.binary_cross_entropy_with_logits(x, SOFT[:, :4])
    with pytest.raises(ValueError, match="'none', expected one of mean, batchmean, sum"):
        F.mse_loss(x, SOFT, "none")
    with pytest.raises(ValueError, match="class_weights"):
        F.binary_cross_entropy_with_logits(x, SOFT, WEIGHT[:3])
    with pytest.raises(ValueError, match="gamma"):
        F.focal_loss(x, LABELS, -1.0)
    with pytest.raises(ValueError, match="label is out of range: expected 0 to 4"):
        losses.BinaryCrossEntropy()(x, LABELS + 1)
    with pytest.raises(ValueError, match="smoothing is 1"):
        losses.BinaryCrossEntropy(smoothing=1)
    with pytest.raises(ValueError, match="6 rows cannot be split into 4 views"):
        losses.JsdCrossEntropy(4)(x, LABELS)
    with pytest.raises(ValueError, match=r"short returned a gradient of shape \(5,\)"):

        @vitc.loss
        def short(x):
            return 0.0, np.zeros(5), 1

        short(x)
    with pytest.raises(TypeError, match="returned float, expected"):
        vitc.loss(lambda x: 1.0)(x)
