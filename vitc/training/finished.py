"""How runs have ended, noted beside their checkpoints.

A checkpoint is of the middle of a run: it does not say whether the run was killed later or went on
to its end. `fit(ckpt_path="last")` goes on from a run that was killed or paused, not from one that
is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vitc.files import replacing
from vitc.training.settings import notice

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer


class End(NamedTuple):
    """limits: of that time. paused: somebody's `should_stop` was the reason, no limit and no
    callback whose task it is to end a run."""

    limits: list[float]
    paused: bool
    step: int


_here: dict[str, End] = {}  # of the runs of this process
_NOTE = ".finished"
_NO_LIMIT = 1e300


def note(trainer: Trainer, paused: bool) -> None:
    """Remembers the end of a run; also in its folder, unless the user has named that of the
    checkpoints, where a run that is started once more stays finished."""
    end = _here[trainer.run_id] = End(limits(trainer), paused, trainer.global_step)
    folder = trainer.log_dir
    if not _is_noted(trainer) or not folder.is_dir():
        return
    try:
        with replacing(folder / _NOTE) as unfinished:
            noted = _noted(folder) | {trainer.run_id: end}
            unfinished.write_text(json.dumps(noted) + "\n")
    except OSError as error:
        notice(f"{folder}: the end of the run could not be noted: {error}")


def is_finished(folder: Path, run: str, trainer: Trainer) -> bool:
    """Whether a run has come to its end, and the trainer asks for no more of it. folder: of its
    checkpoints."""
    found = _ends(folder, run)
    return any(not end.paused and within(limits(trainer), end.limits) for end in found)


def is_told_to_stop(path: Path, state: Mapping[str, Any], trainer: Trainer) -> bool:
    """Whether the `should_stop` of a checkpoint still holds for the run that is resumed from it,
    whose limits are those of then. That of a callback whose task it is does. Another one is a
    pause, after which the run goes on; unless it was killed on the way there."""
    if not state["stop"] or not within(limits(trainer), state["limits"]):
        return False
    place = state["progress"]
    early = place["epoch"] < trainer.min_epochs or place["step"] < (trainer.min_steps or 0)
    if early or state["stop"] == "end":
        return True
    ends = [end.step for end in _ends(path.parent, state["run"])]
    return (
        _is_noted(trainer) and path.parent.parent == trainer.log_dir and place["step"] not in ends
    )


def _is_noted(trainer: Trainer) -> bool:
    """Whether its end is noted beside the checkpoints."""
    callback = trainer.checkpoint_callback
    return callback is not None and callback.given_dirpath is None


def within(asked: list[float], limits: list[float]) -> bool:
    return len(asked) == len(limits) and all(a <= b for a, b in zip(asked, limits, strict=True))


def limits(trainer: Trainer) -> list[float]:
    """Epochs, steps, seconds of timers, and the patience of early stopping; -1 is no limit and here
    more than any."""
    from vitc.training.callbacks import EarlyStopping, Timer

    found: list[float | None] = [trainer.max_epochs, trainer.max_steps]
    found += [c.duration for c in trainer.callbacks if isinstance(c, Timer)]
    found += [c.patience for c in trainer.callbacks if isinstance(c, EarlyStopping)]
    return [_NO_LIMIT if x is None or x < 0 else float(x) for x in found]


def _ends(folder: Path, run: str) -> list[End]:
    """What is known of a run: in this process, and in the folder of its checkpoints."""
    found = [_here[run]] if run in _here else []
    with suppress(
        KeyError, TypeError, ValueError
    ):  # there is no note, or it is not of this version
        kept, paused, step = _noted(folder.parent)[run]
        found.append(End([float(x) for x in kept], bool(paused), int(step)))
    return found


def _noted(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _NOTE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
