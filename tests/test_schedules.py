"""Schedules against timm.scheduler and torch.optim.lr_scheduler, step by step."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as reference

from oracle import timm
from vitc import nn, optim
from vitc.optim import lr_scheduler

STEPS = 1000
# Relative to the largest rate: both sides compute in float64, from formulas of one shape.
TOLERANCE = 1e-14
LAYER = nn.Linear(2, 2)


def groups(parameters: list[Any]) -> list[dict[str, Any]]:
    """Two groups with rates of their own, one of them with a scale of its layer."""
    return [{"params": parameters[:1], "lr": 0.3}, {"params": parameters[1:], "lr_scale": 0.25}]


def ours() -> optim.SGD:
    return optim.SGD(groups(list(LAYER.parameters())), lr=0.1)


def theirs() -> torch.optim.SGD:
    return torch.optim.SGD(groups(list(torch.nn.Linear(2, 2).parameters())), lr=0.1)


def rates(optimizer: Any) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


WARM = dict(warmup_t=40, warmup_lr_init=1e-4)
CYCLES = dict(t_initial=150, cycle_mul=1.5, cycle_decay=0.6, cycle_limit=3, lr_min=1e-3)
NOISE = dict(noise_range_t=(100, 400), noise_pct=0.5, noise_std=0.7, noise_seed=7)
S = timm.scheduler
CASES: list[tuple[Callable[..., optim.Schedule], type, dict[str, Any]]] = [
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=STEPS)),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=800, lr_min=1e-2, **WARM)),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=800, warmup_prefix=True, **WARM)),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=900, k_decay=1.7, **WARM)),
    (optim.cosine, S.CosineLRScheduler, {**CYCLES, **WARM}),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=200, cycle_limit=4, cycle_decay=0.5)),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=STEPS, **NOISE)),
    (optim.cosine, S.CosineLRScheduler, dict(t_initial=STEPS, noise_range_t=700)),
    (optim.tanh, S.TanhLRScheduler, dict(t_initial=800, lr_min=1e-3, **WARM)),
    (optim.tanh, S.TanhLRScheduler, dict(t_initial=800, warmup_prefix=True, lb=-5, ub=2, **WARM)),
    (optim.tanh, S.TanhLRScheduler, CYCLES),
    (optim.poly, S.PolyLRScheduler, dict(t_initial=STEPS, power=0.9, k_decay=1.3, **WARM)),
    (optim.poly, S.PolyLRScheduler, CYCLES),
    (optim.linear, S.PolyLRScheduler, dict(t_initial=STEPS, lr_min=1e-3, **WARM)),
    (optim.step, S.StepLRScheduler, dict(decay_t=90, decay_rate=0.5, **WARM)),
    (optim.step, S.StepLRScheduler, dict(decay_t=90, decay_rate=0.5, warmup_prefix=False, **WARM)),
    (optim.multistep, S.MultiStepLRScheduler, dict(decay_t=[300, 500], decay_rate=0.1, **WARM)),
    (optim.constant, S.StepLRScheduler, dict(**WARM)),
    (optim.wsd, S.WSDLRScheduler, dict(t_initial=960, decay_t=200, lr_min=1e-3, **WARM)),
    (
        optim.wsd,
        S.WSDLRScheduler,
        dict(t_initial=900, decay_t=300, stable_fn="rsqrt", decay_fn="linear", **WARM),
    ),
    (
        optim.wsd,
        S.WSDLRScheduler,
        dict(
            t_initial=STEPS,
            decay_t=300,
            stable_fn="power",
            stable_timescale=50,
            stable_power=0.3,
            decay_fn="power",
            decay_power=2.0,
        ),
    ),
    (optim.wsd, S.WSDLRScheduler, dict(t_initial=900, decay_t=100, decay_fn="cosine")),
    (optim.wsd, S.WSDLRScheduler, dict(t_initial=900, decay_t=100, decay_fn="exp", **NOISE)),
]


@pytest.mark.parametrize(("make", "kind", "options"), CASES)
def test_a_thousand_steps_equal_timms(make, kind, options) -> None:
    optimizer, expected = ours(), theirs()
    schedule = make(**options)
    extra = {"decay_t": 1} if make is optim.constant else {}
    extra |= {"power": 1.0} if make is optim.linear else {}
    scheduler = kind(expected, t_in_epochs=False, **options, **extra)
    for t in range(STEPS):
        optim.set_lr(optimizer, schedule, t, STEPS)
        scheduler.step_update(t)
        np.testing.assert_allclose(
            rates(optimizer), rates(expected), rtol=1e-12, atol=0.3 * TOLERANCE
        )


def test_lengths_may_be_shares_of_the_run() -> None:
    for t in (0, 3, 49, 50, 400, 900, 999):
        for prefix in (False, True):
            shares = optim.cosine(warmup_t=0.05, lr_min=1e-3, warmup_prefix=prefix)
            length = 950 if prefix else 1000
            steps = optim.cosine(length, 1e-3, warmup_t=50, warmup_prefix=prefix)
            assert shares(0.1, t, STEPS) == steps(0.1, t, STEPS)
        shares, steps = optim.wsd(warmup_t=0.1, decay_t=0.2), optim.wsd(900, 180, warmup_t=100)
        assert shares(0.1, t, STEPS) == steps(0.1, t, STEPS)
        assert optim.step(0.25, 0.5)(0.1, t, STEPS) == optim.step(250, 0.5)(0.1, t, STEPS)


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="decay_fn is 'square'"):
        optim.wsd(decay_fn="square")
    with pytest.raises(ValueError, match="stable_timescale"):
        optim.wsd(stable_fn="rsqrt")
    with pytest.raises(ValueError, match="lb is 3"):
        optim.tanh(lb=3, ub=1)
    with pytest.raises(ValueError, match="anneal_strategy is 'exp', expected one of cos, linear"):
        optim.one_cycle(anneal_strategy="exp")
    with pytest.raises(ValueError, match="total_steps"):
        lr_scheduler.OneCycleLR(ours(), 0.1)
    with pytest.raises(ValueError, match="mode is 'least'"):
        lr_scheduler.ReduceLROnPlateau(ours(), mode="least")


# ------------------------------------------------------------------------------- torch's


TORCHS = [
    lambda s, o: s.LambdaLR(o, lambda t: 0.99**t),
    lambda s, o: s.StepLR(o, 30, gamma=0.5),
    lambda s, o: s.MultiStepLR(o, [20, 50, 120], gamma=0.3),
    lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=25),
    lambda s, o: s.CosineAnnealingLR(o, T_max=80, eta_min=1e-3),
    lambda s, o: s.OneCycleLR(o, 0.5, total_steps=160),
    lambda s, o: s.OneCycleLR(o, 0.5, epochs=16, steps_per_epoch=10, anneal_strategy="linear"),
    lambda s, o: s.OneCycleLR(o, 0.5, total_steps=160, three_phase=True, div_factor=10),
    lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=20), s.StepLR(o, 30, gamma=0.5)],
        milestones=[20],
    ),
]


@pytest.mark.parametrize("make", TORCHS)
def test_schedulers_of_torchs_names_equal_torchs(make) -> None:
    """torch chains products where this is a formula: 1e-9 relative after 150 of them."""
    optimizer = optim.SGD(LAYER.parameters(), lr=0.1)
    expected = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about the order of its calls
        a, b = make(lr_scheduler, optimizer), make(reference, expected)
        for _ in range(150):
            np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-9, atol=1e-12)
            assert a.get_last_lr() == rates(optimizer)
            a.step()
            b.step()
    again = make(lr_scheduler, optim.SGD(LAYER.parameters(), lr=0.1))
    again.load_state_dict(a.state_dict())
    assert again.get_last_lr() == a.get_last_lr()


@pytest.mark.parametrize(
    "options",
    [
        dict(patience=3),
        dict(patience=2, mode="max", factor=0.5, cooldown=4, min_lr=1e-3),
        dict(patience=2, threshold=0.05, threshold_mode="abs"),
    ],
)
def test_the_plateau_equals_torchs_and_has_a_state(options) -> None:
    metrics = np.cumsum(np.random.default_rng(0).standard_normal(200) * 0.1)
    optimizer, expected = ours(), theirs()
    a = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    b = reference.ReduceLROnPlateau(expected, **options)
    for i, value in enumerate(metrics):
        if i == 60:
            state, a = a.state_dict(), lr_scheduler.ReduceLROnPlateau(optimizer, **options)
            a.load_state_dict(state)
        a.step(value)
        b.step(value)
        np.testing.assert_allclose(rates(optimizer), rates(expected), rtol=1e-12)
    assert rates(optimizer)[0] < 0.3
