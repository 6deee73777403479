"""Schedules against timm.scheduler and torch.optim.lr_scheduler, step by step."""

import inspect
import math
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
    lambda s, o: s.LambdaLR(o, lambda t: 0.99**t, -1),
    lambda s, o: s.LambdaLR(o, [lambda t: 0.99**t, lambda t: 1 / (1 + t)]),
    lambda s, o: s.MultiplicativeLR(o, lambda t: 1 - 1 / (t + 3), -1),
    lambda s, o: s.MultiplicativeLR(o, [lambda t: 0.97, lambda t: 1.01]),
    lambda s, o: s.StepLR(o, 30, 0.5, -1),
    lambda s, o: s.MultiStepLR(o, [20, 50, 120], 0.3, -1),
    lambda s, o: s.ConstantLR(o, 0.2, 30, -1),
    lambda s, o: s.ConstantLR(o),
    lambda s, o: s.LinearLR(o, 0.1, 1.0, 25, -1),
    lambda s, o: s.ExponentialLR(o, 0.95, -1),
    lambda s, o: s.PolynomialLR(o, 100, 1.7, -1),
    lambda s, o: s.PolynomialLR(o),
    lambda s, o: s.CosineAnnealingLR(o, 80, 1e-3, -1),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 20, 1, 1e-3, -1),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, T_mult=3),
    lambda s, o: s.OneCycleLR(o, 0.5, total_steps=160),
    lambda s, o: s.OneCycleLR(o, [0.5, 0.2], 160, None, None, 0.4, "linear", False),
    lambda s, o: s.OneCycleLR(o, 0.5, epochs=16, steps_per_epoch=10, anneal_strategy="linear"),
    lambda s, o: s.OneCycleLR(
        o, [0.5, 0.1], total_steps=160, three_phase=True, div_factor=10, max_momentum=[0.9, 0.8]
    ),
    lambda s, o: s.CyclicLR(o, 0.01, 0.2, 10, 25),
    lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.1], 10, mode="triangular2"),
    lambda s, o: s.CyclicLR(o, 0.01, 0.2, 13, mode="exp_range", gamma=0.99, cycle_momentum=False),
    lambda s, o: s.CyclicLR(o, 0.01, 0.2, 13, scale_fn=lambda x: 1 / x, base_momentum=[0.5, 0.7]),
    lambda s, o: s.CyclicLR(
        o, 0.01, 0.2, 13, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"
    ),
    lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=20), s.StepLR(o, 30, gamma=0.5)],
        milestones=[20],
    ),
    lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 40), s.ExponentialLR(o, 0.97)]),
    lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.1), s.CosineAnnealingLR(o, 40, 1e-3)], o),
    lambda s, o: s.ChainedScheduler([s.StepLR(o, 30), s.PolynomialLR(o, 60, 0.5)]),
    lambda s, o: s.ChainedScheduler([s.LambdaLR(o, lambda t: 1 / (1 + t)), s.StepLR(o, 30)]),
    lambda s, o: s.ChainedScheduler(
        [s.ExponentialLR(o, 0.9), s.MultiplicativeLR(o, lambda t: 0.9)]
    ),
]
CALLS = 150
RTOL = 1e-12  # torch multiplies from call to call where this is a formula of their number


def momenta(optimizer: Any) -> list[Any]:
    return [group.get("betas", group.get("momentum")) for group in optimizer.param_groups]


