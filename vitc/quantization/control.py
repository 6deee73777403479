"""Accuracy control: the layers that cost the most stay in float until the rest costs little
enough."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from vitc.arrays import Array
from vitc.models.model import Model

M = TypeVar("M", bound=Model)
Make = Callable[[Sequence[str]], M]


def within(
    make: Make[M],
    names: Sequence[str],
    rank: Callable[[], Sequence[str]],
    drop_of: Callable[[M], float],
    most: float,
) -> M:
    """A model that loses at most so much, with as many layers in 8 bits as that allows.

    make: the model with these weights in 8 bits. names: all that may be. rank: the same, those that
    cost the most first; so many of the first stay in float. drop_of: what a model loses. The number
    is doubled until the loss is small enough, and the last step then halved into; the model that is
    returned was measured, except that one all in float is taken for exact.
    """
    best = make(names)
    if drop_of(best) <= most:
        return best
    ranked = rank()
    too_few, kept = 0, 1
    while True:
        kept = min(kept, len(ranked))
        best = make(ranked[kept:])
        if kept == len(ranked) or drop_of(best) <= most:
            break
        too_few, kept = kept, 2 * kept
    while kept - too_few > 1:
        middle = (kept + too_few) // 2
        made = make(ranked[middle:])
        if drop_of(made) <= most:
            best, kept = made, middle
        else:
            too_few = middle
    return best


def by_effect(make: Make[M], names: Sequence[str], logits: Callable[[M], Array]) -> list[str]:
    """The weights in the order in which they change the logits when their layer alone is in 8 bits,
    those that do it most first."""
    exact = logits(make(()))
    change = {name: float(np.sum((logits(make((name,))) - exact) ** 2)) for name in names}
    return sorted(names, key=lambda name: -change[name])
