"""Arrays of an .npz file: those that stand in it uncompressed are mapped, the others read.

NumPy's own `load` copies every array whatever its mmap_mode. An .npz is a zip of .npy files, and a
member that is stored as it is can be mapped where it stands.
"""

import os
import zipfile
import zlib
from math import prod
from typing import Any

import numpy as np

from vitc.arrays import Array
from vitc.errors import nearest

_LOCAL_HEADER = 30  # bytes, before the name and what else a zip notes of a member


class NpzFile:
    """An open .npz file, to be used in a `with`.

    Raises `OSError` naming the file if it is no zip, or damaged.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        self._file = open(path, "rb")  # noqa: SIM115  closed by __exit__
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeDecodeError) as error:
            self._file.close()
            raise OSError(f"{path}: not an .npz file, or a damaged one: {error}") from None
        self._members = {info.filename: info for info in self._zip.infolist()}

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._zip.close()
        self._file.close()

    def array(self, name: str) -> Array:
        """An array, read-only: mapped, or read if it is compressed.

        Raises `ValueError` if there is none of that name, `OSError` if it is damaged, holds
        objects, or is compressed and too large.
        """
        info = self._members.get(f"{name}.npy")
        if info is None:
            names = [member.removesuffix(".npy") for member in self._members]
            raise ValueError(f"{self.path}: there is no array {name!r}; {nearest(name, names)}")
        try:
            return self._array(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise OSError(f"{self.path}: the array {name!r} cannot be read: {error}") from error

    def _array(self, info: zipfile.ZipInfo) -> Array:
        with self._zip.open(info) as member:
            shape, fortran, dtype = _header(member)
            start, size = member.tell(), prod(shape) * dtype.itemsize
            if start + size != info.file_size:
                raise ValueError(f"{dtype} {shape} does not fit its {info.file_size} bytes")
            if info.compress_type != zipfile.ZIP_STORED:
                if size > self.max_bytes:
                    raise ValueError(f"{size} bytes, expected {self.max_bytes} at most (max_bytes)")
                data = np.frombuffer(member.read(size), dtype)
                return data.reshape(shape, order="F" if fortran else "C")
        place = self._place(info) + start
        if place + size > os.fstat(self._file.fileno()).st_size:
            raise ValueError("the file ends before it")
        if not size:
            return np.empty(shape, dtype)
        return np.memmap(self._file, dtype, "r", place, shape, "F" if fortran else "C")

    def _place(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a member begin in the file."""
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        return (
            info.header_offset
            + _LOCAL_HEADER
            + int.from_bytes(header[26:28], "little")
            + int.from_bytes(header[28:30], "little")
        )


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype of the .npy file at whose beginning member stands."""
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of .npy is not known")
    shape, fortran, dtype = readers[version](member)
    if dtype.hasobject:
        raise ValueError("it holds objects of Python")
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype
