"""Extreme numbers against torch: zeros, denormals, where exp ends, 1e20, 3e38, infinity and NaN.

What vitc gives is what torch gives in float32, or what it gives in float64, rounded: a number near
it, the same infinity, or NaN. Where vitc is like float64 only, the case stands in `WIDER`; where
torch has NaN in both and vitc none, it stands in `MORE`; with the reason, and no case stands there
for nothing. The core's own test of this kind compares every kernel with its plain twin in double:
csrc/tools/test_extremes.c.
"""

import functools
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extremes
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from extremes import ACTIVATIONS, COLS, DRAWN, EPS, RULES, SCALES, VALUES, rows, tokens

from oracle import timm
from oracle.levels import printed_by_level
from vitc import _vitc, losses
from vitc import functional as F
from vitc.tape import Edge, Node, Output

# After oracle, which lets torchvision be imported.
sigmoid_focal_loss = importlib.import_module("torchvision.ops").sigmoid_focal_loss

LEVELS = _vitc.config()["isas"]

SUMS = "torch's sums overflow in float32, which here are taken in double"
WIDER = {
    "gelu_tanh": "torch's cube overflows in float32",
    "norm": SUMS,
    "rms_norm": SUMS,
    "label, smoothing": SUMS,
    "label, smoothing and weights": SUMS,
    "focal": "the slope of torch's power is infinite in float32",
    "focal of the extreme": "the slope of torch's power is infinite in float32",
    "binary, target 0": SUMS,
    "binary, target 0.3": SUMS,
    "jsd": "a probability that is 0 in float32 has an infinite slope in torch",
}
LEFT_OUT = "what has weight or probability 0 is left out, torch multiplies it by infinity"
WHOLE = "log(1 + exp(x)) is formed whole, torch subtracts infinity from infinity"
MORE = {
    "gelu": "the slope at infinity is 1 or 0, torch multiplies infinity by 0",
    "label of the extreme, weight 0": LEFT_OUT,
    "soft target of 0": LEFT_OUT,
    "divergence of 0": LEFT_OUT,
    "jsd": "p log p is 0 where p is",
    "focal of the extreme": "p log p is 0 where p is",
    "binary, target 0": WHOLE,
    "binary, target 0.3": WHOLE,
    "binary, target 1": WHOLE,
    "binary focal, target 0": WHOLE,
    "binary focal, target 1": WHOLE,
}


def same(found: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    """The same infinity, NaN, or within a tolerance of the size of the number, at least of 1."""
    size = np.maximum(np.abs(np.where(np.isfinite(expected), expected, 0)), 1)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(found - expected) <= tolerance * size
    return near | (found == expected) | (np.isnan(found) & np.isnan(expected))


def compare(name: str, found: Any, narrow: Any, wide: Any, tolerance: float = 1e-5) -> set[str]:
    """Fails where vitc is worse than torch; says whether it is WIDER, or has MORE."""
    with np.errstate(over="ignore"):
        found, narrow, wide = (
            np.asarray(x).astype(np.float32).astype(float) for x in (found, narrow, wide)
        )
    like, wider = same(found, narrow, tolerance), same(found, wide, tolerance)
    more = np.isnan(narrow) & np.isnan(wide) & ~np.isnan(found)
    bad = ~(like | wider | more)
    assert not bad.any(), (name, np.argwhere(bad)[:5], found[bad][:5], narrow[bad][:5])
    told = {"WIDER": wider & ~like, "MORE": more}
    return {word for word, where in told.items() if where.any()}


# ------------------------------------------------------------------------------- operations


def both(function: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray) -> np.ndarray:
    """The output and the gradient of its sum, by torch's own kernels: on some processors it would
    leave gelu to oneDNN, which gives other infinities."""
    leaf = torch.tensor(x, requires_grad=True)
    with torch.backends.mkldnn.flags(enabled=False):
        y = function(leaf)
        y.backward(torch.ones_like(y))
    assert leaf.grad is not None
    return np.stack([y.detach().numpy(), leaf.grad.numpy()])


def row(i: int, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(DRAWN[i]).to(like.dtype)


TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": TF.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu_tanh": lambda x: TF.gelu(x, approximate="tanh"),
    "gelu": TF.gelu,
    "relu": TF.relu,
    "norm": lambda x: TF.layer_norm(x, (COLS,), row(1, x), row(2, x), EPS),
    "rms_norm": lambda x: TF.rms_norm(x, (COLS,), row(1, x), EPS),
    "affine": lambda x: x * row(1, x) + 1,
}


@functools.cache
def printed() -> dict[str, dict[str, Any]]:
    code = Path(extremes.__file__).read_text()
    return {level: json.loads(out) for level, out in printed_by_level(code).items()}


def listed(name: str) -> set[str]:
    return {word for word, table in (("WIDER", WIDER), ("MORE", MORE)) if name in table}


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # switching oneDNN off says so
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TORCH)
def test_operations_are_as_good_as_torchs(name: str, level: str) -> None:
    found = np.asarray(printed()[level][name])[:, :, 0]
    narrow, wide = both(TORCH[name], rows()), both(TORCH[name], rows().astype(float))
    assert compare(name, found, narrow, wide) == listed(name)


