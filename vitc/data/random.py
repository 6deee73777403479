"""Random draws of datasets and transforms, keyed by place and never by history.

While a loader loads an item, a draw is keyed by (seed, epoch, sample, ordinal of the draw within
the item), and while it makes a batch of items by the first of them in the sample's place. In a
training step the key is (seed, step, row, ordinal within the step), and elsewhere, as in a
notebook, the seed and an ordinal. There is no state to save, and no two keys share a stream: they
are the key and the counter of Philox themselves, not a hash of them.

A custom transform takes its randomness from here too:

    def noise(image):
        return image + generator().normal(0, 0.1, image.shape).astype("float32")
"""

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from vitc.arrays import Array
from vitc.locks import Lock
from vitc.tape import clock

# What a draw is for: half of the Philox key, so that the families never meet.
_ITEM, _ORDER, _FREE, _BATCH, _SAMPLER = 1, 2, 3, 4, 5
_MASK = (1 << 64) - 1


def _philox(seed: int, family: int, *place: int) -> np.random.Philox:
    """The stream of a place, which is up to three numbers below 2**64."""
    # The lowest word counts the numbers drawn from this stream.
    counter = np.zeros(4, np.uint64)
    counter[1 : 1 + len(place)] = place
    # With a key, NumPy does not first seed the stream from the system.
    return np.random.Philox(key=np.array([seed & _MASK, family], np.uint64), counter=counter)


# ------------------------------------------------------------------------------------ items


class _Item(threading.local):
    """What this thread is loading, and how many operations have drawn for it."""

    place: tuple[int, ...] | None = None  # seed, family, sample, epoch and repeat
    epoch: int | None = None
    draws = 0


_item = _Item()


def item(seed: int, epoch: int, sample: int, repeat: int = 0) -> AbstractContextManager[None]:
    """Within it, this thread's draws belong to a sample of an epoch.

    repeat: how often the epoch has had this sample before; each time it is augmented anew.
    """
    return _at(_ITEM, seed, epoch, sample, repeat)


def batch(seed: int, epoch: int, sample: int, repeat: int = 0) -> AbstractContextManager[None]:
    """Within it, this thread's draws belong to the batch that begins with a sample."""
    return _at(_BATCH, seed, epoch, sample, repeat)


@contextmanager
def _at(family: int, seed: int, epoch: int, sample: int, repeat: int) -> Iterator[None]:
    before = _item.place, _item.epoch, _item.draws
    _item.place = (seed, family, sample & _MASK, epoch | repeat << 32)
    _item.epoch, _item.draws = epoch, 0
    try:
        yield
    finally:
        _item.place, _item.epoch, _item.draws = before


def epoch() -> int | None:
    """The epoch that this thread is loading for; None outside of a loader."""
    return _item.epoch


def generator() -> np.random.Generator:
    """The generator of the next random operation; every call gives another one.

    An operation asks once and takes all its numbers from it. How many it takes, such as the tries
    of a random crop, does not move the draws of the operations after it.
    """
    if _item.place is None:
        return np.random.Generator(_philox(clock.seed, _FREE, *_free.next()))
    seed, family, sample, pass_ = _item.place
    _item.draws += 1
    return np.random.Generator(_philox(seed, family, _item.draws, sample, pass_))


def between(low: float, high: float, rng: np.random.Generator) -> float:
    """As rng.uniform(low, high), to the bit, which takes four times as long for one number."""
    return low + (high - low) * rng.random()


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """A number between low and high, both above 0, whose logarithm is uniform."""
    return math.exp(between(math.log(low), math.log(high), rng))


def noise_key(rng: np.random.Generator) -> tuple[int, int]:
    """What an operation of the core draws its own random numbers from: two of 32 bits."""
    return int(rng.integers(1 << 32)), int(rng.integers(1 << 32))


# ------------------------------------------------------------------------------------ elsewhere


class _Free:
    """The draws outside of a loader since the seed was set, or since the step began."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._start, self._count = self._here(), 0

    def next(self) -> tuple[int, int, int]:
        """(ordinal, step, row)."""
        with self._lock:
            start = self._here()
            if self._start != start:
                self._start, self._count = start, 0
            self._count += 1
            return self._count, clock.step, clock.row

    @staticmethod
    def _here() -> tuple[int, ...]:
        return clock.seed, clock.restarts, clock.step, clock.row


_free = _Free()


# ------------------------------------------------------------------------------------ order


def order(seed: int, epoch: int, length: int) -> Array:
    """The order of the samples in an epoch: a permutation of range(length), int64."""
    # Sorting raw numbers, because NumPy promises that those stay the same from version to version,
    # and does not promise it of `Generator.permutation`.
    return np.argsort(_philox(seed, _ORDER, epoch).random_raw(length), kind="stable")


def uniform(seed: int, epoch: int, length: int) -> Array:
    """float64 (length,) from 0 to below 1, from which a sampler draws an epoch."""
    return (_philox(seed, _SAMPLER, epoch).random_raw(length) >> 11) * 2.0**-53
