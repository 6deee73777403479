"""`.safetensors` files, in and out: a length, a JSON header, and the arrays.

    u64 n | n bytes of JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}} | data

Offsets count from the start of the data. Reading maps the file and checks every number of the
header against it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown, word_of
from vitc.files import named, replacing
from vitc.models.weights.mapped import array_at, map_file, sides, whole, width

# What the format calls a dtype, as `array_at` takes it.
DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bf16",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {kind: name for name, kind in DTYPES.items()}
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
    metadata: Mapping[str, str],
    *,
    bf16: bool = False,
) -> None:
    """Writes a `.safetensors` file; one that was there before stays whole until the new one is.

    bf16: floating point numbers are rounded to bfloat16.
    """
    with replacing(Path(path)) as unfinished:
        write(unfinished, state, metadata, bf16=bf16)


def write(
    path: Path, state: Mapping[str, Array], metadata: Mapping[str, str], *, bf16: bool = False
) -> None:
    """The same to a file that nobody reads yet: the same arguments give the same bytes.

    Raises `OSError`, naming it.
    """
    with named(path), path.open("wb") as file:
        for piece in _pieces(state, metadata, bf16):
            file.write(piece)


def sha256(state: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of the file that `write` makes of these."""
    found = hashlib.sha256()
    for piece in _pieces(state, metadata, False):
        found.update(piece)
    return found.hexdigest()


def _pieces(
    state: Mapping[str, Array], metadata: Mapping[str, str], bf16: bool
) -> Iterator[memoryview | bytes]:
    """What a file holds, one array after another: wide types first, then by name."""
    order = sorted(state, key=lambda name: (-_stored(state[name], bf16)[1], name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in order:
        value, (dtype, width) = state[name], _stored(state[name], bf16)
        begin, end = end, end + value.size * width
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        array = np.ascontiguousarray(state[name], state[name].dtype.newbyteorder("<"))
        bits = _rounded(array) if _stored(array, bf16)[0] == "BF16" else array
        yield bits.reshape(-1).view(np.uint8).data


def _stored(value: Array, bf16: bool) -> tuple[str, int]:
    """What the format calls the dtype in which an array is written, and its bytes."""
    kind = value.dtype.newbyteorder("=").str[1:].replace("b1", "?")
    if bf16 and kind == "f4":
        return "BF16", 2
    return _NAMES[kind], value.itemsize


def _rounded(array: Array) -> Array:
    """float32 as bfloat16, whose bits are those of a uint16."""
    bits = array.view(np.uint32).astype(np.uint64)  # rounded to even; the carry has room
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
