"""Levels as measurements: noise, shading, and any function of a level."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.data import images
from vitc.data.functional.arguments import dimensions
from vitc.data.random import generator, noise_key


def gaussian_noise(
    img: Any,
    mean: float = 0.0,
    sigma: float = 0.1,
    clip: bool = True,
    *,
    key: tuple[int, int] | None = None,
) -> Any:
    """Normal noise added to every level, all channels of every pixel on their own.

    mean, sigma: of the noise, on levels from 0 to 1. clip: keep floating point within 0 to 1;
    integers are always rounded and kept within their range. key: two integers of 32 bits, which
    decide the noise to the bit; without them it is drawn, see `vitc.data.random`.

    Raises `ValueError` for a sigma below 0 or a bad key.
    """
    return images.apply("noise", img, mean, sigma, clip, *(key or noise_key(generator())))


def to_unit(img: Any) -> Array:
    """The levels of an image as float32 (H, W) or (H, W, C): integers from 0 to 1, floating
    point as they are."""
    if not isinstance(img, np.ndarray):
        dimensions(img)
    pixels = np.asarray(img)
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def from_unit(levels: Array, img: Any) -> Any:
    """Such levels as an image of the kind and dtype of img; integers are rounded and clipped,
    floating point is not."""
    dtype = np.asarray(img).dtype
    if dtype.kind != "f":
        most = np.iinfo(dtype).max
        levels = np.rint(np.clip(levels, 0, 1) * np.float32(most)).clip(0, most)
    return images.like(levels.astype(dtype), img)


def shade(img: Any, field: Array) -> Any:
    """The levels of each pixel times a factor of its own, field being float32 (H, W).

    Whole numbers are rounded and kept within their range, floating point is not.
    """
    return images.like(_vitc.shade(images.pixels_of(img), field), img)


def map_levels(img: Any, function: Callable[[Array], Array]) -> Any:
    """Each level of an image changed by a function of it alone, as `to_unit` gives them and
    `from_unit` takes them; of uint8 and uint16 it sees every level once, whatever the image."""
    pixels = images.pixels_of(img)
    if pixels.dtype not in (np.uint8, np.uint16):
        return from_unit(function(to_unit(img)), img)
    every = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)[None]
    table = from_unit(function(to_unit(every)), every)
    return images.like(_vitc.look_up(pixels, table[0]), img)
