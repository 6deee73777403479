"""Checkpoints during a run, the best of them kept."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import nearest, shown
from vitc.training import checkpoint, folders, when
from vitc.training.hooks import Callback
from vitc.training.results import Number
from vitc.training.snapshot import snapshot
from vitc.training.state_file import author, is_number, name_within, within

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


_KINDS: dict[Any, str] = {
    str | PathLike: "a path",
    str: "a string",
    bool: "True or False",
    timedelta: "a timedelta",
}


class ModelCheckpoint(Callback):
    """Writes checkpoints and keeps the `save_top_k` best by a logged metric.

    dirpath: by default `checkpoints/` in the logger's directory. filename: a pattern with
    `{epoch}`, `{step}` and logged names, such as "{epoch}-{val_loss:.2f}"; each is written as
    name=value unless auto_insert_metric_name is False.
    monitor: a name that the module logs; without it the latest is kept. mode: "min" or "max".
    save_top_k: -1 keeps all, 0 none. save_last: the latest is also `last.ckpt`.
    every_n_epochs (1 if nothing is given), every_n_train_steps, train_time_interval: when; one of
    them. save_on_train_epoch_end: after the training epoch rather than after a validation; by
    default if there is one validation per epoch. save_weights_only: nothing to resume from.
    save_on_exception: also where an exception ends a run, as exception-epoch=E-step=S.ckpt,
    whatever the monitor. verbose: prints what is saved. restore_best_weights: at the end of `fit`
    the module has the weights of the best checkpoint, not the last ones.

    Only what this callback has written in this run is ever replaced or removed. Where something
    else has the name, a version is added: `last-v1.ckpt`.

    Files are written in the background; `fit` returns when they are on the disk, and an error of
    writing ends the run. A checkpoint is of the end of an optimizer step: one that falls into a
    window of accumulated batches is written at the end of the window.
    """

    monitoring = True

    def __init__(
        self,
        dirpath: str | PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        restore_best_weights: bool = False,
    ) -> None:
        checks.one_of("mode", mode, ("min", "max"))
        checks.integer("save_top_k", save_top_k, -1)
        for name, value, kind in (
            ("dirpath", dirpath, str | PathLike),
            ("filename", filename, str),
            ("monitor", monitor, str),
            ("verbose", verbose, bool),
            ("save_last", save_last, bool),
            ("save_on_exception", save_on_exception, bool),
            ("save_weights_only", save_weights_only, bool),
            ("auto_insert_metric_name", auto_insert_metric_name, bool),
            ("train_time_interval", train_time_interval, timedelta),
            ("save_on_train_epoch_end", save_on_train_epoch_end, bool),
            ("restore_best_weights", restore_best_weights, bool),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} is {shown(value)}, expected {_KINDS.get(kind, kind)}")
        checks.optional(checks.integer, "every_n_train_steps", every_n_train_steps, 0)
        checks.optional(checks.integer, "every_n_epochs", every_n_epochs, 0)
        if monitor is None and save_top_k > 1:
            raise ValueError(f"save_top_k is {save_top_k}, but no monitor says which are best")
        if restore_best_weights and (monitor is None or save_top_k == 0):
            raise ValueError(
                "restore_best_weights needs a monitor that says what is best, and files"
            )
        triggers = (every_n_train_steps, train_time_interval, every_n_epochs)
        if sum(bool(trigger) for trigger in triggers) > 1:
            raise ValueError(
                "every_n_epochs, every_n_train_steps and train_time_interval exclude each other: "
                "use a ModelCheckpoint for each"
            )
        if every_n_epochs is None and not any(triggers):
            every_n_epochs = 1
        self.given_dirpath = None if dirpath is None else Path(dirpath).expanduser()
        self.filename, self.monitor, self.mode = filename or "{epoch}-{step}", monitor, mode
        self.verbose, self.save_last, self.save_top_k = verbose, save_last, save_top_k
        self.save_on_exception, self.save_weights_only = save_on_exception, save_weights_only
        self.auto_insert_metric_name = auto_insert_metric_name
        self.every_n_epochs = every_n_epochs or 0
        self.every_n_train_steps = every_n_train_steps or 0
        self.train_time_interval = train_time_interval
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self.restore_best_weights = restore_best_weights
        self._time = 0.0
        self._forget()

    def _forget(self) -> None:
        self.best_k_models: dict[str, float] = {}  # path -> score, in the order of writing
        self.best_model_path = ""
        self.best_model_score: Number | None = None
        self.last_model_path = ""
        self._folder: Path | None = None
        self._dropped: list[Path] = []  # what the latest one has put out of the best
        self._loaded: dict[str, Any] | None = None  # a state, until the folder is known
        self._saved_step = 0  # nothing is there to save before the first
        self._due = False  # by steps or time, but the metric or the end of the window is to come

    # ------------------------------------------------------------------------------- when

    def setup(self, trainer: Trainer, module: Module, stage: str) -> None:
        if stage == "fit":
            self._forget()
            self._folder = self.folder(trainer)
            if not trainer.fast_dev_run:
                folders.check_directory(self._folder)
                folders.settle(self._folder)

    def on_train_start(self, trainer: Trainer, module: Module) -> None:
        self._time = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.state.window:
            return
        every = self.every_n_train_steps
        self._due |= self._time_is_up() or (every > 0 and trainer.global_step % every == 0)
        if self._due and not self._awaits_validation(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, module: Module) -> None:
        if self._saves_on_train_epoch_end(trainer) or trainer.sanity_checking:
            return
        self._due |= self._epoch_counts(trainer)
        if self._due and not trainer.state.window:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:
        if trainer.state.cut and not self._is_fresh(trainer):
            return
        due = self._due and not self._awaits_first_validation(trainer)
        if due or (self._saves_on_train_epoch_end(trainer) and self._epoch_counts(trainer)):
            self._save(trainer)

    def on_exception(self, trainer: Trainer, module: Module, exception: BaseException) -> None:
        running = trainer.fitting and trainer.state.running
        if self.save_on_exception and running and not trainer.state.updating:
            place = f"epoch={trainer.current_epoch}-step={trainer.global_step}"
            self._write_now(trainer, f"exception-{place}", self.save_weights_only)

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:
        """What was written in the background is on the disk by now."""
        at_end = stage == "fit" and not trainer.interrupted
        if self.restore_best_weights and at_end and self.best_model_path:
            checkpoint.read(self.best_model_path).load_models(module)
            print(f"weights of {self.best_model_path}")

    def _time_is_up(self) -> bool:
        if self.train_time_interval is None:
            return False
        now = time.monotonic()
        if now - self._time < self.train_time_interval.total_seconds():
            return False
        self._time = now
        return True

    def _epoch_counts(self, trainer: Trainer) -> bool:
        every = self.every_n_epochs
        return every > 0 and (trainer.current_epoch + 1) % every == 0

    def _saves_on_train_epoch_end(self, trainer: Trainer) -> bool:
        if self.save_on_train_epoch_end is not None:
            return self.save_on_train_epoch_end
        return not trainer.val_feeds or when.validates_once_per_epoch(trainer)

    def _is_fresh(self, trainer: Trainer) -> bool:
        """Whether the monitored value is of these weights, in an epoch that is not whole."""
        state, monitor = trainer.state, self.monitor
        return monitor is None or state.validated == state.step or monitor in state.results.names()

    def _awaits_first_validation(self, trainer: Trainer) -> bool:
        """Whether the monitored value may still come from one that no epoch has had yet."""
        unknown = self.monitor is not None and self.monitor not in trainer.callback_metrics
        return unknown and bool(trainer.val_feeds)

    def _awaits_validation(self, trainer: Trainer) -> bool:
        """Whether the monitored value is one of a validation that is still to come."""
        if self.monitor is None:
            return False
        return self.monitor not in trainer.callback_metrics or when.validation_follows(trainer)

    # ------------------------------------------------------------------------------- which

    def _save(self, trainer: Trainer) -> None:
        """Writes what is to be kept, in the background."""
        self._due = False
        if trainer.fast_dev_run or self._saved_step == trainer.global_step:
            return
        trainer.writer.wait()  # the buffers are free then
        with ExitStack() as names:  # an exception gives them back
            best = self._claim_best(trainer, names) if self.save_top_k else None
            last = self._claim_last(trainer, names) if self.save_last else None
            claims = [claim for claim in (best, last) if claim is not None]
            if not claims:
                return
            self._saved_step = trainer.global_step
            content = self._snapshot(trainer, self.save_weights_only, trainer.writer.buffers)
            names.pop_all()
        out = self._dropped if best is not None else []
        trainer.writer.submit(lambda: self._write(trainer, claims, content, out))

    def _snapshot(
        self, trainer: Trainer, weights_only: bool, buffers: checkpoint.Buffers | None = None
    ) -> checkpoint.Snapshot:
        return snapshot(trainer, weights_only, buffers, self.state_key)

    def _write(
        self,
        trainer: Trainer,
        claims: list[folders.Claim],
        content: checkpoint.Snapshot,
        out: list[Path],
    ) -> None:
        checkpoint.write(claims, content)
        for path in out:
            folders.remove(path, partial(self._wrote, trainer))

    def _claim_best(self, trainer: Trainer, names: ExitStack) -> folders.Claim | None:
        """The name of this one, if it is among the best, and notes what falls out."""
        score = self._score(trainer)
        if not self._is_kept(score):
            return None
        dropped = self._make_room()
        claim = self._claim(trainer, self._name(trainer), names)
        self.best_k_models[str(claim.path)] = score
        self._note_best()
        self._dropped = [old for old in dropped if old != claim.path]
        if self.verbose:
            where = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
            print(f"{where}: saving {claim.path}")
        return claim

    def _claim_last(self, trainer: Trainer, names: ExitStack) -> folders.Claim:
        claim = self._claim(trainer, "last", names)
        self.last_model_path = str(claim.path)
        return claim

    def write_last(self, trainer: Trainer) -> Path:
        """Writes `last.ckpt` where a run was interrupted; returns when it is on the disk. What else
        was due at this step still is when the run is resumed."""
        path = self._write_now(trainer, "last", weights_only=False)
        self.last_model_path = str(path)
        return path

    def write_cut(self, trainer: Trainer) -> None:
        """The same where a run has stopped within an epoch, unless it is saved already."""
        if self.save_weights_only or self._saved_step != trainer.global_step:
            self.write_last(trainer)

    def _write_now(self, trainer: Trainer, name: str, weights_only: bool) -> Path:
        """Writes where the run is; returns when it is on the disk."""
        trainer.writer.wait()
        with ExitStack() as names:
            claim = self._claim(trainer, name, names)
            checkpoint.write([claim], self._snapshot(trainer, weights_only))
        return claim.path

    def _score(self, trainer: Trainer) -> float:
        """The monitored value; without one, the step: later is better."""
        if self.monitor is None:
            return float(trainer.global_step)
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
            raise ValueError(f"ModelCheckpoint monitors {shown(self.monitor)}, not logged; {hint}")
        return float(metrics[self.monitor])

    def _rank(self, score: float) -> float:
        """Greater is better, and NaN is worst."""
        if math.isnan(score):
            return -math.inf
        return -score if self.monitor is not None and self.mode == "min" else score

    def _is_kept(self, score: float) -> bool:
        if self.save_top_k < 0 or len(self.best_k_models) < self.save_top_k:
            return True
        return self._rank(score) > min(map(self._rank, self.best_k_models.values()))

    def _make_room(self) -> list[Path]:
        """Takes the worst out of `best_k_models` until at most save_top_k remain with one more."""
        out = []
        while 0 <= self.save_top_k <= len(self.best_k_models):
            worst = min(self.best_k_models, key=lambda path: self._rank(self.best_k_models[path]))
            del self.best_k_models[worst]
            out.append(Path(worst))
        return out

    def _note_best(self) -> None:
        scores = self.best_k_models
        self.best_model_path = max(scores, key=lambda path: self._rank(scores[path]), default="")
        if self.monitor is not None and self.best_model_path:
            self.best_model_score = Number(scores[self.best_model_path])

    # ------------------------------------------------------------------------------- where

    @property
    def dirpath(self) -> Path | None:
        """The folder of the checkpoints: as given, or of the run."""
        return self.given_dirpath or self._folder

    def folder(self, trainer: Trainer) -> Path:
        """Where its checkpoints are."""
        return self.given_dirpath or trainer.log_dir / "checkpoints"

    def _name(self, trainer: Trainer) -> str:
        """The pattern filled in: "{epoch}-{step}" gives epoch=3-step=1200."""
        values: dict[str, Any] = {k: float(v) for k, v in trainer.callback_metrics.items()}
        values |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
        return filled(self.filename, values, self.auto_insert_metric_name)

    def _claim(self, trainer: Trainer, name: str, names: ExitStack) -> folders.Claim:
        """Where to write: the first of `name`, `name-v1`, ... that nothing has which stays."""
        self._folder = self.folder(trainer)
        for version in count():
            path = self._folder / f"{name}{f'-v{version}' if version else ''}.ckpt"
            if str(path) not in self.best_k_models:
                claim = folders.claim_free(path, partial(self._wrote, trainer))
                if claim is not None:
                    return names.enter_context(claim)
        raise AssertionError("there is always another number")

    def _wrote(self, trainer: Trainer, path: Path) -> bool:
        """Whether this callback wrote what is at path, in this run, maybe before it was cut off."""
        return author(path) == (trainer.run_id, self.state_key)

    # ------------------------------------------------------------------------------- state

    def memory(self, parts: dict[str, int]) -> dict[str, int]:
        """Of the copy that is written in the background."""
        if not (self.save_top_k or self.save_last):
            return {}
        copied = ("weights", "averages") + (() if self.save_weights_only else ("optimizer",))
        return {"checkpoint": sum(parts.get(name, 0) for name in copied)}

    @property
    def state_key(self) -> str:
        when = (self.every_n_epochs, self.every_n_train_steps, self.train_time_interval)
        return f"ModelCheckpoint-{self.monitor}-{self.mode}-" + "-".join(map(str, when))

    def state_dict(self) -> dict[str, Any]:
        """Checkpoints by their names in the folder, wherever that will be."""
        scores = {self._named(path): score for path, score in self.best_k_models.items()}
        return {
            "best_k_models": {name: score for name, score in scores.items() if name},
            "last_model_path": self._named(self.last_model_path),
            "saved_step": self._saved_step,
            "due": self._due,
            "dropped": [name for name in map(self._named, self._dropped) if name],
        }

    def _named(self, path: str | Path) -> str:
        """Empty for a path that is not in the folder."""
        return name_within(self._folder, path) if self._folder is not None else ""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Its names become paths in `on_load_checkpoint`, which knows the folder."""
        scores, dropped = state.get("best_k_models"), state.get("dropped")
        if not isinstance(scores, dict) or not isinstance(dropped, list):
            raise ValueError("what it keeps of a ModelCheckpoint is damaged")
        numbers = (state.get("saved_step"), *scores.values())
        if not all(map(is_number, numbers)):
            raise ValueError("a score of a ModelCheckpoint is not a number")
        for name in (*scores, *dropped, state.get("last_model_path") or "last.ckpt"):
            within(Path(), name)
        self._loaded = state

    def on_load_checkpoint(
        self, trainer: Trainer, module: Module, checkpoint: dict[str, Any]
    ) -> None:
        """Goes on with the checkpoints of this run that are in the folder: all of them, or none if
        it is another one."""
        state, self._loaded = self._loaded, None
        if state is None:
            return
        folder = self._folder = self.folder(trainer)
        wrote = partial(self._wrote, trainer)
        scores = {folder / name: score for name, score in state["best_k_models"].items()}
        self.best_k_models = {str(path): score for path, score in scores.items() if wrote(path)}
        self._note_best()
        last = folder / (state["last_model_path"] or "last.ckpt")
        self.last_model_path = str(last) if wrote(last) else ""
        self._saved_step, self._due = state["saved_step"], bool(state.get("due"))
        for path in (folder / name for name in state["dropped"]):
            if str(path) not in self.best_k_models:  # a writer was killed before it came to this
                folders.remove(path, wrote)


def filled(pattern: str, values: Mapping[str, Any], with_names: bool = True) -> str:
    """A file name from a pattern: "{epoch}-{val_loss:.2f}" gives epoch=3-val_loss=0.41.

    Raises `ValueError` naming a field that has no value.
    """

    def fill(match: re.Match[str]) -> str:
        name, spec = match.group(1), match.group(2) or ""
        if name not in values:
            raise ValueError(
                f"filename {shown(pattern)} names {shown(name)}, which was not logged; known: "
                + ", ".join(values)
            )
        value = f"{values[name]:{spec[1:]}}"
        return f"{name}={value}" if with_names else value

    return re.sub(r"\{([^{}:]+)(:[^{}]*)?\}", fill, pattern)
