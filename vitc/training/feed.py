"""The batches of one stage: a loader, and how many of its batches are taken."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import numpy as np

NO_BATCH = "gave no batch: it is empty, or shorter than one batch"
Limit = int | float | None
"""So many batches, such a share of the loader, or all of it."""


class Feed:
    """A loader as a stage reads it.

    loader: any iterable of batches that can be read more than once. limit: see `Limit`. shards: how
    many batches of the loader make one device's batch. fixed: every pass is the same one, for
    a run that is to learn a few batches by heart.

    Raises `TypeError` for anything but a loader, `ValueError` for a limit that leaves nothing.
    """

    def __init__(
        self, loader: Any, limit: Limit, what: str, *, shards: int = 1, fixed: bool = False
    ) -> None:
        loader = _one(loader, what)
        if not isinstance(loader, Iterable):
            raise TypeError(f"the {what} loader is a {type(loader).__name__}, expected batches")
        self.loader: Any = loader
        self.fixed = fixed
        self.what, self.shards = what, shards
        self.size = len(loader) if isinstance(loader, Sized) else None
        self.count = self._count(limit)

    def _count(self, limit: Limit) -> int | None:
        """The batches of a pass; None if the loader does not say."""
        if self.size == 0 and limit != 0:
            raise ValueError(f"the {self.what} loader {NO_BATCH}")
        if isinstance(limit, float) and self.size is None:
            if limit != 1.0:
                raise ValueError(
                    f"a limit of {limit} for the {self.what} batches is a share of a loader that "
                    "has no len(); give a number of batches"
                )
            return None
        if isinstance(limit, float):
            count = int(limit * (self.size or 0))
            if count == 0 and limit > 0 and self.size:
                raise ValueError(
                    f"a limit of {limit} for the {self.what} batches leaves none of {self.size}"
                )
            return count
        most = None if limit is None else limit * self.shards
        known = [n for n in (most, self.size) if n is not None]
        return min(known) if known else None

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Any]:
        """A pass from batch `start` on. Loaders with `batches(start)` begin there, others are read
        over."""
        if hasattr(self.loader, "set_epoch"):
            self.loader.set_epoch(0 if self.fixed else epoch)
        if hasattr(self.loader, "batches"):
            rest = None if self.count is None else max(self.count - start, 0)
            return islice(self.loader.batches(start), rest)
        return islice(self.loader, start, self.count)


def _one(loader: Any, what: str) -> Any:
    """The loader in a list of one. A list of batches is a loader, too."""
    listed = loader if isinstance(loader, list | tuple) else []
    if not listed or not all(hasattr(item, "batch_size") for item in listed):
        return loader
    if len(listed) > 1:
        raise ValueError(f"{len(listed)} {what} loaders: give one, and call it for each of them")
    return listed[0]


def with_last(batches: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each batch, and whether none follows it."""
    iterator = iter(batches)
    try:
        batch = next(iterator)
    except StopIteration:
        return
    for following in iterator:
        yield batch, False
        batch = following
    yield batch, True


def count_samples(batch: Any) -> int:
    """How many samples a batch holds: the length of its first array."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, tuple | list) and len(batch):
        return count_samples(batch[0]) if np.ndim(batch[0]) else len(batch)
    return len(batch) if hasattr(batch, "__len__") else 1
