"""Checkpoints at the end of epochs, the best of them kept."""

import shutil
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.errors import nearest
from vitc.training import checkpoint
from vitc.training.hooks import Callback


class ModelCheckpoint(Callback):
    """Writes a checkpoint after epochs and keeps the `save_top_k` best by a logged metric.

    dirpath: by default `checkpoints/` in the logger's directory. filename: a pattern with
    `{epoch}`, `{step}` and logged names, such as "{epoch}-{val_loss:.2f}"; each is written as
    name=value.
    monitor: a name that the module logs; without it the latest is kept. mode: "min" or "max".
    save_top_k: -1 keeps all, 0 none. save_last: also keep a copy called `last.ckpt`.
    """

    def __init__(
        self,
        dirpath: str | PathLike[str] | None = None,
        filename: str = "{epoch}-{step}",
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
        save_last: bool = False,
        every_n_epochs: int = 1,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}, expected 'min' or 'max'")
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.filename, self.monitor, self.mode = filename, monitor, mode
        self.save_top_k, self.save_last, self.every_n_epochs = save_top_k, save_last, every_n_epochs
        self.kept: dict[str, float] = {}  # path -> score, the order of writing
        self.best_model_path = ""
        self.best_model_score: float | None = None
        self.last_model_path = ""

    def save_epoch(self, trainer: Any) -> None:
        """Called when an epoch is over and the counters stand at the next one."""
        if trainer.current_epoch % self.every_n_epochs or self.save_top_k == 0:
            return
        score = self._score(trainer)
        if not self._is_kept(score):
            return
        path = self._directory(trainer) / f"{self._name(trainer)}.ckpt"
        self.kept.pop(str(path), None)
        self.kept[str(path)] = score
        surplus = self._surplus()
        self._note_best()
        trainer.save_checkpoint(path)
        for old in surplus:
            shutil.rmtree(old, ignore_errors=True)
        if self.save_last:
            self.write_last(trainer)

    def write_last(self, trainer: Any) -> Path:
        """Writes `last.ckpt`: at the end of an epoch, or where a run was interrupted."""
        path = self._directory(trainer) / "last.ckpt"
        self.last_model_path = str(path)
        trainer.save_checkpoint(path)
        return path

    # ------------------------------------------------------------------------------- which

    def _score(self, trainer: Any) -> float:
        """The monitored value, greater is better; without one, later is better."""
        if self.monitor is None:
            return float(trainer.global_step)
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            hint = nearest(self.monitor, metrics) if metrics else "nothing was logged"
            raise ValueError(f"ModelCheckpoint monitors {self.monitor!r}, not logged; {hint}")
        return float(metrics[self.monitor]) * (1 if self.mode == "max" else -1)

    def _is_kept(self, score: float) -> bool:
        if self.save_top_k < 0 or len(self.kept) < self.save_top_k:
            return True
        return score > min(self.kept.values())

    def _surplus(self) -> list[str]:
        """Takes the worst out of `kept` until no more than save_top_k are left."""
        out = []
        while 0 <= self.save_top_k < len(self.kept):
            worst = min(self.kept, key=lambda path: self.kept[path])
            del self.kept[worst]
            out.append(worst)
        return out

    def _note_best(self) -> None:
        self.best_model_path = max(self.kept, key=lambda path: self.kept[path])
        score = self.kept[self.best_model_path]
        if self.monitor is not None:
            self.best_model_score = score if self.mode == "max" else -score

    # ------------------------------------------------------------------------------- where

    def _directory(self, trainer: Any) -> Path:
        if self.dirpath is None:
            self.dirpath = Path(trainer.log_dir) / "checkpoints"
        self.dirpath.mkdir(parents=True, exist_ok=True)
        return self.dirpath

    def _name(self, trainer: Any) -> str:
        """The pattern filled in: "{epoch}-{step}" gives epoch=3-step=1200."""
        values = {"epoch": trainer.current_epoch - 1, "step": trainer.global_step}
        values |= {k: float(v) for k, v in trainer.callback_metrics.items() if k not in values}
        return checkpoint.filled(self.filename, values)

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "best_model_path": self.best_model_path,
            "best_model_score": self.best_model_score,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = {path: score for path, score in state["kept"].items() if Path(path).exists()}
        self.best_model_path = state["best_model_path"]
        self.best_model_score = state["best_model_score"]
