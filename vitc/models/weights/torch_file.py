"""Files of torch.save (`.pth`, `.pt`, `.bin`, `.pth.tar`, Lightning's `.ckpt`), read without torch.

Since torch 1.6 a file is a zip file: a pickle `data.pkl`, in which tensors name storages by a
persistent id ("storage", type, key, location, number of elements), and the bytes of each storage,
uncompressed, as an entry `data/<key>`. Before that it was a row of pickles (a magic number, a
version, facts about the system, the object, the keys of the storages), and then for each key the
number of elements in 8 bytes, and the elements.

The pickle is read first and gives `Tensor`s that only say where their numbers are; those that are
used become arrays, views of the mapped file where NumPy has the dtype.
"""

import io
import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.weights.archive import Archive
from vitc.models.weights.mapped import array_at, map_file, sides, whole, width
from vitc.models.weights.unpickle import Call, Fields, Opaque, load

# The magic number, pickled by protocols 2 to 5.
LEGACY = rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\."
_VERSION = 1001  # of the legacy format
_SMALL = 1 << 20  # bytes of a pickle that is compressed, which torch.save does not do


class Storage(NamedTuple):
    """A row of numbers in the file. dtype: as `array_at` takes it. size: in elements."""

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class NumpyArray(Fields):
    """An array of NumPy, whose numbers are in its state, in the pickle itself."""


class Latin1(NamedTuple):
    """How protocol 2 writes bytes; they are made when they are needed."""

    text: str


