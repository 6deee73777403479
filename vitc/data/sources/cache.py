"""A file that keeps decoded images, mapped, so that later epochs decode nothing.

    header    magic, version, number of images, where the notes lie, fingerprint of the source
    index     per image: where it lies, its shape and kind, crc32
    images    as they are in memory, each beginning at a multiple of 64
    notes     JSON: labels, classes, groups, and the reasons of images that could not be read

It is written beside its name and renamed when it is whole. Header, index and notes have a crc32 of
their own; images are checked when they are first read.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitc.arrays import Array
from vitc.data.loader import DataLoader
from vitc.data.sources.datasets import Step, transformed
from vitc.files import replacing
from vitc.models.weights.mapped import map_file

MAGIC, VERSION = b"vitc img", 1
_HEADER = struct.Struct("<8sIIQQQ32s")  # magic, version, crc, images, notes at, length, fingerprint
_INDEX_AT, _ALIGNMENT = 128, 64
_ENTRY = np.dtype(
    [("offset", "<u8"), ("height", "<u4"), ("width", "<u4"), ("channels", "<u4"), ("kind", "<u4"),
     ("crc", "<u4"), ("unused", "<u4")]
)  # fmt: skip
# kind -> type of a value; a Pillow image stays one.
_KINDS = (("pillow", np.dtype("u1")), ("array", np.dtype("u1")), ("array", np.dtype("<u2")))
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class CacheDataset:
    """The images of a dataset, decoded once and kept in a file.

    dataset: gives (Pillow image of 8 bits or array (H, W, C) of uint8 or uint16, label). What it
    does to an image is done once and for all, so it has no transform, or one without randomness, as
    a resize to the size from which a transform crops. transform, target_transform: of the kept
    images and labels, in every epoch.
    path: of the file, written if it is not there or is that of another dataset: other files (by
    path, size and date), other transform, other options of its decoder; of datasets without files,
    other labels. num_workers: threads that decode while it is written.

    Images that cannot be read are kept as such: reading them raises the `OSError` of the source.

    Raises `ValueError` for a file at path that is not a cache, which is not written over, and
    `TypeError` for images of another kind.
    """

    def __init__(
        self,
        dataset: Any,
        path: str | os.PathLike[str],
        transform: Step | None = None,
        target_transform: Step | None = None,
        *,
        num_workers: int = 0,
    ) -> None:
        self.path = os.path.expanduser(path)
        self.transform, self.target_transform = transform, target_transform
        fingerprint = _fingerprint(dataset)
        if not _is_of(self.path, fingerprint):
            _write(self.path, dataset, fingerprint, num_workers)
        self._data = map_file(Path(self.path))
        self._index, notes = _read(self._data, self.path)
        self._checked = bytearray(len(self._index))
        kind = np.float32 if notes["soft"] else None
        self.targets: Any = np.array(notes["targets"], kind) if notes["soft"] else notes["targets"]
        self.classes = notes["classes"]
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        if notes["groups"] is not None:
            self.groups = notes["groups"]
        self._unreadable: dict[str, str] = notes["unreadable"]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = transformed(self._image(range(len(self))[index]), self.transform)
        return image, transformed(self.targets[index], self.target_transform)

    def _image(self, index: int) -> Any:
        if str(index) in self._unreadable:
            raise OSError(self._unreadable[str(index)])
        begin, height, width, channels, kind, crc, _ = self._index[index].item()
        name, dtype = _KINDS[kind]
        data = self._data[begin : begin + height * width * channels * dtype.itemsize]
        if not self._checked[index]:
            if zlib.crc32(data) != crc:
                raise OSError(f"{self.path}: image {index} is damaged; delete the file")
            self._checked[index] = 1
        values = np.frombuffer(data, dtype)
        if name == "array":
            return values.reshape(height, width, channels)
        from PIL import Image

        mode = _MODES[channels]
        return Image.frombuffer(mode, (width, height), values, "raw", mode, 0, 1)

    def __repr__(self) -> str:
        return f"CacheDataset({len(self)} images in {self.path})"


# ------------------------------------------------------------------------------- the source


def _fingerprint(dataset: Any) -> bytes:
    """What the content of a cache depends on, as SHA-256."""
    found = hashlib.sha256(f"{VERSION} {type(dataset).__name__} {len(dataset)}".encode())
    while hasattr(dataset, "dataset"):  # a part of another
        found.update(repr(getattr(dataset, "indices", None)).encode())
        dataset = dataset.dataset
    for name in ("transform", "decode", "frames", "classes"):
        found.update(f"{name} {getattr(dataset, name, None)!r}".encode())
    paths = [path for path, _ in getattr(dataset, "samples", ())]
    for path in (*paths, *getattr(dataset, "shards", ()), getattr(dataset, "path", "")):
        found.update(f"{path} {_state(path)}".encode())
    found.update(np.asarray(getattr(dataset, "targets", ())).tobytes())
    return found.digest()


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class _Attempts:
    """A dataset whose items are also the errors of reading them."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except OSError as error:
            return error


