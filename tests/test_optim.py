"""vitc.optim against torch.optim.AdamW in float64, and timm's parameter groups and schedule."""

import numpy as np
import pytest
import torch

from oracle import pair, timm
from vitc import functional as F
from vitc import nn
from vitc.models import create_model
from vitc.optim import AdamW, cosine, param_groups_weight_decay, set_lr
from vitc.tape import clock

TOLERANCE = 1e-12  # relative, float64
X = np.random.default_rng(0).standard_normal((8, 6))
LABELS = np.arange(8) % 3


def twins() -> tuple[nn.Linear, torch.nn.Linear]:
    ours, theirs = nn.Linear(6, 3, dtype="float64"), torch.nn.Linear(6, 3).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def train(ours, theirs, optimizer, reference, steps: int = 10) -> None:
    for step in range(steps):
        x = X * (step + 1)
        optimizer.zero_grad()
        F.cross_entropy(ours(x), LABELS).backward()
        optimizer.step()
        reference.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(LABELS))
        loss.backward()
        reference.step()


def same(ours, theirs) -> None:
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value, rtol=TOLERANCE, atol=TOLERANCE)


OPTIONS = [{}, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.3)]


@pytest.mark.parametrize("options", OPTIONS, ids=["defaults", "others"])
def test_adamw_equals_torch(options) -> None:
    ours, theirs = twins()
    optimizer = AdamW(ours.parameters(), **options)
    train(ours, theirs, optimizer, torch.optim.AdamW(theirs.parameters(), **options))
    same(ours, theirs)


def test_groups_with_their_own_settings_equal_torch() -> None:
    ours, theirs = twins()
    settings = [dict(lr=0.1), dict(weight_decay=0.5)]
    optimizers = [
        kind([{"params": [m.weight], **settings[0]}, {"params": [m.bias], **settings[1]}], lr=0.01)
        for kind, m in ((AdamW, ours), (torch.optim.AdamW, theirs))
    ]
    train(ours, theirs, *optimizers)
    same(ours, theirs)


def test_a_frozen_parameter_stays_and_counts_its_steps_from_when_it_is_freed() -> None:
    ours, theirs = twins()
    optimizers = AdamW(ours.parameters()), torch.optim.AdamW(theirs.parameters())
    for m in (ours, theirs):
        m.weight.requires_grad = False
    before = ours.weight.data.copy()
    train(ours, theirs, *optimizers, steps=3)
    assert np.array_equal(ours.weight.data, before)
    for m in (ours, theirs):
        m.weight.requires_grad = True
    train(ours, theirs, *optimizers, steps=3)
    same(ours, theirs)


def test_state_goes_through_torch_and_back() -> None:
    """The layout is torch's: its optimizer takes our state, and ours takes its state."""
    ours, theirs = twins()
    optimizer, reference = AdamW(ours.parameters()), torch.optim.AdamW(theirs.parameters())
    train(ours, theirs, optimizer, reference, steps=4)
    state = optimizer.state_dict()
    assert state["state"][0]["step"] == 4
    fresh = AdamW(ours.parameters(), lr=0.5)
    fresh.load_state_dict(reference.state_dict())
    assert fresh.param_groups[0]["lr"] == 1e-3
    train(ours, theirs, fresh, reference, steps=4)
    same(ours, theirs)
    converted = torch.optim.AdamW(theirs.parameters())
    moments = fresh.state_dict()["state"]
    converted.load_state_dict(
        {
            "state": {
                i: {k: torch.tensor(np.array(v)) for k, v in row.items()}
                for i, row in moments.items()
            },
            "param_groups": reference.state_dict()["param_groups"],
        }
    )
    train(ours, theirs, fresh, converted, steps=4)
    same(ours, theirs)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    ours, _ = twins()
    optimizer = AdamW(ours.parameters(), lr=0.3)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, expected \[2\]"):
        optimizer.load_state_dict(AdamW([ours.bias]).state_dict())
    state = optimizer.state_dict()
    zero = np.zeros((4, 4))
    state["state"] = {0: {"step": 1, "exp_avg": zero, "exp_avg_sq": zero}}
    with pytest.raises(
        ValueError, match=r"exp_avg of weight has shape \(4, 4\), expected \(3, 6\)"
    ):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"] == {}


def test_bad_arguments_are_named() -> None:
    ours, theirs = twins()
    with pytest.raises(ValueError, match="no parameters"):
        AdamW([])
    with pytest.raises(ValueError, match="lr is -1"):
        AdamW(ours.parameters(), lr=-1)
    with pytest.raises(ValueError, match="betas are"):
        AdamW(ours.parameters(), betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="weight is given twice"):
        AdamW([ours.weight, ours.bias, ours.weight])
    with pytest.raises(TypeError, match="vitc models, got Parameter"):
        AdamW(theirs.parameters())


def test_a_step_divides_by_the_weight_of_its_window_and_moves_the_clock() -> None:
    ours, theirs = twins()
    optimizer, reference = AdamW(ours.parameters()), torch.optim.AdamW(theirs.parameters())
    clock.begin(5)
    for cut in (slice(0, 6), slice(6, 8)):
        F.cross_entropy(ours(X[cut]), LABELS[cut]).backward()
    optimizer.step()
    assert clock.step == 6
    clock.begin(0)
    torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(LABELS)).backward()
    reference.step()
    same(ours, theirs)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_weight_decay_groups_are_timms(name: str) -> None:
    from timm.optim import param_groups_weight_decay as reference

    ours = create_model(name, num_classes=3)
    theirs = timm.create_model(name, num_classes=3)
    names = {id(p): n for n, p in theirs.named_parameters()}
    expected = reference(theirs, 0.05, no_weight_decay_list=theirs.no_weight_decay())
    found = param_groups_weight_decay(ours, 0.05)
    for a, b in zip(found, expected, strict=True):
        assert a["weight_decay"] == b["weight_decay"]
        assert [p.name for p in a["params"]] == [names[id(p)] for p in b["params"]]


def test_frozen_parameters_are_in_no_group() -> None:
    ours, _ = pair("test_vit", num_classes=3, depth=1)
    ours.requires_grad_(False)
    ours.head.requires_grad_(True)
    groups = param_groups_weight_decay(ours)
    assert [[p.name for p in g["params"]] for g in groups] == [["head.bias"], ["head.weight"]]


def test_the_cosine_rises_peaks_and_ends_at_its_floor() -> None:
    factor = cosine(warmup=0.1, floor=0.01)
    values = [factor(step, 100) for step in range(100)]
    assert values[:10] == pytest.approx([0.01 + 0.99 * (i + 1) / 10 for i in range(10)])
    assert values[10] == 1.0 and values[-1] == pytest.approx(0.01)
    assert values[10:] == sorted(values[10:], reverse=True)
    middle = 10 + 89 // 2
    expected = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * (middle - 10) / 89))
    assert values[middle] == pytest.approx(expected, rel=1e-12)
    ours, _ = twins()
    optimizer = AdamW([{"params": [ours.weight], "lr": 2.0}, {"params": [ours.bias]}], lr=1.0)
    set_lr(optimizer, factor, 10, 100)
    set_lr(optimizer, factor, 99, 100)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.02, 0.01])
    with pytest.raises(ValueError, match=r"warmup is 1\.5"):
        cosine(warmup=1.5)
