"""The batches of one stage: a loader, and how many of its batches are taken."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import numpy as np

from vitc.errors import shown

_NO_BATCH = "gave no batch: it is empty, or shorter than one batch"
Limit = int | float | None
"""So many batches, such a share of the loader, or all of it."""


class Feed:
    """A loader as a stage reads it.

    loader: any iterable of batches. limit: see `Limit`. shards: how many batches of the loader make
    one device's batch. fixed: every pass is the same one, for a run that is to learn a few batches
    by heart. again: it will be read more than once.

    Raises `TypeError` for anything but a loader, `ValueError` for a limit that leaves nothing.
    """

    def __init__(
        self,
        loader: Any,
        limit: Limit,
        what: str,
        *,
        shards: int = 1,
        fixed: bool = False,
        again: bool = False,
    ) -> None:
        if not isinstance(loader, Iterable) or isinstance(loader, str | bytes):
            raise TypeError(f"the {what} loader is a {type(loader).__name__}, expected batches")
        if again and isinstance(loader, Iterator):
            raise TypeError(
                f"the {what} loader is a {type(loader).__name__}, which can be read only once: "
                "give a loader, or a list of batches"
            )
        self.loader: Any = loader
        self.fixed = fixed
        self.what, self.shards = what, shards
        self.size = len(loader) if isinstance(loader, Sized) else None
        self.count = self._count(limit)

    def _count(self, limit: Limit) -> int | None:
        """The batches of a pass; None if the loader does not say."""
        if self.size == 0 and limit != 0:
            raise ValueError(f"the {self.what} loader {_NO_BATCH}")
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

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, bool]]:
        """A pass from batch `start` on: each batch, and whether none follows it. Loaders with
        `batches(start)` begin there, others are read over.

        Raises `ValueError` for a pass without a batch.
        """
        found = iter(self._read(epoch, start))
        try:
            batch = next(found)
        except StopIteration:
            if start == 0:
                raise ValueError(f"the {self.what} loader {_NO_BATCH}") from None
            return
        for following in found:
            yield batch, False
            batch = following
        yield batch, True

    def _read(self, epoch: int, start: int) -> Iterator[Any]:
        if hasattr(self.loader, "set_epoch"):
            self.loader.set_epoch(0 if self.fixed else epoch)
        if hasattr(self.loader, "batches"):
            rest = None if self.count is None else max(self.count - start, 0)
            return islice(self.loader.batches(start), rest)
        return islice(self.loader, start, self.count)


def as_loaders(given: Any) -> list[Any]:
    """The loaders in a list, tuple or dict of them, or the one that is given. A list of batches is
    one loader, too. Raises `TypeError` for a list of both."""
    found = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(found, list | tuple):
        return [given]
    are_loaders = [hasattr(x, "batch_size") for x in found]
    if not any(are_loaders):
        return [given]
    if not all(are_loaders):
        strange = found[are_loaders.index(False)]
        raise TypeError(f"the loaders hold {shown(strange)}, which has no batch_size")
    return list(found)


def count_samples(batch: Any) -> int:
    """How many samples a batch holds: the length of its first array."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, tuple | list) and len(batch):
        return count_samples(batch[0]) if np.ndim(batch[0]) else len(batch)
    return len(batch) if hasattr(batch, "__len__") else 1
