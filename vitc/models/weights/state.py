"""State dicts, and checking them against a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array, as_array
from vitc.errors import word_of
from vitc.parameters import fault
from vitc.program import Shape

_SHOWN = 8  # faults in a message


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_state(
    state: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, str],
    *,
    strict: bool,
    allow_nonfinite: bool,
) -> tuple[dict[str, Array], IncompatibleKeys]:
    """The arrays of state as they can be written, and the keys that did not match.

    Raises `ValueError` listing by name (8 of them) every missing or unexpected key (only if
    strict), every key of another shape or without floating point numbers, and every key with
    infinite values or NaN.
    """
    keys = IncompatibleKeys(
        [name for name in shapes if name not in state],
        [name for name in state if name not in shapes],
    )
    faults = [f"missing: {name}" for name in keys.missing_keys if strict]
    faults += [f"unexpected: {word_of(name)}" for name in keys.unexpected_keys if strict]
    ready: dict[str, Array] = {}
    for name in (name for name in shapes if name in state):
        array = as_array(state[name])
        if wrong := fault(array, shapes[name], dtypes[name], allow_nonfinite):
            faults.append(f"{name}: {wrong}")
        else:
            ready[name] = np.ascontiguousarray(array, dtype=dtypes[name])
    if faults:
        lines = faults[:_SHOWN]
        if len(faults) > _SHOWN:
            lines.append(f"and {len(faults) - _SHOWN} more")
        raise ValueError("the state dict does not fit the model:\n  " + "\n  ".join(lines))
    return ready, keys
