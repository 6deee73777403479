"""Schedules of the learning rate under the names and arguments of timm.scheduler.

They are called as timm's are, `step(epoch)` after each epoch or `step_update(updates)` after each
update, and also as torch's are, `step()`, which moves on by one; so they serve a loop of one's own
and a `vitc.Trainer` alike. The formulas are those of `vitc.optim.schedules`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitc import checks
from vitc.errors import shown
from vitc.optim import Optimizer, Schedule, cosine, multistep, poly, set_lr, step, tanh, wsd

__all__ = [
    "CosineLRScheduler",
    "MultiStepLRScheduler",
    "PolyLRScheduler",
    "Scheduler",
    "StepLRScheduler",
    "TanhLRScheduler",
    "WSDLRScheduler",
    "create_scheduler_v2",
]


class Scheduler:
    """Sets the learning rate of an optimizer's groups from that which they began with.

    schedule: of `vitc.optim`. total: its steps, where it has an end. t_in_epochs: whether its steps
    are epochs, which `step` counts, or updates, which `step_update` counts; the other call does
    nothing then, as in timm.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, total: int, t_in_epochs: bool = True
    ) -> None:
        self.optimizer, self.schedule, self.total = optimizer, schedule, total
        self.t_in_epochs = checks.flag("t_in_epochs", t_in_epochs)
        self.last = 0
        self._set()

    def _set(self) -> None:
        set_lr(self.optimizer, self.schedule, self.last, self.total)

    def step(self, epoch: int | None = None, metric: float | None = None) -> None:
        """The rate of this epoch (the next one: None). metric: timm's, of no effect here."""
        if epoch is None or self.t_in_epochs:
            self._move(epoch)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """The rate after this many updates. metric: timm's, of no effect here."""
        if not self.t_in_epochs:
            self._move(num_updates)

    def _move(self, t: int | None) -> None:
        self.last = self.last + 1 if t is None else checks.integer("the time", t, 0)
        self._set()

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.last = checks.integer("last", state["last"], 0)
        self._set()


