"""Folders that take each other's place whole, beside others who do the same.

Only a checkpoint is ever replaced or removed. Whoever writes or removes the folder `name` has three
hidden names beside it:

    .name.lock-vitc   locked while someone is at work, and then removed; empty, or `MARK` as long as
                      the other two, if they are there, were made by such a writer
    .name.tmp         the new folder until it is whole, and the old one on its way out
    .name.old         where two folders cannot be exchanged: the old one while the new one moves in

The lock ends with the process that holds it, so what is left under an open lock is nobody's.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from vitc.files import exchange, flush, flush_tree, move, named
from vitc.training.settings import notice
from vitc.training.state_file import is_checkpoint

MARK = b"vitc\n"
_LOCK, _NEW, _OLD = "lock-vitc", "tmp", "old"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system that has none
_TRIES = 100  # a reader's, to see one folder before another takes its place

Replaces = Callable[[Path], bool]
T = TypeVar("T")


class Claim:
    """The right to a name, which one process has until `release`, or until it ends.

    As a context, it releases at the end. replaces: whether what has the name may be replaced.
    """

    def __init__(self, path: Path, lock: int, replaces: Replaces) -> None:
        self.path, self._lock, self._replaces = path, lock, replaces
        self._new, self._old = _beside(path, _NEW), _beside(path, _OLD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """A new folder, which takes the name if the block does not raise."""
        with self, named(self.path):
            self._mark()
            self._new.mkdir()
            yield self._new
            flush_tree(self._new)
            self._move_in()
            flush(self.path.parent)

    def remove(self) -> None:
        """Takes the name from the folder that has it, whose files then go."""
        with self, named(self.path):
            self._mark()
            with suppress(FileNotFoundError):  # somebody else was faster
                move(self.path, self._new)

    def check(self) -> None:
        """Raises `FileExistsError` if the name, or a hidden one, belongs to something else."""
        _check_free(self.path, self._replaces)
        for path in () if self._marked else (self._new, self._old):
            _check_free(path, lambda _: False)

    def tidy(self) -> None:
        """Clears what a writer has left, or brings back what it has moved out of the way."""
        if not self._marked:
            return
        _clear(self._new)
        if not os.path.lexists(self._old):
            return
        if not os.path.lexists(self.path):
            os.rename(self._old, self.path)
        elif is_checkpoint(self.path):
            os.rename(self._old, self._new)
            _clear(self._new)

    def release(self) -> None:
        """What cannot be cleared stays under its hidden name for the next who has the right."""
        if self._lock < 0:
            return
        lock, file = self._lock, _beside(self.path, _LOCK)
        try:
            self.tidy()
            if not self._marked or not any(map(os.path.lexists, (self._new, self._old))):
                os.unlink(file)
        except OSError as error:
            notice(f"{self.path}: what was there before could not be removed: {error}")
        finally:
            self._lock = -1
            os.close(lock)

    @property
    def _marked(self) -> bool:
        return os.pread(self._lock, len(MARK), 0) == MARK

    def _mark(self) -> None:
        """On the disk before the folder, which it distinguishes from one that existed before."""
        if not self._marked:
            os.pwrite(self._lock, MARK, 0)
            os.fsync(self._lock)

    def _move_in(self) -> None:
        if not os.path.lexists(self.path):
            move(self._new, self.path)
            return
        self.check()
        if not exchange(self._new, self.path):
            os.rename(self.path, self._old)
            os.rename(self._new, self.path)
        elif not self._replaces(self._new):  # it came in between
            exchange(self._new, self.path)
            self.check()


def claim(path: Path) -> Claim:
    """The right to a name that is free or a checkpoint's; waits while another writer has it.

    Raises `FileExistsError`, naming what is there, for another name.
    """
    _check_free(path, is_checkpoint)
    found = _claimed(path, is_checkpoint, wait=True)
    if found is None:
        raise FileExistsError(f"{_beside(path, _LOCK)} is there already, and is somebody else's")
    return found


def claim_free(path: Path, replaces: Replaces) -> Claim | None:
    """The right to a name that is free or may be replaced; None if another has it.

    For one that may be replaced it waits: others only look at it.
    """
    try:
        _check_free(path, replaces)
        return _claimed(path, replaces, wait=os.path.lexists(path))
    except FileExistsError:
        return None


def check_directory(directory: Path) -> None:
    """Raises `OSError`, naming it, if no checkpoint can be written into a directory."""
    above = (directory.absolute(), *directory.absolute().parents)
    nearest = next(path for path in above if os.path.lexists(path))
    if not nearest.is_dir():
        raise NotADirectoryError(f"{directory} cannot be written to: {nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} cannot be written to: no permission for {nearest}")


def remove(path: Path, replaces: Replaces) -> None:
    """Removes a checkpoint; what may not be replaced stays."""
    if os.path.lexists(path):
        found = claim_free(path, replaces)
        if found is not None:
            found.remove()


def settle(directory: Path) -> None:
    """Clears what writers that were killed have left in a directory."""
    for file in directory.glob(f".*.{_LOCK}"):
        path = file.with_name(file.name[1 : -len(_LOCK) - 1])
        with suppress(OSError):
            _settle(path, wait=False)


def steadily(path: Path, look: Callable[[], T]) -> T:
    """What is seen in a folder by look(), which looks again if another took its place meanwhile.

    Raises `FileNotFoundError` if there is no such folder.
    """
    for _ in range(_TRIES):
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # nothing else has its number then
        except FileNotFoundError:
            if not _comes_back(path):
                raise
            continue
        try:
            seen = look()
        except (OSError, ValueError):
            if _is_at(folder, path):
                raise
        else:
            if _is_at(folder, path):
                return seen
        finally:
            os.close(folder)
    raise OSError(f"{path} is replaced faster than it can be read")


# ------------------------------------------------------------------------------- beneath


def _claimed(path: Path, replaces: Replaces, wait: bool) -> Claim | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _locked(_beside(path, _LOCK), wait)
    if lock is None:
        return None
    found = Claim(path, lock, replaces)
    try:
        found.tidy()
        found.check()
    except BaseException:
        found.release()
        raise
    return found


def _check_free(path: Path, replaces: Replaces) -> None:
    if os.path.lexists(path) and not replaces(path):
        raise FileExistsError(f"{path} exists and is not a checkpoint that may be replaced")


def _settle(path: Path, wait: bool) -> bool:
    """Whether something has the name then."""
    lock = _locked(_beside(path, _LOCK), wait, sure=True)
    if lock is not None:
        with Claim(path, lock, is_checkpoint) as found, suppress(OSError):
            found.tidy()
            return os.path.lexists(path)
    return os.path.lexists(path)


def _comes_back(path: Path) -> bool:
    """Whether a name that nothing had is given to a folder again: by the writer who is at work, for
    whom this waits, or in the place of one who has died."""
    lock = _beside(path, _LOCK)
    if not os.path.lexists(lock):
        return os.path.lexists(path) or os.path.lexists(lock)
    try:
        return _settle(path, wait=True)
    except OSError:  # a folder that this process may only read
        return os.path.lexists(path)


def _locked(file: Path, wait: bool, sure: bool = False) -> int | None:
    """A descriptor of a file under a lock of ours; None if another has it or it is not such a file.

    sure: None also where the file system cannot tell.
    """
    while _may_be_a_lock(file):
        with ExitStack() as opened:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            opened.callback(os.close, descriptor)
            has_it = _lock(descriptor, wait, sure)
            if not _is_at(descriptor, file):
                continue  # it was removed meanwhile, by whoever had it
            if has_it and MARK.startswith(os.pread(descriptor, len(MARK) + 1, 0)):
                opened.pop_all()
                return descriptor
            return None
    return None


def _may_be_a_lock(file: Path) -> bool:
    """Whether there is nothing of this name, or a file that this process may write."""
    try:
        return stat.S_ISREG(file.lstat().st_mode) and os.access(file, os.R_OK | os.W_OK)
    except FileNotFoundError:
        return True


def _lock(descriptor: int, wait: bool, sure: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return not sure
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the path still names what was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


def _clear(folder: Path) -> None:
    if os.path.lexists(folder):
        shutil.rmtree(folder)
