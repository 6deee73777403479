"""What users read of a trainer, under Lightning's names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc.errors import nearest, shown
from vitc.training.settings import PARTS, Settings

if TYPE_CHECKING:
    from vitc.optim import Optimizer
    from vitc.training.callbacks import EarlyStopping, ModelCheckpoint
    from vitc.training.feed import Feed
    from vitc.training.hooks import Callback
    from vitc.training.module import Module
    from vitc.training.run import Run
    from vitc.training.schedule import Schedules, Scheduling
    from vitc.training.state import State


class Attributes(Settings):
    """The settings, the position and the parts of a run, to read."""

    run: Run
    state: State
    schedules: Schedules
    callbacks: list[Callback]
    loggers: list[Any]
    stage: str
    sanity_checking: bool
    training: bool
    is_last_batch: bool
    val_feeds: list[Feed]
    _module: Module | None
    _optimizer: Optimizer | None
    _train_feed: Feed | None

    # ------------------------------------------------------------------------------- parts

    @property
    def lightning_module(self) -> Module | None:
        return self._module

    model = lightning_module

    @property
    def module(self) -> Module:
        """The same. Raises `RuntimeError` before there is one."""
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
    def optimizers(self) -> list[Optimizer]:
        return [] if self._optimizer is None else [self._optimizer]

    @property
    def lr_scheduler_configs(self) -> list[Scheduling]:
        return self.schedules.configs

    @property
    def train_feed(self) -> Feed:
        if self._train_feed is None:
            raise RuntimeError("there is no training loader: nothing has been trained yet")
        return self._train_feed

    @property
    def train_dataloader(self) -> Any:
        """The loader of the run; None without one."""
        return None if self._train_feed is None else self._train_feed.loader

    @property
    def val_dataloaders(self) -> Any:
        """The loader that is validated, tested or predicted with, or a list of several; None
        without one."""
        found = [feed.loader for feed in self.val_feeds]
        return found if len(found) > 1 else next(iter(found), None)

    test_dataloaders = predict_dataloaders = val_dataloaders

    @property
    def logger(self) -> Any:
        """The first logger; None without one."""
        return self.loggers[0] if self.loggers else None

    @property
    def checkpoint_callbacks(self) -> list[ModelCheckpoint]:
        from vitc.training.callbacks import ModelCheckpoint

        return [c for c in self.callbacks if isinstance(c, ModelCheckpoint)]

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[EarlyStopping]:
        from vitc.training.callbacks import EarlyStopping

        return [c for c in self.callbacks if isinstance(c, EarlyStopping)]

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def log_dir(self) -> Path:
        """Where this run writes: the first logger's directory, else default_root_dir."""
        places = [logger.log_dir for logger in self.loggers if hasattr(logger, "log_dir")]
        return Path(places[0]) if places else self.default_root_dir

    # ------------------------------------------------------------------------------- its place

    @property
    def current_epoch(self) -> int:
        return self.state.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.state.step

    @property
    def last_epoch(self) -> bool:
        return self.max_epochs is not None and self.state.epoch + 1 >= self.max_epochs

    @property
    def fitting(self) -> bool:
        return self.stage == "fit"

    @property
    def validating(self) -> bool:
        return self.stage == "validate" or (self.fitting and not self.training)

    @property
    def testing(self) -> bool:
        return self.stage == "test"

    @property
    def predicting(self) -> bool:
        return self.stage == "predict"

    @property
    def evaluating(self) -> bool:
        return self.validating or self.testing

    # ------------------------------------------------------------------------------- sizes

    @property
    def num_training_batches(self) -> int | None:
        """Batches of a device per epoch; None if the loader does not say."""
        count = self.train_feed.count
        return None if count is None else -(-count // self.world_size)

    @property
    def num_val_batches(self) -> list[int | None]:
        """Batches of each loader that is validated, tested or predicted with."""
        return [feed.count for feed in self.val_feeds]

    num_test_batches = num_predict_batches = num_val_batches

    @property
    def window_batches(self) -> int:
        """Batches of the loader in an optimizer step."""
        return self.accumulate_grad_batches * self.world_size

    @property
    def world_size(self) -> int:
        return self.run.world_size

    @property
    def num_devices(self) -> int:
        return self.run.num_devices

    @property
    def num_nodes(self) -> int:
        return self.run.num_nodes

    @property
    def precision(self) -> str:
        """What the models compute in: "float32", "bf16" or "float64"."""
        return self.run.precision

    @property
    def is_global_zero(self) -> bool:
        return self.run.is_global_zero

    @property
    def global_rank(self) -> int:
        return self.run.global_rank

    @property
    def local_rank(self) -> int:
        return self.run.local_rank

    if not TYPE_CHECKING:  # to which names that are not known stay faults

        def __getattr__(self, name: str) -> Any:
            if name.startswith("limit_") and name[6:].removesuffix("_batches") in PARTS:
                return self.limits[name[6:].removesuffix("_batches")]
            known = [n for n in dir(self) if not n.startswith("_")]
            raise AttributeError(
                f"a Trainer has no attribute {shown(name)}; {nearest(name, known)}"
            )
