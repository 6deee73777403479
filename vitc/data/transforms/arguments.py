"""Checks of what transforms are made with: each names the argument, its value and what was due."""

import math
from collections.abc import Sequence

from vitc.errors import shown

Range = tuple[float, float]


def probability(p: float, name: str = "p") -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name} is {shown(p)}, expected a probability from 0 to 1")
    return p


def antialiased(antialias: bool | None) -> bool | None:
    if antialias is False:
        raise ValueError("antialias=False: images are always antialiased when shrunk")
    return antialias


def bounds(
    name: str, value: Sequence[float], least: float = -math.inf, most: float = math.inf
) -> Range:
    """value as (least, most). Raises `ValueError` unless it is ordered and within the limits."""
    values = tuple(float(x) for x in value)
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        limits = "" if math.isinf(least) else f" from {least} to {most}"
        raise ValueError(f"{name} is {shown(value)}, expected a range (least, most){limits}")
    return values[0], values[1]


def positive(name: str, value: Sequence[float]) -> Range:
    """value as (least, most), both above 0."""
    low, high = bounds(name, value)
    if low <= 0:
        raise ValueError(f"{name} is {shown(value)}, expected values above 0")
    return low, high


def around_zero(name: str, value: float | Sequence[float]) -> Range:
    """A range, or one number for the range from minus to plus."""
    if isinstance(value, int | float):
        value = (-value, value)
    return bounds(name, value)


def at_least(least: float, name: str, value: float) -> float:
    if not value >= least:
        raise ValueError(f"{name} is {shown(value)}, expected {least} or more")
    return value
