"""Notes of runs that have come to their end.

A checkpoint is of the middle of a run: it does not say whether the run was killed later or went on
to its end. `fit(ckpt_path="last")` goes on from the first kind only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc.files import replacing
from vitc.training.settings import notice

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

_here: dict[str, list[float]] = {}  # runs that this process has brought to their end, and limits
_NOTE = ".finished"
_LARGEST = 1e300


def note(trainer: Trainer) -> None:
    """Remembers under which limits the run has ended; also in its folder, unless the user has named
    that of the checkpoints, where a run that is started once more stays finished."""
    _here[trainer.run_id] = _limits(trainer)
    callback, folder = trainer.checkpoint_callback, trainer.log_dir
    if callback is None or callback.dirpath is not None or not folder.is_dir():
        return
    try:
        with replacing(folder / _NOTE) as unfinished:
            noted = _noted(folder) | {trainer.run_id: _limits(trainer)}
            unfinished.write_text(json.dumps(noted) + "\n")
    except OSError as error:
        notice(f"{folder}: the end of the run could not be noted: {error}")


def is_finished(folder: Path, run: str, trainer: Trainer) -> bool:
    """Whether a run has come to its end, and the trainer asks for no more of it. folder: of its
    checkpoints."""
    ends = [_here.get(run), _noted(folder.parent).get(run)]
    return any(_within(_limits(trainer), end) for end in ends if end is not None)


def _within(asked: list[float], end: Any) -> bool:
    if not isinstance(end, list) or len(end) != len(asked):
        return False
    if not all(isinstance(x, int | float) for x in end):
        return False
    return all(a <= b for a, b in zip(asked, end, strict=True))


def _noted(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _NOTE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _limits(trainer: Trainer) -> list[float]:
    """Epochs, steps and seconds, of which -1 is no limit and here more than any."""
    from vitc.training.callbacks import Timer

    seconds = [c.duration for c in trainer.callbacks if isinstance(c, Timer)]
    limits = (trainer.max_epochs, trainer.max_steps, next(iter(seconds), None))
    return [_LARGEST if x is None or x < 0 else float(x) for x in limits]
