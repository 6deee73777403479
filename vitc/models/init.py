"""Initial values of parameters, drawn per parameter from (seed, name), so that nothing depends on
order.

A draw is a `partial` of a function of this module, so that a model can be pickled. The
distributions are those of timm in each of its modes. Its normal distributions are cut at +-2
absolute, 100 standard deviations away, which no draw of ours reaches; so they are plain normal
here.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.program import Shape

Draw = Callable[[np.random.Generator, Shape], Array]


class Entry(NamedTuple):
    """One parameter: its name in the state dict, its shape, and how it starts.

    int8: "", or the mode of quantisation if it holds 8-bit numbers instead of the dtype of the
    model. gate: how many of its last rows
    are of a gate, which starts open: weights near 0, bias 1.
    """

    name: str
    shape: Shape
    draw: Draw
    int8: str = ""
    gate: int = 0


def normal(std: float, cut: float = np.inf) -> Draw:
    """N(0, std); values beyond `cut` standard deviations are drawn again."""
    return partial(_normal, std, cut)


def _normal(std: float, cut: float, generator: np.random.Generator, shape: Shape) -> Array:
    values = generator.standard_normal(shape, dtype=np.float32)
    while (far := np.abs(values) > cut).any():
        values[far] = generator.standard_normal(int(far.sum()), dtype=np.float32)
    return std * values


def uniform(fan_in: int) -> Draw:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the default of torch's linear and convolution layers."""
    return _between(fan_in**-0.5)


def _between(bound: float) -> Draw:
    """U(-bound, bound)."""
    return partial(_uniform, bound)


def _uniform(bound: float, generator: np.random.Generator, shape: Shape) -> Array:
    return bound * (2 * generator.random(shape, dtype=np.float32) - 1)


def constant(value: float) -> Draw:
    return partial(_constant, value)


def _constant(value: float, generator: np.random.Generator, shape: Shape) -> Array:
    return np.full(shape, value, dtype=np.float32)


def initial(entry: Entry, seed: int, dtype: str) -> Array:
    """The first values of a parameter, the same for the same seed, name and shape; in 8 bits 0."""
    if entry.int8:
        return np.zeros(entry.shape, np.int8)
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(entry.name.encode()))
    generator = np.random.Generator(np.random.Philox(sequence))
    values = entry.draw(generator, entry.shape)
    if entry.gate:
        open_gate = constant(1) if len(entry.shape) == 1 else normal(1e-6)
        values[-entry.gate :] = open_gate(generator, (entry.gate, *entry.shape[1:]))
    return np.ascontiguousarray(values, dtype=dtype)


# ------------------------------------------------------------------------------------- modes

MODES = ("", "skip", "reset", "jax", "jax_nlhb", "moco")


def in_mode(entries: Sequence[Entry], mode: str, classes: int, fix_init: bool) -> list[Entry]:
    """The entries as timm's weight_init draws them; "" leaves them, "skip" is "reset".

    "reset": linear layers as torch makes them. "jax", "jax_nlhb": as the first ViTs, the bias of
    the head being -log(classes) in the latter. "moco": as MoCo v3. fix_init: what ends a branch of
    block i is divided by sqrt(2 (i + 1)).
    """
    linear = {entry.name: entry.shape for entry in entries if len(entry.shape) == 2}
    drawn = [_redrawn(entry, linear, mode, classes) for entry in entries] if mode else entries
    return [_fixed(entry) for entry in drawn] if fix_init else list(drawn)


def in_beit_mode(entries: Sequence[Entry], head_init_scale: float) -> list[Entry]:
    """The entries as timm's Beit and Eva draw them: tokens from N(0, 0.02), no gate open, what ends
    a branch as with fix_init, and the head times a factor, if it is not 0."""

    def drawn(entry: Entry) -> Entry:
        if entry.name in ("cls_token", "reg_token"):
            return entry._replace(draw=normal(0.02))
        if entry.name == "head.weight" and head_init_scale:
            return entry._replace(draw=partial(_scaled, entry.draw, head_init_scale))
        return entry._replace(gate=0)

    return [drawn(_fixed(entry)) for entry in entries]


def _scaled(draw: Draw, factor: float, generator: np.random.Generator, shape: Shape) -> Array:
    return factor * draw(generator, shape)


def _redrawn(entry: Entry, linear: Mapping[str, Shape], mode: str, classes: int) -> Entry:
    """One entry in a mode other than the default."""
    layer, _, kind = entry.name.rpartition(".")
    if mode.startswith("jax") and len(entry.shape) == 4:
        return entry._replace(draw=normal((math.prod(entry.shape[1:])) ** -0.5 / _CUT_STD, cut=2))
    if mode.startswith("jax") and layer == "patch_embed.proj":
        return entry._replace(draw=constant(0))
    shape = linear.get(f"{layer}.weight")
    if shape is None:
        return entry
    if mode in ("reset", "skip"):
        return entry._replace(draw=uniform(shape[1]), gate=0)
    return entry._replace(
        draw=(_weight if kind == "weight" else _bias)(layer, shape, mode, classes)
    )


_CUT_STD = 0.87962566103423978  # the standard deviation of N(0, 1) cut at +-2


def _weight(layer: str, shape: Shape, mode: str, classes: int) -> Draw:
    """Xavier's distribution, in "moco" for q, k and v apart; zeros for a head in "jax"."""
    if mode.startswith("jax") and layer.startswith("head"):
        return constant(0)
    fan_out = shape[0] // 3 if mode == "moco" and "qkv" in layer else shape[0]
    return _between(math.sqrt(6 / (fan_out + shape[1])))


def _bias(layer: str, shape: Shape, mode: str, classes: int) -> Draw:
    if layer.startswith("head"):
        return constant(-math.log(classes) if mode == "jax_nlhb" else 0)
    return normal(1e-6) if mode.startswith("jax") and "mlp" in layer else constant(0)


def _fixed(entry: Entry) -> Entry:
    match = re.fullmatch(r"blocks\.(\d+)\.(attn\.proj|mlp\.fc2)\.weight", entry.name)
    if not match:
        return entry
    scale = math.sqrt(2 * (int(match[1]) + 1))
    return entry._replace(draw=partial(_divided, scale, entry.draw))


def _divided(scale: float, draw: Draw, generator: np.random.Generator, shape: Shape) -> Array:
    return draw(generator, shape) / scale
