"""The learning rates of a run, written to its loggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.training import rows
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.optim import Optimizer
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class LearningRateMonitor(Callback):
    """Logs the learning rate of every parameter group, as `lr-AdamW` or `lr-AdamW/pg1`.

    logging_interval: "step" (every log_every_n_steps of the trainer) or "epoch"; None means "step".
    log_weight_decay: also `lr-AdamW-weight_decay`.
    """

    def __init__(self, logging_interval: str | None = None, log_weight_decay: bool = False) -> None:
        checks.one_of("logging_interval", logging_interval, (None, "step", "epoch"))
        self.logging_interval, self.log_weight_decay = logging_interval, log_weight_decay
        self._of_step: dict[str, float] = {}

    def on_train_batch_start(
        self, trainer: Trainer, module: Module, batch: Any, batch_idx: int
    ) -> None:
        if self.logging_interval != "epoch":
            self._of_step = self._rates(trainer.optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The rate that the step was made with; a schedule has moved since."""
        if self.logging_interval != "epoch" and rows.logs_now(trainer):
            rows.write(trainer, self._of_step, rows.last_step(trainer))

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        if self.logging_interval == "epoch":
            rows.write(trainer, self._rates(trainer.optimizer), trainer.global_step)

    def _rates(self, optimizer: Optimizer) -> dict[str, float]:
        name = f"lr-{type(optimizer).__name__}"
        groups = optimizer.param_groups
        rates = {}
        for i, group in enumerate(groups, 1):
            ending = f"/pg{i}" if len(groups) > 1 else ""
            rates[name + ending] = float(group["lr"])
            if self.log_weight_decay:
                rates[f"{name}{ending}-weight_decay"] = float(group["weight_decay"])
        return rates
