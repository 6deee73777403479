"""Rectangles overwritten."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.data.functional.arguments import per_channel
from vitc.data.random import generator, noise_key


def erase(img: Array, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Array:
    """The array (..., H, W) with v in the rectangle at row i and column j of h x w pixels."""
    out = img if inplace else img.copy()
    out[..., i : i + h, j : j + w] = v
    return out


def erase_boxes(
    img: Array,
    boxes: Sequence[Sequence[int]],
    mean: float | Sequence[float] = 0.0,
    sigma: float | Sequence[float] = 0.0,
    *,
    by_value: bool = True,
    key: tuple[int, int] | None = None,
    channels_last: bool = False,
    inplace: bool = False,
) -> Array:
    """Rectangles of an array (C, H, W), or of an image (H, W, C) with channels_last, filled with
    normal numbers, or with constants where sigma is 0: of uint8, uint16 or float32, any channels.

    boxes: (top, left, height, width) each. mean, sigma: one number, or one per channel, in levels
    of the array; integers are clamped and lose their fraction. by_value: a number
    for each value, else one for each channel of a rectangle. key: see `gaussian_noise`; the values
    it gives do not depend on the order of the axes. The array stays as it is unless inplace.

    Raises `TypeError` for another dtype, `ValueError` for a rectangle that sticks out, numbers that
    are not one per channel, and an array that cannot be written inplace.
    """
    whole = img.flags.c_contiguous
    out = img if inplace and whole else np.array(img, order="C")
    channels = img.shape[-1 if channels_last else 0]
    _vitc.erase(
        out,
        np.asarray(boxes, np.int64).reshape(-1, 4),
        per_channel(tuple(np.ravel(mean).tolist()), channels),
        per_channel(tuple(np.ravel(sigma).tolist()), channels),
        key=key or (noise_key(generator()) if np.any(sigma) else (0, 0)),
        by_value=by_value,
        channels_last=channels_last,
    )
    if inplace and not whole:
        img[...] = out
        return img
    return out
