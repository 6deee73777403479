"""The state of an optimizer as a checkpoint holds it: arrays, and the rest as JSON takes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown
from vitc.optim import Optimizer


def split(optimizer: Optimizer) -> tuple[dict[str, Array], dict[str, Any]]:
    """Its arrays as `<number of the parameter>.<name>`, and all else in torch's layout."""
    content = optimizer.state_dict()
    arrays: dict[str, Array] = {}
    numbers: dict[str, Any] = {}
    for number, row in content["state"].items():
        large = {name: value for name, value in row.items() if np.ndim(value)}
        arrays |= {f"{number}.{name}": value for name, value in large.items()}
        numbers[str(number)] = {n: _number(v) for n, v in row.items() if n not in large}
    kind = type(optimizer).__name__
    return arrays, {"kind": kind, "state": numbers, "param_groups": content["param_groups"]}


def check_kind(optimizer: Optimizer, kept: Mapping[str, Any], path: Path) -> None:
    """Raises `ValueError` for the state of another optimizer."""
    kind, own = kept.get("kind"), type(optimizer).__name__
    if kind != own:
        raise ValueError(f"{path} was trained with {shown(kind)}, this run has {own}")


def load(optimizer: Optimizer, kept: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Gives it back what `split` made. Raises `ValueError` for what does not fit."""
    rows: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in kept["state"].items()}
    for key, value in arrays.items():
        number, name = key.split(".", 1)
        rows[int(number)][name] = value
    optimizer.load_state_dict({"state": rows, "param_groups": kept["param_groups"]})


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value
