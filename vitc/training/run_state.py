"""What `Run.save` writes and `Run.load` reads: a checkpoint of whatever a loop of one's own has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vitc import __version__, checks
from vitc.errors import nearest, shown
from vitc.models.model import Model
from vitc.optim import Optimizer
from vitc.runtime import machine
from vitc.tape import clock
from vitc.training import checkpoint, folders, optimizer_state
from vitc.training.checkpoint import Checkpoint, Snapshot
from vitc.training.module import Module
from vitc.training.plain import as_json
from vitc.training.snapshot import notice_machine
from vitc.training.state_file import SCHEMA

_CLOCK = ("seed", "step", "row", "forward")


def save(path: str | PathLike[str], state: Mapping[str, Any]) -> None:
    """Writes objects and values by their names; see `Run.save`."""
    content = _snapshot(state)
    with folders.claim(Path(path)) as place:
        checkpoint.write([place], content)


def _snapshot(state: Mapping[str, Any]) -> Snapshot:
    tensors: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not name or set(name) & {"/", "\0"}:
            raise ValueError(f"save() got the name {shown(name)}, expected one for a file")
        if isinstance(value, Model | Module):
            tensors[name] = value.state_dict()
        elif isinstance(value, Optimizer):
            tensors[f"{name}.state"], kept = optimizer_state.split(value)
            values[name] = as_json(kept, f"the state of {shown(name)}")
        else:
            kept = value.state_dict() if hasattr(value, "state_dict") else value
            values[name] = as_json(kept, f"save() cannot keep {shown(name)}: it")
    twice = [n for n in state if isinstance(state[n], Model | Module) and n.endswith(".state")]
    if twice:
        raise ValueError(
            f"save() got a model called {shown(twice[0])}: that is an optimizer's file"
        )
    models = {n: f"{n}.safetensors" for n, v in state.items() if isinstance(v, Model | Module)}
    content = {
        "schema": SCHEMA,
        "vitc": __version__,
        "machine": machine(),
        "run": "",
        "by": "",
        "hparams": {},
        "models": models,
        "values": values,
        "clock": {name: getattr(clock, name) for name in _CLOCK},
    }
    return Snapshot(tensors, content, None)


def load(
    path: str | PathLike[str], state: MutableMapping[str, Any] | None, strict: bool
) -> dict[str, Any]:
    """Gives objects their states, and returns what state does not name; see `Run.load`."""
    found = checkpoint.read(path)
    kinds = [type(found.state.get(name)) for name in ("values", "clock")]
    if kinds != [dict, dict]:
        raise ValueError(f"{found.path} was not written by Run.save()")
    there = {*found.state["models"], *found.state["values"]}
    state = {} if state is None else state
    missing = [name for name in state if name not in there]
    if missing and strict:
        raise KeyError(f"{found.path} has no {shown(missing[0])}; {nearest(missing[0], there)}")
    _load_all(found, {name: value for name, value in state.items() if name in there}, state)
    notice_machine(found)
    rest = {name: value for name, value in found.state["values"].items() if name not in state}
    return rest | {n: found.weights(n) for n in found.state["models"] if n not in state}


def _load_all(found: Checkpoint, known: Mapping[str, Any], state: MutableMapping[str, Any]) -> None:
    """All of them, or none: what was loaded gets its old state back if another is refused."""
    before = {name: getattr(clock, name) for name in _CLOCK}
    undo: list[Callable[[], None]] = [lambda: vars(clock).update(before)]
    try:
        name = "clock"
        vars(clock).update({n: checks.integer(n, found.state[name][n], 0) for n in _CLOCK})
        for name, value in known.items():
            if hasattr(value, "load_state_dict"):
                undo.append(_restoring(value))
                _load(found, name, value)
    except Exception as error:
        for back in reversed(undo):
            back()
        raise ValueError(f"{found.path}, {shown(name)}: {error}") from error
    for name, value in known.items():
        if not hasattr(value, "load_state_dict"):
            is_model = name in found.state["models"]
            state[name] = found.weights(name) if is_model else found.state["values"][name]


def _load(found: Checkpoint, name: str, value: Any) -> None:
    if isinstance(value, Model | Module):
        value.load_state_dict(found.weights(name))
    elif isinstance(value, Optimizer):
        kept = found.state["values"][name]
        optimizer_state.check_kind(value, kept, found.path)
        optimizer_state.load(value, kept, found.tensors(f"{name}.state"))
    else:
        value.load_state_dict(found.state["values"][name])


def _restoring(value: Any) -> Callable[[], None]:
    """Brings an object back to its present state."""
    before = _copied(value.state_dict())
    return lambda: value.load_state_dict(before)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(x) for key, x in value.items()}
    return np.array(value) if isinstance(value, np.ndarray) else value
