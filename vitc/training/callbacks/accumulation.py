"""How many batches make an optimizer step, by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vitc import checks
from vitc.errors import shown
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """Accumulates the gradients of more or fewer batches from some epochs on; Lightning's.

        GradientAccumulationScheduler({0: 8, 4: 4, 8: 1})

    scheduling: from an epoch (counted from 0) on, so many batches per step; 1 before the first.
    The Trainer's own accumulate_grad_batches must be 1, and is again after the run.

    Raises `ValueError` beside a schedule that is a function of the step, unless max_steps is all
    that ends the run: how many steps it has is not known then.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not isinstance(scheduling, Mapping) or not scheduling:
            raise TypeError(f"scheduling is {shown(scheduling)}, expected {{epoch: batches}}")
        self.scheduling = {
            checks.integer("an epoch of scheduling", epoch, 0): checks.integer(
                f"scheduling of epoch {epoch}", batches, 1
            )
            for epoch, batches in scheduling.items()
        }
        self._running = False

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Batches per optimizer step in this epoch."""
        begun = [first for first in self.scheduling if first <= epoch]
        return self.scheduling[max(begun)] if begun else 1

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"accumulate_grad_batches is {trainer.accumulate_grad_batches}, beside a "
                "GradientAccumulationScheduler: leave one of them out"
            )
        if trainer.schedules.need_an_end and trainer.max_epochs >= 0:
            raise ValueError(
                "a schedule that is a function of the step needs the number of steps, which a "
                "GradientAccumulationScheduler changes: use one of vitc.optim.lr_scheduler, or "
                "max_epochs=-1 and max_steps"
            )
        self._running = True

    def on_train_start(self, trainer: Trainer, module: Module) -> None:
        self._set(trainer)  # a run may be resumed within an epoch

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        self._set(trainer)

    def _set(self, trainer: Trainer) -> None:
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)

    def _put_back(self, trainer: Trainer) -> None:
        if self._running:
            trainer.accumulate_grad_batches, self._running = 1, False

    def on_exception(self, trainer: Trainer, module: Module, exception: BaseException) -> None:
        self._put_back(trainer)

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:
        self._put_back(trainer)
