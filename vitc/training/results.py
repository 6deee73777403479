"""What `self.log` collects: the value of the last step, and one value for an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vitc.errors import shown
from vitc.tape import Loss

NUMBERED = "/dataloader_idx_"


class Number(float):
    """A logged value: a float that also has the methods by which a tensor is read."""

    def item(self) -> float:
        return float(self)

    def detach(self) -> Number:
        return self

    cpu = detach

    def numpy(self) -> np.float64:
        return np.float64(self)


@runtime_checkable
class Metric(Protocol):
    """What can be logged in place of a number: its value is computed at the end of the epoch, and
    then it is reset. torchmetrics' objects and those of `vitc.metrics` have these methods."""

    def update(self, *args: Any, **options: Any) -> Any: ...
    def compute(self) -> Any: ...
    def reset(self) -> Any: ...


class Sample(NamedTuple):
    """A logged value: of a loss, its sum and the weight to divide by, else the number and 1."""

    value: float
    divisor: float
    rows: float  # by which it counts in a mean over an epoch

    @property
    def mean(self) -> float:
        return self.value / self.divisor if self.divisor else float("nan")

    @property
    def weight(self) -> float:
        return self.rows if self.divisor else 0.0


class Entry(NamedTuple):
    """How a name was logged. loader: of several, the one whose batch it was logged for; numbered:
    its number is added to the name."""

    name: str
    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool
    reduce_fx: str
    loader: int | None = None
    numbered: bool = False

    def named(self, ending: str = "") -> str:
        return f"{self.name}{ending}{f'{NUMBERED}{self.loader}' if self.numbered else ''}"

    @property
    def of_step(self) -> str:
        """The name of a step's value."""
        return self.named("_step" if self.on_epoch else "")

    @property
    def of_epoch(self) -> str:
        return self.named("_epoch" if self.on_step else "")


def _mean(samples: list[Sample]) -> Sample:
    """Of the parts of a batch: losses are divided once, by the sum of their weights."""
    if len(samples) == 1:
        return samples[0]
    rows = sum(s.rows for s in samples)
    if any(s.divisor != 1 for s in samples):
        return Sample(sum(s.value for s in samples), sum(s.divisor for s in samples), rows)
    total = sum(s.value * s.rows for s in samples)
    return Sample(total / rows if rows else float("nan"), 1, rows)


def _by(reduce: Callable[[Iterable[float]], float]) -> Callable[[list[Sample]], Sample]:
    return lambda samples: Sample(reduce(s.mean for s in samples), 1, sum(s.rows for s in samples))


class _Reduction(NamedTuple):
    """epoch: (so far, weight so far, value, weight) -> so far. batch: the parts of one batch."""

    epoch: Callable[[float, float, float, float], float]
    batch: Callable[[list[Sample]], Sample]


_REDUCTIONS = {
    "mean": _Reduction(lambda total, seen, x, w: total + (x * w if w else 0.0), _mean),
    "sum": _Reduction(lambda total, seen, x, w: total + x, _by(sum)),
    "min": _Reduction(lambda total, seen, x, w: min(total, x) if seen else x, _by(min)),
    "max": _Reduction(lambda total, seen, x, w: max(total, x) if seen else x, _by(max)),
}


