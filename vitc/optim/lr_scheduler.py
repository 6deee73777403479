"""Schedules with the names and arguments of torch.optim.lr_scheduler.

As in torch, `step()` moves one on: an epoch, in a `Trainer` unless its interval is "step". All but
`ReduceLROnPlateau` are closed formulas of the number of calls, so that number is all their state;
called like a schedule of `vitc.optim.schedules` they give the rate of any step.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitc.errors import shown
from vitc.optim.optimizers import Optimizer
from vitc.optim.schedules import one_cycle, set_lr


class LRScheduler:
    """Sets the learning rate of each group from its first one and the number of `step()` calls."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.last_epoch = 0
        self._set()

    def __call__(self, base: float, step: int, total: int) -> float:
        """The rate of a group that started at `base`, after `step` calls; total means nothing."""
        raise NotImplementedError

    def _set(self) -> None:
        set_lr(self.optimizer, self, self.last_epoch, 0)

    def step(self) -> None:
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.last_epoch = int(state["last_epoch"])
        self._set()


class LambdaLR(LRScheduler):
    """Times lr_lambda(calls)."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        return base * self.lr_lambda(step)


class StepLR(LRScheduler):
    """Times gamma every step_size calls."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        return float(base * self.gamma ** (step // self.step_size))


class MultiStepLR(LRScheduler):
    """Times gamma at each milestone."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        return float(base * self.gamma ** bisect_right(self.milestones, step))


class LinearLR(LRScheduler):
    """In a line from start_factor to end_factor over total_iters calls."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        share = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine down to eta_min over T_max calls, and up again (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2
        )


class OneCycleLR(LRScheduler):
    """`vitc.optim.one_cycle` up to max_lr, over total_steps calls; the momentum stays as it is."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        **shape: Any,
    ) -> None:
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
        self.max_lr = max_lr
        self.total_steps = total_steps or (epochs or 0) * (steps_per_epoch or 0)
        self._schedule = one_cycle(**shape)
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        return self._schedule(self.max_lr, step, self.total_steps)


class SequentialLR(LRScheduler):
    """One schedule after another: the next one starts, from its beginning, at each milestone."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{len(schedulers)} schedulers have {len(schedulers) - 1} milestones between them, "
                f"got {len(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), [0, *milestones]
        super().__init__(optimizer)

    def __call__(self, base: float, step: int, total: int) -> float:
        which = bisect_right(self.milestones, step) - 1
        return self.schedulers[which](base, step - self.milestones[which], total)


class ReduceLROnPlateau:
    """Times factor when the metric has not become better for more than `patience` calls.

    mode: "min" or "max". Better is by more than threshold, of the best value ("rel") or absolutely
    ("abs"). After a reduction `cooldown` calls count for nothing; no rate falls below min_lr, and
    a change below eps is not made. It has a state: `state_dict`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"mode is {shown(mode)} and threshold_mode {shown(threshold_mode)}, expected 'min' "
                "or 'max' and 'rel' or 'abs'"
            )
        if not factor < 1:
            raise ValueError(f"factor is {shown(factor)}, expected a number below 1")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: float) -> None:
        """Takes notice of the metric, and lowers the rates if it is time."""
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "abs":
            return sign * (value - self.best) > self.threshold
        return sign * (value - self.best * (1.0 + sign * self.threshold)) > 0

    def _reduce(self) -> None:
        for group in self.optimizer.param_groups:
            lower = max(group["lr"] * self.factor, self.min_lr)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state[name])
