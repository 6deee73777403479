"""The moving average of the weights, with timm's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.models.model import Model
from vitc.optim import ModelEmaV3
from vitc.training.callbacks.averaging import Average, Averaging

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class EMA(Averaging):
    """Keeps an exponential moving average of the weights, with which the model is validated.

    decay: how much of the average a step keeps; "auto" averages over the last 5 % of the run, which
    short runs need. The other arguments are those of `vitc.optim.ModelEmaV3`. Only models with
    parameters that are trained are averaged.

    A checkpoint holds the averages as the weights of the models, since those were validated, and
    the trained weights beside them, from which a run is resumed. When `fit` has come to its end the
    module holds the averages.
    """

    state_key = "ema"

    def __init__(self, decay: float | str = "auto", **options: Any) -> None:
        super().__init__()
        self.decay = decay if decay == "auto" else checks.probability("decay", decay)  # type: ignore[arg-type]
        self.options = options
        self._step = 0

    def average_of(self, trainer: Trainer, model: Model) -> Average:
        total = trainer.estimated_stepping_batches
        return ModelEmaV3(model, self.decay, total_steps=total, **self.options)

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        super().on_fit_start(trainer, module)
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        for name, average in self.averages.items():
            average.update(self._models[name], self._step)
