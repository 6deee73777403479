"""Folders of runs: `<root>/version_N`."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import uuid4

from vitc.files import replacing
from vitc.training.state_file import within

IDENTITY = ".identity"


class Versioned:
    """A logger with its own folder, `save_dir/name/version_N`.

    version: a number or the name of the folder; None for the next free number, of which the folder
    is made when it is asked for, so that no other run takes it. A folder holds a random word, by
    which a run that is resumed knows its own, wherever that was copied.

    name: None for none, so that versions are in save_dir itself. root_dir: `save_dir/name`.
    """

    def __init__(
        self, save_dir: str | PathLike[str], name: str | None, version: int | str | None
    ) -> None:
        self.save_dir, self.name = Path(save_dir).expanduser(), name or ""
        self.root_dir = self.save_dir / self.name
        self._version, self._given = version, version is not None
        self._first = self

    @property
    def version(self) -> int | str:
        if self._version is None:
            first = self._first
            self._version = _claim_next(self.root_dir) if first is self else first.version
        return self._version

    def renew(self) -> None:
        """Before a run that is not the first of its Trainer: another folder, unless it is given."""
        if not self._given:
            self._version = None

    def save(self) -> None:
        """Everything is on the disk when this returns."""

    def finalize(self, status: str = "success") -> None:
        """The same, at the end of a stage; status: "success", "failed" or "interrupted"."""

    @property
    def is_given(self) -> bool:
        """Whether the user has named the version."""
        return self._given

    @property
    def log_dir(self) -> Path:
        return version_folder(self.root_dir, self.version)

    @property
    def identity(self) -> str:
        if not _identity(self.log_dir):
            self.log_dir.mkdir(parents=True, exist_ok=True)
            with replacing(self.log_dir / IDENTITY) as unfinished:
                unfinished.write_text(uuid4().hex)
        return _identity(self.log_dir)

    def go_on(self, state: Mapping[str, Any]) -> bool:
        """Takes the folder of the run that is resumed, if it is below this root; whether it has it.

        Raises `ValueError` for a state that names no folder.
        """
        version, identity = state.get("version"), state.get("identity")
        if not isinstance(version, int | str) or not isinstance(identity, str) or not identity:
            raise ValueError("what it keeps of a logger is damaged")
        if not self._given:
            folder = within(self.root_dir, _folder_name(version))
            if self._version != version and _identity(folder) == identity:
                self._give_back()
                self._version = version
        return self._version == version and _identity(self.log_dir) == identity

    def _give_back(self) -> None:
        """Removes the folder that was made for this run, if nothing is in it."""
        if self._version is not None:
            with suppress(OSError):
                self.log_dir.rmdir()


def share_folders(loggers: Iterable[Any]) -> None:
    """Has the loggers of one run write into one folder where they have the same root."""
    first: dict[Path, Versioned] = {}
    for logger in loggers:
        if isinstance(logger, Versioned) and not logger._given:
            logger._first = first.setdefault(logger.root_dir, logger)


def _identity(folder: Path) -> str:
    try:
        return (folder / IDENTITY).read_text()
    except (OSError, ValueError):
        return ""


def _claim_next(root: Path) -> int:
    """One more than the highest that is there, whose folder is made."""
    root.mkdir(parents=True, exist_ok=True)
    found = [p.name[len("version_") :] for p in root.glob("version_*")]
    number = max((int(n) for n in found if n.isdecimal()), default=-1) + 1
    while True:
        try:
            version_folder(root, number).mkdir()
        except FileExistsError:  # another run was faster
            number += 1
        else:
            return number


def version_folder(root: Path, version: int | str) -> Path:
    return root / _folder_name(version)


def _folder_name(version: int | str) -> str:
    return version if isinstance(version, str) else f"version_{version}"
