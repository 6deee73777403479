"""The user's module: models, a training step and an optimizer, under Lightning's names."""

import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any, Self

from vitc.arrays import Array
from vitc.models.model import Model
from vitc.models.weights import IncompatibleKeys
from vitc.parameters import Parameter
from vitc.training.hooks import ModuleHooks
from vitc.training.hparams import WithHyperParameters


class Module(WithHyperParameters, ModuleHooks):
    """What a `Trainer` trains; `vitc.LightningModule` is the same class.

    A subclass makes its models in `__init__` and returns a loss from `training_step` and an
    optimizer from `configure_optimizers`. Models (and modules) among its attributes are found.
    """

    trainer: Any = None
    training = True

    # ------------------------------------------------------------------------------- to override

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch, from `vitc.functional`, or a dict with it under "loss"."""
        raise NotImplementedError(f"{type(self).__name__} has no training_step()")

    def validation_step(self, batch: Any, batch_idx: int) -> Any: ...
    def test_step(self, batch: Any, batch_idx: int) -> Any: ...

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """The output for a batch; of a (images, labels) batch, for the images."""
        return self(batch[0] if isinstance(batch, tuple | list) else batch)

    def configure_optimizers(self) -> Any:
        """An optimizer, or with a schedule of its learning rate one of

        optimizer, schedule
        [optimizer], [schedule]
        {"optimizer": optimizer, "lr_scheduler": schedule}
        {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step",
         "frequency": 1, "monitor": "val_loss"}}
        """
        raise NotImplementedError(f"{type(self).__name__} has no configure_optimizers()")

    def configure_callbacks(self) -> Any:
        """Callbacks that come with this module."""
        return []

    def train_dataloader(self) -> Any: ...
    def val_dataloader(self) -> Any: ...
    def test_dataloader(self) -> Any: ...
    def predict_dataloader(self) -> Any: ...

    # ------------------------------------------------------------------------------- models

    def _children(self) -> Iterator[tuple[str, "Model | Module"]]:
        for name, value in vars(self).items():
            if isinstance(value, Model | Module):
                yield name, value

    def named_models(self) -> Iterator[tuple[str, Model]]:
        """Every model in it by the path of attributes that leads there, in order."""
        for name, child in self._children():
            if isinstance(child, Model):
                yield name, child
            else:
                yield from ((f"{name}.{below}", model) for below, model in child.named_models())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, model in self.named_models():
            for below, parameter in model.named_parameters():
                yield f"{name}.{below}", parameter

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def state_dict(self) -> dict[str, Array]:
        """Read-only views of all values, by the model's name and the parameter's."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Writes the values of state into the models.

        Raises `ValueError` as `Model.load_state_dict` does, and for keys of no model.
        """
        names = [name for name, _ in self.named_models()]
        strange = [key for key in state if not any(key.startswith(f"{n}.") for n in names)]
        if strange and strict:
            raise ValueError("the state dict has keys of no model: " + ", ".join(strange))
        missing: list[str] = []
        for name, model in self.named_models():
            part = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
            keys = model.load_state_dict(part, strict)
            missing += [f"{name}.{key}" for key in keys.missing_keys]
            strange += [f"{name}.{key}" for key in keys.unexpected_keys]
        return IncompatibleKeys(missing, strange)

    def train(self, mode: bool = True) -> Self:
        """Sets every model to training mode (or evaluation mode)."""
        self.training = bool(mode)
        for _, child in self._children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        return self.train(False)

    def requires_grad_(self, flag: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def freeze(self) -> None:
        """No parameter is trained, and all models are in evaluation mode."""
        self.requires_grad_(False).eval()

    def unfreeze(self) -> None:
        self.requires_grad_(True).train()

    # ------------------------------------------------------------------------------- from a file

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | PathLike[str], **changes: Any) -> Self:
        """The module of a checkpoint, made from its hyperparameters (with `changes`), and loaded.

        checkpoint_path: also a `.ckpt` file of Lightning. Raises `OSError` or `ValueError`, naming
        the path, for one that is absent or damaged.
        """
        from vitc.training.checkpoint import read_any

        checkpoint = read_any(checkpoint_path)
        module = cls(**{**checkpoint.hparams, **changes})
        checkpoint.load_models(module)
        module.on_load_checkpoint(checkpoint.state)
        return module

    # ------------------------------------------------------------------------------- the run

    @property
    def current_epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.trainer.global_step if self.trainer else 0

    @property
    def logger(self) -> Any:
        """The first logger of the run; None without one."""
        return self.trainer.logger if self.trainer else None

    def optimizers(self) -> Any:
        return self.trainer.optimizer

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        sync_dist: bool = False,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Logs a number: a step's value in training steps, the mean over the epoch elsewhere.

        The mean is weighted by batch_size, which is read from the batch unless it is given.
        reduce_fx: "mean", "sum", "min" or "max" over the epoch. sync_dist and rank_zero_only are
        accepted: a value is always that of all samples, and logged once.
        """
        if self.trainer is None:
            warnings.warn("self.log() was called without a trainer: ignored", stacklevel=2)
            return
        self.trainer.log(
            name,
            value,
            batch_size,
            prog_bar=prog_bar,
            logger=logger,
            on_step=on_step,
            on_epoch=on_epoch,
            reduce_fx=reduce_fx,
        )

    def log_dict(self, metrics: Mapping[str, Any], **options: Any) -> None:
        """`log` for each item."""
        for name, value in metrics.items():
            self.log(name, value, **options)

    def print(self, *args: Any, **options: Any) -> None:
        """`print`, without tearing the progress bar."""
        from tqdm import tqdm

        tqdm.write(" ".join(map(str, args)), **options)

    def __repr__(self) -> str:
        lines = [f"  {name}: {child!r}" for name, child in self._children()]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
