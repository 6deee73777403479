"""Checks of arguments, which give them back: (name, value, what is expected).

A value of the wrong kind is a `TypeError`, any other bad value a `ValueError`; the message has the
name, the value and what was expected. Integers and numbers are Python's and NumPy's, without bool;
NaN is within no limits.
"""

import math
import operator
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from vitc.errors import shown

Range = tuple[float, float]
Checked = TypeVar("Checked")


def integer(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """value as an int, from least to most."""
    number = _integer(name, value)
    if not least <= number <= most:
        limits = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise ValueError(f"{name} is {shown(value)}, expected {limits}")
    return number


def _integer(name: str, value: Any) -> int:
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} is {shown(value)}, expected an integer")


def flag(name: str, value: Any) -> bool:
    """value, True or False of Python or NumPy, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {shown(value)}, expected True or False")
    return bool(value)


def optional(
    check: Callable[..., Checked], name: str, value: Any, *limits: float
) -> Checked | None:
    """What a check gives of value, which may also be None."""
    return None if value is None else check(name, value, *limits)


def number(name: str, value: float, least: float) -> float:
    """value, an integer or floating point number of least or more."""
    if not _number(name, value) >= least:
        raise ValueError(f"{name} is {shown(value)}, expected {least} or more")
    return value


def finite(name: str, value: float, least: float = -math.inf) -> float:
    """value, a number of least or more that is neither infinite nor NaN."""
    if not math.isfinite(_number(name, value)):
        raise ValueError(f"{name} is {shown(value)}, expected a finite number")
    return number(name, value, least)


def _number(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}, expected a number")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} is {shown(value)}, expected a number within floats") from None
    return value


def probability(name: str, value: float) -> float:
    """value, from 0 to 1."""
    if not 0 <= _number(name, value) <= 1:
        raise ValueError(f"{name} is {shown(value)}, expected a probability from 0 to 1")
    return value


def below_one(name: str, value: float) -> float:
    """value, from 0 to below 1."""
    if not 0 <= _number(name, value) < 1:
        raise ValueError(f"{name} is {shown(value)}, expected a number from 0 to below 1")
    return value


def bounds(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> Range:
    """value as (low, high), which are ordered and from least to most."""
    values = [float(_number(name, x)) for x in _listed(value)]
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        limits = "" if math.isinf(least) else f" from {least} to {most}"
        raise ValueError(f"{name} is {shown(value)}, expected a range (least, most){limits}")
    return values[0], values[1]


def positive(name: str, value: Any) -> Range:
    """value as (low, high), which are ordered and above 0."""
    low, high = bounds(name, value)
    if low <= 0:
        raise ValueError(f"{name} is {shown(value)}, expected values above 0")
    return low, high


def around_zero(name: str, value: Any) -> Range:
    """value as (low, high); a single number is the range from minus to plus."""
    return bounds(name, (-value, value) if isinstance(value, Real) else value)


def pair(name: str, value: Any) -> tuple[int, int]:
    """value, one or two integers of 1 or more, as (height, width)."""
    sides = [_integer(name, side) for side in _listed(value)]
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(f"{name} is {shown(value)}, expected one or two integers of 1 or more")
    return sides[0], sides[-1]


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Iterable) else (value,)


def on_cpu(device: Any) -> None:
    """Raises `ValueError` for a device of torch's that is not the CPU."""
    if not str(device).startswith("cpu"):
        raise ValueError(f"to({shown(device)}): vitc computes on the CPU")


def one_of(name: str, value: Any, known: Collection[str | None]) -> Any:
    """value, a name or None, which is one of those known. Raises `ValueError` for all others."""
    if not isinstance(value, str | None) or value not in known:
        words = (word if isinstance(word, str) and word else repr(word) for word in known)
        raise ValueError(f"{name} is {shown(value)}, expected one of {', '.join(words)}")
    return value
