"""Checkpoints of Lightning (`.ckpt`) and of timm's training script (`.pth.tar`), to resume from.

They are files of torch.save, read without executing anything. What is taken over: weights,
hyperparameters, the optimizer's state, and how far the run was. Not the order of the data, which is
another one here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc.arrays import Array
from vitc.errors import said, shown, word_of
from vitc.models.weights import torch_file
from vitc.models.weights.keys import renamed, weights_of
from vitc.models.weights.mapped import DAMAGE
from vitc.models.weights.unpickle import Opaque

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class Foreign:
    """A file of another trainer. Raises `ValueError`, naming it, for one that cannot be read."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        try:
            content, self._array = torch_file.read(self.path)
            weights = weights_of(content, torch_file.TENSORS, use_ema=False)
            self._weights = {name: self._array(t) for name, t in weights.state.items()}
        except DAMAGE as error:
            raise ValueError(
                f"{self.path} is not a checkpoint that can be read: {said(error)}"
            ) from None
        self.state: dict[str, Any] = dict(content)

    @property
    def hparams(self) -> dict[str, Any]:
        """What Lightning's save_hyperparameters kept. Objects of classes are not read: a warning
        names them."""
        given = self.state.get("hyper_parameters")
        given = given if isinstance(given, Mapping) else {}
        for name, value in given.items():
            if isinstance(value, Opaque):
                warnings.warn(
                    f"{self.path}: the hyperparameter {shown(name)} is a {word_of(value.name)}, "
                    "which is not read; give it as an argument",
                    stacklevel=3,
                )
        return {
            name: value
            for name, value in given.items()
            if isinstance(name, str) and not isinstance(value, Opaque)
        }

    def load_models(self, module: Module, strict: bool = True) -> None:
        """Gives the models of module their weights, under whichever attribute they had been if
        there is one model only. strict: False leaves out keys that are missing or left over."""
        module.on_load_checkpoint(self.state)  # type: ignore[attr-defined]
        models = dict(module.named_models())
        try:
            if len(models) == 1:
                (model,) = models.values()
                model.load_state_dict(renamed(self._weights, model.shapes), strict)
            else:
                module.load_state_dict(self._weights, strict)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def load_run(self, trainer: Trainer) -> None:
        """Sets models, optimizer and counters to the state of the file."""
        try:
            optimizer, place, step = self._optimizer(), self._place(), self._step()
        except DAMAGE as error:
            raise ValueError(f"{self.path} is a damaged checkpoint: {said(error)}") from None
        self.load_models(trainer.module)
        if optimizer is None:
            raise ValueError(f"{self.path} holds weights only and cannot be resumed")
        trainer.optimizer.load_state_dict(optimizer)
        state = trainer.state
        (state.epoch, state.batch), state.step = place, step

    def _optimizer(self) -> dict[str, Any] | None:
        """The state in torch's layout; of the settings, those that the optimizer here has too."""
        given = (self.state.get("optimizer_states") or [self.state.get("optimizer")])[0]
        if not given:
            return None
        rows = {
            int(number): {name: self._value(value) for name, value in row.items()}
            for number, row in given["state"].items()
        }
        names = ("params", "lr", "initial_lr", "betas", "momentum", "weight_decay", "eps")
        groups = [{k: v for k, v in g.items() if k in names} for g in given["param_groups"]]
        return {"state": rows, "param_groups": groups}

    def _step(self) -> int:
        """How many steps the optimizer has made."""
        optimizer = self._optimizer() or {"state": {}}
        steps = [int(row.get("step", 0)) for row in optimizer["state"].values()]
        return int(self.state.get("global_step", max(steps, default=0)))

    def _value(self, value: Any) -> Array | Any:
        if not isinstance(value, torch_file.TENSORS):
            return value
        array = self._array(value)
        return array if array.ndim else array.item()

    def _place(self) -> tuple[int, int]:
        """(epoch, batch) to begin with."""
        loop = self._loop()
        if not loop:  # timm writes at the end of an epoch
            return int(self.state.get("epoch", -1)) + 1, 0
        epochs = loop["epoch_progress"]["current"]
        batches = loop["epoch_loop.batch_progress"]
        whole = epochs["processed"] >= epochs["started"] or batches["is_last_batch"]
        if whole:
            return int(epochs["started"]), 0
        return int(epochs["started"]) - 1, int(batches["current"]["ready"])

    def _loop(self) -> Mapping[str, Any]:
        loops = self.state.get("loops") or {}
        return dict(loops.get("fit_loop") or {})
