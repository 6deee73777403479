"""The user's module: models, a training step and an optimizer, under Lightning's names."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vitc import checks
from vitc.arrays import Array
from vitc.errors import nearest, shown
from vitc.models.features import FeatureGetterNet
from vitc.models.model import Model
from vitc.models.weights import IncompatibleKeys
from vitc.parameters import Parameter
from vitc.training import rows
from vitc.training.hooks import ModuleHooks
from vitc.training.hparams import WithHyperParameters, read_hparams
from vitc.training.settings import notice

if TYPE_CHECKING:
    from vitc.optim import Optimizer
    from vitc.training.trainer import Trainer


def _arguments(kind: type) -> list[str]:
    """The names that an `__init__` takes, but for *args and **kwargs."""
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _taken(kind: type, hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that are arguments of an `__init__`; all, if it takes any."""
    parameters = inspect.signature(kind).parameters.values()
    anything = any(p.kind == p.VAR_KEYWORD for p in parameters)
    names = hparams if anything else _arguments(kind)
    return {name: value for name, value in hparams.items() if name in names}


class Module(WithHyperParameters, ModuleHooks):
    """What a `Trainer` trains; `vitc.LightningModule` is the same class.

    A subclass makes its models in `__init__` and returns a loss from `training_step` and an
    optimizer from `configure_optimizers`. Models (and modules) among its attributes are found.
    """

    trainer: "Trainer | None" = None
    training = True
    automatic_optimization = True
    example_input_array: Any = None

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
            elif isinstance(value, FeatureGetterNet):  # whose parameters timm calls so, too
                yield f"{name}.model", value.model

    def named_models(self) -> Iterator[tuple[str, Model]]:
        """Every model in it, once, by the first path of attributes that leads there, in order."""
        seen: set[int] = set()
        for name, model in self._all_models():
            if id(model) not in seen:
                seen.add(id(model))
                yield name, model

    def _all_models(self) -> Iterator[tuple[str, Model]]:
        for name, child in self._children():
            if isinstance(child, Model):
                yield name, child
            else:
                yield from ((f"{name}.{below}", model) for below, model in child._all_models())

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
        """Writes the values of state into the models; nothing is written if it raises.

        Raises `ValueError` as `Model.load_state_dict` does, and for keys of no model.
        """
        names = [name for name, _ in self.named_models()]
        strange = [key for key in state if not any(key.startswith(f"{n}.") for n in names)]
        if strange and strict:
            raise ValueError("the state dict has keys of no model: " + ", ".join(strange))
        missing: list[str] = []
        checked = []
        for name, model in self.named_models():
            part = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
            ready, keys = model.checked_state(part, strict)
            checked.append((model, ready))
            missing += [f"{name}.{key}" for key in keys.missing_keys]
            strange += [f"{name}.{key}" for key in keys.unexpected_keys]
        for model, ready in checked:
            model.write(ready)
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

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it every model is in evaluation mode, afterwards as before."""
        before = [(model, model.training) for _, model in self.named_models()]
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.training = training
            for model, mode in before:
                model.train(mode)

    # ------------------------------------------------------------------------------- files

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | PathLike[str],
        map_location: Any = None,
        hparams_file: str | PathLike[str] | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **changes: Any,
    ) -> Self:
        """The module of a checkpoint, made from its hyperparameters (with `changes`), and loaded.

        checkpoint_path: also a `.ckpt` file of Lightning. hparams_file: JSON or YAML, whose values
        take the place of the checkpoint's hyperparameters. strict: False leaves out what does not
        fit, such as a head of other classes, with a warning. map_location: the CPU, in any
        spelling. weights_only: a file never executes anything.

        Raises `OSError` or `ValueError`, naming the path, for one that is absent or damaged.
        """
        from vitc.training.checkpoint import read_any

        if map_location is not None and not str(map_location).startswith("cpu"):
            notice(f"map_location={shown(map_location)}: vitc computes on the CPU")
        checkpoint = read_any(checkpoint_path)
        kept = checkpoint.hparams if hparams_file is None else read_hparams(hparams_file)
        name = checkpoint.state.get("hparams_name")
        if name in _arguments(cls):
            kept = {name: {**kept, **{n: changes.pop(n) for n in list(changes) if n in kept}}}
        module = cls(**{**_taken(cls, kept), **changes})
        checkpoint.load_models(module, strict is not False)
        return module

    def to_onnx(
        self, file_path: str | PathLike[str], input_sample: Any = None, **options: Any
    ) -> Path:
        """Writes what `forward` does in evaluation mode to an ONNX file; returns its path.

        input_sample: a batch, by default `example_input_array`, of which only the shape is looked
        at; without both the size of the batch is left open. options: those of `vitc.onnx.export`,
        which are torch's. A hyperparameter `class_names` gives the file its labels.

        Raises what `vitc.onnx.export` does, and `ValueError` for a `forward` that is not one of the
        models alone: softmax of its output, say, which no model holds.
        """
        from vitc.onnx import export_module

        sample = self.example_input_array if input_sample is None else input_sample
        return export_module(self, file_path, sample, options)

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

    @property
    def loggers(self) -> list[Any]:
        return self.trainer.loggers if self.trainer else []

    @property
    def global_rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    local_rank = global_rank

    @property
    def device(self) -> str:
        return "cpu"

    def to(self, device: Any) -> Self:
        """Itself. Raises `ValueError` for anything but the CPU."""
        checks.on_cpu(device)
        return self

    def cpu(self) -> Self:
        return self

    def children(self) -> Iterator["Model | Module"]:
        """Models and modules among the attributes."""
        return (child for _, child in self._children())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for model in dict(self.named_models()).values():
            model.zero_grad()

    def optimizers(self, use_pl_optimizer: bool = True) -> "Optimizer":
        """The optimizer of the run. Raises `RuntimeError` without one."""
        if self.trainer is None:
            raise RuntimeError("the module has no trainer, and so no optimizer")
        return self.trainer.optimizer

    def lr_schedulers(self) -> Any:
        """The schedule of the run, a list of several, or None."""
        found = [c.scheduler for c in self.trainer.lr_scheduler_configs] if self.trainer else []
        return found if len(found) > 1 else next(iter(found), None)

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Logs a number: a step's value in training steps, the mean over the epoch elsewhere.

        value: a number, an array of one element, a loss, or a metric: an object with update(),
        compute() and reset(), such as those of `vitc.metrics` and torchmetrics, which is computed
        and reset at the end of the epoch. The mean is weighted by batch_size, which is read from
        the batch unless it is given. reduce_fx: "mean", "sum", "min" or "max" over the epoch.
        add_dataloader_idx: with several loaders the name gets `/dataloader_idx_<i>`.

        enable_graph, sync_dist, sync_dist_group, metric_attribute and rank_zero_only need nothing
        here: a value is always that of all samples, and logged once.

        Raises `ValueError` in a hook where nothing can be logged, `TypeError` for another value.
        """
        rows.log(
            self.trainer,
            name,
            value,
            on_step=on_step,
            on_epoch=on_epoch,
            batch_size=batch_size,
            add_dataloader_idx=add_dataloader_idx,
            reduce_fx=reduce_fx,
            prog_bar=prog_bar,
            logger=logger,
        )

    def log_dict(self, dictionary: Mapping[str, Any], **options: Any) -> None:
        """`log` for each item. Raises `TypeError` for anything but a mapping."""
        if not isinstance(dictionary, Mapping):
            raise TypeError(f"log_dict() got {shown(dictionary)}, expected names and values")
        for name, value in dictionary.items():
            self.log(name, value, **options)

    def print(self, *args: Any, **options: Any) -> None:
        """`print`, without tearing the progress bar."""
        from tqdm import tqdm

        tqdm.write(" ".join(map(str, args)), **options)

    if not TYPE_CHECKING:  # to which names that are not known stay faults

        def __getattr__(self, name: str) -> Any:
            if "_hparams" not in vars(self):
                raise AttributeError(
                    f"{type(self).__name__}.__init__() has not called super().__init__()"
                )
            known = [n for n in (*vars(self), *dir(type(self))) if not n.startswith("_")]
            raise AttributeError(
                f"{type(self).__name__} has no attribute {shown(name)}; {nearest(name, known)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles are without the trainer."""
        return {name: value for name, value in vars(self).items() if name != "trainer"}

    def __repr__(self) -> str:
        lines = [f"  {name}: {child!r}" for name, child in self._children()]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
