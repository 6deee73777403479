"""A learning rate by trial, at the beginning of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitc import checks
from vitc.training.hooks import Callback
from vitc.training.tools.tuner import MODES, LRFinder, Tuner

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class LearningRateFinder(Callback):
    """Runs `Tuner.lr_find` when `fit` starts, and trains with what it suggests; Lightning's.

    The arguments are those of `Tuner.lr_find`, num_training_steps its num_training. With
    update_attr the suggestion also becomes the rate of all parameter groups, where schedules start.
    `optimal_lr` is the `LRFinder` afterwards. A run that is resumed has its rate and is left alone.
    To search again in other epochs, call `lr_find(trainer, module)` in a hook of a subclass.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        checks.integer("num_training_steps", num_training_steps, 2)
        self.update_attr = update_attr
        self._options = dict(
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=num_training_steps,
            mode=checks.one_of("mode", mode, MODES),
            early_stop_threshold=early_stop_threshold,
            update_attr=update_attr,
            attr_name=attr_name,
        )
        self.optimal_lr: LRFinder | None = None

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        if not trainer.resumed and not trainer.fast_dev_run:
            self.lr_find(trainer, module)

    def lr_find(self, trainer: Trainer, module: Module) -> None:
        """A trial on the loader of the run."""
        loader = trainer.train_feed.loader
        self.optimal_lr = Tuner(trainer).lr_find(module, loader, **self._options)
        found = self.optimal_lr.suggestion()
        if found is not None and self.update_attr:
            for group in trainer.optimizer.param_groups:
                group["lr"] = group["initial_lr"] = found
