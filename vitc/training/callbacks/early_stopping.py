"""Stops a run when a metric no longer gets better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import nearest, shown
from vitc.training import when
from vitc.training.hooks import Callback
from vitc.training.results import Number

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class EarlyStopping(Callback):
    """Stops when `monitor` has not improved by more than min_delta in `patience` checks.

    A negative min_delta lets a value count as an improvement that is worse by less than that.

    mode: "min" or "max". strict: a missing metric raises `RuntimeError`, else it is passed over.
    check_finite: stop at once at an infinite or NaN metric. stopping_threshold: stop when the
    metric is better than this, divergence_threshold: when it is worse. check_on_train_epoch_end:
    check after the training epoch rather than after a validation; by default if there is one
    validation per epoch. verbose: prints why.

    `stopping_reason_message` says why it stopped, `stopped_epoch` when.
    """

    monitoring = True

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor is {shown(monitor)}, expected a string")
        self.monitor, self.mode = monitor, checks.one_of("mode", mode, ("min", "max"))
        self.min_delta = checks.finite("min_delta", min_delta)
        self.patience = checks.integer("patience", patience, 0)
        self.verbose, self.strict = checks.flag("verbose", verbose), checks.flag("strict", strict)
        self.check_finite = checks.flag("check_finite", check_finite)
        self.stopping_threshold, self.divergence_threshold = (
            checks.optional(checks.number, name, value, -math.inf)
            for name, value in (
                ("stopping_threshold", stopping_threshold),
                ("divergence_threshold", divergence_threshold),
            )
        )
        self.check_on_train_epoch_end = checks.optional(
            checks.flag, "check_on_train_epoch_end", check_on_train_epoch_end
        )
        self._forget()

    def _forget(self) -> None:
        self.best_score = Number("inf" if self.mode == "min" else "-inf")
        self.wait_count = self.stopped_epoch = 0
        self.stopping_reason_message: str | None = None

    def setup(self, trainer: Trainer, module: Module, stage: str) -> None:
        if stage == "fit":
            self._forget()

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:
        if self._checks_on_train_epoch_end(trainer):
            self._check(trainer)

    def on_validation_end(self, trainer: Trainer, module: Module) -> None:
        if not self._checks_on_train_epoch_end(trainer) and not trainer.sanity_checking:
            self._check(trainer)

    def _checks_on_train_epoch_end(self, trainer: Trainer) -> bool:
        given = self.check_on_train_epoch_end
        return when.validates_once_per_epoch(trainer) if given is None else given

    def _check(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run or not trainer.fitting or trainer.state.cut:
            return  # a run that stops within an epoch is not to be stopped
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            if self.strict:
                hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
                raise RuntimeError(
                    f"EarlyStopping monitors {shown(self.monitor)}, not logged; {hint}"
                )
            return
        reason = self._reason(float(metrics[self.monitor]))
        if reason is None:
            return
        trainer.state.stop, self.stopped_epoch = "end", trainer.current_epoch
        self.stopping_reason_message = reason
        if self.verbose:
            print(f"epoch {trainer.current_epoch}: {reason}")

    def _reason(self, value: float) -> str | None:
        """Why to stop at this value, if so; notes whether it is the best."""
        if self.check_finite and not math.isfinite(value):
            return f"{self.monitor} is {value}"
        for threshold, sign, what in (
            (self.stopping_threshold, 1, "reached"),
            (self.divergence_threshold, -1, "diverged beyond"),
        ):
            if threshold is not None and self._gain(value, threshold) * sign > 0:
                return f"{self.monitor} = {value:.6g} has {what} {threshold}"
        if self._gain(value, self.best_score) > self.min_delta:
            self.best_score, self.wait_count = Number(value), 0
            return None
        self.wait_count += 1
        if self.wait_count < self.patience:
            return None
        return (
            f"{self.monitor} has not improved by more than {self.min_delta} in {self.wait_count} "
            f"checks; the best was {self.best_score:.6g}"
        )

    def _gain(self, value: float, other: float) -> float:
        return other - value if self.mode == "min" else value - other

    @property
    def state_key(self) -> str:
        return f"EarlyStopping-{self.monitor}-{self.mode}"

    def state_dict(self) -> dict[str, Any]:
        names = ("best_score", "wait_count", "stopped_epoch", "stopping_reason_message")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.best_score = Number(self.best_score)
