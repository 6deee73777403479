"""ONNX files, written one array after another: neither the message nor its bytes are ever whole in
memory. A message of protobuf ends at 2 GB; what is larger has its arrays in a second file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitc.arrays import Array

_GRAPH, _INITIALIZER, _RAW_DATA = (number << 3 | 2 for number in (7, 5, 9))  # keys of fields
_LARGEST = 2**31 - 2**20  # of a message, with room for its ends
_SMALL = 1024  # bytes up to which an array stays in the message
_PAGE = 4096


def write(path: Path, proto: Any, arrays: Mapping[str, Array]) -> list[Path]:
    """Writes a `ModelProto` with these initializers; returns the files, of which the first is path.

    The arrays of a model above 2 GB go to `<path>.data`, which path names without its folder.
    Raises `OSError`.
    """
    heads = {name: header(name, array).SerializeToString() for name, array in arrays.items()}
    ends = [len(heads[name]) + 16 + array.nbytes for name, array in arrays.items()]
    if proto.ByteSize() + sum(ends) > _LARGEST:
        return _write_apart(path, proto, arrays)
    with path.open("wb") as file:
        for piece in _message(proto, arrays, heads):
            file.write(piece)
    return [path]


def header(name: str, array: Array) -> Any:
    """The `TensorProto` of an array without its values."""
    from onnx import TensorProto, helper

    return TensorProto(
        name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype)
    )


def light(proto: Any, arrays: Mapping[str, Array]) -> Any:
    """A copy of the message for onnx's checker: large arrays are inputs in it, without values."""
    from onnx import helper

    copy = type(proto)()
    copy.CopyFrom(proto)
    for name, array in arrays.items():
        if array.nbytes > _SMALL:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            copy.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
            continue
        one = copy.graph.initializer.add()
        one.CopyFrom(header(name, array))
        one.raw_data = array.tobytes()
    return copy


def _message(
    proto: Any, arrays: Mapping[str, Array], heads: Mapping[str, bytes]
) -> Iterator[bytes | memoryview]:
    """The bytes of the message, whose fields may come in any order."""
    outer = type(proto)()
    outer.CopyFrom(proto)
    outer.ClearField("graph")
    yield outer.SerializeToString()
    graph = proto.graph.SerializeToString()
    fields = {name: _field(_RAW_DATA, array.nbytes) for name, array in arrays.items()}
    starts = {
        name: _field(_INITIALIZER, len(heads[name]) + len(fields[name]) + array.nbytes)
        for name, array in arrays.items()
    }
    sizes = (
        len(starts[name]) + len(heads[name]) + len(fields[name]) + array.nbytes
        for name, array in arrays.items()
    )
    yield _field(_GRAPH, len(graph) + sum(sizes)) + graph
    for name, array in arrays.items():
        yield starts[name] + heads[name] + fields[name]
        yield _bytes(array)


def _field(key: int, size: int) -> bytes:
    """The beginning of a field of that many bytes: its key, and the size as a varint."""
    found = bytearray([key])
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*found, size])


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_apart(path: Path, proto: Any, arrays: Mapping[str, Array]) -> list[Path]:
    """Small arrays in the message, the others in a file beside it, at the beginnings of pages."""
    from onnx import TensorProto

    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for name, array in arrays.items():
            one = proto.graph.initializer.add()
            one.CopyFrom(header(name, array))
            if array.nbytes <= _SMALL:
                one.raw_data = array.tobytes()
                continue
            file.write(bytes(-file.tell() % _PAGE))
            one.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": file.tell(), "length": array.nbytes}
            for key, value in place.items():
                one.external_data.add(key=key, value=str(value))
            file.write(_bytes(array))
    path.write_bytes(proto.SerializeToString())
    return [path, data]
