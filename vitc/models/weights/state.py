"""State dicts, and checking them against a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array
from vitc.errors import shown
from vitc.program import Shape


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

    Raises `ValueError` listing by name every missing or unexpected key (only if strict), every key
    of another shape or without floating point numbers, and every key with infinite values or NaN.
    """
    keys = IncompatibleKeys(
        [name for name in shapes if name not in state],
        [name for name in state if name not in shapes],
    )
    faults = [f"missing: {name}" for name in keys.missing_keys if strict]
    faults += [f"unexpected: {name}" for name in keys.unexpected_keys if strict]
    ready: dict[str, Array] = {}
    for name in (name for name in shapes if name in state):
        array = as_array(state[name])
        fault = _fault(array, shapes[name], dtypes[name], allow_nonfinite)
        if fault:
            faults.append(f"{name}: {fault}")
        else:
            ready[name] = np.ascontiguousarray(array, dtype=dtypes[name])
    if faults:
        raise ValueError("the state dict does not fit the model:\n  " + "\n  ".join(faults))
    return ready, keys


def _fault(array: Array, shape: Shape, dtype: str, allow_nonfinite: bool) -> str | None:
    if array.shape != shape:
        return f"shape {array.shape}, expected {shape}"
    if dtype == "int8":
        return None if array.dtype == np.int8 else f"dtype {shown(array.dtype)}, expected int8"
    if array.dtype.kind != "f":
        return f"dtype {shown(array.dtype)}, expected floating point numbers"
    wide = np.ascontiguousarray(array, dtype=np.result_type(array.dtype, np.float32))
    bad = 0 if allow_nonfinite else _vitc.count_nonfinite(wide)
    return (
        f"{bad} of {array.size} values are infinite or NaN (allow_nonfinite=True)" if bad else None
    )
