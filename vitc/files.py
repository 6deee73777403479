"""Files that are whole or not there."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside path, whose file takes the name of path at the end of the block.

    If the block raises, the file is removed, and one that path named before stays. Raises
    `FileNotFoundError` if path is in no directory.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no directory {path.parent}")
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    unfinished = path.with_name(f"{path.name}.{writer}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
