"""Averages of weights, beside those that are trained, with which a model is validated."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vitc import _vitc, checks
from vitc.arrays import Array
from vitc.errors import VitcError
from vitc.models.model import Model
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class Average(Protocol):
    """What holds the averages of a model."""

    module: Model


class Averaging(Callback):
    """Keeps an average of every model with parameters that are trained, and validates with it.

    A checkpoint holds the averages as the weights of the models, since those were validated, and
    the trained weights beside them, from which a run is resumed. When `fit` has come to its end the
    module holds the averages. A subclass says what an average is and when it moves.
    """

    def __init__(self) -> None:
        self.averages: dict[str, Any] = {}
        self._models: dict[str, Model] = {}
        self._loaded: dict[str, dict[str, Array]] = {}
        self._trained: dict[str, dict[str, Array]] = {}  # once the models hold the averages
        self._swapped = False

    def average_of(self, trainer: Trainer, model: Model) -> Average:
        """A new average, which is a copy of the model."""
        raise NotImplementedError

    @property
    def has_begun(self) -> bool:
        """Whether anything has been averaged; before that the trained weights are what counts."""
        return True

    def setup(self, trainer: Trainer, module: Module, stage: str) -> None:
        if stage == "fit":
            self._loaded = {}  # of a run that did not come to its start
            self._trained = {}

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        if sum(isinstance(callback, Averaging) for callback in trainer.callbacks) > 1:
            raise ValueError("two callbacks average the weights: only one can be validated")
        self._models = {
            name: model
            for name, model in module.named_models()
            if any(p.requires_grad for p in model.parameters())
        }
        self.averages = {name: self.average_of(trainer, m) for name, m in self._models.items()}
        self._swapped = False
        for name, average in self.averages.items():
            if name in self._loaded:
                average.module.load_state_dict(self._loaded[name], allow_nonfinite=True)
        self._loaded = {}

    def on_validation_start(self, trainer: Trainer, module: Module) -> None:
        if trainer.fitting and not trainer.sanity_checking and self.has_begun:
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
        if stage == "fit" and not trainer.interrupted and self.has_begun:
            for name, average in self.averages.items():
                model, state = self._models[name], average.module.state_dict()
                self._trained[name] = {k: np.array(x) for k, x in model.state_dict().items()}
                model.load_state_dict(state, allow_nonfinite=True)

    def trained_weights(self) -> dict[str, dict[str, Array]]:
        return self._trained

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
        if not self.has_begun:
            return {}
        return {name: average.module.state_dict() for name, average in self.averages.items()}

    def load_validated_weights(self, weights: dict[str, dict[str, Array]]) -> None:
        self._loaded = weights


class _Copy:
    """A copy of a model, in evaluation mode, that moves towards it."""

    def __init__(self, model: Model) -> None:
        self.module = deepcopy(model).eval()

    def move(self, model: Model, share: float) -> None:
        _vitc.average(self.module.params, model.params, share)


class WeightAveraging(Averaging):
    """The equal average of the weights after each optimizer step; Lightning's `WeightAveraging`.

    Override `should_update` to average after other steps, or after epochs. Before the first update
    there is no average: the trained weights are validated, stored and kept (Lightning takes those
    of the beginning then). device, use_buffers: as in Lightning; there is one memory, and models
    have no buffers.
    """

    state_key = "WeightAveraging"

    def __init__(self, device: str | None = None, use_buffers: bool = True) -> None:
        checks.one_of("device", device, (None, "cpu"))
        super().__init__()
        self._forget()

    def _forget(self) -> None:
        self.n_averaged, self._latest_update_step, self._latest_update_epoch = 0, 0, -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after this optimizer step, or after this epoch, counted from 0; one of
        the two is given."""
        return step_idx is not None

    def share(self, n_averaged: int) -> float:
        """How far the average moves towards the weights, after so many updates."""
        return 1.0 / (n_averaged + 1)

    def average_of(self, trainer: Trainer, model: Model) -> Average:
        return _Copy(model)

    @property
    def has_begun(self) -> bool:
        return self.n_averaged > 0

    def setup(self, trainer: Trainer, module: Module, stage: str) -> None:
        super().setup(trainer, module, stage)
        if stage == "fit":
            self._forget()

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._update()
            self._latest_update_step = step

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._update()
            self._latest_update_epoch = epoch

    def _update(self) -> None:
        for name, average in self.averages.items():
            average.move(self._models[name], self.share(self.n_averaged))
        self.n_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "n_averaged": self.n_averaged,
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = ("n_averaged", "latest_update_step", "latest_update_epoch")
        numbers = [checks.integer(name, state.get(name), -1) for name in names]
        self.n_averaged, self._latest_update_step, self._latest_update_epoch = numbers


class EMAWeightAveraging(WeightAveraging):
    """An exponential moving average of the weights: Lightning's `EMAWeightAveraging`.

    decay: how much of the average an update keeps; the first is a copy. It is updated after every
    update_every_n_steps-th step, from update_starting_at_step on; if update_starting_at_epoch is
    given, also after each epoch from that on. device, use_buffers: as of `WeightAveraging`.

    `EMA` has timm's options, and a decay that suits the length of the run.
    """

    def __init__(
        self,
        device: str | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        super().__init__(device, use_buffers)
        self.decay = checks.probability("decay", decay)
        self.update_every_n_steps = checks.integer("update_every_n_steps", update_every_n_steps, 0)
        step, epoch = update_starting_at_step, update_starting_at_epoch
        self.update_starting_at_step = checks.optional(
            checks.integer, "update_starting_at_step", step, 0
        )
        self.update_starting_at_epoch = checks.optional(
            checks.integer, "update_starting_at_epoch", epoch, 0
        )

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None:
            every, first = self.update_every_n_steps, self.update_starting_at_step or 0
            return every > 0 and step_idx >= first and step_idx % every == 0
        start = self.update_starting_at_epoch
        return epoch_idx is not None and start is not None and epoch_idx >= start

    def share(self, n_averaged: int) -> float:
        return 1.0 - self.decay if n_averaged else 1.0
