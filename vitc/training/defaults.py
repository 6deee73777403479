"""The defaults of a trainer, and which checkpoints "last" and "best" are."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc.errors import shown
from vitc.training import checkpoint, folders, settings
from vitc.training.callbacks import (
    ModelCheckpoint,
    OnExceptionCheckpoint,
    ProgressBar,
    TQDMProgressBar,
)
from vitc.training.finished import is_finished
from vitc.training.hooks import Callback
from vitc.training.identity import differing
from vitc.training.loggers import CSVLogger
from vitc.training.loggers.versions import Versioned, share_folders
from vitc.training.settings import notice
from vitc.training.state_file import read_state

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


def loggers(given: list[Any] | bool | None, root: Path) -> list[Any]:
    """Those given, a `CSVLogger` for True or None, none for False."""
    if isinstance(given, list):
        share_folders(given)
        return given
    return [] if given is False else [CSVLogger(root)]


def callbacks(given: list[Callback], checkpointing: bool, progress_bar: bool) -> list[Callback]:
    """Those given, a progress bar and a `ModelCheckpoint`."""
    own = list(given)
    if progress_bar and not any(isinstance(c, ProgressBar) for c in own):
        own.append(TQDMProgressBar())
    if any(isinstance(c, ModelCheckpoint) for c in own):
        if not checkpointing:
            raise ValueError("enable_checkpointing=False, and callbacks hold a ModelCheckpoint")
    elif checkpointing:
        own.append(ModelCheckpoint())
    check_states(own)
    return own


def joined(own: list[Callback], module: Module) -> list[Callback]:
    """A trainer's callbacks and those that come with a module, which take the place of others of
    their type, as in Lightning. Checkpoints come last: what they hold is what the others have made.
    """
    given = module.configure_callbacks()
    added = settings.callbacks("configure_callbacks()", given)
    types = {type(callback) for callback in added}
    found = [callback for callback in own if type(callback) not in types] + added
    check_states(found)
    kinds = (ModelCheckpoint, OnExceptionCheckpoint)
    return sorted(found, key=lambda callback: isinstance(callback, kinds))


def check_states(given: list[Callback]) -> None:
    """Raises `ValueError` for two callbacks that a checkpoint would keep under one name."""
    keys = Counter(callback.state_key for callback in given if _has_state(callback))
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise ValueError(
            f"two callbacks keep their state as {shown(twice[0])}, so a resumed run would mix them "
            "up: give them different arguments (monitor, mode, when they save), or one of them "
            "another state_key"
        )


def _has_state(callback: Callback) -> bool:
    kind = type(callback)
    return kind.state_dict is not Callback.state_dict or (
        kind.validated_weights is not Callback.validated_weights
    )


def checkpoint_path(trainer: Trainer, given: str | PathLike[str] | None) -> Path | None:
    """The path that `ckpt_path` of a fit means: itself, "last" or "best"."""
    if given != "last":
        return path_to_evaluate(trainer, given)
    found = _last(trainer)
    if isinstance(found, str):
        notice(f'ckpt_path is "last", but {found}: starting from the beginning')
        return None
    return found


def path_to_evaluate(trainer: Trainer, given: str | PathLike[str] | None) -> Path | None:
    """The same of the other stages: "last" and "best" are what this trainer has written."""
    if given not in ("last", "best"):
        return None if given is None else Path(given)
    callback = trainer.checkpoint_callback
    found = "" if callback is None else getattr(callback, f"{given}_model_path")
    if not found:
        raise ValueError(f'ckpt_path is "{given}", but this trainer has written no checkpoint')
    return Path(found)


def _last(trainer: Trainer) -> Path | str:
    """The latest checkpoint of this run; or why there is none."""
    places, explicit = _folders(trainer)
    why = "there is no checkpoint"
    for path in sorted(_checkpoints(places), key=_time, reverse=True):
        try:
            state = read_state(path)
        except (OSError, ValueError):
            return path  # damaged, for which the reader takes an earlier one
        others = differing(trainer.identity, state.get("identity"))
        if is_finished(path.parent, state["run"], trainer):
            why = f"the run of {path} is finished"
        elif others and not explicit:
            why = f"{path} is of a run with other {' and '.join(others)}"
        else:
            return path
    return why


def _checkpoints(places: list[Path]) -> list[Path]:
    for place in places:
        folders.settle(place)
    return [path for place in places for path in checkpoint.beside(place)]


def _time(path: Path) -> tuple[int, str]:
    """When it was written; 0 for one that has been removed since."""
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _folders(trainer: Trainer) -> tuple[list[Path], bool]:
    """Where checkpoints of this run may be, and whether the user has said where: by dirpath=, or by
    the version= of a logger. Else those of all versions are looked at."""
    callback, logger = trainer.checkpoint_callback, trainer.logger
    if callback is not None and callback.given_dirpath is not None:
        return [callback.given_dirpath], True
    own = trainer.log_dir / "checkpoints"
    if not isinstance(logger, Versioned) or logger.is_given:
        return [own], isinstance(logger, Versioned)
    return list(dict.fromkeys([own, *logger.root_dir.glob("*/checkpoints")])), False
