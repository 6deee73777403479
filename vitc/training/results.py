"""What `self.log` collects: the value of the last step, and means over an epoch."""

from typing import Any, NamedTuple

from vitc.tape import Loss


class _Mean:
    """A mean weighted by the number of samples."""

    def __init__(self) -> None:
        self.total, self.weight = 0.0, 0

    def add(self, value: float, weight: int) -> None:
        self.total += value * weight
        self.weight += weight

    def value(self) -> float:
        return self.total / self.weight if self.weight else float("nan")


class _Entry(NamedTuple):
    """How a name was logged."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool
    logger: bool


class Results:
    """The metrics of one epoch of one stage.

    A name that is logged both on step and on epoch gets the endings `_step` and `_epoch`.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._entries: dict[str, _Entry] = {}
        self._last: dict[str, float] = {}
        self._means: dict[str, _Mean] = {}

    def log(
        self,
        name: str,
        value: Any,
        weight: int,
        *,
        prog_bar: bool,
        logger: bool,
        on_step: bool | None,
        on_epoch: bool | None,
    ) -> None:
        """Raises `TypeError` for a value that is not one number, naming it."""
        number = _number(name, value)
        on_step = self.training if on_step is None else on_step
        on_epoch = not self.training if on_epoch is None else on_epoch
        self._entries[name] = _Entry(on_step, on_epoch, prog_bar, logger)
        self._last[name] = number
        if on_epoch:
            self._means.setdefault(name, _Mean()).add(number, weight)

    def step_metrics(self, *, prog_bar: bool = False, logger: bool = False) -> dict[str, float]:
        """The values of the last step, of all or of those for the progress bar or the logger."""
        return {
            f"{name}_step" if entry.on_epoch else name: self._last[name]
            for name, entry in self._chosen(prog_bar, logger)
            if entry.on_step
        }

    def epoch_metrics(self, *, prog_bar: bool = False, logger: bool = False) -> dict[str, float]:
        """The means so far, likewise."""
        return {
            f"{name}_epoch" if entry.on_step else name: self._means[name].value()
            for name, entry in self._chosen(prog_bar, logger)
            if entry.on_epoch
        }

    def callback_metrics(self, *, epoch: bool) -> dict[str, float]:
        """What callbacks may monitor: each name with and without its ending."""
        metrics = self.epoch_metrics() if epoch else self.step_metrics()
        plain = {
            name: self._means[name].value() if epoch and entry.on_epoch else self._last[name]
            for name, entry in self._entries.items()
            if (entry.on_epoch if epoch else entry.on_step)
        }
        return {**plain, **metrics}

    def _chosen(self, prog_bar: bool, logger: bool) -> list[tuple[str, _Entry]]:
        return [
            (name, entry)
            for name, entry in self._entries.items()
            if (entry.prog_bar or not prog_bar) and (entry.logger or not logger)
        ]

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """The unfinished epoch, for a checkpoint within it."""
        return {
            "entries": {name: list(entry) for name, entry in self._entries.items()},
            "last": dict(self._last),
            "means": {name: [mean.total, mean.weight] for name, mean in self._means.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._entries = {name: _Entry(*entry) for name, entry in state["entries"].items()}
        self._last = dict(state["last"])
        for name, (total, weight) in state["means"].items():
            mean = self._means[name] = _Mean()
            mean.total, mean.weight = total, weight


def _number(name: str, value: Any) -> float:
    if isinstance(value, Loss) or getattr(value, "ndim", 0) == 0:
        return float(value)
    raise TypeError(f"log({name!r}): expected one number, got an array of shape {value.shape}")