def compare(make: Any, kind: str, options: dict[str, Any]) -> None:
    """Over two groups with rates of their own; in the middle another one takes the state."""
    layers = LAYER, torch.nn.Linear(2, 2)
    (optimizer, expected) = (
        getattr(library, kind)([{"params": [m.weight], "lr": 0.3}, {"params": [m.bias]}], **options)
        for library, m in zip((optim, torch.optim), layers, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about the order of its calls
        a, b = make(lr_scheduler, optimizer), make(reference, expected)
        for call in range(CALLS):
            np.testing.assert_allclose(a.get_last_lr(), rates(expected), rtol=RTOL, atol=1e-13)
            np.testing.assert_allclose(momenta(optimizer), momenta(expected), rtol=1e-12)
            assert a.get_last_lr() == rates(optimizer)
            if call == CALLS // 2:
                state, before = a.state_dict(), (rates(optimizer), momenta(optimizer))
                a = make(lr_scheduler, optimizer)
                a.load_state_dict(state)
                assert (rates(optimizer), momenta(optimizer)) == before
            a.step()
            b.step()


@pytest.mark.parametrize("make", TORCHS)
def test_schedulers_of_torchs_names_equal_torchs(make) -> None:
    compare(make, "SGD", dict(lr=0.1, momentum=0.9))


@pytest.mark.parametrize("make", TORCHS[15:24])
def test_with_adam_the_first_beta_is_the_momentum(make) -> None:
    compare(make, "AdamW", dict(lr=0.1, betas=(0.8, 0.95)))


def test_every_scheduler_of_torch_is_there_with_its_arguments() -> None:
    theirs = {n for n in vars(reference) if n.endswith(("LR", "Scheduler", "Restarts", "Plateau"))}
    theirs -= {"SWALR", "EPOCH_DEPRECATION_WARNING"}
    for name in theirs - {"LRScheduler", "_LRScheduler"}:
        wanted = inspect.signature(getattr(reference, name)).parameters
        found = inspect.signature(getattr(lr_scheduler, name)).parameters
        assert list(found) == list(wanted), name
        for argument, parameter in wanted.items():
            assert found[argument].default == parameter.default, (name, argument)


def test_a_last_epoch_is_where_it_goes_on() -> None:
    optimizer = ours()
    whole = lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(4):
        whole.step()
    expected = rates(optimizer)
    assert lr_scheduler.ExponentialLR(ours(), 0.5, 3).get_last_lr() == expected


def test_rates_of_a_layer_are_scaled_in_a_chain_too() -> None:
    optimizer = ours()
    chain = lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, 0.5)])
    for step in range(3):
        np.testing.assert_allclose(rates(optimizer), [0.3 * 0.5**step, 0.025 * 0.5**step])
        chain.step()


REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda o: lr_scheduler.StepLR(o, 0), ValueError, "step_size is 0, expected 1 or more"),
    (lambda o: lr_scheduler.StepLR(o, 5, 0.1, -2), ValueError, "last_epoch is -2"),
    (lambda o: lr_scheduler.StepLR(o, 5, 0.1, True), TypeError, "last_epoch is True"),
    (lambda o: lr_scheduler.StepLR(LAYER, 5), TypeError, "optimizer is a Linear"),
    (lambda o: lr_scheduler.LinearLR(o, 0.0), ValueError, "start_factor is 0"),
    (lambda o: lr_scheduler.ConstantLR(o, 1.5), ValueError, "factor is 1.5"),
    (
        lambda o: lr_scheduler.LambdaLR(o, [math.sqrt]),
        ValueError,
        "lr_lambda has 1 values, and the",
    ),
    (lambda o: lr_scheduler.OneCycleLR(o, [1.0] * 3, 9), ValueError, "max_lr has 3 values"),
    (lambda o: lr_scheduler.OneCycleLR(o, "high", 9), TypeError, "max_lr is 'high'"),
    (lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, mode="square"), ValueError, "mode is 'square'"),
    (lambda o: lr_scheduler.ChainedScheduler([]), ValueError, "schedulers is empty"),
    (
        lambda o: lr_scheduler.ChainedScheduler([math.sqrt], o),
        TypeError,
        "no function of the calls",
    ),
    (
        lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(ours(), 3)], []),
        ValueError,
        "a StepLR belongs to another optimizer",
    ),
    (
        lambda o: lr_scheduler.StepLR(o, 3).load_state_dict({"best": 1.0}),
        ValueError,
        "the state has no last_epoch: it is not that of a StepLR",
    ),
    (
        lambda o: lr_scheduler.ReduceLROnPlateau(o).load_state_dict({"last_epoch": 3}),
        ValueError,
        "the state has no best, num_bad_epochs, cooldown_counter",
    ),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
def test_bad_arguments_of_schedulers_are_named(call, kind, words) -> None:
    groups = [{"params": [LAYER.weight], "lr": 0.3}, {"params": [LAYER.bias]}]
    optimizer = optim.SGD(groups, lr=0.1)
    before = rates(optimizer)
    with pytest.raises(kind, match=words):
        call(optimizer)
    assert rates(optimizer) == before


def test_an_optimizer_without_momentum_has_none_to_cycle() -> None:
    optimizer = ours()
    del optimizer.defaults["momentum"]
    with pytest.raises(ValueError, match="cycle_momentum is True, but SGD has no momentum"):
        lr_scheduler.CyclicLR(optimizer, 0.1, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        dict(patience=3),
        dict(patience=2, mode="max", factor=0.5, cooldown=4, min_lr=1e-3),
        dict(patience=2, threshold=0.05, threshold_mode="abs", min_lr=[0.01, 0.05]),
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
