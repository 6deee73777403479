"""Zip files whose entries are mapped: what torch.save writes and what numpy.savez writes."""

import struct
import zipfile
from pathlib import Path

from vitc.errors import shown
from vitc.models.weights.mapped import DAMAGE, map_file

# Compressed entries may expand to this many times the size of the file, or to this many bytes;
# weights hardly shrink when they are compressed.
EXPANSION, SMALL = 4, 32 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those of torch and NumPy
_LOCAL = struct.Struct("<4s22xHH")  # signature, ..., lengths of name and extra field


class Archive:
    """The entries of a zip file by name.

    most: how many bytes compressed entries may expand to, None for what weights expand to.

    Raises `ValueError` for a file that is damaged, whose entries overlap, or that would expand to
    more.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        self._path, self._data = path, map_file(path)
        try:
            with zipfile.ZipFile(path) as file:
                self._entries = {entry.filename: entry for entry in file.infolist()}
        except (OSError, zipfile.BadZipFile, struct.error) as error:
            raise ValueError(f"damaged zip file: {error}") from None
        stored = sum(entry.compress_size for entry in self._entries.values())
        packed = [e for e in self._entries.values() if e.compress_type != zipfile.ZIP_STORED]
        expanded = sum(entry.file_size for entry in packed)
        if stored > len(self._data):
            raise ValueError("the entries of the zip file overlap")
        if expanded > (max(EXPANSION * len(self._data), SMALL) if most is None else most):
            raise ValueError(f"a zip file of {len(self._data)} bytes that expands to {expanded}")

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def view(self, name: str, most: int | None = None) -> memoryview:
        """The bytes of an entry: mapped if it is stored, else read. `ValueError` if damaged.

        most: how many bytes it may expand to, if that is more than the file has.
        """
        if name not in self._entries:
            raise ValueError(f"the zip file has no entry {shown(name)}")
        entry = self._entries[name]
        if entry.compress_type not in _METHODS:
            raise ValueError(
                f"the entry {shown(name)} is compressed by method {entry.compress_type}, expected "
                "deflate or none"
            )
        packed = entry.compress_type != zipfile.ZIP_STORED
        if packed and most is not None and entry.file_size > max(most, len(self._data)):
            raise ValueError(f"the entry {shown(name)} expands to {entry.file_size} bytes")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            return self._expanded(entry)
        signature, name_length, extra = _LOCAL.unpack_from(self._data, entry.header_offset)
        begin = entry.header_offset + _LOCAL.size + name_length + extra
        view = self._data[begin : begin + entry.file_size]
        if signature != b"PK\x03\x04" or len(view) != entry.file_size:
            raise ValueError(f"the entry {shown(name)} of the zip file is not where it should be")
        return view

    def _expanded(self, entry: zipfile.ZipInfo) -> memoryview:
        """A compressed entry; what it holds beyond its stated size is not read."""
        from zlib import error as ZlibError

        try:
            with zipfile.ZipFile(self._path) as file, file.open(entry) as content:
                return memoryview(content.read(entry.file_size))
        except (*DAMAGE, OSError, zipfile.BadZipFile, ZlibError, RuntimeError) as error:
            raise ValueError(f"the entry {shown(entry.filename)} cannot be read: {error}") from None
