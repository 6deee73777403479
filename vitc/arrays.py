"""Arrays as users pass them: anything NumPy or DLPack takes, turned into what the core takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitc.errors import shown

Array = NDArray[Any]


def as_array(x: Any) -> Array:
    """x (array, list, image, torch tensor) as a NumPy array, without a copy where possible; what
    NumPy has no dtype for, bfloat16, as float32. The gradient of a tensor is left behind."""
    if hasattr(x, "detach") and not isinstance(x, np.ndarray):
        x = x.detach()
        if str(getattr(x, "dtype", "")) == "torch.bfloat16":
            x = x.float()
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def as_floats(x: Any, dtype: str, what: str) -> Array:
    """x as a C-contiguous array of dtype. Raises `TypeError` unless it holds floating point."""
    array = as_array(x)
    if array.dtype.kind != "f":
        raise TypeError(f"{what} has dtype {shown(array.dtype)}, expected floating point numbers")
    return np.ascontiguousarray(array, dtype=dtype)


def over_axis(function: Callable[[Array], Array], x: Array, axis: int) -> Array:
    """function, which works on the last axis of (rows, cols), along any axis of x."""
    moved = np.moveaxis(x, axis, -1)
    rows = np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))
    return np.moveaxis(function(rows).reshape(moved.shape), -1, axis)
