"""Schedules of the learning rate: pure functions of the step, so there is nothing of them to save.

A schedule takes (learning rate of the group, step from 0, total steps of the run) and gives the
learning rate of that step. The formulas and the arguments are those of timm.scheduler, per
optimizer step, and of torch for `one_cycle`. Where an argument is a number of steps, a fraction
below 1 is a share of the run.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vitc import checks
from vitc.errors import shown

Schedule = Callable[[float, int, int], float]
Body = Callable[[float, int, int], float]
"""(learning rate, step, after the warm-up if that is a prefix, steps of the schedule) -> rate."""
Steps = int | float


class _Scheduled(Protocol):
    """An optimizer, for `set_lr`."""

    param_groups: list[dict[str, Any]]


def set_lr(optimizer: _Scheduled, schedule: Schedule, step: int, total: int) -> None:
    """Gives every group its learning rate for this step: that of the schedule times the group's
    `lr_scale`, if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = schedule(group["initial_lr"], step, total) * group.get("lr_scale", 1.0)


# ------------------------------------------------------------------------------- with cycles


def cosine(
    t_initial: Steps | None = None,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    k_decay: float = 1.0,
    **noise: Any,
) -> Schedule:
    """Half a cosine down to lr_min (Loshchilov & Hutter 2017): timm's CosineLRScheduler.

    t_initial: steps of the first cycle, None for the whole run. Each cycle is cycle_mul times as
    long as the one before and starts cycle_decay times as high; after cycle_limit of them the rate
    stays at lr_min. warmup_t: steps in a line from warmup_lr_init; with warmup_prefix the cosine
    starts after them, else it has been falling meanwhile. k_decay: exponent of the progress (Zhang
    & Li 2020). noise: see `with_noise`.
    """

    def left(progress: float, length: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress**k_decay / length**k_decay))

    cycle = _Cycle(left, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _schedule(cycle.rate, t_initial, _Warmup(warmup_t, warmup_lr_init, warmup_prefix), noise)


def tanh(
    t_initial: Steps | None = None,
    lb: float = -7.0,
    ub: float = 3.0,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    **noise: Any,
) -> Schedule:
    """A hyperbolic tangent from lb to ub (Hsueh et al. 2019): timm's TanhLRScheduler. The other
    arguments are those of `cosine`."""
    if not lb < ub:
        raise ValueError(f"lb is {shown(lb)} and ub is {shown(ub)}, expected lb < ub")

    def left(progress: float, length: float) -> float:
        share = progress / length
        return 0.5 * (1 - math.tanh(lb * (1.0 - share) + ub * share))

    cycle = _Cycle(left, lr_min, cycle_mul, cycle_decay, cycle_limit)
    # timm aims the warm-up of this one at where the curve is when it ends.
    warmup = _Warmup(warmup_t, warmup_lr_init, warmup_prefix, meets=not warmup_prefix)
    return _schedule(cycle.rate, t_initial, warmup, noise)


def poly(
    t_initial: Steps | None = None,
    power: float = 0.5,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    k_decay: float = 1.0,
    **noise: Any,
) -> Schedule:
    """(1 - progress) ** power: timm's PolyLRScheduler. Other arguments are those of `cosine`."""

    def left(progress: float, length: float) -> float:
        return float((1 - progress**k_decay / length**k_decay) ** power)

    cycle = _Cycle(left, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _schedule(cycle.rate, t_initial, _Warmup(warmup_t, warmup_lr_init, warmup_prefix), noise)


def linear(t_initial: Steps | None = None, lr_min: float = 0.0, **options: Any) -> Schedule:
    """In a line down to lr_min: `poly` with power 1, whose other arguments it takes."""
    return poly(t_initial, power=1.0, lr_min=lr_min, **options)


# ------------------------------------------------------------------------------- without


def step(
    decay_t: Steps,
    decay_rate: float = 1.0,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    **noise: Any,
) -> Schedule:
    """Times decay_rate every decay_t steps: timm's StepLRScheduler."""

    def body(base: float, t: int, total: int) -> float:
        return float(base * decay_rate ** (t // _steps(decay_t, total)))

    return _schedule(body, None, _Warmup(warmup_t, warmup_lr_init, warmup_prefix), noise)


def constant(warmup_t: Steps = 0, warmup_lr_init: float = 0.0, **noise: Any) -> Schedule:
    """The learning rate itself, after a warm-up."""
    return step(1, 1.0, warmup_t, warmup_lr_init, **noise)


def multistep(
    decay_t: Sequence[Steps],
    decay_rate: float = 1.0,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    **noise: Any,
) -> Schedule:
    """Times decay_rate at each of the steps decay_t: timm's MultiStepLRScheduler, in which a
    milestone counts from one step before (lr_scheduler.MultiStepLR has torch's)."""

    def body(base: float, t: int, total: int) -> float:
        milestones = [_steps(milestone, total) for milestone in decay_t]
        return float(base * decay_rate ** bisect_right(milestones, t + 1))

    return _schedule(body, None, _Warmup(warmup_t, warmup_lr_init, warmup_prefix), noise)


_DECAYS: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda share, power, ratio: 1.0 - share,
    "1-sqrt": lambda share, power, ratio: 1.0 - math.sqrt(share),
    "cosine": lambda share, power, ratio: 0.5 * (1.0 + math.cos(math.pi * share)),
    "power": lambda share, power, ratio: 1.0 - share**power,
    "exp": lambda share, power, ratio: (ratio**share - ratio) / (1.0 - ratio),
}


def wsd(
    t_initial: Steps | None = None,
    decay_t: Steps = 0.2,
    lr_min: float = 0.0,
    stable_fn: str = "constant",
    stable_timescale: Steps | None = None,
    stable_power: float = 0.5,
    decay_fn: str = "1-sqrt",
    decay_power: float = 0.5,
    decay_ratio: float = 0.1,
    warmup_t: Steps = 0,
    warmup_lr_init: float = 0.0,
    **noise: Any,
) -> Schedule:
    """Warm-up, a stable phase, and a decay over the last decay_t of t_initial steps (Hu et al.
    2024): timm's WSDLRScheduler.

    stable_fn: "constant", or "rsqrt" and "power": (1 + t / stable_timescale) ** -stable_power (0.5
    for "rsqrt"; the timescale is warmup_t unless given). decay_fn: "linear", "1-sqrt" (Hägele et
    al. 2024), "cosine", "power" or "exp".

    Raises `ValueError` for a name that is not among these, or a decaying stable phase without a
    timescale.
    """
    checks.one_of("decay_fn", decay_fn, _DECAYS)
    checks.one_of("stable_fn", stable_fn, ("constant", "rsqrt", "power"))
    timescale = warmup_t if stable_timescale is None else stable_timescale
    if stable_fn != "constant" and not timescale > 0:
        raise ValueError(
            f"stable_fn={shown(stable_fn)} needs a warm-up or a stable_timescale above 0"
        )
    power = {"constant": 0.0, "rsqrt": 0.5, "power": stable_power}[stable_fn]

    def body(base: float, t: int, total: int) -> float:
        length = _steps(decay_t, total)
        stable = (1.0 + t / _steps(timescale, total)) ** -power if power else 1.0
        top, decaying = max(base * stable, lr_min), t - (total - length)
        if decaying <= 0:
            return top
        share = _DECAYS[decay_fn](min(decaying / length, 1.0), decay_power, decay_ratio)
        return lr_min + (top - lr_min) * share

    return _schedule(body, t_initial, _Warmup(warmup_t, warmup_lr_init, True), noise)


def one_cycle(
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """Up from lr / div_factor to lr over pct_start of the run, and down to lr / div_factor /
    final_div_factor (Smith & Topin 2018): torch's OneCycleLR with max_lr=lr, momentum unchanged.

    three_phase: down to lr / div_factor as fast as up, then on to the end.
    """
    anneal = annealing(anneal_strategy)

    def schedule(top: float, step: int, total: int) -> float:
        start = top / div_factor
        end = start / final_div_factor
        values = [start, top, start, end] if three_phase else [start, top, end]
        return along(one_cycle_ends(total, pct_start, three_phase), values, step, anneal)

    return schedule


def one_cycle_ends(total: int, pct_start: float, three_phase: bool) -> list[float]:
    """The steps between which `one_cycle` goes from one value to the next."""
    up = pct_start * total - 1
    return [0.0, up, *([2 * up] if three_phase else []), total - 1.0]


def along(ends: Sequence[float], values: Sequence[float], step: int, anneal: "Anneal") -> float:
    """The value at a step, of those that are reached at the ends, and the last one after them."""
    part = next((i for i, end in enumerate(ends[1:-1]) if step <= end), len(ends) - 2)
    length = ends[part + 1] - ends[part]
    share = min((step - ends[part]) / length, 1.0) if length else 1.0
    return anneal(values[part], values[part + 1], share)


Anneal = Callable[[float, float, float], float]
"""(from, to, share of the way) -> value."""


def annealing(name: str) -> Anneal:
    """The way from one value to another by its name, "cos" or "linear"."""
    return _ANNEALS[checks.one_of("anneal_strategy", name, _ANNEALS)]


def _cosine_between(a: float, b: float, share: float) -> float:
    return b + (a - b) / 2.0 * (1 + math.cos(math.pi * share))


def _line_between(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


_ANNEALS = {"cos": _cosine_between, "linear": _line_between}


# ------------------------------------------------------------------------------- noise


def with_noise(
    schedule: Schedule,
    noise_range_t: Steps | Sequence[Steps] | None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
) -> Schedule:
    """The schedule times 1 + noise, as timm draws it: normal with this standard deviation, below
    noise_pct, from its own seed for each step. noise_range_t: the steps with noise, as (first, end)
    or the first; None: none."""
    if noise_range_t is None:
        return schedule
    bounds = noise_range_t if isinstance(noise_range_t, Sequence) else (noise_range_t, math.inf)

    def noisy(base: float, step: int, total: int) -> float:
        lr = schedule(base, step, total)
        first, end = (t if t == math.inf else _steps(t, total) for t in bounds)
        if not first <= step < end:
            return lr
        return lr + lr * _limited_normal(noise_seed + step, noise_std, noise_pct)

    return noisy


def _limited_normal(seed: int, std: float, limit: float) -> float:
    """The first draw of torch.randn(1) below the limit: Box-Muller on the Mersenne twister."""
    words = np.random.RandomState(seed)  # the generator of torch's CPU, seeded alike
    while True:
        first, second = _uniform(words), _uniform(words)
        radius = math.sqrt(-2.0 * math.log1p(-second))
        for angle in (math.cos, math.sin):  # torch keeps the second for the next draw
            noise = float(np.float32(radius * angle(2.0 * math.pi * first))) * std
            if abs(noise) < limit:
                return noise


def _uniform(words: np.random.RandomState) -> float:
    high, low = map(int, words.randint(0, 2**32, size=2, dtype=np.uint32))
    return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


# ------------------------------------------------------------------------------- shared


def _steps(t: Steps, total: int) -> int:
    """Steps, of which a fraction below 1 is a share of the total."""
    return round(t * total) if isinstance(t, float) and 0 < t < 1 else int(t)


class _Warmup(NamedTuple):
    """Steps in a line from a rate before a body. prefix: the body begins after them; meets: the
    line rises to where the body is then, not to the top."""

    steps: Steps
    start: float
    prefix: bool
    meets: bool = False


def _schedule(
    body: Body, t_initial: Steps | None, warmup: _Warmup, noise: dict[str, Any]
) -> Schedule:
    def schedule(base: float, step: int, total: int) -> float:
        warm = _steps(warmup.steps, total)
        rest = max(total - warm, 1) if warmup.prefix else total
        length = rest if t_initial is None else _steps(t_initial, total)
        if step < warm:
            top = body(base, warm, length) if warmup.meets else base
            return warmup.start + step * ((top - warmup.start) / warm)
        return body(base, step - warm if warmup.prefix else step, length)

    return with_noise(schedule, **noise)


class _Cycle(NamedTuple):
    """timm's cycles, one after the other; `rate` is their `Body`. left: the share of the way from
    the top to lr_min that is left, of the steps since a cycle began and its length."""

    left: Callable[[float, float], float]
    lr_min: float
    mul: float
    decay: float
    limit: int

    def rate(self, base: float, t: int, length: int) -> float:
        if self.mul == 1:
            cycle, current, start = t // length, float(length), float(length) * (t // length)
        else:
            cycle = math.floor(math.log(1 - t / length * (1 - self.mul), self.mul))
            current = self.mul**cycle * length
            start = (1 - self.mul**cycle) / (1 - self.mul) * length
        if cycle >= self.limit:
            return self.lr_min
        top = base * self.decay**cycle
        return self.lr_min + (top - self.lr_min) * self.left(t - start, current)
