"""Which run a checkpoint is of: what two starts of the same script have in common.

`Trainer.fit(ckpt_path="last")` goes on from a checkpoint of its own run only. Two runs are one if
they have the same module and hyperparameters, the same models and the same training data.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.training.plain import as_json

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

_LEVELS = 8  # of datasets that wrap one another


def identity(trainer: Trainer) -> dict[str, str]:
    """A digest of each thing that makes a run this one, by its name."""
    module = trainer.module
    hparams = json.dumps(as_json(module.hparams), sort_keys=True)
    shapes = [f"{name} {tuple(p.shape)}" for name, p in module.named_parameters()]
    return {
        "hyperparameters": _digest([type(module).__name__, hparams]),
        "models": _digest(shapes),
        "training data": _digest(_data(trainer.train_dataloader)),
    }


def differing(one: dict[str, Any], other: Any) -> list[str]:
    """The names of what two runs do not have in common."""
    known = other if isinstance(other, dict) else {}
    return [name for name in one if known.get(name) != one[name]]


def _digest(parts: Sequence[str] | Iterator[str]) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode() + b"\0")
    return sha.hexdigest()[:16]


def _data(loader: Any) -> Iterator[str]:
    """What says which data a loader gives, as far as it and its datasets tell: sizes, and the
    samples' names, labels and order of a subset."""
    level = loader
    for _ in range(_LEVELS):
        if level is None:
            return
        if hasattr(level, "__len__"):
            yield f"length {len(level)}"
        for name in ("indices", "targets", "samples"):
            yield from _values(getattr(level, name, None))
        level = getattr(level, "dataset", None)
    if isinstance(loader, list) and loader:
        yield from _values(loader[0])


def _values(found: Any) -> Iterator[str]:
    """Numbers, names and arrays; a path by its last two parts, for data may be moved."""
    if isinstance(found, np.ndarray):
        yield hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()
    elif isinstance(found, str):
        yield "/".join(found.split(os.sep)[-2:])
    elif isinstance(found, int | float | np.generic):
        yield str(found)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _values(value)
