"""The trainer: settings, state and services of a run. What happens in which order is in loop.py."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vitc.errors import nearest
from vitc.optim import AdamW, Schedule, set_lr
from vitc.tape import close_window
from vitc.training import checkpoint, loop
from vitc.training.callbacks import ModelCheckpoint, ProgressBar
from vitc.training.estimate import Estimate, estimate
from vitc.training.hooks import Callback
from vitc.training.interrupt import listen
from vitc.training.loggers import CSVLogger
from vitc.training.module import Module
from vitc.training.progress import Progress
from vitc.training.results import Results

_FLOAT32 = (32, "32", "32-true", None)


class Trainer:
    """Trains, validates and predicts with a `Module`; arguments are Lightning's.

    max_epochs: -1 for no end; 1000 if neither it nor max_steps is given. max_steps: optimizer
    steps, -1 for no limit. accumulate_grad_batches: batches per optimizer step. gradient_clip_val:
    largest L2 norm of all gradients together. limit_train_batches, limit_val_batches: at most so
    many per epoch. logger: True for a `CSVLogger`, False for none, or an object with
    log_metrics(metrics, step), or several. callbacks: run besides the progress bar and a
    `ModelCheckpoint`, which are there unless switched off. accelerator, devices, precision: this
    version runs one process in float32.

    Raises `TypeError` for an argument that it does not know, `ValueError` for a bad value.
    """

    def __init__(
        self,
        *,
        max_epochs: int | None = None,
        max_steps: int = -1,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        limit_train_batches: int | None = None,
        limit_val_batches: int | None = None,
        check_val_every_n_epoch: int = 1,
        num_sanity_val_steps: int = 2,
        log_every_n_steps: int = 50,
        callbacks: Callback | Iterable[Callback] | None = None,
        logger: Any = True,
        enable_checkpointing: bool = True,
        enable_progress_bar: bool = True,
        enable_model_summary: bool = True,
        default_root_dir: str | PathLike[str] | None = None,
        accelerator: str = "auto",
        devices: int | str = "auto",
        precision: Any = "32-true",
        **unknown: Any,
    ) -> None:
        _refuse_unknown(unknown)
        _refuse_others(accelerator, devices, precision)
        for name, value, least in (
            ("accumulate_grad_batches", accumulate_grad_batches, 1),
            ("check_val_every_n_epoch", check_val_every_n_epoch, 1),
            ("log_every_n_steps", log_every_n_steps, 1),
            ("max_steps", max_steps, -1),
            ("max_epochs", 1 if max_epochs is None else max_epochs, -1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, expected {least} or more")
        if max_epochs is None:
            max_epochs = 1000 if max_steps < 0 else -1
        self.max_epochs = None if max_epochs < 0 else max_epochs
        self.max_steps = max_steps
        self.accumulate_grad_batches = accumulate_grad_batches
        self.gradient_clip_val = gradient_clip_val
        self.limit_train_batches, self.limit_val_batches = limit_train_batches, limit_val_batches
        self.check_val_every_n_epoch = check_val_every_n_epoch
        self.num_sanity_val_steps = num_sanity_val_steps
        self.log_every_n_steps = log_every_n_steps
        self.enable_model_summary = enable_model_summary
        self.default_root_dir = Path(default_root_dir or ".")
        self.loggers = _loggers(logger, self.default_root_dir)
        self.callbacks = _with_defaults(callbacks, enable_checkpointing, enable_progress_bar)
        self._reset()

    def _reset(self) -> None:
        """The state of a run before it starts."""
        self.module: Any = None
        self.optimizer: AdamW | None = None
        self.schedule: Schedule | None = None
        self.train_loader: Any = None
        self.val_loader: Any = None
        self.progress = Progress()
        self.results = Results(training=True)
        self.callback_metrics: dict[str, float] = {}
        self.logged_metrics: dict[str, float] = {}
        self.progress_bar_metrics: dict[str, float] = {}
        self.batch_size = 0
        self.should_stop = self.interrupted = self.resumed = False

    # ------------------------------------------------------------------------------- running

    def fit(
        self,
        model: Module,
        train_dataloaders: Any,
        val_dataloaders: Any = None,
        ckpt_path: str | PathLike[str] | None = None,
    ) -> None:
        """Trains; ckpt_path: goes on from this checkpoint, to the same bits.

        Ctrl-C ends it after the current step, with a checkpoint `last.ckpt` to go on from; then
        `interrupted` is True.
        """
        self._reset()
        self.train_loader, self.val_loader = train_dataloaders, val_dataloaders
        with self._run(model, "fit"):
            self._configure(model)
            if ckpt_path is not None:
                checkpoint.load_run(checkpoint.read(ckpt_path), self, model)
                self.resumed = True
            self._announce()
            with listen(self._interrupt):
                loop.fit(self, model)
            if self.interrupted:
                self._save_interrupted()

    def validate(self, model: Module, dataloaders: Any) -> dict[str, float]:
        """The metrics that validation_step logs, over the whole loader."""
        self._reset()
        self.val_loader = dataloaders
        with self._run(model, "validate"), listen(self._interrupt):
            loop.evaluate(self, model)
        return dict(self.callback_metrics)

    def predict(self, model: Module, dataloaders: Any) -> list[Any]:
        """What predict_step returns, one entry per batch."""
        self._reset()
        with self._run(model, "predict"), listen(self._interrupt):
            return loop.predict(self, model, dataloaders)

    @contextmanager
    def _run(self, module: Module, stage: str) -> Iterator[None]:
        if not isinstance(module, Module):
            raise TypeError(f"expected a vitc.LightningModule, got {type(module).__name__}")
        self.module, module.trainer = module, self
        own = module.configure_callbacks()
        before = self.callbacks
        self.callbacks = [*before, *([own] if isinstance(own, Callback) else own)]
        try:
            self.call("setup", stage)
            yield
            self.call("teardown", stage)
        except BaseException as error:
            for callback in self.callbacks:
                callback.on_exception(self, module, error)
            raise
        finally:
            self.callbacks = before

    def call(self, hook: str, *args: Any) -> None:
        """Every callback's hook of this name, then the module's. The only way hooks are called."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.module, *args)
        own = getattr(self.module, hook, None)
        if own is not None:
            own(*args)

    # ------------------------------------------------------------------------------- its place

    @property
    def current_epoch(self) -> int:
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.progress.step

    @property
    def finished(self) -> bool:
        done = self.max_epochs is not None and self.progress.epoch >= self.max_epochs
        return done or self.stops_now

    @property
    def stops_now(self) -> bool:
        """Whether training ends here, between two steps."""
        full = self.max_steps >= 0 and self.progress.step >= self.max_steps
        return full or self.should_stop or self.interrupted

    @property
    def last_epoch(self) -> bool:
        return self.max_epochs is not None and self.progress.epoch + 1 >= self.max_epochs

    @property
    def num_training_batches(self) -> int | None:
        """Batches per epoch; None if the loader does not say."""
        if not hasattr(self.train_loader, "__len__"):
            return self.limit_train_batches
        count = len(self.train_loader)
        limit = self.limit_train_batches
        return count if limit is None else min(count, limit)

    @property
    def estimated_stepping_batches(self) -> int | None:
        """Optimizer steps of the whole run; None if there is no end."""
        batches, limits = self.num_training_batches, []
        if self.max_epochs is not None and batches is not None:
            limits.append(self.max_epochs * -(-batches // self.accumulate_grad_batches))
        if self.max_steps >= 0:
            limits.append(self.max_steps)
        return min(limits) if limits else None

    @property
    def remaining_batches(self) -> int | None:
        """Training batches until the end; None if nobody can know."""
        steps, batches = self.estimated_stepping_batches, self.num_training_batches
        if steps is None or batches is None:
            return None
        by_steps = (steps - self.progress.step) * self.accumulate_grad_batches
        if self.max_epochs is None:
            return max(by_steps, 0)
        by_epochs = (self.max_epochs - self.progress.epoch) * batches - self.progress.batch
        return max(min(by_steps, by_epochs), 0)

    @property
    def log_dir(self) -> Path:
        """Where this run writes: the first logger's directory, else default_root_dir."""
        places = [logger.log_dir for logger in self.loggers if hasattr(logger, "log_dir")]
        return Path(places[0]) if places else self.default_root_dir

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        found = [c for c in self.callbacks if isinstance(c, ModelCheckpoint)]
        return found[0] if found else None

    # ------------------------------------------------------------------------------- the optimizer

    def _configure(self, module: Module) -> None:
        self.optimizer, self.schedule = _optimizer(module.configure_optimizers())
        if self.schedule is not None and self.estimated_stepping_batches is None:
            raise ValueError("a schedule needs an end: set max_epochs or max_steps")

    def close_window(self) -> None:
        close_window(self.module.parameters())

    def clip_gradients(self) -> None:
        """Scales all gradients so that their norm is at most gradient_clip_val, as torch's
        clip_grad_norm_ does."""
        if self.gradient_clip_val is None:
            return
        tables = {id(p.owner): p.owner for p in self.module.parameters()}.values()
        norm = float(np.sqrt(sum(table.gradient_norm() ** 2 for table in tables)))
        factor = self.gradient_clip_val / (norm + 1e-6)
        if factor < 1:
            for table in tables:
                table.scale_gradients(factor)

    def set_lr(self) -> None:
        total = self.estimated_stepping_batches
        if self.schedule is not None and self.optimizer is not None and total is not None:
            set_lr(self.optimizer, self.schedule, self.progress.step, total)

    # ------------------------------------------------------------------------------- metrics

    def start_batch(self, batch: Any) -> None:
        self.batch_size = _samples(batch)

    def log(self, name: str, value: Any, batch_size: int | None, **options: Any) -> None:
        self.results.log(name, value, batch_size or self.batch_size, **options)

    def publish_step(self) -> None:
        """Shows what the last training step logged, and writes it every log_every_n_steps."""
        self.callback_metrics |= self.results.callback_metrics(epoch=False)
        self.progress_bar_metrics |= self.results.step_metrics(prog_bar=True)
        if self.progress.window == 0 and self.progress.step % self.log_every_n_steps == 0:
            self._write(self.results.step_metrics(logger=True))

    def publish_epoch(self, results: Results) -> None:
        """The same for the means of an epoch."""
        self.callback_metrics |= results.callback_metrics(epoch=True)
        self.progress_bar_metrics |= results.epoch_metrics(prog_bar=True)
        self._write(results.epoch_metrics(logger=True))

    def _write(self, metrics: dict[str, float]) -> None:
        if not metrics:
            return
        self.logged_metrics |= metrics
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.progress.epoch, **metrics}, self.progress.step)

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Every model in evaluation mode, and afterwards as it was."""
        before = [(m, m.training) for _, m in self.module.named_models()]
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.training = training
            for model, mode in before:
                model.train(mode)

    # ------------------------------------------------------------------------------- surroundings

    def _announce(self) -> None:
        """Before the first step: what is trained, and what it will take."""
        for logger in self.loggers:
            if hasattr(logger, "log_hyperparams") and self.module.hparams:
                logger.log_hyperparams(self.module.hparams)
        if not self.enable_model_summary:
            return
        for name, model in self.module.named_models():
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            print(f"{name}: {model!r}, {trained:,} trained")
        memory = self.memory_estimate()
        if memory is not None:
            print(f"memory: {memory}")

    def memory_estimate(self) -> Estimate | None:
        """Bytes of this run; None if the training loader does not say its batch_size."""
        batch = getattr(self.train_loader, "batch_size", None)
        if batch is None:
            return None
        return estimate(self.module, batch, getattr(self.val_loader, "batch_size", None) or 0)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Writes where the run stands; `fit(..., ckpt_path=path)` goes on from it."""
        checkpoint.write(path, self, self.module)

    def save_epoch(self) -> None:
        for callback in self.callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback.save_epoch(self)

    def _interrupt(self, signal: str) -> None:
        self.interrupted = True
        print(f"\n{signal}: stopping after this step; Ctrl-C again stops at once")

    def _save_interrupted(self) -> None:
        callback = self.checkpoint_callback
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        if callback is None:
            print(f"stopped at {where}; checkpoints are switched off, so nothing was saved")
            return
        path = callback.write_last(self)
        print(f"stopped at {where}; go on with fit(..., ckpt_path={str(path)!r})")


