"""Folders of runs: `<root>/version_N`."""

from os import PathLike
from pathlib import Path


class Versioned:
    """A logger with a folder of its own, `save_dir/name/version_N`.

    version: a number or the name of the folder; None for the next free number.
    """

    def __init__(self, save_dir: str | PathLike[str], name: str, version: int | str | None) -> None:
        self.root_dir = Path(save_dir) / name
        self._version, self._given = version, version is not None

    @property
    def version(self) -> int | str:
        if self._version is None:
            self._version = next_version(self.root_dir)
        return self._version

    @property
    def log_dir(self) -> Path:
        return version_folder(self.root_dir, self.version)


def next_version(root: Path) -> int:
    """One more than the highest that is there."""
    found = [p.name[len("version_") :] for p in root.glob("version_*")]
    return max((int(n) for n in found if n.isdigit()), default=-1) + 1


def version_folder(root: Path, version: int | str) -> Path:
    return root / (version if isinstance(version, str) else f"version_{version}")
