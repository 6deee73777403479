"""Files as memory, and arrays in them: nothing is read before it is used, nothing copied.

What a file says about itself is checked here before memory is asked for.
"""

import mmap
import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vitc.arrays import Array
from vitc.program import Shape

MOST_SIDES = 8
# What a damaged file may raise in the parsers; `load_file` turns it into a sentence with the path.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def map_file(path: Path) -> memoryview:
    """The bytes of a file, read-only. Raises `OSError`, and `ValueError` for an empty one."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def whole(value: Any, what: str) -> int:
    """value if it is an integer that can count bytes. Raises `ValueError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 48:
        raise ValueError(f"{what} is not a valid non-negative integer")
    return value


def sides(values: Any, what: str) -> Shape:
    """values, a list or tuple, as a shape (or strides). Raises `ValueError`."""
    if not isinstance(values, (list, tuple)) or len(values) > MOST_SIDES:
        raise ValueError(f"{what} is not a list of at most {MOST_SIDES} numbers")
    return tuple(whole(value, what) for value in values)


def array_at(data: memoryview, offset: int, dtype: str, shape: Shape) -> Array:
    """The array of this shape at a byte of the data, as a view; bfloat16 ("bf16") as a float32.

    Raises `ValueError` if it ends behind the data.
    """
    if dtype == "bf16":
        return widened(array_at(data, offset, "u2", shape))
    kind = np.dtype(dtype).newbyteorder("<") if dtype[0] not in "<>" else np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    if offset + size > len(data):
        raise ValueError(f"an array of {size} bytes ends behind the file")
    return np.ndarray(shape, kind, buffer=data[offset : offset + size])


def widened(bits: Array) -> Array:
    """bfloat16, given as uint16, as float32, of which it is the upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def width(dtype: str) -> int:
    """Bytes of an element of a dtype as `array_at` takes it."""
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize
