"""What is below a training loop, for who writes one: devices, precision, backward, clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.models.model import Model
from vitc.optim import Optimizer, dispatch_clip_grad
from vitc.runtime import set_num_threads
from vitc.tape import Loss
from vitc.training import run_state, settings

if TYPE_CHECKING:
    from vitc.training.module import Module

T = TypeVar("T")


class Run:
    """Settings of a run, and the steps that depend on them. A `Trainer` is built on one.

        run = vitc.Run(precision="bf16-mixed", devices=4)
        model, optimizer, loader = run.setup(model, optimizer, loader)
        for x, y in loader:
            run.backward(F.cross_entropy(model(x), y))
            run.clip_gradients(model, max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()
        run.save("checkpoint", {"model": model, "optimizer": optimizer, "loader": loader})

    accelerator, strategy, devices, num_nodes, precision: Lightning's; a step is made of devices *
    num_nodes shards, a batch of the loader each. threads: of this process, for all that follows.
    callbacks, loggers: one or several, of which `call` and `log` make use. Names and arguments are
    those of Lightning's Fabric.

    Several backward passes before a step give the mean over all their samples, where torch adds
    them up: do not divide a loss by the number of passes.

    Raises `ValueError` for what cannot run here.
    """

    num_devices: int
    num_nodes: int
    world_size: int
    precision: str
    global_rank: int = 0
    local_rank: int = 0
    is_global_zero: bool = True
    device: str = "cpu"
    root_device: str = "cpu"

    def __init__(
        self,
        accelerator: Any = "auto",
        strategy: Any = "auto",
        devices: int | str | Sequence[int] = "auto",
        num_nodes: int = 1,
        precision: Any = None,
        threads: int | None = None,
        *,
        callbacks: Any = None,
        loggers: Any = None,
    ) -> None:
        checks.integer("num_nodes", num_nodes, 1)
        self.num_devices, self.num_nodes = settings.count_devices(devices), num_nodes
        self.world_size = self.num_devices * num_nodes
        self.precision = settings.compute_precision(precision)
        self._own: list[tuple[Model, str]] = []  # what models compute in outside of `prepared`
        settings.check_place(accelerator, strategy, self.world_size)
        self.callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        self.loggers = settings.loggers("loggers", [] if loggers is None else loggers)
        if threads is not None:
            set_num_threads(checks.integer("threads", threads, 1))

    def launch(self, function: Callable[..., Any] | None = None, *args: Any, **options: Any) -> Any:
        """What the function returns, which gets this run first. There is no process to start."""
        return None if function is None else function(self, *args, **options)

    def setup(self, *objects: Any) -> Any:
        """The same objects, ready for this run: models in its precision, loaders giving the batch
        of all devices. One object comes back alone."""
        ready = tuple(self._ready(thing) for thing in objects)
        return ready[0] if len(ready) == 1 else ready

    setup_dataloaders = setup_module = setup_optimizers = setup

    def _ready(self, thing: Any) -> Any:
        if isinstance(thing, Model):
            self._set_precision(thing)
        is_loader = isinstance(thing, Iterable) and not hasattr(thing, "parameters")
        return _Joined(thing, self.world_size) if is_loader and self.world_size > 1 else thing

    def _set_precision(self, model: Model) -> None:
        if (self.precision == "float64") != (model.params.dtype == "float64"):
            raise ValueError(
                f"the model computes in {model.params.dtype}, the run in {self.precision}: "
                'float64 is for models made with create_model(..., dtype="float64")'
            )
        if self.precision == "bf16":
            model.precision = "bf16"

    @contextmanager
    def prepared(self, models: Iterable[Model]) -> Iterator[None]:
        """Within it the models compute in the precision of the run, afterwards as before."""
        before = [(model, model.precision) for model in models]
        outer, self._own = self._own, self._own or before
        try:
            for model, _ in before:
                self._set_precision(model)
            yield
        finally:
            self._own = outer
            for model, precision in before:
                if model.precision != precision:
                    model.precision = precision

    def own_precision(self, model: Model) -> str:
        """What a model computes in outside of the run."""
        return next((p for other, p in self._own if other is model), model.precision)

    def barrier(self, name: str | None = None) -> None:
        """Where all processes wait for each other. There is one: nothing to wait for."""

    def broadcast(self, obj: T, src: int = 0) -> T:
        """What process src has, which is this one."""
        return obj

    def all_gather(self, data: T) -> T:
        """What all processes have."""
        return data

    def print(self, *args: Any, **options: Any) -> None:
        print(*args, **options)

    def call(self, hook: str, *args: Any, **options: Any) -> None:
        """Calls the method of this name of every callback that has one."""
        for callback in self.callbacks:
            method = getattr(callback, hook, None)
            if method is not None:
                method(*args, **options)

    def log(self, name: str, value: Any, step: int | None = None) -> None:
        self.log_dict({name: value}, step)

    def log_dict(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Gives numbers, losses or arrays of one element to every logger."""
        numbers = {name: float(value) for name, value in metrics.items()}
        for logger in self.loggers:
            logger.log_metrics(numbers, step)

    def backward(self, loss: Loss) -> None:
        """Adds the gradients of a loss to the parameters."""
        loss.backward()

    def save(self, path: str | PathLike[str], state: Mapping[str, Any]) -> None:
        """Writes a checkpoint, from which `load` goes on with the same bits.

            run.save("ck", {"model": model, "optimizer": optimizer, "loader": loader, "epoch": 3})

        state: by name, models, modules, optimizers, whatever else has state_dict() (loaders know
        their place in the epoch), and values. The seed and position of random draws are kept, too.
        A checkpoint of this name is replaced whole. Raises `FileExistsError` for anything else
        there, `TypeError` for a value that cannot be kept; nothing is written then.
        """
        run_state.save(path, state)

    def load(
        self,
        path: str | PathLike[str],
        state: MutableMapping[str, Any] | None = None,
        strict: bool = True,
    ) -> dict[str, Any]:
        """Gives the objects of state what `save` has kept under their names, puts the kept values
        in the place of others, and returns what state does not name.

        strict: False passes over names that were not saved, else they are a `KeyError`. Raises
        `ValueError` for a file that is damaged or does not fit; nothing is changed then.
        """
        return run_state.load(path, state, strict)

    def clip_gradients(
        self,
        module: Model | Module,
        optimizer: Optimizer | None = None,
        clip_val: float | None = None,
        max_norm: float | None = None,
    ) -> None:
        """Cuts the gradients of a model or module: their norm together to max_norm, or each element
        to clip_val, as torch does. optimizer: of which only the parameters are meant."""
        if (max_norm is None) == (clip_val is None):
            raise ValueError("clip_gradients needs max_norm or clip_val")
        parameters = list(module.parameters())
        if optimizer is not None:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            parameters = [p for p in parameters if id(p) in own]
        if max_norm is not None:
            dispatch_clip_grad(parameters, max_norm, "norm")
        elif clip_val is not None:
            dispatch_clip_grad(parameters, clip_val, "value")


class _Joined:
    """A loader whose batches are `count` of another's, joined: what that many devices would get."""

    def __init__(self, loader: Iterable[Any], count: int) -> None:
        self._loader, self._count = loader, count

    def __len__(self) -> int:
        return -(-len(self._loader) // self._count)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is. Raises `AttributeError` for one that does not say."""
        return dict(self._loader.state_dict())  # type: ignore[attr-defined]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loader.load_state_dict(state)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Any]:
        waiting: list[Any] = []
        for batch in self._loader:
            waiting.append(batch)
            if len(waiting) == self._count:
                yield _join(waiting)
                waiting = []
        if waiting:
            yield _join(waiting)


def _join(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, tuple | list):
        return tuple(_join([batch[i] for batch in batches]) for i in range(len(first)))
    if isinstance(first, dict):
        return {key: _join([batch[key] for batch in batches]) for key in first}
    joined: Array = np.concatenate([np.asarray(batch) for batch in batches])
    return joined
