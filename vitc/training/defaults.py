"""The defaults of a trainer, and which checkpoints "last" and "best" are."""

from collections import Counter
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.errors import shown
from vitc.training import checkpoint, folders
from vitc.training.callbacks import ModelCheckpoint, ProgressBar, TQDMProgressBar
from vitc.training.hooks import Callback
from vitc.training.loggers import CSVLogger
from vitc.training.loggers.versions import share_folders
from vitc.training.settings import notice


def loggers(given: list[Any] | bool | None, root: Path) -> list[Any]:
    """Those given, a `CSVLogger` for True or None, none for False."""
    if isinstance(given, list):
        share_folders(given)
        return given
    return [] if given is False else [CSVLogger(root)]


def listed(given: Callback | Iterable[Callback] | None) -> list[Callback]:
    return [given] if isinstance(given, Callback) else list(given or [])


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


def ordered(given: list[Callback]) -> list[Callback]:
    """Checkpoints come last: what they hold is what the others have made."""
    return sorted(given, key=lambda callback: isinstance(callback, ModelCheckpoint))


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


def checkpoint_path(trainer: Any, given: str | PathLike[str] | None) -> Path | None:
    """The path that `ckpt_path` means: itself, "last" or "best"."""
    if given == "best":
        callback = trainer.checkpoint_callback
        if callback is None or not callback.best_model_path:
            raise ValueError('ckpt_path is "best", but this trainer has written no checkpoint')
        return Path(callback.best_model_path)
    if given != "last":
        return None if given is None else Path(given)
    found = [path for folder in _folders(trainer) for path in checkpoint.beside(folder)]
    if not found:
        notice('ckpt_path is "last", but there is no checkpoint: starting from the beginning')
        return None
    return max(found, key=lambda path: (_time(path), path.name))


def _time(path: Path) -> int:
    """When it was written; 0 for one that has been removed since."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _folders(trainer: Any) -> list[Path]:
    """Where checkpoints of this run and of earlier ones with its settings may be."""
    callback = trainer.checkpoint_callback
    if callback is not None and callback.dirpath is not None:
        places = [callback.dirpath]
    else:
        log_dir = trainer.log_dir
        places = [log_dir / "checkpoints", *log_dir.parent.glob("*/checkpoints")]
    for place in places:
        folders.settle(place)
    return list(dict.fromkeys(places))