class _Cyclic(Scheduler):
    """In cycles, after which the rate stays at lr_min."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        t_initial: int,
        t_in_epochs: bool,
        **cycles: Any,
    ) -> None:
        self.t_initial = checks.integer("t_initial", t_initial, 1)
        self.cycle_mul = cycles.get("cycle_mul", 1.0)
        self.cycle_limit = checks.integer("cycle_limit", cycles.get("cycle_limit", 1), 0)
        self.warmup_t = cycles.get("warmup_t", 0) if cycles.get("warmup_prefix", False) else 0
        super().__init__(optimizer, schedule, t_initial, t_in_epochs)

    def get_cycle_length(self, cycles: int = 0) -> int:
        """Steps until the end of so many cycles (of all: 0), with a warm-up before them."""
        count = max(1, cycles or self.cycle_limit)
        mul = self.cycle_mul
        shares = count if mul == 1 else (mul**count - 1) / (mul - 1)
        return int(self.t_initial * shares) + self.warmup_t


class CosineLRScheduler(_Cyclic):
    """`vitc.optim.cosine`, whose arguments are the options."""

    def __init__(
        self,
        optimizer: Optimizer,
        t_initial: int,
        lr_min: float = 0.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        schedule = cosine(t_initial, lr_min, **options)
        super().__init__(optimizer, schedule, t_initial, t_in_epochs, **options)


class TanhLRScheduler(_Cyclic):
    """`vitc.optim.tanh`, whose arguments are the options."""

    def __init__(
        self,
        optimizer: Optimizer,
        t_initial: int,
        lb: float = -7.0,
        ub: float = 3.0,
        lr_min: float = 0.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        if not lb < ub:
            raise ValueError(f"lb is {shown(lb)}, expected less than ub, {shown(ub)}")
        schedule = tanh(t_initial, lb, ub, lr_min, **options)
        super().__init__(optimizer, schedule, t_initial, t_in_epochs, **options)


class PolyLRScheduler(_Cyclic):
    """`vitc.optim.poly`, whose arguments are the options."""

    def __init__(
        self,
        optimizer: Optimizer,
        t_initial: int,
        power: float = 0.5,
        lr_min: float = 0.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        schedule = poly(t_initial, power, lr_min, **options)
        super().__init__(optimizer, schedule, t_initial, t_in_epochs, **options)


class StepLRScheduler(Scheduler):
    """`vitc.optim.step`, whose arguments are the options."""

    def __init__(
        self,
        optimizer: Optimizer,
        decay_t: int,
        decay_rate: float = 1.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        decay_t = checks.integer("decay_t", decay_t, 1)
        super().__init__(optimizer, step(decay_t, decay_rate, **options), 0, t_in_epochs)


class MultiStepLRScheduler(Scheduler):
    """`vitc.optim.multistep`, whose arguments are the options; as in timm a milestone m counts one
    step early, at m - 1."""

    def __init__(
        self,
        optimizer: Optimizer,
        decay_t: Sequence[int],
        decay_rate: float = 1.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        decay_t = [checks.integer("decay_t", t, 0) for t in decay_t]
        super().__init__(optimizer, multistep(decay_t, decay_rate, **options), 0, t_in_epochs)


class WSDLRScheduler(Scheduler):
    """`vitc.optim.wsd`, whose arguments are the options: warm-up, stable, decay."""

    def __init__(
        self,
        optimizer: Optimizer,
        t_initial: int,
        decay_t: int,
        lr_min: float = 0.0,
        *,
        t_in_epochs: bool = True,
        **options: Any,
    ) -> None:
        checks.integer("decay_t", decay_t, 1, checks.integer("t_initial", t_initial, 1))
        schedule = wsd(t_initial, decay_t, lr_min, **options)
        total = t_initial + options.get("warmup_t", 0)
        super().__init__(optimizer, schedule, total, t_in_epochs)


_NAMES = ("cosine", "tanh", "poly", "step", "constant", "multistep", "wsd", "rsqrt", "none")


def create_scheduler_v2(
    optimizer: Optimizer,
    sched: str = "cosine",
    num_epochs: int = 300,
    decay_epochs: float | None = None,
    decay_milestones: Sequence[int] = (90, 180, 270),
    cooldown_epochs: int = 0,
    decay_rate: float = 0.1,
    min_lr: float = 0.0,
    warmup_lr: float = 1e-5,
    warmup_epochs: int = 0,
    warmup_prefix: bool = False,
    noise: float | Sequence[float] | None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    cycle_mul: float = 1.0,
    cycle_decay: float = 0.1,
    cycle_limit: int = 1,
    k_decay: float = 1.0,
    decay_fn: str | None = None,
    stable_timescale: float | None = None,
    step_on_epochs: bool = True,
    updates_per_epoch: int = 0,
) -> tuple[Scheduler | None, int]:
    """(scheduler, epochs to train for with warm-up and cool-down), by timm's names.

    sched: "cosine", "tanh", "poly" (whose power is decay_rate), "step", "constant", "multistep",
    "wsd", "rsqrt", or "none" for no scheduler. Lengths are epochs, turned into updates where
    step_on_epochs is False. noise: the shares of the run between which the rate is noisy.

    Raises `ValueError` for another name; for "plateau" there is
    `vitc.optim.lr_scheduler.ReduceLROnPlateau`.
    """
    if isinstance(sched, str) and sched == "plateau":
        raise ValueError("for 'plateau' take vitc.optim.lr_scheduler.ReduceLROnPlateau")
    checks.one_of("sched", sched, _NAMES)
    step_on_epochs = checks.flag("step_on_epochs", step_on_epochs)
    unit = 1 if step_on_epochs else checks.integer("updates_per_epoch", updates_per_epoch, 1)
    length, warm = num_epochs * unit, warmup_epochs * unit
    usual: dict[str, Any] = dict(
        t_in_epochs=step_on_epochs, warmup_t=warm, warmup_lr_init=warmup_lr, noise_pct=noise_pct,
        noise_std=noise_std, noise_seed=noise_seed, noise_range_t=_noisy(noise, length),
    )  # fmt: skip
    prefixed = dict(usual, warmup_prefix=warmup_prefix)
    cycles: dict[str, Any] = dict(
        cycle_mul=cycle_mul, cycle_decay=cycle_decay, cycle_limit=cycle_limit
    )
    if sched == "none":
        return None, num_epochs
    if sched in ("wsd", "rsqrt"):
        stable = length if warmup_prefix else length - warm
        decay = _decay_of(0.2 if decay_epochs is None else decay_epochs, stable, unit)
        rsqrt = sched == "rsqrt"
        scale = None if stable_timescale is None else stable_timescale * unit
        made: Scheduler = WSDLRScheduler(
            optimizer, stable, decay, min_lr, stable_fn="rsqrt" if rsqrt else "constant",
            stable_timescale=scale, decay_fn=decay_fn or ("linear" if rsqrt else "1-sqrt"),
            **usual,
        )  # fmt: skip
    elif sched in ("step", "constant"):
        every = 1 if sched == "constant" else (90 if decay_epochs is None else decay_epochs) * unit
        rate = 1.0 if sched == "constant" else decay_rate
        made = StepLRScheduler(optimizer, int(every), rate, **prefixed)
    elif sched == "multistep":
        milestones = [milestone * unit for milestone in decay_milestones]
        made = MultiStepLRScheduler(optimizer, milestones, decay_rate, **prefixed)
    elif sched == "tanh":
        made = TanhLRScheduler(optimizer, length, lr_min=min_lr, **cycles, **prefixed)
    elif sched == "poly":
        made = PolyLRScheduler(
            optimizer, length, decay_rate, min_lr, k_decay=k_decay, **cycles, **prefixed
        )
    else:
        made = CosineLRScheduler(optimizer, length, min_lr, k_decay=k_decay, **cycles, **prefixed)
    if isinstance(made, _Cyclic):
        return made, (made.get_cycle_length() + cooldown_epochs * unit) // unit
    return made, num_epochs + (warmup_epochs if warmup_prefix else 0)


def _noisy(noise: float | Sequence[float] | None, length: int) -> Any:
    """From where to where, in whole steps."""
    if noise is None:
        return None
    shares = list(noise) if isinstance(noise, Sequence) else [noise]
    steps = [math.ceil(share * length) for share in shares]
    return tuple(steps) if len(steps) > 1 else steps[0]


def _decay_of(decay: float, length: int, unit: int) -> int:
    return round(decay * length if 0 < decay < 1 else decay * unit)
