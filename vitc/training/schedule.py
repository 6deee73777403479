"""What `configure_optimizers` returns, and when the learning rate moves."""

import inspect
from collections.abc import Mapping
from typing import Any

from vitc import checks
from vitc.errors import nearest, shown
from vitc.optim import Optimizer, set_lr

_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name")


class Scheduling:
    """A schedule, and when it is asked.

    scheduler: a function of the step as in `vitc.optim`, which is asked before every optimizer
    step; or an object with torch's `step()`, which is called after every `frequency` epochs or
    steps (interval: "epoch" or "step"), with the metric `monitor` if it takes one.
    """

    def __init__(
        self,
        scheduler: Any,
        interval: str = "epoch",
        frequency: int = 1,
        monitor: str | None = None,
        strict: bool = True,
        name: str | None = None,
    ) -> None:
        checks.one_of("interval", interval, ("epoch", "step"))
        checks.integer("frequency", frequency, 1)
        if not hasattr(scheduler, "step") and not callable(scheduler):
            raise TypeError(f"the schedule is a {type(scheduler).__name__}, expected a function")
        self.scheduler, self.interval, self.frequency = scheduler, interval, frequency
        self.monitor, self.strict = monitor, strict
        self.is_function = not hasattr(scheduler, "step")
        self.needs_metric = not self.is_function and _takes_metric(scheduler.step)
        if self.needs_metric and monitor is None:
            raise ValueError(
                f'{type(scheduler).__name__} needs a metric: {{"scheduler": ..., "monitor": '
                '"val_loss"}'
            )

    def before_step(self, trainer: Any) -> None:
        if self.is_function:
            total = trainer.estimated_stepping_batches
            set_lr(trainer.optimizer, self.scheduler, trainer.global_step, total)

    def after(self, interval: str, count: int, metrics: Mapping[str, float] | None = None) -> None:
        """After the count-th step or epoch. With metrics for those that take one, else for the
        others: these move before the validation."""
        if self.is_function or interval != self.interval or count % self.frequency:
            return
        if self.needs_metric != (metrics is not None):
            return
        if metrics is None:
            self.scheduler.step()
        elif self.monitor is not None and self.monitor in metrics:
            self.scheduler.step(metrics[self.monitor])
        elif self.strict:
            hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
            raise ValueError(f"the schedule monitors {shown(self.monitor)}, not logged; {hint}")

    def state_dict(self) -> dict[str, Any]:
        return {} if self.is_function else dict(self.scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not self.is_function:
            self.scheduler.load_state_dict(state)


def _takes_metric(step: Any) -> bool:
    return "metrics" in inspect.signature(step).parameters


def read_configuration(returned: Any) -> tuple[Any, Scheduling | None]:
    """(optimizer, scheduling or None) from the forms that configure_optimizers may return.

    Raises `TypeError` for another form, `ValueError` for several optimizers.
    """
    schedule: Any = None
    if isinstance(returned, Mapping) and "optimizer" in returned:
        returned, schedule = returned["optimizer"], returned.get("lr_scheduler")
    elif isinstance(returned, tuple | list) and 1 <= len(returned) <= 2:
        returned, schedule = returned if len(returned) == 2 else (returned[0], None)
    if isinstance(schedule, Optimizer):
        returned = [returned, schedule]  # which `_only` refuses
    optimizer, schedule = _only(returned), _only(schedule)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"configure_optimizers() returned {type(optimizer).__name__}, expected an optimizer of "
            "vitc.optim, (optimizer, schedule) or ([optimizer], [schedule])"
        )
    return optimizer, None if schedule is None else _scheduling(schedule)


def _scheduling(schedule: Any) -> Scheduling:
    if not isinstance(schedule, Mapping):
        return Scheduling(schedule)
    for key in schedule:
        if key not in _KEYS:
            raise ValueError(f"lr_scheduler has no {shown(key)}; {nearest(key, _KEYS)}")
    if "scheduler" not in schedule:
        raise ValueError('lr_scheduler needs a "scheduler"')
    return Scheduling(**schedule)


def _only(part: Any) -> Any:
    if not isinstance(part, tuple | list):
        return part
    if len(part) > 1:
        raise ValueError(
            f"a run has one optimizer and one schedule, got {len(part)}; for more, "
            "write the loop with vitc.Run"
        )
    return part[0] if part else None
