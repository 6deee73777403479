"""State dicts: checking them against a model, and `.safetensors` files in and out."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array
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
        return None if array.dtype == np.int8 else f"dtype {array.dtype}, expected int8"
    if array.dtype.kind != "f":
        return f"dtype {array.dtype}, expected floating point numbers"
    wide = np.ascontiguousarray(array, dtype=np.result_type(array.dtype, np.float32))
    bad = 0 if allow_nonfinite else _vitc.count_nonfinite(wide)
    return (
        f"{bad} of {array.size} values are infinite or NaN (allow_nonfinite=True)" if bad else None
    )


def load_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a `.safetensors` file.

    Raises `OSError` if it cannot be opened and `ValueError`, naming the path, if it is of another
    format, truncated or damaged.
    """
    from safetensors import SafetensorError

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are read from .safetensors files only")
    with path.open("rb"):  # the usual OSError, with the path in it
        pass
    try:
        return _read(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


def _read(path: Path) -> dict[str, Array]:
    """Maps the file, unless it holds bfloat16, which NumPy does not know."""
    from safetensors import deserialize, safe_open

    with safe_open(path, framework="numpy") as file:
        if all(file.get_slice(name).get_dtype() != "BF16" for name in file.keys()):  # noqa: SIM118
            return dict(file.get_tensors())
    tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    return {name: _from_bytes(**tensor) for name, tensor in tensors}


def _from_bytes(dtype: str, shape: list[int], data: bytes) -> Array:
    """A tensor of the file; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    letter, size = dtype[0].lower(), int(dtype[1:]) // 8
    return np.frombuffer(data, f"<{letter}{size}").reshape(shape)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `save_file` wrote beside the arrays; empty if nothing."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def save_file(
    path: str | os.PathLike[str],
    state: Mapping[str, Array],
    metadata: dict[str, str],
    *,
    bf16: bool = False,
) -> None:
    """Writes a `.safetensors` file; one that was there before stays whole until the new one is.

    bf16: floating point numbers are rounded to bfloat16.
    """
    from safetensors import serialize_file

    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no directory {path.parent}")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        arrays = {name: _as_stored(value, bf16) for name, value in state.items()}
        specs = {name: _spec(array) for name, array in arrays.items()}
        serialize_file(specs, unfinished, metadata)  # type: ignore[no-untyped-call]
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _as_stored(value: Array, bf16: bool) -> Array:
    """An array as the file is to have it; bfloat16 as the bits of a uint16."""
    array = np.ascontiguousarray(value)
    if not bf16 or array.dtype != np.float32:
        return array
    bits = array.view(np.uint32).astype(np.uint64)  # rounded to even; the carry has room
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def _spec(array: Array) -> Any:
    """What safetensors writes: where the array lies, which must outlive the call."""
    from safetensors import TensorSpec

    dtype = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
    return TensorSpec(
        dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
    )
