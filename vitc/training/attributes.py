"""What users read of a trainer, under Lightning's names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
        """The loader that is validated with, or a list of several; None without one."""
        return _one_or_all([feed.loader for feed in self._feeds_of("fit", "validate")])

    @property
    def test_dataloaders(self) -> Any:
        return _one_or_all([feed.loader for feed in self._feeds_of("test")])

    @property
    def predict_dataloaders(self) -> Any:
        return _one_or_all([feed.loader for feed in self._feeds_of("predict")])

    def _feeds_of(self, *stages: str) -> list[Feed]:
        return self.val_feeds if self.state.fn in stages else []

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
    def progress_bar_callback(self) -> ProgressBar | None:
        from vitc.training.callbacks import ProgressBar

        return next((c for c in self.callbacks if isinstance(c, ProgressBar)), None)

    @property
    def log_dir(self) -> Path:
        """Where this run writes: the first logger's directory, else default_root_dir."""
        places = [logger.log_dir for logger in self.loggers if hasattr(logger, "log_dir")]
        return Path(places[0]) if places else self.default_root_dir

    # ------------------------------------------------------------------------------- metrics

    @property
    def callback_metrics(self) -> dict[str, float]:
        """What callbacks may monitor: all that was logged, by its name."""
        rows.refresh(cast("Trainer", self))
        return self.state.metrics

    @property
    def logged_metrics(self) -> dict[str, float]:
        """What the loggers get; steps in between, whose values they do not, are in it too."""
        rows.refresh(cast("Trainer", self))
        return self.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        rows.refresh(cast("Trainer", self))
        return self.shown

    # ------------------------------------------------------------------------------- its place

    @property
    def should_stop(self) -> bool:
        """Whether training is to end; heeded after min_epochs and min_steps."""
        return self.state.stop != ""

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self.state.stop = (self.state.stop or "pause") if value else ""

    @property
    def current_epoch(self) -> int:
        return self.state.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.state.step

    @property
    def last_epoch(self) -> bool:
        return 0 <= self.max_epochs <= self.state.epoch + 1

    @property
    def fitting(self) -> bool:
        return self.state.fn == "fit" and self.state.stage is not None

    @property
    def training(self) -> bool:
        return self.state.stage == "train"

    @property
    def sanity_checking(self) -> bool:
        return self.state.stage == "sanity_check"

    @property
    def validating(self) -> bool:
        """Not in a sanity check."""
        return self.state.stage == "validate"

    @property
    def testing(self) -> bool:
        return self.state.stage == "test"

    @property
    def predicting(self) -> bool:
        return self.state.stage == "predict"

    @property
    def evaluating(self) -> bool:
        return self.validating or self.testing or self.sanity_checking

    # ------------------------------------------------------------------------------- sizes

    @property
    def num_training_batches(self) -> int | None:
        """Batches of a device per epoch; None if the loader does not say."""
        count = self.train_feed.count
        return None if count is None else -(-count // self.world_size)

    @property
    def num_val_batches(self) -> list[int | None]:
        """Batches of each loader that is validated with; None for one that does not say."""
        return [feed.count for feed in self._feeds_of("fit", "validate")]

    @property
    def num_sanity_val_batches(self) -> list[int | None]:
        most = self.num_sanity_val_steps
        counts = [feed.count for feed in self._feeds_of("fit")]
        return counts if most < 0 else [most if n is None else min(most, n) for n in counts]

    @property
    def num_test_batches(self) -> list[int | None]:
        return [feed.count for feed in self._feeds_of("test")]

    @property
    def num_predict_batches(self) -> list[int | None]:
        return [feed.count for feed in self._feeds_of("predict")]

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
    def strategy(self) -> Run:
        """What is below the loop: devices, precision, processes."""
        return self.run

    @property
    def accelerator(self) -> str:
        return self.run.device

    @property
    def precision(self) -> str:
        """In which the models compute: "32-true", "bf16-mixed" or "64-true"."""
        return {"float32": "32-true", "bf16": "bf16-mixed"}.get(self.run.precision, "64-true")

    @property
    def device_ids(self) -> list[int]:
        """Of the shards of a step on one node."""
        return list(range(self.num_devices))

    @property
    def is_global_zero(self) -> bool:
        return self.run.is_global_zero

    @property
    def global_rank(self) -> int:
        return self.run.global_rank

    @property
    def local_rank(self) -> int:
        return self.run.local_rank

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
