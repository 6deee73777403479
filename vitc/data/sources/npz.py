"""Arrays of an .npz file: those that stand in it uncompressed are mapped, the others read.

NumPy's own `load` copies every array whatever its mmap_mode. An .npz is a zip of .npy files, and a
member that is stored as it is can be mapped where it stands.
"""

from pathlib import Path

from vitc.arrays import Array
from vitc.errors import nearest, shown
from vitc.models.weights.archive import Archive
from vitc.models.weights.mapped import DAMAGE
from vitc.models.weights.npz import npy


class NpzFile:
    """An .npz file whose compressed arrays have max_bytes at most.

    Raises `FileNotFoundError` for a missing file, and `OSError` naming it if it is not a zip,
    damaged, or expands to more.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        try:
            self._archive = Archive(Path(path), max_bytes)
        except DAMAGE as error:
            raise OSError(f"{path}: not an .npz file, or a damaged one: {error}") from error

    @property
    def names(self) -> list[str]:
        return [name.removesuffix(".npy") for name in self._archive.names]

    def array(self, name: str) -> Array:
        """An array, read-only. Raises `ValueError` if there is none of that name, `OSError` naming
        it if it is damaged or holds objects."""
        if f"{name}.npy" not in self._archive.names:
            known = nearest(name, self.names)
            raise ValueError(f"{self.path}: there is no array {shown(name)}; {known}")
        try:
            return npy(self._archive.view(f"{name}.npy"))
        except DAMAGE as error:
            raise OSError(
                f"{self.path}: the array {shown(name)} cannot be read: {error}"
            ) from error