class Results:
    """The metrics of one epoch of one stage.

    A name that is logged both on step and on epoch gets the endings `_step` and `_epoch`. It is
    kept by the hook that logged it, as in Lightning.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}  # by hook and name, like all that follows
        self._last: dict[str, float] = {}
        self._sums: dict[str, tuple[float, float]] = {}  # reduced so far, weight so far
        self._objects: dict[str, Metric] = {}
        self._attributes: dict[str, str] = {}  # where they are in the module
        self._parts: dict[str, list[list[Sample]]] | None = None  # by part of the batch
        self._part = 0
        self._border: dict[str, Any] = self._state()

    def log(self, hook: str, value: Any, rows: float, entry: Entry, attribute: str = "") -> None:
        """rows: samples that it is of. attribute: of the module, that holds a metric.

        Raises `TypeError` for what is neither a number nor a metric, `ValueError` for other
        arguments than the hook gave to this name before.
        """
        key = f"{hook}.{entry.named()}"
        if self._entries.setdefault(key, entry) != entry:
            raise ValueError(
                f"log({shown(entry.name)}) was called in {hook}() with other arguments before"
            )
        if is_metric(value):
            self._objects[key], self._attributes[key] = value, attribute
            value = getattr(value, "_forward_cache", None)
            if value is None:  # updated without a value of this batch
                return
        self._add(key, _sample(entry.name, value, rows))

    def _add(self, key: str, sample: Sample) -> None:
        self._last[key] = sample.mean  # of a part, until the batch is whole
        if self._parts is not None:
            self._parts.setdefault(key, [[] for _ in range(self._part)])
            self._parts[key] += [[] for _ in range(self._part - len(self._parts[key]))]
            self._parts[key][-1].append(sample)
            return
        entry = self._entries[key]
        if entry.on_epoch and key not in self._objects:
            total, seen = self._sums.get(key, (0.0, 0.0))
            reduce = _REDUCTIONS[entry.reduce_fx].epoch
            reduced = reduce(total, seen, sample.mean, sample.weight)
            self._sums[key] = reduced, seen + sample.weight

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Within it a batch is trained in parts, each of which begins with `next_part`: what the
        parts log by the same call becomes one value."""
        self._parts, self._part = {}, 0
        try:
            yield
        finally:
            parts, self._parts = self._parts, None
        for key, by_part in parts.items():
            merge = _REDUCTIONS[self._entries[key].reduce_fx].batch
            for call in range(max(map(len, by_part))):
                self._add(key, merge([part[call] for part in by_part if len(part) > call]))

    def next_part(self) -> None:
        self._part += 1

    def compute(self, reset: bool, loader: int | None = None) -> None:
        """Asks the metrics for their values at the end of an epoch; reset: the next one follows.

        loader: only those that were logged under its number.
        """
        chosen = [key for key in self._objects if self._is_of(key, loader)]
        for key in chosen:
            name, metric = self._entries[key].name, self._objects[key]
            self._sums[key] = _sample(name, metric.compute(), 1).mean, 1.0
        for metric in [self._objects.pop(key) for key in chosen] if reset else ():
            metric.reset()

    def _is_of(self, key: str, loader: int | None) -> bool:
        entry = self._entries[key]
        return loader is None or (entry.numbered and entry.loader == loader)

    def forget(self) -> None:
        """Resets the metrics of an epoch that is left."""
        for metric in self._objects.values():
            metric.reset()

    # ------------------------------------------------------------------------------- asked for

    def names(self) -> set[str]:
        """All that callbacks may monitor of this epoch."""
        return set(self.callback_metrics(epoch=False)) | {
            name for e in self._entries.values() for name in (e.named(), e.named("_epoch"))
        }

    def step_metrics(
        self, *, prog_bar: bool = False, logger: bool = False, loader: int | None = None
    ) -> dict[str, Number]:
        """The values of the last step, of all or of those for the progress bar or the logger;
        loader: without those of the other loaders."""
        return {
            entry.of_step: Number(self._last[key])
            for key, entry in self._chosen(prog_bar, logger, loader)
            if entry.on_step and key in self._last
        }

    def epoch_metrics(
        self, *, prog_bar: bool = False, logger: bool = False, loader: int | None = None
    ) -> dict[str, Number]:
        """The values of the epoch so far, likewise."""
        return {
            entry.of_epoch: self._reduced(key)
            for key, entry in self._chosen(prog_bar, logger, loader)
            if entry.on_epoch and key in self._sums
        }

    def callback_metrics(self, *, epoch: bool) -> dict[str, Number]:
        """What callbacks may monitor: each name with and without its ending. What is logged with
        neither on_step nor on_epoch is there as the value of the last step."""
        known = self._sums if epoch else self._last
        plain = {
            entry.named(): self._reduced(key) if epoch else Number(self._last[key])
            for key, entry in self._entries.items()
            if (entry.on_epoch if epoch else not entry.on_epoch or entry.on_step) and key in known
        }
        return {**plain, **(self.epoch_metrics() if epoch else self.step_metrics())}

    def _reduced(self, key: str) -> Number:
        total, weight = self._sums[key]
        if self._entries[key].reduce_fx != "mean":
            return Number(total)
        return Number(total / weight if weight else float("nan"))

    def _chosen(
        self, prog_bar: bool, logger: bool, loader: int | None = None
    ) -> list[tuple[str, Entry]]:
        return [
            (key, entry)
            for key, entry in self._entries.items()
            if (entry.prog_bar or not prog_bar)
            and (entry.logger or not logger)
            and (loader is None or entry.loader in (None, loader))
        ]

    # ------------------------------------------------------------------------------- state

    def mark(self, metrics: Mapping[str, Any]) -> None:
        """This is the end of a window, where a resumed run continues. metrics: states of the
        module's metrics."""
        self._border = self._state()
        self._border["metrics"] = metrics

    def _state(self) -> dict[str, Any]:
        return {
            "entries": dict(self._entries),
            "last": dict(self._last),
            "sums": dict(self._sums),
            "attributes": {key: name for key, name in self._attributes.items() if name},
            "metrics": None,
        }

    def state_dict(self) -> dict[str, Any]:
        """The unfinished epoch up to the last border, as JSON has it."""
        border = {what: d for what, d in self._border.items() if what != "metrics"}
        return {what: {k: _plain(v) for k, v in d.items()} for what, d in border.items()}

    def marked_metrics(self) -> Mapping[str, Any] | None:
        """The states of the metrics at the last border; None before the first."""
        found: Mapping[str, Any] | None = self._border["metrics"]
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises `ValueError`, `TypeError` or `KeyError` for what `state_dict` does not give."""
        self._entries = {key: _entry(*entry) for key, entry in state["entries"].items()}
        self._last = {key: _finite_or_not(x) for key, x in state["last"].items()}
        self._sums = {
            key: (_finite_or_not(total), _finite_or_not(weight))
            for key, (total, weight) in state["sums"].items()
        }
        self._attributes = {key: str(name) for key, name in state["attributes"].items()}
        self._border = self._state()

    def attach(self, module: object) -> None:
        """Finds the metrics of an epoch that is resumed, which may have no further batch. Raises
        `KeyError` for one that is not there."""
        found = named_metrics(module)
        self._objects = {key: found[name] for key, name in self._attributes.items()}


def named_metrics(module: object) -> dict[str, Metric]:
    """The metrics of a module by their attributes, also those in lists and dicts of it."""
    found: dict[str, Metric] = {}
    for name, value in vars(module).items():
        if is_metric(value):
            found[name] = value
        elif isinstance(value, list | tuple | dict):
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            found |= {f"{name}.{key}": x for key, x in inside if is_metric(x)}
    return found


def is_metric(value: Any) -> bool:
    """Looked at in every step, of all that a module holds: what is none is told by one name."""
    return hasattr(value, "compute") and isinstance(value, Metric) and not isinstance(value, type)


def _entry(*fields: Any) -> Entry:
    entry = Entry(*fields)
    flags = (entry.on_step, entry.on_epoch, entry.prog_bar, entry.logger, entry.numbered)
    if not isinstance(entry.name, str) or not all(isinstance(flag, bool) for flag in flags):
        raise TypeError("how a value was logged is not said by a name and flags")
    if not isinstance(entry.loader, int | None):
        raise TypeError("a loader's number is not an integer")
    reduction(entry.reduce_fx)
    return entry


def _finite_or_not(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a logged value is not a number")
    return float(value)


def reduction(reduce_fx: Any) -> str:
    """The name of a reduction, given by its name or as a function: "mean", `max`, `numpy.sum`.

    Raises `ValueError` for one that is not known.
    """
    name = reduce_fx if isinstance(reduce_fx, str) else getattr(reduce_fx, "__name__", "")
    if name not in _REDUCTIONS:
        raise ValueError(
            f"reduce_fx is {shown(reduce_fx)}, expected one of {', '.join(_REDUCTIONS)}"
        )
    return name


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _sample(name: str, value: Any, rows: float) -> Sample:
    if isinstance(value, Loss):
        return Sample(value.value, value.weight, rows)
    if isinstance(value, Real | np.generic):
        return Sample(float(value), 1, rows)
    shape = getattr(value, "shape", None)
    if shape is not None and np.prod(shape) == 1:
        return Sample(float(np.asarray(value).reshape(())), 1, rows)
    what = type(value).__name__ if shape is None else f"an array of shape {tuple(shape)}"
    raise TypeError(f"log({shown(name)}): expected a number or a metric, got {what}")
