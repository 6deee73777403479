"""Averaged weights beside the trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.arrays import Array
from vitc.errors import VitcError
from vitc.optim import ModelEmaV3
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class EMA(Callback):
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
        self.decay, self.options = decay, options
        self.averages: dict[str, ModelEmaV3] = {}
        self._models: dict[str, Any] = {}
        self._loaded: dict[str, dict[str, Array]] = {}
        self._step = 0
        self._swapped = False

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        trained = {
            name: model
            for name, model in module.named_models()
            if any(p.requires_grad for p in model.parameters())
        }
        total = trainer.estimated_stepping_batches
        self._models = trained
        self.averages = {
            name: ModelEmaV3(model, self.decay, total_steps=total, **self.options)
            for name, model in trained.items()
        }
        self._step, self._swapped = trainer.global_step, False
        for name, average in self.averages.items():
            if name in self._loaded:
                average.module.load_state_dict(self._loaded[name], allow_nonfinite=True)
        self._loaded = {}

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        for name, average in self.averages.items():
            average.update(self._models[name], self._step)

    def on_validation_start(self, trainer: Trainer, module: Module) -> None:
        if trainer.fitting and not trainer.sanity_checking:
            self._swap()

    def on_validation_end(self, trainer: Trainer, module: Module) -> None:
        self._swap_back()

    def on_train_end(self, trainer: Trainer, module: Module) -> None:
        self._swap_back()  # a validation that was interrupted

    def on_exception(self, trainer: Trainer, module: Module, exception: BaseException) -> None:
        self._swap_back()

    def on_save_checkpoint(
        self, trainer: Trainer, module: Module, checkpoint: dict[str, Any]
    ) -> None:
        if self._swapped:
            raise VitcError(
                "cannot checkpoint during validation: the models hold their averages then"
            )

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:
        if stage == "fit" and not trainer.interrupted:
            for name, average in self.averages.items():
                state = average.module.state_dict()
                self._models[name].load_state_dict(state, allow_nonfinite=True)

    def _swap(self) -> None:
        self._swapped = not self._swapped
        for name, average in self.averages.items():
            model = self._models[name]
            trained = {key: np.array(value) for key, value in model.state_dict().items()}
            model.load_state_dict(average.module.state_dict(), allow_nonfinite=True)
            average.module.load_state_dict(trained, allow_nonfinite=True)

    def _swap_back(self) -> None:
        if self._swapped:
            self._swap()

    def memory(self, parts: dict[str, int]) -> dict[str, int]:
        return {"averages": parts["gradients"]}

    def validated_weights(self) -> dict[str, dict[str, Array]]:
        return {name: average.module.state_dict() for name, average in self.averages.items()}

    def load_validated_weights(self, weights: dict[str, dict[str, Array]]) -> None:
        self._loaded = weights
