"""What `configure_optimizers` returns, and when the learning rate moves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import nearest, shown
from vitc.optim import Optimizer, set_lr

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")

_RETURNED = ("optimizer", "lr_scheduler", "monitor")


class Scheduling:
    """A schedule, and when it is asked.

    scheduler: a function of the step as in `vitc.optim`, which is asked before every optimizer
    step; or an object with torch's `step()`, which is called after every `frequency` epochs or
    optimizer steps (interval: "epoch", the default, or "step"), with the metric `monitor` if it
    takes one. reduce_on_plateau: it takes one, whatever its step() looks like.
    """

    def __init__(
        self,
        scheduler: Any,
        interval: str | None = None,
        frequency: int = 1,
        monitor: str | None = None,
        strict: bool = True,
        name: str | None = None,
        reduce_on_plateau: bool = False,
    ) -> None:
        checks.one_of("interval", interval, (None, "epoch", "step"))
        checks.integer("frequency", frequency, 1)
        if not hasattr(scheduler, "step") and not callable(scheduler):
            raise TypeError(f"the schedule is a {type(scheduler).__name__}, expected a function")
        self.scheduler, self.frequency = scheduler, frequency
        self.monitor, self.strict, self.name = monitor, strict, name
        self.is_function = not hasattr(scheduler, "step")
        self.interval = interval or ("step" if self.is_function else "epoch")
        if self.is_function and (self.interval, frequency, reduce_on_plateau) != ("step", 1, False):
            raise ValueError(
                "a schedule that is a function is asked before every step: interval, frequency "
                "and reduce_on_plateau are for objects with step()"
            )
        if not isinstance(monitor, str | None) or not isinstance(name, str | None):
            raise TypeError("monitor and name of a schedule are strings")
        self.needs_metric = not self.is_function and (
            reduce_on_plateau or "metrics" in inspect.signature(scheduler.step).parameters
        )
        if self.needs_metric and monitor is None:
            raise ValueError(
                f'{self.kind} needs a metric: {{"scheduler": ..., "monitor": "val_loss"}}'
            )

    @property
    def kind(self) -> str:
        """By which a resumed run knows that it has the same schedule."""
        return "function" if self.is_function else type(self.scheduler).__name__

    def after(self, interval: str, count: int, metrics: Mapping[str, float] | None) -> None:
        """After the count-th step or epoch. With metrics for those that take one, else for the
        others: these move before the validation."""
        if self.is_function or interval != self.interval or count % self.frequency:
            return
        if self.needs_metric != (metrics is not None):
            return
        if metrics is None:
            self.scheduler.step()
        elif self.monitor is not None and self.monitor in metrics:
            self.scheduler.step(float(metrics[self.monitor]))
        elif self.strict:
            hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
            raise ValueError(f"the schedule monitors {shown(self.monitor)}, not logged; {hint}")


class Schedules:
    """Those of a run, in the order in which they were given."""

    def __init__(self, configs: list[Scheduling] | None = None) -> None:
        self.configs = configs or []

    @property
    def need_an_end(self) -> bool:
        return any(config.is_function for config in self.configs)

    def before_step(self, trainer: Trainer) -> None:
        """Sets the rate of the next step, where it is a function of the step."""
        total = trainer.estimated_stepping_batches
        for config in self.configs:
            if config.is_function and total is not None:  # which is checked before the first step
                set_lr(trainer.optimizer, config.scheduler, trainer.global_step, total)

    def after(self, interval: str, count: int, metrics: Mapping[str, float] | None = None) -> None:
        """Moves the rate after the count-th step or epoch; see `Scheduling.after`."""
        for config in self.configs:
            config.after(interval, count, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {
            "kinds": [config.kind for config in self.configs],
            "states": [
                {} if config.is_function else dict(config.scheduler.state_dict())
                for config in self.configs
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises `ValueError` for the state of other schedules."""
        kinds, states = state.get("kinds"), state.get("states")
        if not isinstance(kinds, list) or not isinstance(states, list) or len(kinds) != len(states):
            raise ValueError("what it keeps of the schedule is damaged")
        own = [config.kind for config in self.configs]
        if kinds != own:
            raise ValueError(
                f"it was trained with the schedule {shown(', '.join(map(str, kinds)) or 'none')}, "
                f"this run has {', '.join(own) or 'none'}"
            )
        for config, kept in zip(self.configs, states, strict=True):
            if not config.is_function:
                config.scheduler.load_state_dict(kept)


def read_configuration(returned: Any) -> tuple[Optimizer, Schedules]:
    """The optimizer and its schedules, from the forms that configure_optimizers may return.

    Raises `TypeError` for another form, `ValueError` for several optimizers.
    """
    alone = isinstance(returned, list | tuple) and len(returned) == 1
    if alone and isinstance(returned[0], Mapping):
        returned = returned[0]
    schedule: Any = None
    monitor = None
    if isinstance(returned, Mapping) and "optimizer" in returned:
        monitor = returned.get("monitor")
        for key in returned:
            if key not in _RETURNED:
                raise ValueError(
                    f"configure_optimizers() returned {shown(key)}; {nearest(key, _RETURNED)}"
                )
        returned, schedule = returned["optimizer"], returned.get("lr_scheduler")
    elif isinstance(returned, tuple | list) and 1 <= len(returned) <= 2:
        returned, schedule = returned if len(returned) == 2 else (returned[0], None)
    if isinstance(schedule, Optimizer):
        returned = [returned, schedule]  # which `_only` refuses
    optimizer = _only(returned)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"configure_optimizers() returned {type(optimizer).__name__}, expected an optimizer of "
            "vitc.optim, or one with a schedule"
        )
    several = schedule if isinstance(schedule, tuple | list) else [schedule]
    configs = [_scheduling(s, monitor) for s in several if s is not None]
    for config in configs:
        if getattr(config.scheduler, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                f"{config.kind} moves the rate of another optimizer than the one that is returned"
            )
    return optimizer, Schedules(configs)


def _scheduling(schedule: Any, monitor: str | None) -> Scheduling:
    if not isinstance(schedule, Mapping):
        return Scheduling(schedule, monitor=monitor)
    for key in schedule:
        if key not in _KEYS:
            raise ValueError(f"lr_scheduler has no {shown(key)}; {nearest(key, _KEYS)}")
    if "scheduler" not in schedule:
        raise ValueError('lr_scheduler needs a "scheduler"')
    return Scheduling(**{"monitor": monitor, **schedule})


def _only(part: Any) -> Any:
    if not isinstance(part, tuple | list):
        return part
    if len(part) > 1:
        raise ValueError(
            f"a run has one optimizer, got {len(part)}; for more, write the loop with vitc.Run"
        )
    return part[0] if part else None
