"""The loader: batches in order, loaded by threads, the same bits whatever their number."""

import inspect
import operator
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vitc.data import random
from vitc.data.collate import default_collate
from vitc.errors import nearest
from vitc.tape import clock

Place = tuple[int, int]  # sample, and how often the epoch has had it before


class DataLoader:
    """Batches of a dataset, under torch's names.

    dataset: anything with `len()` and `[index]`. shuffle: another order in every epoch. sampler:
    the indices of an epoch in its place, as an iterable with `len()`; its `set_epoch` is called if
    it has one. num_workers: threads that load ahead, 0 to load where the loop runs.
    prefetch_factor: batches per worker to be ahead. drop_last: leave out a last batch that is
    smaller. seed: of order and augmentation, None for that of `seed_everything`. collate_fn: list
    of items -> batch, None for `default_collate`.

    Each pass is an epoch: another order and other augmentations, a function of (seed, epoch) alone.
    A pass that runs to its end moves the loader on to the next epoch; `set_epoch` sets it.

    pin_memory and persistent_workers are accepted and mean nothing here. Raises `TypeError` for
    other arguments of torch's.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool | None = False,
        sampler: Iterable[int] | None = None,
        *,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        seed: int | None = None,
        prefetch_factor: int | None = 2,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        **unknown: Any,
    ) -> None:
        _refuse(unknown)
        _check_dataset(dataset)
        if sampler is not None and shuffle:
            raise ValueError("shuffle=True with a sampler: the sampler gives the order")
        self.dataset = dataset
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.shuffle, self.sampler = bool(shuffle), sampler
        self.num_workers = _at_least(0, "num_workers", num_workers)
        self.collate_fn = collate_fn or default_collate
        self.drop_last, self.seed = bool(drop_last), seed
        self.prefetch_factor = _at_least(
            1, "prefetch_factor", 2 if prefetch_factor is None else prefetch_factor
        )
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        source: Any = self.dataset if self.sampler is None else self.sampler
        return len(self._starts(len(source)))

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this epoch."""
        self.epoch = _at_least(0, "epoch", epoch)

    def batches(self, start: int = 0) -> Iterator[Any]:
        """The batches of the current epoch from number `start` on, as if those before had been
        passed over one by one; they are not loaded."""
        seed = clock.seed if self.seed is None else self.seed
        places = self._places(seed, self.epoch)
        starts = self._starts(len(places))
        if not 0 <= start <= len(starts):
            raise ValueError(
                f"start is {start}, expected 0 to {len(starts)}, the number of batches"
            )
        groups = [places[i : i + self.batch_size] for i in starts[start:]]
        return self._pass(_Loading(self, seed, self.epoch), groups)

    # ------------------------------------------------------------------------------- order

    def _starts(self, length: int) -> range:
        """The places in the epoch at which batches begin."""
        return range(0, length - (self.batch_size - 1 if self.drop_last else 0), self.batch_size)

    def _places(self, seed: int, epoch: int) -> list[Place]:
        if self.sampler is not None:
            return _counted(_sampled(self.sampler, epoch))
        length = len(self.dataset)
        order = random.order(seed, epoch, length).tolist() if self.shuffle else range(length)
        return [(index, 0) for index in order]

    # ------------------------------------------------------------------------------- passes

    def _pass(self, loading: "_Loading", groups: list[list[Place]]) -> Iterator[Any]:
        if self.num_workers:
            yield from _ahead(loading, groups, self.num_workers, self.prefetch_factor)
        else:
            yield from map(loading.batch, groups)
        if self.epoch == loading.epoch:  # unless the loop has moved it itself
            self.epoch += 1


class _Loading:
    """One pass over the dataset, for whichever thread loads a batch of it."""

    def __init__(self, loader: DataLoader, seed: int, epoch: int) -> None:
        self.dataset, self.collate_fn = loader.dataset, loader.collate_fn
        self.seed, self.epoch = seed, epoch
        self.stopped = threading.Event()

    def batch(self, places: Sequence[Place]) -> Any:
        items = []
        for place in places:
            if self.stopped.is_set():
                return None  # nobody is waiting for it
            items.append(self._item(*place))
        try:
            with random.batch(self.seed, self.epoch, *places[0]):
                return self.collate_fn(items)
        except Exception as error:
            error.add_note(f"(a batch of the samples {[index for index, _ in places]})")
            raise

    def _item(self, index: int, repeat: int) -> Any:
        try:
            with random.item(self.seed, self.epoch, index, repeat):
                return self.dataset[index]
        except Exception as error:
            error.add_note(f"(sample {index}{_path(self.dataset, index)})")
            raise


def _ahead(
    loading: _Loading, groups: list[list[Place]], workers: int, prefetch: int
) -> Iterator[Any]:
    """The batches in order, up to workers * prefetch of them loaded or being loaded in advance."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="vitc.data")
    waiting: deque[Future[Any]] = deque()
    try:
        for group in groups:
            waiting.append(pool.submit(loading.batch, group))
            if len(waiting) > workers * prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also if the loop was left, or interrupted
        loading.stopped.set()
        pool.shutdown(cancel_futures=True)


def _path(dataset: Any, index: int) -> str:
    """ ", photos/crack/7.jpg" if the dataset lists where its samples come from."""
    try:
        return f", {dataset.samples[index][0]}"
    except Exception:
        return ""


def _sampled(sampler: Iterable[int], epoch: int) -> list[int]:
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    return [operator.index(index) for index in sampler]


def _counted(indices: Sequence[int]) -> list[Place]:
    seen: Counter[int] = Counter()
    places = []
    for index in indices:
        places.append((index, seen[index]))
        seen[index] += 1
    return places


# ------------------------------------------------------------------------------- arguments


def _refuse(unknown: dict[str, Any]) -> None:
    for name in unknown:
        known = set(inspect.signature(DataLoader).parameters) - {"unknown"}
        raise TypeError(f"DataLoader has no argument {name!r}; {nearest(name, known)}")


def _check_dataset(dataset: Any) -> None:
    for method, what in (("__len__", "len()"), ("__getitem__", "an item per index")):
        if not hasattr(dataset, method):
            raise TypeError(f"a dataset needs {what}, got {type(dataset).__name__}")
    if len(dataset) == 0:
        raise ValueError("the dataset is empty")


def _at_least(least: int, name: str, value: int) -> int:
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} is {value}, expected {least} or more")
    return number
