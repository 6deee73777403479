"""Files and folders that are whole or not there, and names that change at once."""

import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _NOREPLACE, _EXCHANGE = -100, 1, 2  # of Linux' renameat2
_LACKING = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside path, which takes the name of path, flushed, at the end of the block.

    If the block raises, the file is removed, and one that path named before stays. Raises as
    `check_place`.
    """
    check_place(path)
    unfinished = _made(path)
    try:
        with named(path):
            yield unfinished
        flush(unfinished)
        os.replace(unfinished, path)
        flush(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raises `FileNotFoundError` if path is in no directory, `IsADirectoryError` if it is one."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no directory {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, a file cannot take its place")


def _made(path: Path) -> Path:
    """A new hidden file beside path, with the permissions that the process gives."""
    while True:
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        return unfinished


def flush(path: Path) -> None:
    """Waits until a file or directory is on the disk. Raises `OSError`, naming it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An `OSError` of the system that names no file names this one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def flush_tree(folder: Path) -> None:
    """The same for a folder and all that is in it."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def move(source: Path, target: Path) -> None:
    """Gives a folder another name. Raises `FileExistsError` if that is taken."""
    if not _renameat2(source, target, _NOREPLACE):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(source, target)


def exchange(one: Path, other: Path) -> bool:
    """Two folders take each other's name, at once. False where that cannot be done."""
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """False where the C library, the kernel or the file system lacks it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    names = os.fsencode(source), os.fsencode(target)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _LACKING:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
