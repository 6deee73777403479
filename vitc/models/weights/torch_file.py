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
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.weights.archive import Archive
from vitc.models.weights.mapped import array_at, map_file, sides, whole, width
from vitc.models.weights.unpickle import Call, Fields, load

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # the magic number, pickled
_VERSION = 1001  # of the legacy format
_LONGEST_PICKLE = 64 << 20


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


class NumpyDtype(Fields):
    """A dtype of NumPy; its state says in which order bytes are."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        super().__init__()
        self.name = name

    @property
    def order(self) -> str:
        state = self.state
        return ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"


# ------------------------------------------------------------------------- what a pickle may name


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """A tensor, if it is within its storage and has no more elements than it."""
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


def _first(value: Any, *_: Any) -> Any:
    return value


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """A scalar of NumPy as a number of Python."""
    names = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
    if not isinstance(dtype, NumpyDtype) or dtype.name not in names:
        raise ValueError("the pickle has a scalar of NumPy that is not a number")
    return np.frombuffer(data, dtype.order + dtype.name, count=1)[0].item()


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes; those of a number are few."""
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 64:
        raise ValueError("the pickle has bytes that are not those of a number")
    return text.encode("latin1")


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
    "torch._utils._rebuild_parameter": Call(_first),
    "torch._utils._rebuild_parameter_with_state": Call(_first),
    "collections.OrderedDict": Call(lambda: {}),
    "torch.Size": Call(_first),
    "torch.device": Call(_first),
    "argparse.Namespace": Call(Fields),
    "numpy.dtype": Call(NumpyDtype),
    "numpy.core.multiarray.scalar": Call(_scalar),
    "numpy._core.multiarray.scalar": Call(_scalar),
    "_codecs.encode": Call(_bytes),
    **dict.fromkeys(_SETS, Call(_first)),  # the list of their items
    **{f"torch.{name}": name for name in _DTYPES.split()},
    **{f"torch.{name}": Storage("", dtype, 0) for name, dtype in _STORAGES.items()},
}


# ------------------------------------------------------------------------- the two formats


class TorchFile(NamedTuple):
    """What a file holds. array: makes the array of one of its tensors."""

    content: Any
    array: Callable[[Tensor], Array]


def read(path: Path) -> TorchFile:
    """The object that was saved, its tensors as `Tensor`.

    Raises `ValueError`, or another of `mapped.DAMAGE`, for what is damaged or refused.
    """
    with path.open("rb") as file:
        if file.read(len(LEGACY)) == LEGACY:
            return _read_legacy(map_file(path))
    return _read_zip(Archive(path))


def _read_zip(archive: Archive) -> TorchFile:
    found = [name for name in archive.names if name.split("/")[-1] == "data.pkl"]
    if len(found) != 1:
        raise ValueError("the zip file has no data.pkl: torch.save did not write it")
    folder = found[0].removesuffix("data.pkl")
    storages: dict[str, Storage] = {}
    pickle = archive.view(found[0])
    if len(pickle) > _LONGEST_PICKLE:
        raise ValueError(f"its pickle has {len(pickle)} bytes, expected {_LONGEST_PICKLE} at most")
    content = load(io.BytesIO(pickle), KNOWN, _persistent(storages))
    order = f"{folder}byteorder"
    big = order in archive.names and bytes(archive.view(order)) == b"big"
    if big:
        raise ValueError("it was written on a big-endian machine")
    return TorchFile(content, _arrays(lambda key: (archive.view(f"{folder}data/{key}"), 0)))


def _read_legacy(data: memoryview) -> TorchFile:
    file = cast("IO[bytes]", data.obj)  # unlike a file, it asks for no memory behind its end
    file.seek(len(LEGACY))
    storages: dict[str, Storage] = {}
    version, _, content, keys = (load(file, KNOWN, _persistent(storages)) for _ in range(4))
    if version != _VERSION or not isinstance(keys, list):
        raise ValueError(f"version {shown(version)} of torch's old format, expected {_VERSION}")
    places, place = {}, file.tell()
    for key in keys:
        storage = storages[key]
        if int.from_bytes(data[place : place + 8], "little") != storage.size:
            raise ValueError(f"the storage {key} is not where it should be")
        places[key] = place + 8
        place += 8 + storage.size * width(storage.dtype)
    if place > len(data):
        raise ValueError(f"it has {len(data)} bytes, expected {place}")
    return TorchFile(content, _arrays(lambda key: (data, places[key])))


def _persistent(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    """Persistent ids as storages, which are noted by their key."""

    def find(identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("the pickle has a persistent id that is not one of a storage")
        word, kind, key, _, size, *part = identity
        if word != "storage" or not isinstance(kind, Storage) or not isinstance(key, str):
            raise ValueError("the pickle has a persistent id that is not one of a storage")
        if part not in ([], [None]):
            raise ValueError(f"the storage {key} is a part of another one, which is not read")
        storage = Storage(key, kind.dtype, whole(size, "the size of a storage"))
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"the storage {key} is of two kinds")
        return storage

    return find


def _arrays(place: Callable[[str], tuple[memoryview, int]]) -> Callable[[Tensor], Array]:
    """Makes arrays of tensors. place: the bytes of the storage of a key, and where it begins."""
    rows: dict[str, Array] = {}  # a storage is widened once, however many tensors share it

    def array(tensor: Tensor) -> Array:
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
