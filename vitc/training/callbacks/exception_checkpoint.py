"""A checkpoint where an exception ends a run."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from vitc.errors import shown
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class OnExceptionCheckpoint(Callback):
    """Writes `dirpath/filename.ckpt` when an exception ends `fit`; resume with ckpt_path.

    The exception stays the user's. A checkpoint of that name is replaced; nothing is removed after
    a run that ends well. Ctrl-C is no exception: it writes `last.ckpt`. Nothing is written in the
    middle of an optimizer step, where the weights belong to none.

    Raises `TypeError` or `ValueError` for a bad name.
    """

    def __init__(self, dirpath: str | PathLike[str], filename: str = "on_exception") -> None:
        if not isinstance(dirpath, str | PathLike):
            raise TypeError(f"dirpath is {shown(dirpath)}, expected a path")
        if not isinstance(filename, str):
            raise TypeError(f"filename is {shown(filename)}, expected a string")
        if not filename or Path(filename).name != filename:
            raise ValueError(f"filename is {shown(filename)}, expected a name without a folder")
        self.dirpath, self.filename = Path(dirpath), filename

    @property
    def ckpt_path(self) -> str:
        return str(self.dirpath / f"{self.filename}.ckpt")

    def on_exception(self, trainer: Trainer, module: Module, exception: BaseException) -> None:
        if trainer.fitting and trainer.state.running and not trainer.state.updating:
            trainer.save_checkpoint(self.ckpt_path)