# ------------------------------------------------------------------------------------- arguments


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    known = [name for name in Trainer.__init__.__annotations__ if name not in ("unknown", "return")]
    for name in unknown:
        raise TypeError(f"Trainer has no argument {name!r}; {nearest(name, known)}")


def _refuse_others(accelerator: str, devices: int | str, precision: Any) -> None:
    """What later versions bring is refused rather than ignored."""
    if accelerator not in ("auto", "cpu"):
        raise ValueError(f"accelerator is {accelerator!r}, expected 'auto' or 'cpu'")
    if devices not in ("auto", 1, "1"):
        raise ValueError(f"devices is {devices!r}: this version runs one process, 'auto' or 1")
    if precision not in _FLOAT32:
        raise ValueError(f"precision is {precision!r}: this version computes in '32-true' only")


def _loggers(logger: Any, root: Path) -> list[Any]:
    if logger is True:
        return [CSVLogger(root)]
    if logger is False or logger is None:
        return []
    return list(logger) if isinstance(logger, list | tuple) else [logger]


def _with_defaults(
    callbacks: Callback | Iterable[Callback] | None, checkpointing: bool, progress_bar: bool
) -> list[Callback]:
    own = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    if progress_bar and not any(isinstance(c, ProgressBar) for c in own):
        own.append(ProgressBar())
    if any(isinstance(c, ModelCheckpoint) for c in own):
        if not checkpointing:
            raise ValueError("enable_checkpointing=False, and callbacks hold a ModelCheckpoint")
    elif checkpointing:
        own.append(ModelCheckpoint())
    return own


