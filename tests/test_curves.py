"""A hundred training steps in float32 against timm and torch in float64: the losses of all steps.

What a step consists of is combined: optimizer, clipping, layer decay, moving average, accumulation.
The k third of qkv.bias has no true gradient (a constant added to all keys moves no softmax), so
Adam's division turns rounding into steps there; no loss depends on it. LAMB's trust would, where it
takes that row's norm; as timm does, biases get no weight decay here, and so no trust. SGD has
dampening: without it this rate is at the edge of stability, where float64 itself strays by 1e-7
from an error of 1e-16.
"""

from typing import Any

import numpy as np
import pytest
import torch

from oracle import double, images, redrawn, timm
from vitc import functional as F
from vitc import optim
from vitc.models import create_model

STEPS, BATCH, CLASSES = 100, 8, 5
SIZES = dict(num_classes=CLASSES, img_size=32, patch_size=8, depth=2, embed_dim=48, num_heads=3)
LABELS = np.arange(BATCH) % CLASSES

OPTIMIZERS: dict[str, tuple[type, Any, dict[str, Any]]] = {
    "AdamW": (optim.AdamW, torch.optim.AdamW, dict(lr=1e-3)),
    "RAdam": (optim.RAdam, torch.optim.RAdam, dict(lr=1e-3)),
    "SGD": (optim.SGD, torch.optim.SGD, dict(lr=1e-2, momentum=0.9, dampening=0.9)),
    "LAMB": (optim.Lamb, timm.optim.Lamb, dict(lr=5e-3)),
}


class Side:
    """One of the two: a model, its optimizer and its average."""

    def __init__(self, model: Any, kind: Any, groups: Any, options: dict[str, Any], ema: Any):
        self.model, self.optimizer, self.ema = model, kind(groups, **options), ema

    def step(self, index: int, clip: Any) -> None:
        if clip is not None:
            clip(self.model.parameters(), 0.5)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model, index + 1)


def pair_of_models(dtype: str = "float32") -> tuple[Any, Any]:
    """vitc's, and timm's in float64, with its own initialisation in both, in training mode."""
    torch.manual_seed(0)
    ours, theirs = (
        create_model("test_vit", dtype=dtype, **SIZES),
        timm.create_model("test_vit", **SIZES),
    )
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs.double()


def sides(optimizer: str, part: str) -> tuple[Side, Side]:
    kind, reference, options = OPTIMIZERS[optimizer]
    ours, theirs = pair_of_models()
    if part == "layer decay":
        names = dict(weight_decay=0.05, layer_decay=0.7)
        groups = optim.param_groups_layer_decay(ours, **names)
        expected = timm.optim.param_groups_layer_decay(
            theirs, no_weight_decay_list=theirs.no_weight_decay(), **names
        )
        for group in (*groups, *expected):  # as a schedule does
            group["lr"] = options["lr"] * group["lr_scale"]
    else:
        groups = optim.param_groups_weight_decay(ours, 0.05)
        expected = timm.optim.param_groups_weight_decay(
            theirs, 0.05, no_weight_decay_list=theirs.no_weight_decay()
        )
    warm = dict(decay=0.95, use_warmup=True)
    return (
        Side(ours, kind, groups, options, optim.ModelEmaV3(ours, **warm)),
        Side(theirs, reference, expected, options, timm.utils.ModelEmaV3(theirs, **warm)),
    )


def losses_of_a_step(a: Side, b: Side, x: np.ndarray, cuts: list[int]) -> tuple[float, float]:
    """The gradients of both, in parts on our side; the mean loss over all samples."""
    ours = 0.0
    for piece in np.split(np.arange(BATCH), cuts):
        loss = F.cross_entropy(a.model(x[piece]), LABELS[piece], label_smoothing=0.1)
        loss.backward()
        ours += loss.value / BATCH
    theirs = torch.nn.functional.cross_entropy(
        b.model(double(x)), torch.tensor(LABELS), label_smoothing=0.1
    )
    theirs.backward()
    return ours, theirs.item()


@pytest.mark.parametrize("part", ["clip", "layer decay", "EMA", "accumulation"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_losses_follow_timm_in_float64(optimizer: str, part: str) -> None:
    """1e-5 absolute on every loss; for EMA also on the loss of the average, every tenth step."""
    a, b = sides(optimizer, part)
    x = images(BATCH, a.model)
    clips = (
        (optim.clip_grad_norm_, torch.nn.utils.clip_grad_norm_) if part == "clip" else (None,) * 2
    )
    cuts = [3, 4] if part == "accumulation" else []
    worst, first = 0.0, 0.0
    for index in range(STEPS):
        ours, theirs = losses_of_a_step(a, b, x, cuts)
        first = first or theirs
        worst = max(worst, abs(ours - theirs))
        a.step(index, clips[0])
        b.step(index, clips[1])
        if part == "EMA" and index % 10 == 9:
            ours = float(F.cross_entropy(a.ema.module(x), LABELS))
            with torch.no_grad():
                logits = b.ema.module(double(x))
            expected = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS)).item()
            worst = max(worst, abs(ours - expected))
    assert worst <= 1e-5
    assert theirs < first - 0.1  # it does learn


def test_a_hundred_steps_of_lion_on_equal_gradients() -> None:
    """Its steps are signs, which rounding flips where a momentum is almost 0: so the gradients are
    ours on both sides, in float64, and every step is compared: 1e-13."""
    ours, theirs = pair_of_models("float64")
    state = redrawn(ours.shapes, "float64")
    ours.load_state_dict(state)
    theirs.load_state_dict({k: double(v) for k, v in state.items()})
    options = dict(lr=1e-4, weight_decay=0.1)
    optimizer = optim.Lion(ours.parameters(), **options)
    reference = timm.optim.Lion(theirs.parameters(), **options)
    x = images(BATCH, ours).astype(np.float64)
    for _ in range(100):
        F.cross_entropy(ours(x), LABELS).backward()
        for name, p in theirs.named_parameters():
            p.grad = double(ours._parameters[name].grad)
        optimizer.step()
        reference.step()
        optimizer.zero_grad()
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(
                ours._parameters[name].data, p.detach().numpy(), rtol=0, atol=1e-13
            )


def test_twenty_losses_of_lion_follow_timm() -> None:
    """1e-3: the signs of gradients that are almost 0 differ between float32 and float64."""
    ours, theirs = pair_of_models()
    a = Side(ours, optim.Lion, ours.parameters(), dict(lr=1e-4), optim.ModelEmaV3(ours))
    b = Side(
        theirs, timm.optim.Lion, theirs.parameters(), dict(lr=1e-4), timm.utils.ModelEmaV3(theirs)
    )
    x = images(BATCH, ours)
    for index in range(20):
        mine, expected = losses_of_a_step(a, b, x, [])
        assert abs(mine - expected) <= 1e-3
        a.step(index, None)
        b.step(index, None)
