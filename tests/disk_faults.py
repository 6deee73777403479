"""Every call that changes the disk while checkpoints are written, replaced and removed ends the
process, or fails. Run by test_training_folders.py, with disk_faults.c preloaded.

    LD_PRELOAD=faults.so VITC_FAULTS_UNDER=FOLDER python tests/disk_faults.py FOLDER EVERY

Each time a child writes a new best and a last checkpoint and removes an old one. Whatever becomes
of it, what is left has to be whole checkpoints and the user's own files. EVERY: 1 for each call, 6
for each sixth. Prints how many lives there were as JSON.
"""

import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import warnings
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np

from vitc.training import checkpoint, folders
from vitc.training.state_file import SCHEMA, is_checkpoint

KINDS = {
    "kill": (0, False),
    "EIO once": (errno.EIO, False),
    "EIO from then on": (errno.EIO, True),
    "ENOSPC from then on": (errno.ENOSPC, True),
}
SHIM = ctypes.CDLL(None)


def content(number: int) -> checkpoint.Snapshot:
    """A checkpoint whose numbers are all the same, by which it is known."""
    arrays = {name: np.full((64, 3), number, np.float32) for name in ("w", "b")}
    state = {
        "schema": SCHEMA,
        "run": "r",
        "by": "",
        "hparams": {"number": number},
        "models": {"model": "model.safetensors"},
    }
    return checkpoint.Snapshot({"model": arrays, "other": dict(arrays)}, state, None)


def write(path: Path, number: int) -> None:
    with folders.claim(path) as place:
        checkpoint.write([place], content(number))


def number_of(path: Path) -> int:
    """Which checkpoint it is; all of it has to be of the same one."""
    found = checkpoint.read(path)
    number = found.hparams["number"]
    assert all(np.all(value == number) for value in found.weights("model").values())
    assert all(np.all(value == number) for value in found.tensors("other").values())
    return int(number)


# ------------------------------------------------------------------------------- the user's files


def put_user_data(folder: Path) -> None:
    """Things that are not checkpoints, under the names that checkpoints and their writers take."""
    for name in ("photos.ckpt", ".last.ckpt.41.old", ".c.ckpt.tmp", ".d.ckpt.old", ".e.tmp"):
        (folder / name).mkdir()
        (folder / name / "photo.jpg").write_bytes(name.encode())
    for name in ("notes.ckpt", ".c.ckpt.lock-vitc", ".last.ckpt.41.tmp", "state.json"):
        (folder / name).write_text(f"this is {name}")
    (folder / "link.ckpt").symlink_to("photos.ckpt")
    (folder / "dangling.ckpt").symlink_to("nowhere")
    (folder / "forged.ckpt").mkdir()
    (folder / "forged.ckpt" / "state.json").write_text('{"files": {}, "sha256": "00"}')


def digest(folder: Path, without: tuple[str, ...] = ()) -> str:
    """Of all names and contents below a folder, but for some at its top."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] not in without:
            sha.update(str(path.relative_to(folder)).encode())
            sha.update(os.readlink(path).encode() if path.is_symlink() else b"")
            sha.update(path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
    return sha.hexdigest()


# ------------------------------------------------------------------------------- one life


def work(folder: Path) -> None:
    places = [folders.claim(folder / name) for name in ("best.ckpt", "last.ckpt")]
    checkpoint.write(places, content(2))
    folders.remove(folder / "old.ckpt", is_checkpoint)


def in_a_child(folder: Path, nth: int, kind: str, lacks: bool) -> tuple[int, int]:
    """Its number, and the status of its end: 0 for done, 7 for an error that names a file."""
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        try:
            SHIM.faults_at(nth, *map(int, (*KINDS[kind], lacks)))
            work(folder)
            os._exit(0 if SHIM.faults_seen() < nth else 3)
        except BaseException as error:
            if isinstance(error, OSError) and str(folder) in str(error):
                os._exit(7)
            print(f"{kind} {nth}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child, os.waitpid(child, 0)[1]


def revived(number: int) -> int:
    """Another process with the number of one that has died; 0 where that is not to be had."""
    for _ in range(20):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        except OSError:
            return 0
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # if nobody ends it
            signal.pause()
        if child == number:
            return child
        end(child)
    return 0


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def check(folder: Path, user: str) -> None:
    """What is left after a child has ended, before anything and after `settle`."""
    assert number_of(folder / "last.ckpt") in (1, 2)
    folders.settle(folder)
    there = dict.fromkeys(("last", "best", "old"))
    for name in there:
        with suppress(FileNotFoundError):
            there[name] = number_of(folder / f"{name}.ckpt")
    last, best, old = there.values()
    assert last in (1, 2) and best in (None, 2) and old in (None, 1), there
    assert best == 2 or last == 1, there
    assert old == 1 or (best, last) == (2, 2), there
    assert digest(folder, ("last.ckpt", "best.ckpt", "old.ckpt")) == user
    work(folder)
    assert [number_of(folder / f"{name}.ckpt") for name in ("last", "best")] == [2, 2]
    assert digest(folder, ("last.ckpt", "best.ckpt")) == user


def one_life(folder: Path, nth: int, kind: str, lacks: bool) -> tuple[int, bool]:
    """How it ended, and whether another process had the number of the dead one afterwards."""
    folder.mkdir()
    put_user_data(folder)
    user = digest(folder)
    for name in ("last.ckpt", "old.ckpt"):
        write(folder / name, 1)
    child, status = in_a_child(folder, nth, kind, lacks)
    again = revived(child) if kind == "kill" else 0
    check(folder, user)
    if again:
        end(again)
    shutil.rmtree(folder)
    return os.waitstatus_to_exitcode(status), again > 0


def main() -> None:
    base, every = Path(sys.argv[1]), int(sys.argv[2])
    told: dict[str, int] = {"number alive again": 0}
    for kind, lacks in product(KINDS, (False, True)):
        name = f"{kind}{', no exchange' if lacks else ''}"
        told[name] = 0
        for nth in range(1 + len(told) % every, 1000, every):
            code, again = one_life(base / "run", nth, kind, lacks)
            if code == 0:
                break
            assert code in (3, 7, -signal.SIGKILL), f"{name} at call {nth} ended with {code}"
            told["number alive again"] += again
            told[name] += 1
    print(json.dumps(told))


if __name__ == "__main__":
    main()
