"""Checkpoints during a run, the best of them kept."""

import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.errors import nearest
from vitc.training import checkpoint, when
from vitc.training.hooks import Callback
from vitc.training.settings import check_least, check_one_of


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
    save_on_exception: also where a run breaks off. verbose: prints what is saved.

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
    ) -> None:
        check_one_of("mode", mode, ("min", "max"))
        check_least(
            save_top_k=(save_top_k, -1),
            every_n_train_steps=(every_n_train_steps, 0),
            every_n_epochs=(every_n_epochs, 0),
        )
        if monitor is None and save_top_k > 1:
            raise ValueError(f"save_top_k is {save_top_k}, but no monitor says which are best")
        triggers = (every_n_train_steps, train_time_interval, every_n_epochs)
        if sum(bool(trigger) for trigger in triggers) > 1:
            raise ValueError(
                "every_n_epochs, every_n_train_steps and train_time_interval exclude each other: "
                "use a ModelCheckpoint for each"
            )
        if every_n_epochs is None and not any(triggers):
            every_n_epochs = 1
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.filename, self.monitor, self.mode = filename or "{epoch}-{step}", monitor, mode
        self.verbose, self.save_last, self.save_top_k = verbose, save_last, save_top_k
        self.save_on_exception, self.save_weights_only = save_on_exception, save_weights_only
        self.auto_insert_metric_name = auto_insert_metric_name
        self.every_n_epochs = every_n_epochs or 0
        self.every_n_train_steps = every_n_train_steps or 0
        self.train_time_interval = train_time_interval
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self.best_k_models: dict[str, float] = {}  # path -> score, in the order of writing
        self.best_model_path = ""
        self.best_model_score: float | None = None
        self.last_model_path = ""
        self._latest = ""
        self._dropped: list[Path] = []  # what the latest one has put out of the best
        self._saved_step = 0  # nothing is there to save before the first
        self._time = 0.0
        self._due = False  # by steps or time, but the metric or the end of the window is to come

    # ------------------------------------------------------------------------------- when

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        if stage == "fit":
            self._latest, self._saved_step, self._due = "", 0, False
            checkpoint.settle(self._directory(trainer))

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._time = time.monotonic()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.progress.window:
            return
        every = self.every_n_train_steps
        self._due |= self._time_is_up() or (every > 0 and trainer.global_step % every == 0)
        if self._due and not self._awaits_validation(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if self._saves_on_train_epoch_end(trainer) or trainer.sanity_checking:
            return
        self._due |= self._epoch_counts(trainer)
        if self._due and not trainer.progress.window:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if self._due or (self._saves_on_train_epoch_end(trainer) and self._epoch_counts(trainer)):
            self._save(trainer)

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        if self.save_on_exception and trainer.training and not trainer.progress.updating:
            self._save(trainer)

    def _time_is_up(self) -> bool:
        if self.train_time_interval is None:
            return False
        now = time.monotonic()
        if now - self._time < self.train_time_interval.total_seconds():
            return False
        self._time = now
        return True

    def _epoch_counts(self, trainer: Any) -> bool:
        every = self.every_n_epochs
        return every > 0 and (trainer.current_epoch + 1) % every == 0

    def _saves_on_train_epoch_end(self, trainer: Any) -> bool:
        if self.save_on_train_epoch_end is not None:
            return self.save_on_train_epoch_end
        return trainer.val_feed is None or when.validates_once_per_epoch(trainer)

    def _awaits_validation(self, trainer: Any) -> bool:
        """Whether the monitored value is one of a validation that is still to come."""
        if self.monitor is None:
            return False
        return self.monitor not in trainer.callback_metrics or when.validation_follows(trainer)

    # ------------------------------------------------------------------------------- which

    def _save(self, trainer: Any) -> None:
        """Writes what is to be kept, in the background."""
        self._due = False
        if trainer.fast_dev_run or self._saved_step == trainer.global_step:
            return
        trainer.writer.wait()  # the buffers are free then
        jobs: list[Callable[[], None]] = []
        if self.save_top_k:
            jobs += self._best(trainer)
        if self.save_last:
            jobs += self._last(trainer)
        if jobs:
            self._saved_step = trainer.global_step
            trainer.writer.submit(lambda: [job() for job in jobs])

    def _best(self, trainer: Any) -> list[Callable[[], None]]:
        """The jobs that write this one and remove what falls out; none if it is not among the
        best."""
        score = self._score(trainer)
        if not self._is_kept(score):
            return []
        dropped = self._make_room()
        path = self._free(trainer, dropped)
        self.best_k_models[str(path)] = score
        self._note_best()
        self._dropped = [old for old in dropped if old != path]
        if self.verbose:
            print(f"epoch {trainer.current_epoch}, step {trainer.global_step}: saving {path}")
        removals = [partial(remove, old) for old in self._dropped]
        return [self._writing(trainer, path), *removals]

    def _last(self, trainer: Any) -> list[Callable[[], None]]:
        path = self._directory(trainer) / "last.ckpt"
        self.last_model_path = str(path)
        written = Path(self._latest)
        if self._saved_step == trainer.global_step and written != path and self._latest:
            return [lambda: checkpoint.copy(written, path)]
        return [self._writing(trainer, path)]

    def _writing(self, trainer: Any, path: Path) -> Callable[[], None]:
        """Copies what stands now; the job writes it."""
        self._latest, self._saved_step = str(path), trainer.global_step
        buffers = trainer.writer.buffers
        content = checkpoint.snapshot(trainer, trainer.module, self.save_weights_only, buffers)
        return lambda: checkpoint.write(path, content)

    def write_last(self, trainer: Any) -> Path:
        """Writes `last.ckpt` where a run was interrupted; returns when it is on the disk."""
        path = self._directory(trainer) / "last.ckpt"
        self.last_model_path = str(path)
        trainer.save_checkpoint(path)
        return path

    def _score(self, trainer: Any) -> float:
        """The monitored value; without one, the step: later is better."""
        if self.monitor is None:
            return float(trainer.global_step)
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
            raise ValueError(f"ModelCheckpoint monitors {self.monitor!r}, not logged; {hint}")
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
        """Takes the worst out of `best_k_models` until one more is no more than save_top_k."""
        out = []
        while 0 <= self.save_top_k <= len(self.best_k_models):
            worst = min(self.best_k_models, key=lambda path: self._rank(self.best_k_models[path]))
            del self.best_k_models[worst]
            out.append(Path(worst))
        return out

    def _note_best(self) -> None:
        scores = self.best_k_models
        self.best_model_path = max(scores, key=lambda path: self._rank(scores[path]))
        if self.monitor is not None:
            self.best_model_score = scores[self.best_model_path]

    # ------------------------------------------------------------------------------- where

    def _directory(self, trainer: Any) -> Path:
        if self.dirpath is None:
            return Path(trainer.log_dir) / "checkpoints"
        return self.dirpath

    def _name(self, trainer: Any) -> str:
        """The pattern filled in: "{epoch}-{step}" gives epoch=3-step=1200."""
        values: dict[str, Any] = {k: float(v) for k, v in trainer.callback_metrics.items()}
        values |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
        return filled(self.filename, values, self.auto_insert_metric_name)

    def _free(self, trainer: Any, dropped: list[Path]) -> Path:
        """Where to write: the pattern's name, with a version if that is taken by one that stays."""
        path = tried = self._directory(trainer) / f"{self._name(trainer)}.ckpt"
        version = 0
        while self._taken(tried, trainer.resumed) and tried not in dropped:
            version += 1
            tried = path.with_name(f"{path.stem}-v{version}.ckpt")
        return tried

    def _taken(self, path: Path, resumed: bool) -> bool:
        """What a resumed run finds, it has written itself before it was cut off."""
        return str(path) in self.best_k_models or (path.exists() and not resumed)

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
        return {
            "best_k_models": self.best_k_models,
            "best_model_path": self.best_model_path,
            "best_model_score": self.best_model_score,
            "last_model_path": self.last_model_path,
            "saved_step": self._saved_step,
            "dropped": list(map(str, self._dropped)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        kept = state["best_k_models"]
        self.best_k_models = {path: score for path, score in kept.items() if Path(path).exists()}
        self.best_model_path = state["best_model_path"]
        self.best_model_score = state["best_model_score"]
        self.last_model_path = state["last_model_path"]
        self._saved_step = state["saved_step"]
        for path in state["dropped"]:  # the writer may have been killed before it came to this
            remove(Path(path))


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def filled(pattern: str, values: Mapping[str, Any], with_names: bool = True) -> str:
    """A file name from a pattern: "{epoch}-{val_loss:.2f}" gives epoch=3-val_loss=0.41.

    Raises `ValueError` naming a field that has no value.
    """

    def fill(match: re.Match[str]) -> str:
        name, spec = match.group(1), match.group(2) or ""
        if name not in values:
            raise ValueError(
                f"filename {pattern!r} names {name!r}, which was not logged; known: "
                + ", ".join(values)
            )
        value = f"{values[name]:{spec[1:]}}"
        return f"{name}={value}" if with_names else value

    return re.sub(r"\{([^{}:]+)(:[^{}]*)?\}", fill, pattern)
