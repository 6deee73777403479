"""Schedules with the names and arguments of torch.optim.lr_scheduler.

As in torch, `step()` moves one on: an epoch, in a `Trainer` unless its interval is "step". All but
`ReduceLROnPlateau` are functions of the number of calls, so that number is all their state.

last_epoch is the number of the last call that was made, -1 for none. Where an argument may be one
value per group, it is a list. `lr_scale` of a group multiplies its rate.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vitc import checks
from vitc.errors import shown
from vitc.optim.optimizers import Optimizer
from vitc.optim.schedules import along, annealing, one_cycle_ends

PerGroup = float | Sequence[float]
Factor = Callable[[int], float]


class LRScheduler:
    """Sets the learning rate of each group from its first one and the number of `step()` calls."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {shown(optimizer)}, expected one of vitc.optim")
        self.optimizer = optimizer
        self.last_epoch = checks.integer("last_epoch", last_epoch, -1) + 1
        self._move(self.last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        """After `step` calls the rate of the group of this number, which started at base."""
        raise NotImplementedError

    def follow(self, lr: float, step: int, group: int, base: float) -> float:
        """In a chain: the rate after `step` calls, made of lr, which those before this one gave."""
        return self.rate(step, group, base)

    def rates(self, step: int) -> list[float]:
        """After `step` calls the rate of every group, without its `lr_scale`."""
        groups = self.optimizer.param_groups
        return [self.rate(step, i, group["initial_lr"]) for i, group in enumerate(groups)]

    def _move(self, step: int) -> None:
        rates = self._scaled(self.rates(step))
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.move_momentum(step)

    def _scaled(self, rates: list[float]) -> list[float]:
        groups = self.optimizer.param_groups
        return [r * g.get("lr_scale", 1.0) for r, g in zip(rates, groups, strict=True)]

    def move_momentum(self, step: int) -> None:
        """Sets what else changes; most schedules change nothing else."""

    def step(self) -> None:
        """From a rate that something else has set, such as another schedule, it goes on as in a
        chain."""
        there, own = self.get_last_lr(), self._scaled(self.rates(self.last_epoch))
        self._move(self.last_epoch + 1)
        self.last_epoch += 1
        for i, group in enumerate(self.optimizer.param_groups):
            if there[i] != own[i]:
                scale = group.get("lr_scale", 1.0)
                lr = self.follow(there[i] / scale, self.last_epoch, i, group["initial_lr"])
                group["lr"] = lr * scale

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises `ValueError` for the state of something else; nothing is changed then."""
        _check_keys(self, state, ("last_epoch",))
        last_epoch = checks.integer("last_epoch", state["last_epoch"], 0)
        self._move(last_epoch)
        self.last_epoch = last_epoch


# ------------------------------------------------------------------------------- factors


class _Times(LRScheduler):
    """A schedule that multiplies the first rate by a factor."""

    def factor(self, step: int, group: int) -> float:
        raise NotImplementedError

    def rate(self, step: int, group: int, base: float) -> float:
        return float(base * self.factor(step, group))

    def follow(self, lr: float, step: int, group: int, base: float) -> float:
        before = self.factor(step - 1, group) if step else 1.0
        now = self.factor(step, group)
        return lr if now == before else lr * now / before


class LambdaLR(LRScheduler):
    """Times lr_lambda(calls); lr_lambda is one function, or one per group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = _functions(optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        return base * self.lr_lambdas[group](step)


class MultiplicativeLR(_Times):
    """Times lr_lambda(1), then times lr_lambda(2), and so on; lr_lambda as in `LambdaLR`."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = _functions(optimizer, lr_lambda)
        self._products = [[1.0] for _ in self.lr_lambdas]  # by the number of calls
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        products = self._products[group]
        while len(products) <= step:
            products.append(products[-1] * self.lr_lambdas[group](len(products)))
        return products[step]

    def follow(self, lr: float, step: int, group: int, base: float) -> float:
        return lr * self.lr_lambdas[group](step) if step else lr


class StepLR(_Times):
    """Times gamma every step_size calls."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = checks.integer("step_size", step_size, 1), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class MultiStepLR(_Times):
    """Times gamma at each milestone."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return float(self.gamma ** bisect_right(self.milestones, step))


class ExponentialLR(_Times):
    """Times gamma at every call."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return float(self.gamma**step)


class ConstantLR(_Times):
    """Times factor, from 0 to 1, for the first total_iters calls."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self._factor = checks.probability("factor", factor)
        self.total_iters = checks.integer("total_iters", total_iters, 0)
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return self._factor if step < self.total_iters else 1.0

    def follow(self, lr: float, step: int, group: int, base: float) -> float:
        if self._factor == 0 and step == self.total_iters > 0:
            raise ValueError("in a chain a ConstantLR of factor 0 has no way back to a rate")
        return super().follow(lr, step, group, base)


class LinearLR(_Times):
    """In a line from start_factor to end_factor over total_iters calls."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if checks.probability("start_factor", start_factor) == 0:
            raise ValueError("start_factor is 0, expected a number above 0, to 1")
        self.start_factor = start_factor
        self.end_factor = checks.probability("end_factor", end_factor)
        self.total_iters = checks.integer("total_iters", total_iters, 1)
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        share = min(step, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * share


class PolynomialLR(_Times):
    """Times (1 - calls / total_iters) ** power, and 0 from there on."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = checks.integer("total_iters", total_iters, 1)
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return float((1.0 - min(self.total_iters, step) / self.total_iters) ** self.power)


# ------------------------------------------------------------------------------- cosines


class CosineAnnealingLR(LRScheduler):
    """Half a cosine down to eta_min over T_max calls, and up again (Loshchilov & Hutter 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = checks.number("T_max", T_max, 1), eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * self._height(step) / 2

    def _height(self, step: int) -> float:
        return 1 + math.cos(math.pi * step / self.T_max)

    def follow(self, lr: float, step: int, group: int, base: float) -> float:
        """torch's recursion: the distance from eta_min changes by the ratio of the heights."""
        if step == 0:
            return lr
        if (step - 1 - self.T_max) % (2 * self.T_max) == 0:  # it was at the bottom
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._height(step) / self._height(step - 1) * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine down to eta_min over T_0 calls, then again from the top, each time over T_mult
    times as many (SGDR, Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0 = checks.integer("T_0", T_0, 1)
        self.T_mult = checks.integer("T_mult", T_mult, 1)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * step / length)) / 2


# ------------------------------------------------------------------------------- with momentum


class _Cycles(LRScheduler):
    """A schedule that also moves the momentum: that of SGD, else the first of the betas.

    Raises `ValueError` for an optimizer without either, unless cycle_momentum is False.
    """

    def _read_momentum(self, optimizer: Any, cycle: bool, base: PerGroup, most: PerGroup) -> None:
        self._momenta: list[tuple[float, float]] = []
        if not cycle:
            return
        if not {"betas", "momentum"} & set(optimizer.defaults):
            raise ValueError(
                f"cycle_momentum is True, but {type(optimizer).__name__} has no momentum"
            )
        low = _per_group("base_momentum", optimizer, base)
        self._momenta = list(zip(low, _per_group("max_momentum", optimizer, most), strict=True))

    def momentum(self, step: int, base: float, most: float) -> float:
        """After `step` calls that of a group, from base to most."""
        raise NotImplementedError

    def move_momentum(self, step: int) -> None:
        for group, limits in zip(self.optimizer.param_groups, self._momenta, strict=False):
            value = self.momentum(step, *limits)
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value


class OneCycleLR(_Cycles):
    """`vitc.optim.one_cycle` up to max_lr, over total_steps calls (or epochs * steps_per_epoch).

    max_lr: also one per group; the first rates of the groups mean nothing. cycle_momentum: the
    momentum falls from max_momentum to base_momentum while the rate rises, and rises again.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: PerGroup,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.85,
        max_momentum: PerGroup = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        self.max_lrs = _per_group("max_lr", optimizer, max_lr)
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.anneal = annealing(anneal_strategy)
        checks.probability("pct_start", pct_start)
        self._ends = one_cycle_ends(self.total_steps, pct_start, three_phase)
        self._read_momentum(optimizer, cycle_momentum, base_momentum, max_momentum)
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        top = self.max_lrs[group]
        start = top / self.div_factor
        return self._at(step, start, top, start / self.final_div_factor)

    def momentum(self, step: int, base: float, most: float) -> float:
        return self._at(step, most, base, most)

    def _at(self, step: int, start: float, top: float, end: float) -> float:
        values = [start, top, end] if len(self._ends) == 3 else [start, top, start, end]
        return along(self._ends, values, step, self.anneal)


def _total_steps(total: int | None, epochs: int | None, each: int | None) -> int:
    if total is not None:
        return checks.integer("total_steps", total, 1)
    if epochs is None or each is None:
        raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
    return checks.integer("epochs", epochs, 1) * checks.integer("steps_per_epoch", each, 1)


class CyclicLR(_Cycles):
    """From base_lr to max_lr over step_size_up calls, back over step_size_down, and again (Smith
    2017).

    mode: "triangular", "triangular2" (each cycle half as high as the one before) or "exp_range"
    (times gamma ** calls); or scale_fn, a factor of the height, of the number of the cycle from 1
    or of the calls, by scale_mode "cycle" or "iterations". cycle_momentum: the momentum moves the
    other way between max_momentum and base_momentum. base_lr, max_lr and both momenta: also one per
    group; the first rates of the groups mean nothing.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: PerGroup,
        max_lr: PerGroup,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.8,
        max_momentum: PerGroup = 0.9,
        last_epoch: int = -1,
    ) -> None:
        up = checks.number("step_size_up", step_size_up, 1)
        down = up if step_size_down is None else checks.number("step_size_down", step_size_down, 0)
        self.total_size, self.step_ratio = float(up + down), up / (up + down)
        checks.one_of("scale_mode", scale_mode, ("cycle", "iterations"))
        self.gamma, self.scale_fn, self.scale_mode = gamma, scale_fn, scale_mode
        if scale_fn is None:
            modes = {
                "triangular": (lambda x: 1.0, "cycle"),
                "triangular2": (lambda x: 1 / 2.0 ** (x - 1), "cycle"),
                "exp_range": (lambda x: self.gamma**x, "iterations"),
            }
            self.scale_fn, self.scale_mode = modes[checks.one_of("mode", mode, modes)]
        self.base_lrs = _per_group("base_lr", optimizer, base_lr)
        self.max_lrs = _per_group("max_lr", optimizer, max_lr)
        self._read_momentum(optimizer, cycle_momentum, base_momentum, max_momentum)
        super().__init__(optimizer, last_epoch)

    def rate(self, step: int, group: int, base: float) -> float:
        low = self.base_lrs[group]
        return low + (self.max_lrs[group] - low) * self._height(step)

    def momentum(self, step: int, base: float, most: float) -> float:
        return most - (most - base) * self._height(step)

    def _height(self, step: int) -> float:
        """The share of the way up."""
        cycle = math.floor(1 + step / self.total_size)
        x = 1.0 + step / self.total_size - cycle
        ratio = self.step_ratio
        share = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        assert self.scale_fn is not None
        return share * self.scale_fn(cycle if self.scale_mode == "cycle" else step)


# ------------------------------------------------------------------------------- of others


class SequentialLR(LRScheduler):
    """One schedule after another: the next one starts, from its beginning, at each milestone."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.schedulers = _of_one_optimizer(schedulers, optimizer)
        if len(milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"{len(self.schedulers)} schedulers have {len(self.schedulers) - 1} milestones "
                f"between them, got {len(milestones)}"
            )
        self.milestones = [0, *milestones]
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> tuple[LRScheduler, int]:
        which = bisect_right(self.milestones, step) - 1
        return self.schedulers[which], step - self.milestones[which]

    def rates(self, step: int) -> list[float]:
        scheduler, own = self._part(step)
        return scheduler.rates(own)

    def rate(self, step: int, group: int, base: float) -> float:
        scheduler, own = self._part(step)
        return scheduler.rate(own, group, base)

    def move_momentum(self, step: int) -> None:
        scheduler, own = self._part(step)
        scheduler.move_momentum(own)


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each changes the rate that the one before has given.

    Factors multiply. As in torch, one that sets the rate itself, such as `LambdaLR`, takes no
    notice of those before it.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        given = list(schedulers)
        if optimizer is None and given and isinstance(given[0], LRScheduler):
            optimizer = given[0].optimizer
        self.schedulers = _of_one_optimizer(given, optimizer)
        self._calls, self._rates = -1, list[float]()  # where the chain has come to
        super().__init__(self.schedulers[0].optimizer)

    def rates(self, step: int) -> list[float]:
        """From the first call on, or from where it was."""
        groups = self.optimizer.param_groups
        calls, rates = self._calls, self._rates
        if not 0 <= calls <= step:
            calls, rates = -1, [group["initial_lr"] for group in groups]
        for call in range(calls + 1, step + 1):
            rates = [
                self._follow(rate, call, i, group["initial_lr"])
                for i, (rate, group) in enumerate(zip(rates, groups, strict=True))
            ]
        self._calls, self._rates = step, rates
        return rates

    def _follow(self, lr: float, step: int, group: int, base: float) -> float:
        for scheduler in self.schedulers:
            lr = scheduler.follow(lr, step, group, base)
        return lr

    def rate(self, step: int, group: int, base: float) -> float:
        return self.rates(step)[group]

    def move_momentum(self, step: int) -> None:
        for scheduler in self.schedulers:
            scheduler.move_momentum(step)


class ReduceLROnPlateau:
    """Times factor when the metric has not become better for more than `patience` calls.

    mode: "min" or "max". Better is by more than threshold, of the best value ("rel") or absolutely
    ("abs"). After a reduction `cooldown` calls count for nothing; no rate falls below min_lr, and
    a change below eps is not made; min_lr may be one per group. It has a state: `state_dict`.
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
        min_lr: PerGroup = 0.0,
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
        self.min_lrs = _per_group("min_lr", optimizer, min_lr)
        self.cooldown, self.eps = cooldown, eps
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
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lower = max(group["lr"] * self.factor, least)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises `ValueError` for the state of something else; nothing is changed then."""
        _check_keys(self, state, self.state_dict())
        for name in self.state_dict():
            setattr(self, name, state[name])


# ------------------------------------------------------------------------------- helpers


def _count(optimizer: Any) -> int:
    return len(optimizer.param_groups)


def _functions(optimizer: Any, given: Factor | Sequence[Factor]) -> list[Factor]:
    functions = [given] * _count(optimizer) if callable(given) else list(given)
    return _as_many_as_groups("lr_lambda", optimizer, functions)


def _per_group(name: str, optimizer: Any, value: PerGroup) -> list[float]:
    """One number for each group, from that many or from one for all."""
    given: Any = value
    values = list(given) if isinstance(given, list | tuple) else [given] * _count(optimizer)
    for number in _as_many_as_groups(name, optimizer, values):
        checks.number(name, number, 0)
    return values


def _as_many_as_groups(name: str, optimizer: Any, values: list[Any]) -> list[Any]:
    groups = _count(optimizer)
    if len(values) != groups:
        raise ValueError(f"{name} has {len(values)} values, and the optimizer {groups} groups")
    return values


def _of_one_optimizer(schedulers: Sequence[LRScheduler], optimizer: Any) -> list[LRScheduler]:
    found = list(schedulers)
    if not found:
        raise ValueError("schedulers is empty, expected at least one")
    for scheduler in found:
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(f"schedulers has {shown(scheduler)}, which is no function of the calls")
        if scheduler.optimizer is not optimizer:
            raise ValueError(f"a {type(scheduler).__name__} belongs to another optimizer")
    return found


def _check_keys(scheduler: Any, state: Mapping[str, Any], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(
            f"the state has no {', '.join(missing)}: it is not that of a {type(scheduler).__name__}"
        )
