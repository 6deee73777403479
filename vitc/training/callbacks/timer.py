"""How long the stages of a run take, and an end after a given time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.training.hooks import Callback
from vitc.training.settings import as_seconds

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class Timer(Callback):
    """Stops training after `duration`, counted over all parts of a resumed run.

    duration: "DD:HH:MM:SS", a timedelta, its arguments as a dict, or None to measure only.
    interval: "step" looks at the clock after every batch, "epoch" after every epoch.
    """

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, int] | None = None,
        interval: str = "step",
    ) -> None:
        checks.one_of("interval", interval, ("step", "epoch"))
        self.duration = None if duration is None else as_seconds(duration)
        self.interval = interval
        self._spent = dict.fromkeys(("train", "validate", "test"), 0.0)
        self._since: dict[str, float] = {}

    def setup(self, trainer: Trainer, module: Module, stage: str) -> None:
        if stage == "fit":
            self._spent = dict.fromkeys(self._spent, 0.0)

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds spent in "train", "validate" or "test"."""
        running = time.monotonic() - self._since[stage] if stage in self._since else 0.0
        return self._spent[stage] + running

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds until the run is stopped; None if it is not."""
        return None if self.duration is None else self.duration - self.time_elapsed(stage)

    def _start(self, stage: str) -> None:
        self._since[stage] = time.monotonic()

    def _stop(self, stage: str) -> None:
        self._spent[stage] = self.time_elapsed(stage)
        self._since.pop(stage, None)

    def _check(self, trainer: Trainer) -> None:
        left = self.time_remaining()
        if left is not None and left <= 0:
            trainer.state.stop = "end"

    def on_train_start(self, trainer: Trainer, module: Module) -> None:
        self._start("train")
        self._check(trainer)

    def on_train_end(self, trainer: Trainer, module: Module) -> None:
        self._stop("train")

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.interval == "step":
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:
        self._check(trainer)

    def on_validation_start(self, trainer: Trainer, module: Module) -> None:
        self._start("validate")

    def on_validation_end(self, trainer: Trainer, module: Module) -> None:
        self._stop("validate")

    def on_test_start(self, trainer: Trainer, module: Module) -> None:
        self._start("test")

    def on_test_end(self, trainer: Trainer, module: Module) -> None:
        self._stop("test")

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in self._spent}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spent.update(state["time_elapsed"])