class NumpyDtype(Fields):
    """A dtype of NumPy; its state says in which order bytes are."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        super().__init__()
        self.name = name

    @property
    def numbers(self) -> str | None:
        """The dtype, with the order of bytes, if it is one of numbers."""
        if not isinstance(self.name, str) or self.name not in _NUMBERS:
            return None
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "<"
        return (">" if isinstance(order, str) and order == ">" else "<") + self.name


# ------------------------------------------------------------------------- what a pickle may name


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor | Opaque:
    """A tensor, if it is within its storage and has no more elements than it."""
    if isinstance(storage, Opaque):
        return storage
    if not isinstance(storage, Storage):
        raise ValueError("the pickle has a tensor that is not made of a storage")
    whole(offset, "the offset of a tensor")
    shape, strides = (
        sides(shape, "the shape of a tensor"),
        sides(strides, "the strides of a tensor"),
    )
    reach = sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    count = prod(shape)
    if count and (offset + reach >= storage.size or count > storage.size):
        raise ValueError(
            f"a tensor of shape {shape} is outside of its storage of {storage.size} elements"
        )
    return Tensor(storage, offset, shape, strides)


def _typed_tensor(*arguments: Any) -> Opaque:
    """_rebuild_tensor_v3, which torch writes for dtypes that have no storage: fp8, uint16."""
    dtype = arguments[6] if len(arguments) > 6 else None
    return Opaque(dtype.name if isinstance(dtype, Opaque) else "torch.Tensor")


def _first(value: Any, *_: Any) -> Any:
    return value


_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """A scalar of NumPy as a number of Python."""
    if not isinstance(dtype, NumpyDtype) or dtype.numbers is None:
        return Opaque("a scalar of NumPy that is not a number")
    return np.frombuffer(_content(data), dtype.numbers, count=1)[0].item()


def _bytes(text: Any = "", encoding: Any = "latin1") -> Any:
    known = isinstance(text, str) and isinstance(encoding, str) and encoding == "latin1"
    return Latin1(text) if known else Opaque("_codecs.encode")


def _content(data: Any) -> bytes:
    return data.text.encode("latin1") if isinstance(data, Latin1) else bytes(memoryview(data))


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> NumpyArray:
    """How protocol 5 writes an array."""
    array = NumpyArray()
    array.state = (1, shape, dtype, isinstance(order, str) and order == "F", data)
    return array


def numpy_array(array: NumpyArray) -> Array:
    """The array of its state: (version, shape, dtype, columns first?, bytes)."""
    _, shape, dtype, fortran, data = array.state
    shape = sides(shape, "the shape of an array of NumPy")
    if not isinstance(dtype, NumpyDtype) or dtype.numbers is None:
        raise ValueError("it has an array of NumPy that does not hold numbers")
    flat = np.frombuffer(_content(data), dtype.numbers)
    if flat.size != prod(shape):
        raise ValueError(f"an array of NumPy has shape {shape} and {flat.size} numbers")
    return flat.reshape(shape, order="F" if fortran is True else "C")


_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool"
_SETS = ("__builtin__.set", "builtins.set", "__builtin__.frozenset", "builtins.frozenset")
KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": Call(_tensor),
    "torch._utils._rebuild_tensor": Call(_tensor),
    "torch._utils._rebuild_tensor_v3": Call(_typed_tensor),
    "torch._utils._rebuild_parameter": Call(_first),
    "torch._utils._rebuild_parameter_with_state": Call(_first),
    "collections.OrderedDict": Call(lambda: {}),
    "collections.defaultdict": Call(lambda *_: {}),
    "torch.Size": Call(_first),
    "torch.device": Call(_first),
    "argparse.Namespace": Call(Fields),
    "numpy.dtype": Call(NumpyDtype),
    **{
        f"numpy.{core}.{name}": Call(function)
        for core in ("core", "_core")
        for name, function in (
            ("multiarray.scalar", _scalar),
            ("multiarray._reconstruct", lambda *_: NumpyArray()),
            ("numeric._frombuffer", _from_buffer),
        )
    },
    "_codecs.encode": Call(_bytes),
    **dict.fromkeys(_SETS, Call(_first)),  # the list of their items
    **{f"torch.{name}": name for name in _DTYPES.split()},
    **{f"torch.{name}": Storage("", dtype, 0) for name, dtype in _STORAGES.items()},
}


# ------------------------------------------------------------------------- the two formats


TENSORS = (Tensor, NumpyArray)


class TorchFile(NamedTuple):
    """What a file holds. array: makes the array of one of its `TENSORS`."""

    content: Any
    array: Callable[[Tensor | NumpyArray], Array]


def read(path: Path) -> TorchFile:
    """The object that was saved, its tensors as `Tensor`.

    Raises `ValueError`, or another of `mapped.DAMAGE`, for what is damaged or refused.
    """
    with path.open("rb") as file:
        if re.match(LEGACY, file.read(64), re.DOTALL):
            return _read_legacy(map_file(path))
    return _read_zip(Archive(path))


def _read_zip(archive: Archive) -> TorchFile:
    found = [name for name in archive.names if name.split("/")[-1] == "data.pkl"]
    if len(found) != 1:
        raise ValueError("the zip file has no data.pkl: torch.save did not write it")
    folder = found[0].removesuffix("data.pkl")
    storages: dict[str, Storage] = {}
    pickle = archive.view(found[0], most=_SMALL)
    content = load(io.BytesIO(pickle), KNOWN, _persistent(storages))
    order = f"{folder}byteorder"
    big = order in archive.names and bytes(archive.view(order)) == b"big"
    if big:
        raise ValueError("it was written on a big-endian machine")
    return TorchFile(content, _arrays(lambda key: (archive.view(f"{folder}data/{key}"), 0)))


def _read_legacy(data: memoryview) -> TorchFile:
    file = cast("IO[bytes]", data.obj)  # unlike a file, it asks for no memory behind its end
    storages: dict[str, Storage] = {}
    find = _persistent(storages)
    _, version, _, content, keys = (load(file, KNOWN, find) for _ in range(5))
    if not isinstance(version, int) or version != _VERSION or not isinstance(keys, list):
        raise ValueError(f"version {shown(version)} of torch's old format, expected {_VERSION}")
    places, place = {}, file.tell()
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise ValueError(f"the storage {shown(key)} is of no dtype that is read")
        if int.from_bytes(data[place : place + 8], "little") != storage.size:
            raise ValueError(f"the storage {shown(key)} is not where it should be")
        places[key] = place + 8
        place += 8 + storage.size * width(storage.dtype)
    if place > len(data):
        raise ValueError(f"it has {len(data)} bytes, expected {place}")
    return TorchFile(content, _arrays(lambda key: (data, places[key])))


def _persistent(storages: dict[str, Storage]) -> Callable[[Any], Storage | Opaque]:
    """Persistent ids as storages, which are noted by their key; those of a kind that is not known
    are opaque."""

    def find(identity: Any) -> Storage | Opaque:
        if isinstance(identity, tuple) and len(identity) == 4 and isinstance(identity[1], Opaque):
            return Opaque(identity[1].name)  # a class, with the text of its source
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("the pickle has a persistent id that is not one of a storage")
        word, kind, key, _, size, *part = identity
        if not isinstance(word, str) or word != "storage" or not isinstance(key, str):
            raise ValueError("the pickle has a persistent id that is not one of a storage")
        if isinstance(kind, Opaque):
            return Opaque(kind.name)
        if not isinstance(kind, Storage):
            raise ValueError("the pickle has a persistent id that is not one of a storage")
        if part and part[0] is not None:
            raise ValueError(
                f"the storage {shown(key)} is a part of another one, which is not read"
            )
        storage = Storage(key, kind.dtype, whole(size, "the size of a storage"))
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"the storage {shown(key)} is of two kinds")
        return storage

    return find


def _arrays(
    place: Callable[[str], tuple[memoryview, int]],
) -> Callable[[Tensor | NumpyArray], Array]:
    """Makes arrays of tensors. place: the bytes of the storage of a key, and where it begins."""
    rows: dict[str, Array] = {}  # a storage is widened once, however many tensors share it

    def array(tensor: Tensor | NumpyArray) -> Array:
        if isinstance(tensor, NumpyArray):
            return numpy_array(tensor)
        storage = tensor.storage
        if storage.key not in rows:
            data, offset = place(storage.key)
            rows[storage.key] = array_at(data, offset, storage.dtype, (storage.size,))
        row = rows[storage.key]
        strides = tuple(stride * row.itemsize for stride in tensor.strides)
        out = np.ndarray(tensor.shape, row.dtype, row, tensor.offset * row.itemsize, strides)
        out.flags.writeable = False
        return out

    return array
