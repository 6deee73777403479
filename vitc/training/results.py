"""What `self.log` collects: the value of the last step, and means over an epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from vitc.errors import shown
from vitc.tape import Loss

# How values of steps become one of an epoch: (so far, weight so far, value, weight) -> so far.
_REDUCTIONS = {
    "mean": lambda total, seen, value, weight: total + value * weight,
    "sum": lambda total, seen, value, weight: total + value,
    "min": lambda total, seen, value, weight: min(total, value) if seen else value,
    "max": lambda total, seen, value, weight: max(total, value) if seen else value,
}


class Entry(NamedTuple):
    """How a name was logged."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool
    reduce_fx: str


class Results:
    """The metrics of one epoch of one stage.

    A name that is logged both on step and on epoch gets the endings `_step` and `_epoch`.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._last: dict[str, float] = {}
        self._sums: dict[str, tuple[float, float]] = {}  # reduced so far, weight so far
        self._parts: dict[str, tuple[Entry, list[tuple[float, int]]]] | None = None
        self._border: dict[str, Any] = self._state()

    def log(self, name: str, value: Any, weight: int, entry: Entry) -> None:
        """Raises `TypeError` for a value that is not one number, naming it."""
        number = _number(name, value)
        if self._parts is not None:
            self._parts.setdefault(name, (entry, []))[1].append((number, weight))
            return
        self._entries[name] = entry
        self._last[name] = number
        if entry.on_epoch:
            total, seen = self._sums.get(name, (0.0, 0.0))
            reduced = _REDUCTIONS[entry.reduce_fx](total, seen, number, weight)
            self._sums[name] = reduced, seen + weight

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Within it all values of a name become one, their mean by weight: parts of one batch."""
        self._parts = {}
        try:
            yield
        finally:
            parts, self._parts = self._parts, None
        for name, (entry, values) in parts.items():
            weight = sum(w for _, w in values)
            mean = sum(value * w for value, w in values) / weight if weight else float("nan")
            self.log(name, mean, weight, entry)

    def step_metrics(self, *, prog_bar: bool = False, logger: bool = False) -> dict[str, float]:
        """The values of the last step, of all or of those for the progress bar or the logger."""
        return {
            f"{name}_step" if entry.on_epoch else name: self._last[name]
            for name, entry in self._chosen(prog_bar, logger)
            if entry.on_step
        }

    def epoch_metrics(self, *, prog_bar: bool = False, logger: bool = False) -> dict[str, float]:
        """The values of the epoch so far, likewise."""
        return {
            f"{name}_epoch" if entry.on_step else name: self._reduced(name)
            for name, entry in self._chosen(prog_bar, logger)
            if entry.on_epoch
        }

    def callback_metrics(self, *, epoch: bool) -> dict[str, float]:
        """What callbacks may monitor: each name with and without its ending."""
        metrics = self.epoch_metrics() if epoch else self.step_metrics()
        plain = {
            name: self._reduced(name) if epoch and entry.on_epoch else self._last[name]
            for name, entry in self._entries.items()
            if (entry.on_epoch if epoch else entry.on_step)
        }
        return {**plain, **metrics}

    def _reduced(self, name: str) -> float:
        total, weight = self._sums[name]
        if self._entries[name].reduce_fx != "mean":
            return total
        return total / weight if weight else float("nan")

    def _chosen(self, prog_bar: bool, logger: bool) -> list[tuple[str, Entry]]:
        return [
            (name, entry)
            for name, entry in self._entries.items()
            if (entry.prog_bar or not prog_bar) and (entry.logger or not logger)
        ]

    # ------------------------------------------------------------------------------- state

    def mark(self) -> None:
        """This is the end of a window, where a resumed run continues."""
        self._border = self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "entries": dict(self._entries),
            "last": dict(self._last),
            "sums": dict(self._sums),
        }

    def state_dict(self) -> dict[str, Any]:
        """The unfinished epoch up to the last border, as JSON has it."""
        return {what: {k: _plain(v) for k, v in d.items()} for what, d in self._border.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._entries = {name: Entry(*entry) for name, entry in state["entries"].items()}
        self._last = dict(state["last"])
        self._sums = {name: (total, weight) for name, (total, weight) in state["sums"].items()}
        self.mark()


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


def _number(name: str, value: Any) -> float:
    if isinstance(value, Loss) or getattr(value, "ndim", 0) == 0:
        return float(value)
    raise TypeError(f"log({shown(name)}): expected one number, got an array of shape {value.shape}")
