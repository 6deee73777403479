"""The trainer: the parts of a run, and what its loops ask for. The order of things: loop.py."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike
from pathlib import Path
from signal import SIGINT, Signals
from typing import Any
from uuid import uuid4

from vitc.optim import Optimizer, dispatch_clip_grad
from vitc.training import checkpoint, defaults, finished, folders, loop, outset, settings, when
from vitc.training.attributes import Attributes
from vitc.training.callbacks import Timer
from vitc.training.callbacks.finetuning import is_head
from vitc.training.checkpoint import Checkpoint
from vitc.training.datamodule import DataModule
from vitc.training.feed import Feed, Limit, as_loaders, count_samples
from vitc.training.hooks import HOOKS, Callback, accepted, overrides
from vitc.training.identity import identity
from vitc.training.interrupt import leave, listen
from vitc.training.module import Module
from vitc.training.results import Results, named_metrics
from vitc.training.run import Run
from vitc.training.schedule import Schedules, read_configuration
from vitc.training.snapshot import check, load_run, snapshot
from vitc.training.state import State
from vitc.training.tools.estimate import Estimate
from vitc.training.tools.profiler import SimpleProfiler
from vitc.training.writer import Writer

_Path = str | PathLike[str]
_STAGES = {"validate": "validation", "test": "test"}


class Trainer(Attributes):
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
        own, parts = settings.checked(locals())
        known = (n for n in Trainer.__init__.__annotations__ if n not in ("unknown", "return"))
        settings.check_unknown(unknown, known)
        vars(self).update(vars(own))
        self.profiler = SimpleProfiler() if parts["profiler"] else None
        self.run = Run(accelerator, strategy, devices, num_nodes, precision, threads)
        self.loggers = defaults.loggers(parts["logger"], self.default_root_dir)
        self.callbacks = defaults.callbacks(
            parts["callbacks"],
            parts["enable_checkpointing"] is not False,
            parts["enable_progress_bar"] is not False,
        )
        if parts["max_time"] is not None:
            self.callbacks.insert(0, Timer(parts["max_time"]))
        self.micro_batch = self.given_micro_batch
        self.cuts_by_memory = False
        self.writer = Writer()
        self._module: Module | None = None
        self._of_module: list[Callback] = []  # callbacks that came with it
        self._displaced: list[Callback] = []  # whose place these took
        self._has_fitted = False
        self._reset("")

    def _reset(self, stage: str, state: State | None = None) -> None:
        """The state of a run before it starts; state: where one that only looks begins."""
        self.state = state or State()
        self.state.fn = stage
        self._optimizer: Optimizer | None = None
        self.schedules = Schedules()
        self._train_feed: Feed | None = None
        self.val_feeds: list[Feed] = []
        self.datamodule: DataModule | None = None
        self.ckpt_path: Path | None = None
        self.run_id = uuid4().hex  # by which a run knows its checkpoints again
        self.identity: dict[str, str] = {}  # and a second start of the script
        self.evaluated = Results()  # of the validation or test
        self.logged: dict[str, float] = {}
        self.shown: dict[str, float] = {}  # by the progress bar
        self.batch_size = 0
        self.dataloader_idx: int | None = None  # where a stage has several loaders
        self.is_last_batch = False
        self.interrupted = self.resumed = False
        self.hook = ""  # that runs
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
        given = val_dataloaders if train_dataloaders is None else train_dataloaders
        settings.check_stage(self, "fit", model, given, datamodule, ckpt_path)
        self._reset("fit", State(stage="train"))
        self._renew_loggers()
        with self._stage(model, train_dataloaders, datamodule):
            self._train_feed = self._feed("train", train_dataloaders)
            self.val_feeds = self._feeds("val", val_dataloaders, optional=True)
            settings.check_lengths(self)
            self._configure()
            check(self)
            self.identity = identity(self)
            self._resume(defaults.checkpoint_path(self, ckpt_path))
            outset.settle_memory(self)
            outset.announce(self)
            outset.watch(self)
            self.state.status = "running"
            with listen(self._interrupt):
                loop.fit(self)
            self._save_the_end()
        self._leave()

    def validate(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path | None = None,
        verbose: bool = True,
        datamodule: DataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """The metrics that validation_step logs over each loader, a dict per loader; verbose prints
        them.

        model: None for the one that was fitted, with the weights of its best checkpoint, as in
        Lightning. ckpt_path: whose weights to take first. weights_only: a file never executes
        anything.

        Raises `TypeError` for a module without validation_step.
        """
        return self._evaluate("validate", "val", model, dataloaders, ckpt_path, verbose, datamodule)

    def test(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path | None = None,
        verbose: bool = True,
        datamodule: DataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """The same with test_step."""
        return self._evaluate("test", "test", model, dataloaders, ckpt_path, verbose, datamodule)

    def _evaluate(
        self,
        stage: str,
        part: str,
        model: Module | None,
        dataloaders: Any,
        ckpt_path: _Path | None,
        verbose: bool,
        datamodule: DataModule | None,
    ) -> list[dict[str, float]]:
        with self._looking(stage, part, model, dataloaders, ckpt_path, datamodule):
            loop.evaluate(self, _STAGES[stage], self.val_feeds)
        if self.interrupted:  # in a notebook, where it returns
            print(f"{stage} was interrupted: there are no figures")
            return []
        found = [
            {n: float(x) for n, x in self.evaluated.epoch_metrics(logger=True, loader=i).items()}
            for i in range(len(self.val_feeds))
        ]
        if verbose:
            for metric, value in dict(ChainMap(*found)).items():
                print(f"{metric}: {value:.6g}")
        return found

    def predict(
        self,
        model: Module | None = None,
        dataloaders: Any = None,
        datamodule: DataModule | None = None,
        return_predictions: bool = True,
        ckpt_path: _Path | None = None,
        weights_only: bool | None = None,
    ) -> list[Any]:
        """What predict_step returned, one entry per batch, in a list per loader if there are
        several; nothing with return_predictions=False.

        model, ckpt_path: as in `validate`.
        """
        found: list[list[Any]] = []
        with self._looking("predict", "predict", model, dataloaders, ckpt_path, datamodule):
            found = loop.predict(self, self.val_feeds, return_predictions)
        if self.interrupted:
            print("predict was interrupted: there are no predictions")
            return []
        return found if len(found) > 1 else found[0]

    @contextmanager
    def _looking(
        self,
        stage: str,
        part: str,
        model: Module | None,
        dataloaders: Any,
        ckpt_path: _Path | None,
        datamodule: DataModule | None,
    ) -> Iterator[None]:
        """A stage that trains nothing."""
        used = self._module if model is None else model
        settings.check_stage(self, stage, used, dataloaders, datamodule, ckpt_path)
        model, path = self._fitted(model, ckpt_path)
        fitted = (self._optimizer, self.schedules) if model is self._module else None
        before, run_id = self.state, self.run_id
        self._reset(stage, State(stage=stage, epoch=before.epoch, step=before.step))
        self._optimizer, self.schedules = fitted or (None, Schedules())
        try:
            with self._stage(model, dataloaders, datamodule):
                self.val_feeds = self._feeds(part, dataloaders)
                if path is not None:
                    checkpoint.read_any(path).load_models(self.module)
                self.state.status = "running"
                with listen(self._interrupt):
                    yield
        finally:  # the place of `fit` stays, for a checkpoint that is saved later
            before.fn, before.status, before.metrics = stage, self.state.status, self.state.metrics
            self.state, self.run_id = before, run_id
        self._leave()

    def _fitted(
        self, model: Module | None, ckpt_path: _Path | None
    ) -> tuple[Module | None, Path | None]:
        """The model to evaluate and whose weights; without both the best that `fit` has written."""
        if model is not None or ckpt_path is not None:
            return model or self._module, defaults.path_to_evaluate(self, ckpt_path)
        callback = self.checkpoint_callback
        if callback is None or not callback.best_model_path:
            return self._module, None
        print(f"weights of {callback.best_model_path}")
        return self._module, Path(callback.best_model_path)

    def _renew_loggers(self) -> None:
        """A second fit is another run, with its own folder."""
        for logger in self.loggers if self._has_fitted else ():
            if hasattr(logger, "renew"):
                logger.renew()
        self._has_fitted = True

    @contextmanager
    def _stage(
        self, model: Module | None, loaders: Any, datamodule: DataModule | None
    ) -> Iterator[None]:
        """What surrounds every stage: set up, tear down, signals, and what becomes of
        exceptions."""
        self._module = model
        module = self.module
        module.trainer = self
        self.datamodule = loaders if isinstance(loaders, DataModule) else datamodule
        outcome = "failed"  # as loggers call it
        try:
            self._join_callbacks(module)
            self._set_up()
            with self.run.prepared(model for _, model in module.named_models()):
                yield
            self.writer.wait()
            self._tear_down()
            self.state.status = "interrupted" if self.interrupted else "finished"
            outcome = "interrupted" if self.interrupted else "success"
        except BaseException as error:
            self._tell_of(error, module)
            self.state.status = "interrupted"
            raise
        finally:
            self._close(outcome)

    def _set_up(self) -> None:
        for callback in self.callbacks:
            callback.log, callback.log_dict = self.module.log, self.module.log_dict  # type: ignore[attr-defined]
        if self.datamodule is not None:
            self.datamodule.trainer = self
            self.datamodule.prepare_data()
        self.call("prepare_data")
        if self.datamodule is not None:
            self.datamodule.setup(self.state.fn)
        self.call("setup", self.state.fn)
        self.call("configure_model")

    def _tear_down(self) -> None:
        if self.datamodule is not None:
            self.datamodule.teardown(self.state.fn)
        self.call("teardown", self.state.fn)

    def _join_callbacks(self, module: Module) -> None:
        """A module's callbacks stay, to be asked, until the next stage."""
        own = [c for c in self.callbacks if c not in self._of_module] + self._displaced
        self.callbacks = defaults.joined(own, module)
        self._of_module = [c for c in self.callbacks if c not in own]
        self._displaced = [c for c in own if c not in self.callbacks]

    def _close(self, outcome: str) -> None:
        self.state.stage = None
        self.writer.close()
        if self.profiler is not None:
            self.profiler.release()
            print(self.profiler.summary())
        for logger in self.loggers:
            if hasattr(logger, "finalize"):
                logger.finalize(outcome)

    def _tell_of(self, error: BaseException, module: Module) -> None:
        """Calls `on_exception`; what that raises becomes a note of the user's exception."""
        hook = "on_exception"
        for callback in self.callbacks:
            try:
                getattr(callback, hook)(self, module, error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.{hook}() failed: {another}")

    def call(
        self, hook: str, *args: Any, monitoring: bool | None = None, of_module: bool = True
    ) -> Any:
        """Every callback's hook of this name, then the module's, whose answer it returns. The only
        way hooks are called.

        monitoring: only the callbacks that read the metrics (True), or all others and the module
        (False).
        """
        before, self.hook = self.hook, hook
        for callback in self.callbacks if HOOKS[hook].of_callback else ():
            if monitoring in (None, callback.monitoring):
                getattr(callback, hook)(self, self.module, *args)
        own = getattr(self.module, hook, None) if of_module and not monitoring else None
        answer = None if own is None else own(*args)
        self.hook = before  # a hook that saves a checkpoint calls others
        return answer

    # ------------------------------------------------------------------------------- data

    def _loaders(self, part: str, given: Any, optional: bool = False) -> list[Any]:
        """The loaders of a stage, from the first of those who may have them."""
        loader = None if isinstance(given, DataModule) else given
        for owner in (self.datamodule, self.module):
            if loader is None and owner is not None:
                loader = getattr(owner, f"{part}_dataloader")()
        found = [] if loader is None else as_loaders(loader)
        if not found and not optional:
            raise ValueError(
                f"{self.state.fn} needs a loader: give it one, or define {part}_dataloader()"
            )
        return found

    def _feed(self, part: str, given: Any) -> Feed:
        found = self._loaders(part, given)
        if len(found) > 1:
            raise ValueError(f"{len(found)} {part} loaders: training reads one")
        once = self.max_epochs == 1
        fixed = bool(self.overfit_batches)
        shards = self.world_size
        return Feed(found[0], self.limits[part], part, shards=shards, fixed=fixed, again=not once)

    def _feeds(self, part: str, given: Any, optional: bool = False) -> list[Feed]:
        """The loaders to evaluate on. optional: there may be none, or none that is looked at."""
        found = self._loaders(part, given, optional)
        if optional and found == [[]]:
            return []
        if found and optional and not overrides(self.module, "validation_step"):
            settings.notice("there is a val loader, but no validation_step(): it is not read")
            return []
        fixed = bool(self.overfit_batches)
        feeds = [Feed(x, self.limits[part], part, fixed=fixed, again=optional) for x in found]
        return [feed for feed in feeds if not optional or feed.count != 0]

    def start_batch(self, batch: Any, last: bool) -> Any:
        """The batch as the step gets it: after the hooks of its transfer."""
        index = self.dataloader_idx or 0
        batch = self._transfer("on_before_batch_transfer", batch, index)
        batch = self._transfer("transfer_batch_to_device", batch, "cpu", index)
        batch = self._transfer("on_after_batch_transfer", batch, index)
        if self.training:
            self.is_last_batch = last
        self.measure(batch)
        return batch

    def _transfer(self, hook: str, batch: Any, *args: Any) -> Any:
        """The data module's hook, if it has one, else the module's."""
        for owner in (self.datamodule, self.module):
            if owner is not None and overrides(owner, hook):
                self.hook = hook
                return getattr(owner, hook)(batch, *args)
        return batch

    def measure(self, batch: Any) -> None:
        self.batch_size = count_samples(batch)

    def place(self, index: int) -> tuple[int, ...]:
        """What follows a batch in the arguments of hooks and steps: its number, and that of its
        loader if there are several."""
        return (index,) if self.dataloader_idx is None else (index, self.dataloader_idx)

    def step(self, kind: str, batch: Any, *place: int) -> Any:
        """The module's step, with as many arguments as it takes."""
        self.hook = f"{kind}_step"
        step = getattr(self.module, self.hook)
        return step(batch, *accepted(step, *place))

    @property
    def estimated_stepping_batches(self) -> int | None:
        """Optimizer steps of the whole run; None if there is no end."""
        return when.all_steps(self)

    # ------------------------------------------------------------------------------- services

    def _configure(self) -> None:
        returned = self.module.configure_optimizers()
        self._optimizer, self.schedules = read_configuration(returned)
        tables = {parameter.window for parameter in self.module.parameters()}
        given = [p for group in self._optimizer.param_groups for p in group["params"]]
        if tables.isdisjoint(parameter.window for parameter in given):
            raise ValueError(
                "the optimizer of configure_optimizers() has no parameter of the module: make it "
                "with self.parameters()"
            )
        if self.schedules.need_an_end and self.estimated_stepping_batches is None:
            raise ValueError("a schedule needs an end: set max_epochs or max_steps")

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

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Every model in evaluation mode; a training epoch is validated meanwhile."""
        stage = "validate" if self.training else self.state.stage
        with self.state.during(stage), self.module.evaluating():
            yield

    def print(self, *args: Any, **options: Any) -> None:
        """`print`, without tearing the progress bar."""
        self.module.print(*args, **options)

    def end_batch(self) -> None:
        """Before a checkpoint that is saved in a hook at the end of a batch."""
        loop.end_batch(self)

    def metric_states(self) -> dict[str, Any]:
        """The states of the module's metrics by their attributes, of those that have one."""
        found = named_metrics(self.module).items()
        return {name: m.state_dict() for name, m in found if hasattr(m, "state_dict")}

    def load_metric_states(self, states: Mapping[str, Any]) -> None:
        found: Mapping[str, Any] = named_metrics(self.module)
        for name, state in states.items():
            found[name].load_state_dict(state)

    def memory_estimate(self) -> Estimate | None:
        """Bytes of this run; None if the training loader does not say its batch_size."""
        return outset.memory_estimate(self)

    # ------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, filepath: _Path, weights_only: bool = False) -> None:
        """Writes the state of the run; `fit(..., ckpt_path=filepath)` resumes from it. Within a
        window of accumulated batches that is its beginning.

        A checkpoint that is there already is replaced. Raises `FileExistsError` for anything else.
        """
        self.writer.wait()
        with folders.claim(Path(filepath)) as place:
            checkpoint.write([place], snapshot(self, weights_only))

    def _resume(self, path: Path | None) -> None:
        if path is None:
            return
        found = checkpoint.read_or_earlier(path)
        if isinstance(found, Checkpoint):
            load_run(found, self)
        else:
            found.load_run(self)
        self.ckpt_path, self.resumed = found.path, True
        print(f"resuming {found.path}: epoch {self.state.epoch}, step {self.state.step}")
        if self.should_stop:
            print("it was told to stop; larger limits or more patience let it go on")

    def _interrupt(self, number: int) -> None:
        self.interrupted, self._signal = True, number
        if number == SIGINT:
            print("\nCtrl-C: stopping after this batch; Ctrl-C again stops at once")
        else:
            print(f"\n{Signals(number).name}: stopping after this batch; Ctrl-C stops at once")

    def _leave(self) -> None:
        """After a run that a signal has ended the script does not go on."""
        if self.interrupted:
            leave(self._signal)

    def _save_the_end(self) -> None:
        """A run that stops within an epoch can be resumed from there."""
        if self.interrupted:
            self._save_interrupted()
            return
        callback = self.checkpoint_callback
        if callback is not None and not self.fast_dev_run:
            if self.state.cut:
                callback.write_cut(self)
            self.writer.wait()
            finished.note(self, paused=self.state.stop == "pause" and not when.is_complete(self))

    def _save_interrupted(self) -> None:
        callback = self.checkpoint_callback
        where = f"epoch {self.state.epoch}, step {self.state.step}"
        if callback is None:
            print(f"stopped at {where}; checkpoints are switched off, so nothing was saved")
            return
        path = callback.write_last(self)
        print(f"stopped at {where}; resume with fit(..., ckpt_path={str(path)!r})")
