"""state.json, by which a folder is known as a checkpoint; nothing in it is believed unseen.

It holds a SHA-256 of itself, which reveals damage. It is not a secret: whoever writes another state
can write its hash, so names in it lead nowhere but into the folder they are looked up in.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitc.errors import said
from vitc.training.plain import from_json

STATE = "state.json"
SCHEMA = 6

_PLACE = {"epoch", "batch", "step", "validating", "validated"}
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

# What is in it, and its type. The second table: of one that can be resumed.
_KINDS: dict[str, type] = {"run": str, "by": str, "hparams": dict, "models": dict, "files": dict}
_KINDS_OF_RUN: dict[str, type] = {
    "seed": int,
    "shards": int,
    "progress": dict,
    "stop": str,
    "limits": list,
    "callbacks": dict,
    "loggers": list,
    "schedule": dict,
    "datamodule": dict,
    "results": dict,
    "callback_metrics": dict,
    "seen": list,
    "identity": dict,
    "metric_states": dict,
    "optimizer": dict,
}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    write_json(path / STATE, {**state, "sha256": _digest(state)})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def read_state(path: Path) -> dict[str, Any]:
    """The state of the checkpoint at path, its parts of the kinds they are used as.

    Raises `OSError`, or `ValueError`, naming the file, if it is damaged or of another schema.
    """
    file = path / STATE
    state = _parsed(file)
    if state.get("schema") != SCHEMA:
        found = state.get("schema")
        shape = found if isinstance(found, int) else "of another type"
        raise ValueError(f"{file} has schema {shape}, this version of vitc reads {SCHEMA}")
    state = _decoded(file, state)
    kinds = _KINDS | (_KINDS_OF_RUN if "progress" in state else {})
    for name, kind in kinds.items():
        if not isinstance(state.get(name), kind):
            raise ValueError(f"{file} is damaged: {name!r} is not a {kind.__name__}")
    _check_parts(file, state)
    return state


def _decoded(file: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """With the types that JSON lacks; of whatever kind, which is looked at later."""
    try:
        return {name: from_json(value) for name, value in state.items()}
    except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {said(error)}") from None


def _check_parts(file: Path, state: Mapping[str, Any]) -> None:
    if not all(map(name_is_plain, (*state["files"], *state["models"].values()))):
        raise ValueError(f"{file} is damaged: it names files outside of the checkpoint")
    if not set(state["models"].values()) <= set(state["files"]):
        raise ValueError(f"{file} is damaged: it gives a model no file")
    kept = (*state.get("loggers", ()), *state.get("callbacks", {}).values())
    if not all(isinstance(part, dict) for part in kept):
        raise ValueError(f"{file} is damaged: a callback or logger keeps no dict")
    if "progress" in state and set(state["progress"]) != _PLACE:
        raise ValueError(f"{file} is damaged: it does not say how far the run was")
    if not all(
        map(is_number, (*state.get("callback_metrics", {}).values(), *state.get("limits", ())))
    ):
        raise ValueError(f"{file} is damaged: a metric or limit is not a number")
    if state.get("stop", "") not in ("", "pause", "end"):
        raise ValueError(f"{file} is damaged: it does not say whether the run was to stop")
    if not all(map(_is_count, (*state.get("progress", {}).values(), *state.get("seen", ())))):
        raise ValueError(f"{file} is damaged: it does not say how far the run was")


def is_number(value: Any) -> bool:
    """Whether it can be a metric's value."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 53)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _parsed(file: Path) -> dict[str, Any]:
    """The state as it was written, by whichever version."""
    try:
        state = dict(json.loads(file.read_text()))
        digest = state.pop("sha256")
        whole = _digest(state) == digest
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{file} is damaged: it is not the JSON that was written") from None
    if not whole:
        raise ValueError(f"{file} is damaged: it is not as it was written")
    return state


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def step_of(path: Path) -> int:
    """How far the run of a checkpoint was; -1 if it cannot be resumed."""
    try:
        step = json.loads((path / STATE).read_text())["progress"]["step"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return -1
    return step if isinstance(step, int) else -1


# ------------------------------------------------------------------------------- whose it is


def is_checkpoint(path: Path) -> bool:
    """Whether path is a folder that holds a checkpoint, and nothing that is not of it."""
    return _own_state(path) is not None


def author(path: Path) -> tuple[str, str] | None:
    """The run and the callback that wrote the checkpoint at path; None if there is none."""
    state = _own_state(path)
    if state is None:
        return None
    return str(state.get("run")), str(state.get("by"))


def _own_state(path: Path) -> dict[str, Any] | None:
    """The state of a folder that holds nothing but its checkpoint. Raises `OSError` for a disk that
    does not say."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return None
        state = _parsed(path / STATE)
        there = set(os.listdir(path))
    except (*_NO_FILE, ValueError):
        return None
    files = state.get("files")
    return state if isinstance(files, dict) and there <= {STATE, *files} else None


# ------------------------------------------------------------------------------- names in it


def within(folder: Path, name: Any) -> Path:
    """The path of something below folder that a state names. Raises `ValueError` for another."""
    if not isinstance(name, str) or not all(map(name_is_plain, name.split("/"))):
        raise ValueError("it names a place outside of the folder it is looked up in")
    return folder / name


def name_within(folder: Path, path: str | Path) -> str:
    """The name by which `within` finds path again; empty if it is elsewhere."""
    path = Path(path)
    return path.relative_to(folder).as_posix() if folder in path.parents else ""


def name_is_plain(name: Any) -> bool:
    """Whether it can only name something in the folder itself."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\0"}
