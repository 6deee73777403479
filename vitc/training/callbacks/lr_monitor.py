"""The learning rates of a run, written to its loggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.training import rows
from vitc.training.hooks import Callback
from vitc.training.results import Number

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class LearningRateMonitor(Callback):
    """Logs the learning rate of every parameter group, as `lr-AdamW`, `lr-AdamW/pg1`, ...; "name"
    of a schedule or of a group takes the place of `lr-AdamW` or `pg1`.

    logging_interval: "step" (every log_every_n_steps of the trainer) or "epoch"; None for when the
    schedule moves, and both where there is none. log_momentum: also `lr-AdamW-momentum`, which is
    the first of betas. log_weight_decay: also `lr-AdamW-weight_decay`.
    """

    def __init__(
        self,
        logging_interval: str | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
    ) -> None:
        checks.one_of("logging_interval", logging_interval, (None, "step", "epoch"))
        self.logging_interval = logging_interval
        self.log_momentum = checks.flag("log_momentum", log_momentum)
        self.log_weight_decay = checks.flag("log_weight_decay", log_weight_decay)
        self._of_step: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        self._write(trainer, self._rates(trainer, "epoch"), trainer.global_step)

    def on_train_batch_start(
        self, trainer: Trainer, module: Module, batch: Any, batch_idx: int
    ) -> None:
        self._of_step = self._rates(trainer, "step")

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The rate that the step was made with; a schedule has moved since."""
        if rows.logs_now(trainer):
            self._write(trainer, self._of_step, rows.last_step(trainer))

    def _write(self, trainer: Trainer, rates: dict[str, float], step: int) -> None:
        trainer.state.metrics |= {name: Number(rate) for name, rate in rates.items()}
        rows.write(trainer, rates, step)

    def _rates(self, trainer: Trainer, interval: str) -> dict[str, float]:
        """What is logged now, by its name."""
        if self.logging_interval not in (None, interval):
            return {}
        own = f"lr-{type(trainer.optimizer).__name__}"
        rates: dict[str, float] = {}
        unnamed = 0
        for config in trainer.lr_scheduler_configs:
            name = config.name or (f"{own}-{unnamed}" if unnamed else own)
            unnamed += config.name is None
            if self.logging_interval or config.interval == interval:
                rates |= self._of_groups(trainer.optimizer.param_groups, name)
        if not trainer.lr_scheduler_configs:
            rates = self._of_groups(trainer.optimizer.param_groups, own)
        return rates

    def _of_groups(self, groups: list[dict[str, Any]], name: str) -> dict[str, float]:
        rates: dict[str, float] = {}
        for i, group in enumerate(groups, 1):
            ending = group.get("name", f"pg{i}" if len(groups) > 1 else "")
            label = f"{name}/{ending}" if ending else name
            rates[label] = float(group["lr"])
            if self.log_momentum:
                momentum = group["betas"][0] if "betas" in group else group.get("momentum", 0)
                rates[f"{label}-momentum"] = float(momentum)
            if self.log_weight_decay:
                rates[f"{label}-weight_decay"] = float(group["weight_decay"])
        return rates