def test_every_activation_is_here() -> None:
    assert set(ACTIVATIONS) < set(TORCH)


def attention(qkv: torch.Tensor) -> torch.Tensor:
    q, k, v = (part.reshape(5, 2, 8).transpose(0, 1) for part in qkv.split(16, dim=-1))
    return ((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(0, 1).reshape(5, 16)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scale", SCALES)
def test_attention_is_finite_for_scores_of_any_size(scale: float, level: str) -> None:
    y, dx = (np.asarray(x)[0] for x in printed()[level][f"attention {scale}"])
    leaf = torch.tensor(tokens(scale).astype(float), requires_grad=True)
    expected = attention(leaf)
    expected.sum().backward()
    # Each score is rounded; so is what the gradients of q and k are made of.
    assert np.abs(y - expected.detach().numpy()).max() <= 1e-3
    size = np.abs(leaf.grad.numpy()).max()
    assert np.isfinite(dx).all() and np.abs(dx - leaf.grad.numpy()).max() <= 2e-3 * size


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_as_good_as_torchs(name: str, level: str) -> None:
    x = torch.tensor(rows())
    narrow, wide = (getattr(TF, name)(x.to(t), -1) for t in (torch.float32, torch.float64))
    compare(name, printed()[level][name], narrow, wide)


REFERENCES = {
    "AdamW": torch.optim.AdamW,
    "Adam": torch.optim.Adam,
    "RAdam": torch.optim.RAdam,
    "SGD": torch.optim.SGD,
    "Lion": timm.optim.Lion,
    "Lamb": timm.optim.Lamb,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", RULES)
def test_optimizers_step_as_torchs_and_timms(name: str, level: str) -> None:
    def stepped(dtype: torch.dtype) -> np.ndarray:
        p = torch.nn.Parameter(torch.ones(len(VALUES), dtype=dtype))
        p.grad = torch.tensor(VALUES).to(dtype)
        optimizer = REFERENCES[name]([p], **RULES[name][1])
        for _ in range(3):
            optimizer.step()
        return p.detach().numpy()

    compare(name, printed()[level][name], stepped(torch.float32), stepped(torch.float64))


# ------------------------------------------------------------------------------- losses

WEIGHT, NO_WEIGHT = np.array([0.5, 2.0, 1.5]), np.array([1.0, 0.0, 1.0])
SOFT, MASKED = np.array([[0.2, 0.5, 0.3]]), np.array([[0.4, 0.0, 0.6]])

Ours = Callable[[Any], Any]
Theirs = Callable[[torch.Tensor], torch.Tensor]


def t(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values).to(like.dtype)


def labelled(labels: list[int], weight: Any = None, smoothing: float = 0.0) -> tuple[Ours, Theirs]:
    def theirs(x: torch.Tensor) -> torch.Tensor:
        weights = None if weight is None else t(weight, x)
        return TF.cross_entropy(x, torch.tensor(labels), weights, label_smoothing=smoothing)

    return lambda x: F.cross_entropy(x, labels, weight, label_smoothing=smoothing), theirs


def focal(label: int, gamma: float) -> tuple[Ours, Theirs]:
    def theirs(x: torch.Tensor) -> torch.Tensor:
        log_p = TF.log_softmax(x, 1)[0, label]
        return -((1 - log_p.exp()) ** gamma) * log_p

    return lambda x: F.focal_loss(x, [label], gamma), theirs


def binary(y: float) -> tuple[Ours, Theirs]:
    def theirs(x: torch.Tensor) -> torch.Tensor:
        target, more = torch.full_like(x, y), t([3.0] * 3, x)
        return TF.binary_cross_entropy_with_logits(x, target, t(WEIGHT, x), pos_weight=more)

    def ours(x: Any) -> Any:
        target = np.full(x.shape, y, x.dtype)
        return F.binary_cross_entropy_with_logits(x, target, WEIGHT, pos_weight=3.0)

    return ours, theirs


def binary_focal(y: float) -> tuple[Ours, Theirs]:
    return (
        lambda x: F.sigmoid_focal_loss(x, np.full(x.shape, y, x.dtype)),
        lambda x: sigmoid_focal_loss(x, torch.full_like(x, y), reduction="mean"),
    )


def against(ours: Callable[..., Any], theirs: Callable[..., Any], target: Any, **options: Any):
    """Of a target that is an array."""
    return (
        lambda x: ours(x, target.astype(x.dtype)),
        lambda x: theirs(x, t(target, x), **options),
    )


# The extreme is the logit of class 1.
LOSSES: dict[str, tuple[Ours, Theirs]] = {
    "label": labelled([0]),
    "label of the extreme": labelled([1]),
    "label, weights": labelled([0], WEIGHT),
    "label of the extreme, weight 0": labelled([1, 0], NO_WEIGHT),
    "label ignored": labelled([-100, 0]),
    "label, smoothing": labelled([0], None, 0.1),
    "label, smoothing and weights": labelled([0], WEIGHT, 0.1),
    "soft target": against(F.cross_entropy, TF.cross_entropy, SOFT),
    "soft target of 0": against(F.cross_entropy, TF.cross_entropy, MASKED),
    "focal": focal(0, 2.0),
    "focal, gamma 0.5": focal(0, 0.5),
    "focal of the extreme": focal(1, 2.0),
    "binary, target 0": binary(0.0),
    "binary, target 0.3": binary(0.3),
    "binary, target 1": binary(1.0),
    "binary focal, target 0": binary_focal(0.0),
    "binary focal, target 1": binary_focal(1.0),
    "divergence": against(F.kl_div, TF.kl_div, SOFT, reduction="batchmean"),
    "divergence of 0": against(F.kl_div, TF.kl_div, MASKED, reduction="batchmean"),
    "squared error": against(F.mse_loss, TF.mse_loss, SOFT),
    "jsd": (
        lambda x: losses.JsdCrossEntropy(2)(x, np.array([0])),
        lambda x: timm.loss.JsdCrossEntropy(2)(x, torch.tensor([0])),
    ),
}
TWO_ROWS = ("label of the extreme, weight 0", "label ignored", "jsd")


def our_loss(function: Ours, x: np.ndarray) -> np.ndarray:
    """The value, and the gradient of each logit."""
    source = Output.wrap(x.copy(), Edge(Node([], 1, lambda _: []), 0))
    loss = function(source)
    ((_, gradient),) = loss._terms
    return np.concatenate([[float(loss)], gradient.ravel() / loss.weight])


def their_loss(function: Theirs, x: np.ndarray) -> np.ndarray:
    leaf = torch.tensor(x, requires_grad=True)
    loss = function(leaf)
    loss.backward()
    assert leaf.grad is not None
    return np.concatenate([[loss.item()], leaf.grad.ravel().numpy()])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_as_good_as_torchs(name: str) -> None:
    ours, theirs = LOSSES[name]
    told = set()
    for dtype in (np.float32, np.float64):
        for value in VALUES:
            x = np.array([[0, value, 1], [1, 2, 0.5]], dtype)[: 1 + (name in TWO_ROWS)]
            narrow, wide = their_loss(theirs, x), their_loss(theirs, x.astype(float))
            told |= compare(f"{name} {value}", our_loss(ours, x), narrow, wide)
    assert told == listed(name)


def test_a_masked_class_costs_nothing() -> None:
    """torch's value, in figures."""
    for dtype in ("f4", "f8"):
        loss = F.cross_entropy(np.array([[0, -np.inf, 1]], dtype), [0])
        assert float(loss) == pytest.approx(1.3132616875182228)
