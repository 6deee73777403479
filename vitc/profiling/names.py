"""What the operations of a program are called, after the layers that they belong to."""

import re
from collections.abc import Iterable, Sequence

from vitc import _vitc


def layer_names(program: _vitc.Program, params: Sequence[str]) -> list[str]:
    """For each operation of a list the layer that it belongs to, "" for the model itself.

    params: the names of the table. An operation with parameters is their layer. One without belongs
    where the layer does whose output it works on: the activation between `mlp.fc1` and `mlp.fc2` to
    `mlp`, attention behind `attn.qkv` to `attn`.
    """
    first = len(program.inputs)
    found: list[str] = []
    named: list[bool] = []
    for op in program.operations:
        own = [params[index] for index in op["params"] if index >= 0]
        source = max(op["inputs"], default=-1) - first
        if own:
            found.append(_outer(own[0]))
        elif source < 0:
            found.append("")
        else:
            found.append(_outer(found[source]) if named[source] else found[source])
        named.append(bool(own))
    return found


def _outer(name: str) -> str:
    return name.rpartition(".")[0]


def pattern(layers: Iterable[str]) -> str:
    """One name for layers that differ in their numbers: `blocks.*.mlp.fc1`."""
    given = dict.fromkeys(layers)
    if len(given) == 1:
        return next(iter(given))
    return starred(next(iter(given)))


def starred(layer: str) -> str:
    """The name with a star for each number in it."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", layer)
