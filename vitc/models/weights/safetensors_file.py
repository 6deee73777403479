"""`.safetensors` files, in and out: a length, a JSON header, and the arrays.

    u64 n | n bytes of JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}} | data

Offsets count from the start of the data. Reading maps the file and checks every number of the
header against it.
"""

import json
import os
import stat
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown, word_of
from vitc.files import replacing
from vitc.models.weights.mapped import array_at, map_file, sides, whole, width

# What the format calls a dtype, as `array_at` takes it.
DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bf16",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
UNREAD = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4",
          "C64")  # fmt: skip
LONGEST_HEADER = 16 << 20  # bytes; those of ViTs have some 50,000


class Parsed(NamedTuple):
    """unread: of arrays in dtypes that are not read, these."""

    arrays: dict[str, Array]
    metadata: dict[str, str]
    unread: dict[str, str]


def read(path: Path) -> Parsed:
    """The arrays, mapped and read-only, and the metadata. bfloat16 becomes float32.

    Raises `ValueError` saying what is damaged.
    """
    return parse(map_file(path))


def parse(data: memoryview) -> Parsed:
    """The same of what a file holds."""
    header, start = _header(data)
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in dict(metadata).values()):
        raise ValueError("its metadata holds other things than text")
    arrays: dict[str, Array] = {}
    unread: dict[str, str] = {}
    end = 0
    for name, row in sorted(header.items(), key=_begin):
        begin, last, dtype, shape = _row(name, row)
        if begin != end:
            raise ValueError(f"{word_of(name)} begins at byte {begin} of the data, expected {end}")
        if dtype in DTYPES:
            arrays[name] = array_at(data, start + begin, DTYPES[dtype], shape)
        else:
            unread[name] = dtype
        end = last
    if start + end != len(data):
        raise ValueError(f"it has {len(data)} bytes, its header describes {start + end}")
    arrays = {name: arrays[name] for name in header if name in arrays}
    return Parsed(arrays, dict(metadata), unread)


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """The JSON, and where the arrays begin."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(LONGEST_HEADER, len(data) - 8):
        raise ValueError(f"its header is said to have {length} bytes, the file has {len(data)}")
    header = json.loads(bytes(data[8 : 8 + length]))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length


def _begin(item: tuple[str, Any]) -> tuple[int, int]:
    begin, end = item[1]["data_offsets"]
    return whole(begin, "an offset"), whole(end, "an offset")


def _row(name: str, row: Mapping[str, Any]) -> tuple[int, int, str, tuple[int, ...]]:
    """Begin, end, dtype and shape of an array, in agreement with each other."""
    begin, end = row["data_offsets"]
    dtype = row["dtype"]
    if not isinstance(dtype, str) or dtype not in (*DTYPES, *UNREAD):
        raise ValueError(f"{word_of(name)} has dtype {shown(dtype)}, expected {', '.join(DTYPES)}")
    shape = sides(row["shape"], f"the shape of {word_of(name)}")
    size = prod(shape) * width(DTYPES[dtype]) if dtype in DTYPES else end - begin
    if end - begin != size:
        raise ValueError(
            f"{word_of(name)} has {end - begin} bytes, its shape {shape} in {dtype} {size}"
        )
    return begin, end, dtype, shape


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
    with replacing(Path(path)) as unfinished:
        write(unfinished, state, metadata, bf16=bf16)


def write(
    path: Path, state: Mapping[str, Array], metadata: dict[str, str], *, bf16: bool = False
) -> None:
    """The same to a file that nobody reads yet. Raises `OSError`, naming it."""
    from safetensors import SafetensorError, serialize_file

    path.touch()
    mode = path.stat().st_mode
    arrays = {name: _as_stored(value, bf16) for name, value in state.items()}
    specs = {name: _spec(array) for name, array in arrays.items()}
    try:
        serialize_file(specs, path, metadata)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    path.chmod(stat.S_IMODE(mode))  # it leaves a file that only its owner can read


def _as_stored(value: Array, bf16: bool) -> Array:
    """An array as the file is to have it; bfloat16 as the bits of a uint16."""
    array = np.ascontiguousarray(value)
    if not bf16 or array.dtype != np.float32:
        return array
    bits = array.view(np.uint32).astype(np.uint64)  # rounded to even; the carry has room
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def _spec(array: Array) -> Any:
    """What safetensors writes: where the array is, which must outlive the call."""
    from safetensors import TensorSpec

    dtype = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
    return TensorSpec(
        dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
    )
