"""The trainer: settings, state and services of a run. What happens in which order is in loop.py."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike
from pathlib import Path
from signal import SIGINT, Signals
from typing import Any
from uuid import uuid4

from vitc.optim import dispatch_clip_grad
from vitc.tape import close_window
from vitc.training import checkpoint, defaults, folders, loop, settings, when
from vitc.training.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    Timer,
)
from vitc.training.callbacks.finetuning import is_head
from vitc.training.datamodule import DataModule
from vitc.training.estimate import (
    Estimate,
    check_fits,
    default_micro_batch,
    estimate,
    free_memory,
    time_left,
)
from vitc.training.feed import Feed, Limit, count_samples
from vitc.training.hooks import Callback
from vitc.training.interrupt import leave, listen
from vitc.training.module import Module
from vitc.training.profiler import SimpleProfiler
from vitc.training.progress import Progress
from vitc.training.results import Entry, Results, reduction
from vitc.training.run import Run
from vitc.training.schedule import Scheduling, read_configuration
from vitc.training.writer import Writer

# In these, what is logged is a step's value by default.
_STEP_HOOKS = frozenset(
    (
        "on_train_batch_start",  # and training_step, which follows
        "on_before_zero_grad",
        "on_before_backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "on_train_batch_end",
    )
)
_ACTIONS = {"step": "optimizer_step", "call": "hooks", "wait": "writing checkpoints"}
_Path = str | PathLike[str]


class Trainer:
    """Trains, validates, tests and predicts with a `Module`; arguments are Lightning's.

    max_epochs: -1 for no end; 1000 if neither it nor max_steps is given. max_steps: optimizer
    steps, -1 for no limit. min_epochs, min_steps: before which `should_stop` is not heeded.
    max_time: "DD:HH:MM:SS" or a timedelta. accumulate_grad_batches: batches per optimizer step.
    gradient_clip_val: largest L2 norm of all gradients together (gradient_clip_algorithm "norm"),
    largest element ("value"), or share of a unit's weights ("agc").
    limit_*_batches: at most n batches (int) or this share of them (float) per pass.
    overfit_batches: train and validate on the same first batches again and again. fast_dev_run: one
    batch (or n) of everything, nothing is written. val_check_interval: validate every n batches
    (int) or such a share of the epoch. check_val_every_n_epoch: None counts batches over epochs.
    num_sanity_val_steps: 2, -1 for all. log_every_n_steps: 50, 0 for never.
    logger: True or None for a `CSVLogger`, False for none, or an object with log_metrics(metrics,
    step), or several. callbacks: run besides the progress bar and a `ModelCheckpoint`, which are
    there unless switched off.
    precision: "32-true", "bf16-mixed" or "64-true". devices, num_nodes: shards of a step; a batch
    of the loader is one shard's, as in Lightning. detect_anomaly: look at the gradients after every
    batch, raise at the first that is infinite or NaN. on_nonfinite: "skip" leaves such a step out
    with a warning and raises at the fourth in a row, "raise" does at once. threads: of the process.
    profiler: "simple" prints at the end where the time went.
    micro_batch: how many samples of a batch go through the models at a time; it never changes a
    bit, unless a loss couples samples (then it must be the whole batch). None: all of them if their
    activations take at most a quarter of the free memory, else as many as do.
    deterministic, inference_mode: accepted, and always so.

    Raises `TypeError` for an argument that it does not know, `ValueError` for a bad value.
    """

    def __init__(
        self,
        *,
        accelerator: Any = "auto",
        strategy: Any = "auto",
        devices: int | str | Sequence[int] = "auto",
        num_nodes: int = 1,
        precision: Any = None,
        logger: Any = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | Mapping[str, int] | None = None,
        limit_train_batches: Limit = None,
        limit_val_batches: Limit = None,
        limit_test_batches: Limit = None,
        limit_predict_batches: Limit = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: Any = None,
        inference_mode: bool = True,
        profiler: str | None = None,
        detect_anomaly: bool = False,
        default_root_dir: _Path | None = None,
        on_nonfinite: str = "skip",
        threads: int | None = None,
        micro_batch: int | None = None,
        **unknown: Any,
    ) -> None:
        given = settings.checked(locals())
        known = (n for n in Trainer.__init__.__annotations__ if n not in ("unknown", "return"))
        settings.check_unknown(unknown, known)
        self.profiler = SimpleProfiler() if given.profiler else None
        self.run = Run(accelerator, strategy, devices, num_nodes, precision, threads)
        self.world_size = self.run.world_size
        self.fast_dev_run = given.fast_dev_run
        self.overfit_batches = given.overfit_batches
        parts = ("train", "val", "test", "predict")
        self.limits = {part: getattr(given, f"limit_{part}_batches") for part in parts}
        if self.overfit_batches:
            self.limits |= dict.fromkeys(("train", "val"), self.overfit_batches)
        if self.fast_dev_run:
            given.max_epochs, given.max_steps, given.num_sanity_val_steps = 1, self.fast_dev_run, 0
            given.val_check_interval, given.check_val_every_n_epoch, given.logger = None, 1, False
            self.limits = dict.fromkeys(parts, self.fast_dev_run)
        if given.max_epochs is None:
            given.max_epochs = 1000 if given.max_steps < 0 and given.max_time is None else -1
        self.max_epochs = None if given.max_epochs < 0 else given.max_epochs
        self.min_epochs, self.min_steps = given.min_epochs, given.min_steps
        self.max_steps = given.max_steps
        self.accumulate_grad_batches = given.accumulate_grad_batches
        self.given_micro_batch: int | None = given.micro_batch
        self.micro_batch: int | None = given.micro_batch
        self.gradient_clip_val = given.gradient_clip_val
        self.gradient_clip_algorithm = given.gradient_clip_algorithm or "norm"
        self.val_check_interval = given.val_check_interval
        self.check_val_every_n_epoch = given.check_val_every_n_epoch
        sanity, every = given.num_sanity_val_steps, given.log_every_n_steps
        self.num_sanity_val_steps = 2 if sanity is None else sanity
        self.log_every_n_steps = 50 if every is None else every
        self.enable_model_summary = given.enable_model_summary is not False
        self.detect_anomaly, self.on_nonfinite = bool(given.detect_anomaly), given.on_nonfinite
        self.default_root_dir = given.default_root_dir
        self.loggers = defaults.loggers(given.logger, self.default_root_dir)
        self.callbacks = defaults.callbacks(
            given.callbacks,
            given.enable_checkpointing is not False,
            given.enable_progress_bar is not False,
        )
        if given.max_time is not None:
            self.callbacks.insert(0, Timer(given.max_time))
        self.module: Any = None
        self._has_fitted = False
        self.writer = Writer()
        self._reset("fit")

    def _reset(self, stage: str) -> None:
        """The state of a run before it starts."""
        self.stage = stage
        self.optimizer: Any = None
        self.scheduling: Scheduling | None = None
        self.train_feed: Any = None
        self.val_feed: Any = None
        self.datamodule: DataModule | None = None
        self.run_id = uuid4().hex  # by which a run knows its checkpoints again
        self.progress = Progress()
        self.results = Results()  # of the training epoch
        self.evaluated = Results()  # of the validation or test
        self.callback_metrics: dict[str, float] = {}
        self.logged_metrics: dict[str, float] = {}
        self.marked_loggers: list[dict[str, Any]] | None = None  # before the evaluation under way
        self.progress_bar_metrics: dict[str, float] = {}
        self.batch_size = self.skipped = self.left_out = 0
        self.training = stage == "fit"
        self.sanity_checking = self.should_stop = self.interrupted = self.resumed = False
        self._hook = ""
        self._signal = 0  # by which it was interrupted

    # ------------------------------------------------------------------------------- running

    def fit(
        self,
        model: Module,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: DataModule | None = None,
        ckpt_path: _Path | None = None,
    ) -> None:
        """Trains; ckpt_path: resumes bit-identically from this checkpoint.

        Loaders are those given, else the datamodule's, else the module's own. ckpt_path: a path, or
        "last" for the latest there is (without one the run starts from the beginning, with a
        warning), or "best". A path may be a file of Lightning or of timm's script, whose weights
        and optimizer state are taken over. A damaged checkpoint is passed over with a warning for
        the latest whole one beside it.

        Ctrl-C and SIGTERM end it after the current batch, with a checkpoint `last.ckpt` to resume
        from; then it raises `KeyboardInterrupt`, or `SystemExit` with status 143. In a notebook it
        returns, and `interrupted` is True.
        """
        path = defaults.checkpoint_path(self, ckpt_path)
        self._reset("fit")
        self._renew_loggers()
        with self._run(model, "fit", train_dataloaders, datamodule):
            self.train_feed = self._feed("train", train_dataloaders)
            self.val_feed = self._feed("val", val_dataloaders, optional=True)
            if self.val_feed is not None and self.check_val_every_n_epoch is not None:
                settings.check_interval(self.val_check_interval, self.num_training_batches)
            self._configure(model)
            self._resume(path)
            self._settle_memory()
            self._announce()
            self._watch()
            with listen(self._interrupt):
                loop.fit(self, model)
            if self.interrupted:
                self._save_interrupted()
        self._leave()

    def validate(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path | None = None,
        verbose: bool = True,
        datamodule: DataModule | None = None,
    ) -> list[dict[str, float]]:
        """The metrics that validation_step logs, over the whole loader; verbose prints them.

        model: None for the one that was fitted, with the weights of its best checkpoint, as in
        Lightning. ckpt_path: whose weights to take first.
        """
        return self._evaluate("validate", "val", model, dataloaders, ckpt_path, verbose, datamodule)

    def test(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path | None = None,
        verbose: bool = True,
        datamodule: DataModule | None = None,
    ) -> list[dict[str, float]]:
        """The same with test_step."""
        return self._evaluate("test", "test", model, dataloaders, ckpt_path, verbose, datamodule)

    def _evaluate(
        self,
        stage: str,
        loader: str,
        model: Module | None,
        dataloaders: Any,
        ckpt_path: _Path | None,
        verbose: bool,
        datamodule: DataModule | None,
    ) -> list[dict[str, float]]:
        model, ckpt_path = self._fitted(model, ckpt_path)
        self._reset(stage)
        with self._run(model, stage, dataloaders, datamodule):
            self.val_feed = self._feed(loader, dataloaders)
            self._load_weights(ckpt_path)
            with listen(self._interrupt):
                name = "test" if stage == "test" else "validation"
                loop.evaluate(self, self.module, name, self.val_feed)
        self._leave()
        if verbose:
            for metric, value in self.callback_metrics.items():
                print(f"{metric}: {value:.6g}")
        return [dict(self.callback_metrics)]

    def predict(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        datamodule: DataModule | None = None,
        return_predictions: bool = True,
        ckpt_path: _Path | None = None,
    ) -> list[Any]:
        """What predict_step returns, one entry per batch; none with return_predictions=False.

        model, ckpt_path: as in `validate`.
        """
        model, ckpt_path = self._fitted(model, ckpt_path)
        self._reset("predict")
        with self._run(model, "predict", dataloaders, datamodule):
            self.val_feed = self._feed("predict", dataloaders)
            self._load_weights(ckpt_path)
            with listen(self._interrupt):
                found = loop.predict(self, self.module, self.val_feed, return_predictions)
        self._leave()
        return found

    def _renew_loggers(self) -> None:
        """A second fit is another run, with its own folder."""
        for logger in self.loggers if self._has_fitted else ():
            if hasattr(logger, "renew"):
                logger.renew()
        self._has_fitted = True

    def _fitted(self, model: Module | None, ckpt_path: _Path | None) -> tuple[Any, _Path | None]:
        """The model to evaluate and whose weights; without both the best that `fit` has written."""
        callback = self.checkpoint_callback
        if model is not None or ckpt_path is not None or callback is None:
            return model or self.module, ckpt_path
        path = callback.best_model_path or None
        if path is not None:
            print(f"weights of {path}")
        return self.module, path

    @contextmanager
    def _run(
        self, module: Any, stage: str, loaders: Any, datamodule: DataModule | None
    ) -> Iterator[None]:
        """What surrounds every stage: set up, tear down, and tell of exceptions."""
        if not isinstance(module, Module):
            raise TypeError(f"expected a vitc.LightningModule, got {type(module).__name__}")
        settings.check_module(module)
        self.module, module.trainer = module, self
        self.datamodule = loaders if isinstance(loaders, DataModule) else datamodule
        before = self.callbacks
        callbacks = [*before, *defaults.listed(module.configure_callbacks())]
        defaults.check_states(callbacks)
        self.callbacks = defaults.ordered(callbacks)
        status = "failed"
        try:
            self._set_up(stage)
            with self.run.prepared(model for _, model in module.named_models()):
                yield
            self.writer.wait()
            self._tear_down(stage)
            status = "interrupted" if self.interrupted else "success"
        except BaseException as error:
            self._tell_of(error, module)
            raise
        finally:
            self.writer.close()
            self.callbacks = before
            if self.profiler is not None:
                self.profiler.release()
                print(self.profiler.summary())
            for logger in self.loggers:
                if hasattr(logger, "finalize"):
                    logger.finalize(status)

    def _tell_of(self, error: BaseException, module: Any) -> None:
        """Calls `on_exception`; what that raises becomes a note of the user's exception."""
        for callback in self.callbacks:
            try:
                callback.on_exception(self, module, error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.on_exception() failed: {another}")

    def _set_up(self, stage: str) -> None:
        for callback in self.callbacks:
            callback.log, callback.log_dict = self.module.log, self.module.log_dict  # type: ignore[attr-defined]
        if self.datamodule is not None:
            self.datamodule.trainer = self
            self.datamodule.prepare_data()
        self.module.prepare_data()
        if self.datamodule is not None:
            self.datamodule.setup(stage)
        self.call("setup", stage)
        self.module.configure_model()

    def _tear_down(self, stage: str) -> None:
        if self.datamodule is not None:
            self.datamodule.teardown(stage)
        self.call("teardown", stage)

    def call(self, hook: str, *args: Any) -> Any:
        """Every callback's hook of this name, then the module's, whose answer it returns. The only
        way hooks are called."""
        self._hook = hook
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.module, *args)
        own = getattr(self.module, hook, None)
        return None if own is None else own(*args)

    def _call_around(self, between: Callable[[], None], hook: str, *args: Any) -> None:
        """The same, but the callbacks that monitor come last, after what is done between."""
        self._hook = hook
        for callback in self.callbacks:
            if not callback.monitoring:
                getattr(callback, hook)(self, self.module, *args)
        getattr(self.module, hook)(*args)
        between()
        for callback in self.callbacks:
            if callback.monitoring:
                getattr(callback, hook)(self, self.module, *args)

    def end_batch(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """What a step has logged is written before a checkpoint, which records how much it was."""
        self._call_around(self.publish_step, "on_train_batch_end", outputs, batch, batch_idx)

    def end_epoch(self) -> None:
        self._call_around(self._close_epoch, "on_train_epoch_end")
        self.progress.next_epoch()

    def _close_epoch(self) -> None:
        self.publish_epoch()
        self.results = Results()
        self.progress.epoch_done = True
        self._move_lr("epoch", self.progress.epoch + 1, self.callback_metrics)

    # ------------------------------------------------------------------------------- data

    def _feed(self, name: str, given: Any, optional: bool = False) -> Feed | None:
        """The loader of a stage, from the first of those who may have it."""
        loader = None if isinstance(given, DataModule) else given
        for owner in (self.datamodule, self.module):
            if loader is None and owner is not None:
                loader = getattr(owner, f"{name}_dataloader")()
        if loader is None:
            if optional:
                return None
            raise ValueError(
                f"{self.stage} needs a loader: give it one, or define {name}_dataloader()"
            )
        shards = self.world_size if name == "train" else 1
        fixed = bool(self.overfit_batches)
        feed = Feed(loader, self.limits[name], name, shards=shards, fixed=fixed)
        return None if optional and feed.count == 0 else feed

    @property
    def num_training_batches(self) -> int | None:
        """Batches of a device per epoch; None if the loader does not say."""
        count = self.train_feed.count
        return None if count is None else -(-count // self.world_size)

    @property
    def window_batches(self) -> int:
        """Batches of the loader in an optimizer step."""
        return int(self.accumulate_grad_batches * self.world_size)

    @property
    def estimated_stepping_batches(self) -> int | None:
        """Optimizer steps of the whole run; None if there is no end."""
        return when.all_steps(self)

    # ------------------------------------------------------------------------------- its place

    @property
    def current_epoch(self) -> int:
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.progress.step

    @property
    def fitting(self) -> bool:
        return self.stage == "fit"

    @property
    def last_epoch(self) -> bool:
        return self.max_epochs is not None and self.progress.epoch + 1 >= self.max_epochs

    # ------------------------------------------------------------------------------- the optimizer

    def _configure(self, module: Module) -> None:
        self.optimizer, self.scheduling = read_configuration(module.configure_optimizers())
        schedule = self.scheduling
        if schedule and schedule.is_function and self.estimated_stepping_batches is None:
            raise ValueError("a schedule needs an end: set max_epochs or max_steps")

    def close_window(self) -> None:
        close_window(self.module.parameters())

    def clip_gradients(self) -> None:
        """The head's are left alone by "agc", as in timm."""
        if not self.gradient_clip_val:
            return
        algorithm = self.gradient_clip_algorithm
        clipped = [
            parameter
            for name, parameter in self.module.named_parameters()
            if algorithm != "agc" or not is_head(name)
        ]
        dispatch_clip_grad(clipped, self.gradient_clip_val, algorithm)

    def set_lr(self) -> None:
        """Before a step, by the schedules that are functions of it."""
        if self.scheduling is not None:
            self.scheduling.before_step(self)

    def move_lr(self, last: bool) -> None:
        """After a step, and at the end of an epoch's batches, by torch's."""
        if self.progress.window == 0:
            self._move_lr("step", self.progress.step)
        if last:
            self._move_lr("epoch", self.progress.epoch + 1)

    def _move_lr(
        self, interval: str, count: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        if self.scheduling is not None:
            self.scheduling.after(interval, count, metrics)

    def schedule_state(self) -> dict[str, Any]:
        return {} if self.scheduling is None else self.scheduling.state_dict()

    def load_schedule_state(self, state: dict[str, Any]) -> None:
        if self.scheduling is not None:
            self.scheduling.load_state_dict(state)

    # ------------------------------------------------------------------------------- metrics

    def start_batch(self, batch: Any) -> None:
        self.batch_size = count_samples(batch)

    def log(
        self,
        name: str,
        value: Any,
        batch_size: int | None,
        *,
        on_step: bool | None,
        on_epoch: bool | None,
        prog_bar: bool,
        logger: bool,
        reduce_fx: Any,
    ) -> None:
        of_step = self.training and self._hook in _STEP_HOOKS
        on_step = of_step if on_step is None else on_step
        on_epoch = not of_step if on_epoch is None else on_epoch
        entry = Entry(on_step, on_epoch, prog_bar, logger, reduction(reduce_fx))
        self._results_now.log(name, value, batch_size or self.batch_size, entry)

    @property
    def _results_now(self) -> Results:
        return self.results if self.training else self.evaluated

    @property
    def logs_now(self) -> bool:
        """Whether this step is one whose values are written."""
        every = self.log_every_n_steps
        return self.progress.window == 0 and every > 0 and self.progress.step % every == 0

    def publish_step(self) -> None:
        """Shows what the last training step logged, and writes it every log_every_n_steps."""
        self.writer.check()
        if self.progress.window == 0:
            self.results.mark()
        self.callback_metrics |= self.results.callback_metrics(epoch=False)
        self.progress_bar_metrics |= self.results.step_metrics(prog_bar=True)
        if self.logs_now:
            self.log_metrics(self.results.step_metrics(logger=True))

    def mark_loggers(self) -> None:
        """Before an evaluation: one that is cut short leaves rows that the next will write."""
        self.marked_loggers = self._logger_states()

    def logger_states(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps of the loggers."""
        return self._logger_states() if self.marked_loggers is None else self.marked_loggers

    def _logger_states(self) -> list[dict[str, Any]]:
        return [
            logger.state_dict() if hasattr(logger, "state_dict") else {} for logger in self.loggers
        ]

    def publish_evaluation_step(self) -> None:
        """Writes what a validation or test step has logged as a step's value."""
        if not self.sanity_checking:
            self.log_metrics(self.evaluated.step_metrics(logger=True))

    def publish_epoch(self) -> None:
        """The same for the values of an epoch."""
        results = self._results_now
        self.callback_metrics |= results.callback_metrics(epoch=True)
        self.progress_bar_metrics |= results.epoch_metrics(prog_bar=True)
        self.log_metrics(results.epoch_metrics(logger=True))

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Gives numbers to the loggers, beside the epoch and the step."""
        if not metrics:
            return
        self.logged_metrics |= metrics
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.progress.epoch, **metrics}, self.progress.step)

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Every model in evaluation mode, and afterwards as it was."""
        before = [(m, m.training) for _, m in self.module.named_models()]
        mode, self.training = self.training, False
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.training, self.module.training = mode, training
            for model, mode in before:
                model.train(mode)

    # ------------------------------------------------------------------------------- surroundings

    @property
    def log_dir(self) -> Path:
        """Where this run writes: the first logger's directory, else default_root_dir."""
        places = [logger.log_dir for logger in self.loggers if hasattr(logger, "log_dir")]
        return Path(places[0]) if places else self.default_root_dir

    @property
    def logger(self) -> Any:
        return self.loggers[0] if self.loggers else None

    @property
    def is_global_zero(self) -> bool:
        return self.run.is_global_zero

    @property
    def global_rank(self) -> int:
        return self.run.global_rank

    @property
    def optimizers(self) -> list[Any]:
        return [] if self.optimizer is None else [self.optimizer]

    @property
    def lightning_module(self) -> Any:
        return self.module

    model = lightning_module

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        return next((c for c in self.callbacks if isinstance(c, ModelCheckpoint)), None)

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        return next((c for c in self.callbacks if isinstance(c, EarlyStopping)), None)

    def _settle_memory(self) -> None:
        """Before the first step: how many samples go through the models at a time, and whether that
        fits."""
        batch = getattr(self.train_feed.loader, "batch_size", None)
        self.micro_batch = self.given_micro_batch
        if batch is None:
            return
        free = free_memory()
        if self.micro_batch is None:
            self.micro_batch = default_micro_batch(self.module, batch, free)
        needed, models = self.memory_estimate(), [m for _, m in self.module.named_models()]
        if needed is not None:
            check_fits(needed, free, min(self.micro_batch, batch), models)

    def _announce(self) -> None:
        """Before the first step: what is trained, and what it will take."""
        if self.module.logs_hparams and self.module.hparams:
            for logger in self.loggers:
                if hasattr(logger, "log_hyperparams"):
                    logger.log_hyperparams(self.module.hparams)
        if not self.enable_model_summary:
            return
        for name, model in self.module.named_models():
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            print(f"{name}: {model!r}, {trained:,} trained")
        batch, memory = getattr(self.train_feed.loader, "batch_size", 0), self.memory_estimate()
        if memory is not None:
            size = self.micro_batch or batch
            print(f"memory: {memory}{f', {size} samples at a time' if size < batch else ''}")
        left = when.remaining_batches(self)
        if batch and left is not None:
            print(f"time: {time_left(self.module, left * batch)}")

    def _watch(self) -> None:
        """Has the profiler count what takes the time."""
        profiler = self.profiler
        if profiler is None:
            return
        for owner, method in (
            (self.module, "training_step"),
            (self.run, "backward"),
            (self.optimizer, "step"),
            (self, "clip_gradients"),
            (self.module, "validation_step"),
            (self, "call"),
            (self.writer, "wait"),
        ):
            profiler.watch(owner, method, _ACTIONS.get(method))
        profiler.watch_batches(self.train_feed, "waiting for a batch")

    def memory_estimate(self) -> Estimate | None:
        """Bytes of this run; None if the training loader does not say its batch_size."""
        batch = getattr(self.train_feed.loader, "batch_size", None)
        if batch is None:
            return None
        val = self.val_feed.loader if self.val_feed else None
        at_a_time = min(batch, self.micro_batch or batch)
        val_batch = getattr(val, "batch_size", None) or 0
        parts = estimate(self.module, at_a_time, val_batch, self.optimizer).parts
        for callback in self.callbacks:
            parts |= callback.memory(parts)
        return Estimate(parts)

    # ------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, filepath: _Path, weights_only: bool = False) -> None:
        """Writes the state of the run; `fit(..., ckpt_path=filepath)` resumes from it. Within a
        window of accumulated batches that is its beginning.

        A checkpoint that is there already is replaced. Raises `FileExistsError` for anything else.
        """
        self.writer.wait()
        with folders.claim(Path(filepath)) as place:
            checkpoint.write([place], checkpoint.snapshot(self, self.module, weights_only))

    def _resume(self, path: Path | None) -> None:
        if path is not None:
            checkpoint.read_or_earlier(path).load_run(self, self.module)
            self.resumed = True

    def _load_weights(self, ckpt_path: _Path | None) -> None:
        path = defaults.checkpoint_path(self, ckpt_path)
        if path is not None:
            checkpoint.read_any(path).load_models(self.module)

    def _interrupt(self, number: int) -> None:
        self.interrupted, self._signal = True, number
        name = "Ctrl-C" if number == SIGINT else Signals(number).name
        print(f"\n{name}: stopping after this batch; Ctrl-C now stops at once")

    def _leave(self) -> None:
        """After a run that a signal has ended the script does not go on."""
        if self.interrupted:
            leave(self._signal)

    def _save_interrupted(self) -> None:
        callback = self.checkpoint_callback
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        if callback is None:
            print(f"stopped at {where}; checkpoints are switched off, so nothing was saved")
            return
        path = callback.write_last(self)
        print(f"stopped at {where}; resume with fit(..., ckpt_path={str(path)!r})")
