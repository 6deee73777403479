"""Notes of runs that have come to their end.

A checkpoint is of the middle of a run: it does not say whether the run was killed later or went on
to its end. `fit(ckpt_path="last")` goes on from the first kind only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc.files import replacing
from vitc.training.loggers.versions import Versioned
from vitc.training.settings import notice

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

_here: dict[str, list[Any]] = {}  # runs that this process has brought to their end, and limits
_NOTE = ".finished"


def note(trainer: Trainer) -> None:
    """Remembers under which limits the run has ended; also in the folder of its logger."""
    _here[trainer.run_id] = _limits(trainer)
    if isinstance(trainer.logger, Versioned):
        folder = trainer.logger.log_dir
        try:
            with replacing(folder / _NOTE) as unfinished:
                unfinished.write_text(json.dumps([trainer.run_id, _limits(trainer)]) + "\n")
        except OSError as error:
            notice(f"{folder}: the end of the run could not be noted: {error}")


def is_finished(folder: Path, run: str, trainer: Trainer) -> bool:
    """Whether a run has come to its end, and the trainer asks for no more of it. folder: of its
    checkpoints."""
    return _limits(trainer) in (_here.get(run), _noted(folder.parent, run))


def _noted(folder: Path, run: str) -> Any:
    try:
        found = json.loads((folder / _NOTE).read_text())
    except (OSError, ValueError):
        return None
    return found[1] if isinstance(found, list) and len(found) == 2 and found[0] == run else None


def _limits(trainer: Trainer) -> list[Any]:
    from vitc.training.callbacks import Timer

    seconds = [c.duration for c in trainer.callbacks if isinstance(c, Timer)]
    return [trainer.max_epochs, trainer.max_steps, seconds]