def _optimizer(configured: Any) -> tuple[AdamW, Schedule | None]:
    """(optimizer, schedule or None) from the forms that configure_optimizers may return."""
    if isinstance(configured, Mapping):
        schedule = configured.get("lr_scheduler")
        schedule = schedule.get("scheduler") if isinstance(schedule, Mapping) else schedule
        configured = (configured["optimizer"], schedule)
    if not isinstance(configured, tuple | list):
        configured = (configured, None)
    if len(configured) == 1:
        configured = (configured[0], None)
    optimizer, schedule = (_only(part) for part in configured)
    if not isinstance(optimizer, AdamW):
        raise TypeError(
            f"configure_optimizers() returned {type(optimizer).__name__}, expected an optimizer of "
            "vitc.optim, (optimizer, schedule) or ([optimizer], [schedule])"
        )
    return optimizer, schedule


def _only(part: Any) -> Any:
    if not isinstance(part, tuple | list):
        return part
    if len(part) > 1:
        raise ValueError(f"a run has one optimizer and one schedule, got {len(part)}")
    return part[0] if part else None


def _samples(batch: Any) -> int:
    """How many samples a batch holds: the length of its first array."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, tuple | list) and len(batch):
        return _samples(batch[0]) if np.ndim(batch[0]) else len(batch)
    return len(batch) if hasattr(batch, "__len__") else 1
