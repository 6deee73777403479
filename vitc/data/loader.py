"""The loader: batches in order, loaded by threads, the same bits whatever their number.

What an epoch holds is settled before it begins: a list of places, cut into groups of batch_size. A
thread makes a batch of a group and of nothing else, so a position in the epoch is a number.
"""

import inspect
import operator
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from vitc import checks
from vitc.data import random
from vitc.data.collate import default_collate
from vitc.data.samplers import Sampler
from vitc.data.threads import Threads
from vitc.errors import nearest, shown
from vitc.tape import clock

ON_ERROR = ("raise", "skip", "substitute")
NOTHING = object()  # a batch of which no sample can be read
_TRIES = 20  # samples to try in the place of one, as timm does
_LISTED = 20  # in a warning

Place = tuple[int, int]  # sample, and how often the epoch has had it before


class DataLoader:
    """Batches of a dataset, under torch's names.

    dataset: anything with `len()` and `[index]`. shuffle: another order in every epoch. sampler:
    the indices of an epoch in its place, as an iterable with `len()`; its `set_epoch` is called if
    it has one. num_workers: threads that load ahead, 0 to load where the loop runs.
    prefetch_factor: batches per worker to be ahead. drop_last: leave out a last batch that is
    smaller. seed: of order and augmentation, None for that of `seed_everything`. collate_fn: list
    of items -> batch, None for `default_collate`. max_prefetch_bytes: what the batches loaded ahead
    may take together, judged by the last one; one is always loaded.

    on_error: what becomes of a sample whose file cannot be read (`OSError`): "raise"; "skip" leaves
    it out of its batch, and a batch without samples out of the epoch; "substitute" takes the next
    readable sample of the epoch in its place, augmented as the lost one would have been.
    `unreadable` lists the samples found so far; at the last batch of a pass a warning names those
    that none has named before.

    Each pass is an epoch: another order and other augmentations, a function of (seed, epoch) alone.
    A pass that runs to its end moves the loader on to the next epoch; `set_epoch` sets it.
    `state_dict()` is the place where a pass stands, from which the next one goes on after
    `load_state_dict`, with the same bits as if it had not been left.

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
        max_prefetch_bytes: int = 1 << 31,
        on_error: str = "raise",
        pin_memory: bool = False,
        persistent_workers: bool = False,
        **unknown: Any,
    ) -> None:
        _refuse(unknown)
        _check_dataset(dataset)
        if sampler is not None and shuffle:
            raise ValueError("shuffle=True with a sampler: the sampler gives the order")
        self.dataset = dataset
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.shuffle, self.sampler = bool(shuffle), sampler
        self.num_workers = checks.integer("num_workers", num_workers, 0)
        self.collate_fn = collate_fn or default_collate
        self.drop_last, self.seed = bool(drop_last), seed
        ahead = 2 if prefetch_factor is None else prefetch_factor
        self.prefetch_factor = checks.integer("prefetch_factor", ahead, 1)
        self.max_prefetch_bytes = checks.integer("max_prefetch_bytes", max_prefetch_bytes, 1)
        self.on_error = checks.one_of("on_error", on_error, ON_ERROR)
        self.unreadable: dict[int, str] = {}  # sample -> reason, which names the file
        self._told: set[int] = set()
        self.epoch = 0
        self._batch = 0  # of the epoch, that comes next
        self._start = 0  # where the next pass begins

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self._starts(self._samples()))

    def __iter__(self) -> Iterator[Any]:
        return self.batches(self._start)

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this epoch, from its beginning."""
        self.epoch = checks.integer("epoch", epoch, 0)
        self._batch = self._start = 0

    def state_dict(self) -> dict[str, int]:
        """Where the pass stands: all numbers on which the batches to come depend."""
        return {
            "seed": self._seed(),
            "epoch": self.epoch,
            "batch": self._batch,
            "batch_size": self.batch_size,
            "samples": self._samples(),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """The next pass goes on where a loader of the same dataset and arguments stood.

        Raises `ValueError` if seed, batch_size or the number of samples differ from those noted.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise ValueError(f"the state has {shown(sorted(state))}, expected {sorted(own)}")
        for name in ("seed", "batch_size", "samples"):
            if state[name] != own[name]:
                raise ValueError(
                    f"the state is of {name} {shown(state[name])}, this loader has {own[name]}"
                )
        self.set_epoch(state["epoch"])
        batches = len(self._starts(self._samples()))
        if not 0 <= state["batch"] <= batches:
            raise ValueError(f"the state is at batch {shown(state['batch'])} of {batches}")
        self._batch = self._start = state["batch"]

    def batches(self, start: int = 0) -> Iterator[Any]:
        """The batches of the current epoch from number `start` on, as if those before had been
        passed over one by one; they are not loaded."""
        seed = self._seed()
        places = self._places(seed, self.epoch)
        starts = self._starts(len(places))
        if not 0 <= start <= len(starts):
            raise ValueError(
                f"start is {shown(start)}, expected 0 to {len(starts)}, the number of batches"
            )
        self._start = 0
        groups = [range(i, min(i + self.batch_size, len(places))) for i in starts[start:]]
        return self._pass(_Loading(self, seed, self.epoch, places), groups, start)

    # ------------------------------------------------------------------------------- order

    def _seed(self) -> int:
        return clock.seed if self.seed is None else self.seed

    def _samples(self) -> int:
        """How many an epoch has."""
        source: Any = self.dataset if self.sampler is None else self.sampler
        return len(source)

    def _starts(self, length: int) -> range:
        """The places in the epoch at which batches begin."""
        return range(0, length - (self.batch_size - 1 if self.drop_last else 0), self.batch_size)

    def _places(self, seed: int, epoch: int) -> list[Place]:
        if self.sampler is not None:
            return _counted(_sampled(self.sampler, seed, epoch))
        length = len(self.dataset)
        order = random.order(seed, epoch, length).tolist() if self.shuffle else range(length)
        return [(index, 0) for index in order]

    # ------------------------------------------------------------------------------- passes

    def _pass(self, loading: "_Loading", groups: list[range], start: int) -> Iterator[Any]:
        if self.num_workers:
            ahead = self.num_workers * self.prefetch_factor
            batches = _ahead(loading, groups, self.num_workers, ahead, self.max_prefetch_bytes)
        else:
            batches = map(loading.batch, groups)
        self._batch = start
        for batch in batches:
            self._batch += 1
            if self._batch == start + len(groups):  # a loop that counts stops here
                self._report()
            if batch is not NOTHING:
                yield batch
        if self.epoch == loading.epoch:  # unless the loop has moved it itself
            self.set_epoch(self.epoch + 1)

    def _report(self) -> None:
        """A warning with the unreadable samples of which none has told yet."""
        new = sorted(set(self.unreadable) - self._told)
        self._told.update(new)
        if new:
            listed = [f"\n  sample {i}: {self.unreadable[i]}" for i in new[:_LISTED]]
            more = f"\n  and {len(new) - _LISTED} more" if len(new) > _LISTED else ""
            warnings.warn(
                f"{len(new)} of {len(self.dataset)} samples cannot be read "
                f'(on_error="{self.on_error}"):{"".join(listed)}{more}',
                stacklevel=3,
            )


class _Loading:
    """One pass over the dataset, for whichever thread loads a batch of it."""

    def __init__(self, loader: DataLoader, seed: int, epoch: int, places: list[Place]) -> None:
        self.dataset, self.collate_fn = loader.dataset, loader.collate_fn
        self.seed, self.epoch, self.places = seed, epoch, places
        self.on_error, self.unreadable = loader.on_error, loader.unreadable
        self.stopped = threading.Event()

    def batch(self, numbers: range) -> Any:
        """The samples at these places of the epoch, `NOTHING` if there are none."""
        items = []
        for number in numbers:
            if self.stopped.is_set():
                return None  # nobody is waiting for it
            items += self._items(number)
        if not items:
            return NOTHING
        try:
            with random.batch(self.seed, self.epoch, *self.places[numbers[0]]):
                return self.collate_fn(items)
        except Exception as error:
            error.add_note(f"(a batch of the samples {[self.places[n][0] for n in numbers]})")
            raise

    def _items(self, number: int) -> list[Any]:
        """What stands in a batch for a place of the epoch: one item, or none."""
        try:
            return [self._item(number, number)]
        except OSError as error:
            if self.on_error == "raise":
                raise
            self._note(number, error)
            return [self._substitute(number, error)] if self.on_error == "substitute" else []

    def _substitute(self, number: int, error: OSError) -> Any:
        """The next sample of the epoch that can be read; after its end it begins again."""
        tries = min(len(self.places) - 1, _TRIES)
        for step in range(1, tries + 1):
            other = (number + step) % len(self.places)
            try:
                return self._item(other, number)
            except OSError as another:
                self._note(other, another)
        raise OSError(f"{error}; nor can the {tries} samples after it be read") from error

    def _item(self, number: int, drawn_as: int) -> Any:
        """The sample at a place of the epoch, with the random draws of a place."""
        index = self.places[number][0]
        try:
            with random.item(self.seed, self.epoch, *self.places[drawn_as]):
                return self.dataset[index]
        except Exception as error:
            error.add_note(f"(sample {index}{_path(self.dataset, index)})")
            raise

    def _note(self, number: int, error: OSError) -> None:
        index = self.places[number][0]
        path = _path(self.dataset, index).removeprefix(", ")
        self.unreadable[index] = str(error) if path in str(error) else f"{path}: {error}"


def _ahead(
    loading: _Loading, groups: list[range], workers: int, most: int, most_bytes: int
) -> Iterator[Any]:
    """The batches in order, up to `most` of them loaded or being loaded in advance, fewer if these
    would be larger than most_bytes."""
    pool = Threads(workers, "vitc.data")
    waiting: deque[Future[Any]] = deque()
    depth = min(workers, most)  # until a batch has shown its size
    try:
        for group in groups:
            waiting.append(pool.submit(partial(loading.batch, group)))
            while len(waiting) > depth:
                batch = waiting.popleft().result()
                depth = max(1, min(most, most_bytes // max(1, _bytes(batch))))
                yield batch
        while waiting:
            yield waiting.popleft().result()
    finally:  # also if the loop was left, or interrupted
        loading.stopped.set()
        pool.close()


def _bytes(batch: Any) -> int:
    """What the arrays in a batch take."""
    if isinstance(batch, Mapping):
        return sum(map(_bytes, batch.values()))
    if isinstance(batch, tuple | list):
        return sum(map(_bytes, batch))
    return int(getattr(batch, "nbytes", 0))


def _path(dataset: Any, index: int) -> str:
    """ ", photos/crack/7.jpg" if the dataset lists where its samples come from."""
    try:
        return f", {dataset.samples[index][0]}"
    except Exception:
        return ""


def _sampled(sampler: Iterable[int], seed: int, epoch: int) -> list[int]:
    if isinstance(sampler, Sampler):
        return sampler.drawn(seed, epoch)
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
        raise TypeError(f"DataLoader has no argument {shown(name)}; {nearest(name, known)}")


def _check_dataset(dataset: Any) -> None:
    for method, what in (("__len__", "len()"), ("__getitem__", "an item per index")):
        if not hasattr(dataset, method):
            raise TypeError(f"a dataset needs {what}, got {type(dataset).__name__}")
    if len(dataset) == 0:
        raise ValueError("the dataset is empty")
