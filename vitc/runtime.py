"""Settings of the process: how many threads forward, backward and optimizer passes use."""

import operator

from vitc import _vitc

_threads: int | None = None


def set_num_threads(threads: int) -> None:
    """Sets the number of threads of every later call. It never changes a bit of a result.

    Raises `ValueError` for a number below 1.
    """
    global _threads
    threads = operator.index(threads)
    if threads < 1:
        raise ValueError(f"the number of threads is {threads}, expected 1 or more")
    _threads = threads


def get_num_threads() -> int:
    """The number of threads in use; until it is set, what the core finds right for this machine."""
    return _vitc.default_threads() if _threads is None else _threads