# ------------------------------------------------------------------------------- writing


def _write(path: str, dataset: Any, fingerprint: bytes, workers: int) -> None:
    with replacing(Path(path)) as unfinished, unfinished.open("wb") as file:
        index, notes = _write_images(file, dataset, workers)
        place = file.tell()
        file.write(notes)
        file.seek(0)
        header = (len(dataset), place, len(notes), fingerprint)
        crc = _crc(header, index.tobytes(), notes)
        file.write(_HEADER.pack(MAGIC, VERSION, crc, *header).ljust(_INDEX_AT, b"\0"))
        file.write(index.tobytes())


def _write_images(file: BinaryIO, dataset: Any, workers: int) -> tuple[Array, bytes]:
    """The index and the notes of the images, which now stand in the file behind their place."""
    index = np.zeros(len(dataset), _ENTRY)
    targets: list[Any] = []
    unreadable: dict[int, str] = {}
    file.seek(_INDEX_AT + index.nbytes)
    for i, item in enumerate(_items(dataset, workers)):
        if isinstance(item, OSError):
            unreadable[i] = str(item)
            targets.append(_label(dataset.targets[i]) if hasattr(dataset, "targets") else None)
            continue
        image, label = item
        targets.append(_label(label))
        kind, values = _values(image)
        data = np.ascontiguousarray(values, _KINDS[kind][1]).data
        begin = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
        file.seek(begin)
        file.write(data)
        index[i] = (begin, *values.shape, kind, zlib.crc32(data), 0)
    notes = {
        "classes": list(getattr(dataset, "classes", ())),
        "groups": list(dataset.groups) if hasattr(dataset, "groups") else None,
        "soft": any(isinstance(label, list) for label in targets),
        "targets": targets,
        "unreadable": unreadable,
    }
    return index, json.dumps(notes).encode()


def _items(dataset: Any, workers: int) -> Iterator[Any]:
    for batch in DataLoader(_Attempts(dataset), 8, num_workers=workers, collate_fn=list):
        yield from batch


def _label(label: Any) -> Any:
    """A label as JSON has it: a number, or a list of shares."""
    return label.tolist() if isinstance(label, np.ndarray | np.generic) else label


def _values(image: Any) -> tuple[int, Array]:
    """Kind and pixels (H, W, C) of an image."""
    if hasattr(image, "getbands"):
        if image.mode not in _MODES.values():
            raise TypeError(f"an image of mode {image.mode}, expected {', '.join(_MODES.values())}")
        return 0, np.asarray(image).reshape(image.height, image.width, -1)
    for kind, (name, dtype) in enumerate(_KINDS):
        if name == "array" and getattr(image, "dtype", None) == dtype and image.ndim == 3:
            return kind, image
    raise TypeError(
        "a cache keeps Pillow images and arrays (H, W, C) of uint8 or uint16, got "
        f"{type(image).__name__} {getattr(image, 'dtype', '')}; give the transform to the cache"
    )


def _crc(header: tuple[Any, ...], index: bytes, notes: bytes) -> int:
    found = 0
    for part in (_HEADER.pack(MAGIC, VERSION, 0, *header), index, notes):
        found = zlib.crc32(part, found)
    return found


# ------------------------------------------------------------------------------- reading


def _is_of(path: str, fingerprint: bytes) -> bool:
    """Whether the file is there, whole at its head, and of this source.

    Raises `ValueError` for a file that is not a cache.
    """
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
    if not head.startswith(MAGIC):
        raise ValueError(f"{path}: this file is not a cache of images, and is not written over")
    return len(head) == _HEADER.size and head[-32:] == fingerprint


def _read(data: memoryview, path: str) -> tuple[Array, dict[str, Any]]:
    """The index and the notes, once they have been found whole. Raises `OSError`."""
    _, _, crc, images, place, length, fingerprint = _HEADER.unpack_from(data)
    begin, end = _INDEX_AT, _INDEX_AT + images * _ENTRY.itemsize
    if end > len(data) or place + length > len(data):
        raise OSError(f"{path}: the cache is cut off; delete the file")
    index, notes = bytes(data[begin:end]), bytes(data[place : place + length])
    if crc != _crc((images, place, length, fingerprint), index, notes):
        raise OSError(f"{path}: the head of the cache is damaged; delete the file")
    return np.frombuffer(index, _ENTRY), json.loads(notes)
