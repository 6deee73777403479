"""What users read of a trainer, under Lightning's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Never, Self, TypeVar, cast, overload

from vitc.errors import nearest, shown
from vitc.training import rows
from vitc.training.settings import PARTS, Settings

if TYPE_CHECKING:
    from vitc.optim import Optimizer
    from vitc.training.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
    from vitc.training.feed import Feed
    from vitc.training.hooks import Callback
    from vitc.training.module import Module
    from vitc.training.run import Run
    from vitc.training.schedule import Schedules, Scheduling
    from vitc.training.state import State
    from vitc.training.trainer import Trainer


T = TypeVar("T")
C = TypeVar("C", bound="Callback")
_VAL = ("fit", "validate")  # the stages that read validation loaders
_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "float64": "64-true"}


class Read(Generic[T]):
    """A property that is an expression of the trainer."""

    def __init__(self, expression: Callable[[Attributes], T]) -> None:
        self.expression = expression

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, trainer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, trainer: Attributes, owner: type) -> T: ...
    def __get__(self, trainer: Attributes | None, owner: type) -> T | Self:
        return self if trainer is None else self.expression(trainer)

    def __set__(self, trainer: Attributes, value: Never) -> None:
        raise AttributeError(f"{self.name} of a Trainer can only be read")


class Attributes(Settings):
    """The settings, the position and the parts of a run, to read."""

    run: Run
    state: State
    schedules: Schedules
    callbacks: list[Callback]
    loggers: list[Any]
    is_last_batch: bool
    logged: dict[str, float]
    shown: dict[str, float]
    val_feeds: list[Feed]
    _module: Module | None
    _optimizer: Optimizer | None
    _train_feed: Feed | None

    # ------------------------------------------------------------------------------- parts

    @property
    def module(self) -> Module:
        """The module. Raises `RuntimeError` before there is one."""
        if self._module is None:
            raise RuntimeError("there is no module yet: fit(), validate(), ... bring it")
        return self._module

    @property
    def optimizer(self) -> Optimizer:
        """Raises `RuntimeError` where nothing is trained."""
        if self._optimizer is None:
            raise RuntimeError("there is no optimizer: nothing has been trained yet")
        return self._optimizer

    @property
    def train_feed(self) -> Feed:
        if self._train_feed is None:
            raise RuntimeError("there is no training loader: nothing has been trained yet")
        return self._train_feed

    # None where there is none; of several validation, test or prediction loaders a list.
    lightning_module = Read(lambda t: t._module)
    model = lightning_module
    optimizers = Read(lambda t: [] if t._optimizer is None else [t._optimizer])
    lr_scheduler_configs: Read[list[Scheduling]] = Read(lambda t: t.schedules.configs)
    train_dataloader = Read(lambda t: None if t._train_feed is None else t._train_feed.loader)
    val_dataloaders = Read(lambda t: _one_or_all([feed.loader for feed in t._feeds_of(*_VAL)]))
    test_dataloaders = Read(lambda t: _one_or_all([feed.loader for feed in t._feeds_of("test")]))
    predict_dataloaders = Read(
        lambda t: _one_or_all([feed.loader for feed in t._feeds_of("predict")])
    )
    logger: Read[Any] = Read(lambda t: next(iter(t.loggers), None))  # the first
    checkpoint_callbacks: Read[list[ModelCheckpoint]] = Read(
        lambda t: t._callbacks_of(_kinds().ModelCheckpoint)
    )
    checkpoint_callback: Read[ModelCheckpoint | None] = Read(
        lambda t: next(iter(t.checkpoint_callbacks), None)
    )
    early_stopping_callbacks: Read[list[EarlyStopping]] = Read(
        lambda t: t._callbacks_of(_kinds().EarlyStopping)
    )
    early_stopping_callback: Read[EarlyStopping | None] = Read(
        lambda t: next(iter(t.early_stopping_callbacks), None)
    )
    progress_bar_callback: Read[ProgressBar | None] = Read(
        lambda t: next(iter(t._callbacks_of(_kinds().ProgressBar)), None)
    )

    @property
    def log_dir(self) -> Path:
        """Where this run writes: the first logger's directory, else default_root_dir."""
        places = [logger.log_dir for logger in self.loggers if hasattr(logger, "log_dir")]
        return Path(places[0]) if places else self.default_root_dir

    def _feeds_of(self, *stages: str) -> list[Feed]:
        return self.val_feeds if self.state.fn in stages else []

    def _callbacks_of(self, kind: type[C]) -> list[C]:
        return [callback for callback in self.callbacks if isinstance(callback, kind)]

    # ------------------------------------------------------------------------------- metrics

    callback_metrics = Read(lambda t: t._refreshed().state.metrics)  # what callbacks may monitor
    logged_metrics = Read(lambda t: t._refreshed().logged)  # and single steps, of which no row is
    progress_bar_metrics = Read(lambda t: t._refreshed().shown)

    def _refreshed(self) -> Self:
        rows.refresh(cast("Trainer", self))
        return self

    # ------------------------------------------------------------------------------- its place

    @property
    def should_stop(self) -> bool:
        """Whether training is to end; heeded after min_epochs and min_steps."""
        return self.state.stop != ""

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self.state.stop = (self.state.stop or "pause") if value else ""

    current_epoch = Read(lambda t: t.state.epoch)
    global_step = Read(lambda t: t.state.step)  # optimizer steps so far
    last_epoch = Read(lambda t: 0 <= t.max_epochs <= t.state.epoch + 1)
    fitting = Read(lambda t: t.state.fn == "fit" and t.state.stage is not None)
    training = Read(lambda t: t.state.stage == "train")
    sanity_checking = Read(lambda t: t.state.stage == "sanity_check")
    validating = Read(lambda t: t.state.stage == "validate")  # not in a sanity check
    testing = Read(lambda t: t.state.stage == "test")
    predicting = Read(lambda t: t.state.stage == "predict")
    evaluating = Read(lambda t: t.validating or t.testing or t.sanity_checking)

    # ------------------------------------------------------------------------------- sizes

    @property
    def num_training_batches(self) -> int | None:
        """Batches of a device per epoch; None if the loader does not say."""
        count = self.train_feed.count
        return None if count is None else -(-count // self.world_size)

    @property
    def num_sanity_val_batches(self) -> list[int | None]:
        most = self.num_sanity_val_steps
        counts = [feed.count for feed in self._feeds_of("fit")]
        return counts if most < 0 else [most if n is None else min(most, n) for n in counts]

    # Batches of each loader; None for one that does not say.
    num_val_batches = Read(lambda t: [feed.count for feed in t._feeds_of(*_VAL)])
    num_test_batches = Read(lambda t: [feed.count for feed in t._feeds_of("test")])
    num_predict_batches = Read(lambda t: [feed.count for feed in t._feeds_of("predict")])
    window_batches: Read[int] = Read(
        lambda t: t.accumulate_grad_batches * t.world_size
    )  # of an optimizer step
    world_size: Read[int] = Read(lambda t: t.run.world_size)
    num_devices: Read[int] = Read(lambda t: t.run.num_devices)
    num_nodes: Read[int] = Read(lambda t: t.run.num_nodes)
    device_ids: Read[list[int]] = Read(
        lambda t: list(range(t.num_devices))
    )  # of the shards of a step on one node
    strategy: Read[Run] = Read(lambda t: t.run)
    accelerator: Read[str] = Read(lambda t: t.run.device)
    precision: Read[str] = Read(lambda t: _PRECISIONS[t.run.precision])
    is_global_zero: Read[bool] = Read(lambda t: t.run.is_global_zero)
    global_rank: Read[int] = Read(lambda t: t.run.global_rank)
    local_rank: Read[int] = Read(lambda t: t.run.local_rank)
    node_rank = local_rank

    if not TYPE_CHECKING:  # to which names that are not known stay faults

        def __getattr__(self, name: str) -> Any:
            if name.startswith("limit_") and name[6:].removesuffix("_batches") in PARTS:
                limit = self.limits[name[6:].removesuffix("_batches")]
                return 1.0 if limit is None else limit
            known = [n for n in dir(self) if not n.startswith("_")]
            raise AttributeError(
                f"a Trainer has no attribute {shown(name)}; {nearest(name, known)}"
            )


def _one_or_all(found: list[Any]) -> Any:
    return found if len(found) > 1 else next(iter(found), None)


def _kinds() -> ModuleType:
    from vitc.training import callbacks

    return callbacks
