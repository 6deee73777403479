"""Initial values of parameters, drawn per parameter from (seed, name), so that nothing depends on
order.

The distributions are those of timm's default mode. Its normal distributions are cut at +-2
absolute, 100 standard deviations away, which no draw of ours reaches; so they are plain normal
here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.program import Shape

Draw = Callable[[np.random.Generator, Shape], Array]


class Row(NamedTuple):
    """One parameter: its name in the state dict, its shape, and how it starts.

    int8: it holds 8-bit numbers instead of the dtype of the model.
    """

    name: str
    shape: Shape
    draw: Draw
    int8: bool = False


def normal(std: float, cut: float = np.inf) -> Draw:
    """N(0, std); values beyond `cut` standard deviations are drawn again."""

    def draw(generator: np.random.Generator, shape: Shape) -> Array:
        values = generator.standard_normal(shape, dtype=np.float32)
        while (far := np.abs(values) > cut).any():
            values[far] = generator.standard_normal(int(far.sum()), dtype=np.float32)
        return std * values

    return draw


def gated(draw: Draw, gate: Draw, count: int) -> Draw:
    """Draws like `draw`, but the last `count` rows like `gate`."""

    def both(generator: np.random.Generator, shape: Shape) -> Array:
        first = draw(generator, (shape[0] - count, *shape[1:]))
        return np.concatenate([first, gate(generator, (count, *shape[1:]))])

    return both


def uniform(fan_in: int) -> Draw:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the default of torch's linear and convolution layers."""
    bound = fan_in**-0.5
    return lambda generator, shape: bound * (2 * generator.random(shape, dtype=np.float32) - 1)


def constant(value: float) -> Draw:
    return lambda generator, shape: np.full(shape, value, dtype=np.float32)


def initial(row: Row, seed: int, dtype: str) -> Array:
    """The first values of a parameter: the same for the same seed, name and shape."""
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(row.name.encode()))
    generator = np.random.Generator(np.random.Philox(sequence))
    values = row.draw(generator, row.shape)
    return np.ascontiguousarray(values, dtype="int8" if row.int8 else dtype)
