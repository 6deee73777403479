"""What all metrics share: a state that batches add to, and its value."""

import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.errors import shown

State = dict[str, Array]


class UndefinedMetricWarning(UserWarning):
    """A metric, or that of a class, has no value for these samples."""


class Metric:
    """A metric over batches. A subclass says what one batch is, and what the value of a state is.

    _keeps: batches are put one behind the other; else they are added up.
    """

    _keeps = False

    def __init__(self) -> None:
        self.reset()

    def _empty(self) -> State:
        """The state before the first batch; nothing is in it but names, shapes and dtypes."""
        raise NotImplementedError

    def _measure(self, preds: Any, target: Any) -> State:
        """The state of one batch. Raises `ValueError` or `TypeError` for what it cannot read."""
        raise NotImplementedError

    def _value(self, state: State) -> Any:
        raise NotImplementedError

    # ------------------------------------------------------------------------------- batches

    def update(self, preds: Any, target: Any) -> None:
        """Takes in a batch. One that is refused changes nothing."""
        self._take(self._measure(preds, target))

    def compute(self) -> Any:
        """The value over all batches since `reset`."""
        return self._value(self._state())

    def reset(self) -> None:
        """Forgets all batches."""
        self._parts: list[State] = [self._empty()]
        self._forward_cache: Any = None  # the last batch's value, under torchmetrics' name

    def __call__(self, preds: Any, target: Any) -> Any:
        """Takes in a batch and returns its own value; what is undefined in it is not warned of."""
        batch = self._measure(preds, target)
        self._take(batch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            self._forward_cache = self._value(batch)
        return self._forward_cache

    forward = __call__

    def _take(self, batch: State) -> None:
        self._parts.append(batch)
        if not self._keeps:
            self._state()

    def _state(self) -> State:
        """All batches as one."""
        if len(self._parts) > 1:
            join: Any = np.concatenate if self._keeps else np.add.reduce
            self._parts = [{n: join([part[n] for part in self._parts]) for n in self._parts[0]}]
        return self._parts[0]

    def to(self, device: Any) -> Self:
        """Itself. Raises `ValueError` for anything but the CPU."""
        checks.on_cpu(device)
        return self

    def cpu(self) -> Self:
        return self

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> State:
        """The batches since `reset`, as arrays of int64 and float64."""
        return {name: value.copy() for name, value in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises `ValueError` for the state of another metric; nothing is changed then.
        """
        empty = self._empty()
        if set(state) != set(empty):
            raise ValueError(
                f"the state holds {shown(sorted(map(str, state)))}, expected {sorted(empty)}"
            )
        self._parts = [{name: self._checked(name, empty[name], state[name]) for name in empty}]

    def _checked(self, name: str, empty: Array, given: Any) -> Array:
        value = as_array(given)
        shape = value.shape[1:] if self._keeps else value.shape
        if value.dtype.kind != empty.dtype.kind:
            raise ValueError(
                f"{name} of the state has dtype {shown(value.dtype)}, expected {empty.dtype}"
            )
        if shape != (empty.shape[1:] if self._keeps else empty.shape):
            raise ValueError(
                f"{name} of the state has shape {value.shape}, expected that of {empty.shape}"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"{name} of the state has infinities or NaN")
        return np.array(value, empty.dtype)

    def __repr__(self) -> str:
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{k}={shown(v)}' for k, v in settings.items())})"


def undefined(what: str) -> None:
    """Warns that something has no value, which is NaN then."""
    warnings.warn(what, UndefinedMetricWarning, stacklevel=4)
