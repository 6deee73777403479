"""Settings of the process: how many threads forward, backward and optimizer passes use."""

import operator
import random

import numpy as np

from vitc import _vitc
from vitc.tape import clock

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


def seed_everything(seed: int | None = None, workers: bool = False) -> int:
    """Seeds weights, dropout, order and augmentation of what is made from now on; Lightning's name.

    Also seeds Python's `random` and NumPy's global generator. None: a seed is drawn. workers: means
    nothing here, loaders are always seeded. Returns the seed.

    Raises `ValueError` for one outside of 0 to 2**32 - 1.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else operator.index(seed)
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed is {seed}, expected 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)
    clock.seed = seed
    clock.begin(0)
    return seed
