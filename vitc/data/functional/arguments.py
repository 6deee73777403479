"""What the functions take, and how it is read: sizes, fills, interpolations, channels."""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from vitc.arrays import Array
from vitc.data import images
from vitc.errors import nearest, shown

Size = int | Sequence[int]
Fill = float | Sequence[float]


class InterpolationMode(StrEnum):
    """How pixels between pixels are found; the names may be passed as strings."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_MODES = {mode.value: mode for mode in InterpolationMode}
FILTERS = {mode: number for number, mode in enumerate(InterpolationMode)}
PADDINGS = ("constant", "edge", "reflect", "symmetric")


def interpolation_mode(value: Any) -> InterpolationMode:
    """The mode of this name; torchvision's own enumeration is taken too."""
    name = getattr(value, "value", value)
    mode = _MODES.get(name) if isinstance(name, str) else None
    if mode is None:
        raise ValueError(f"interpolation is {shown(value)}; {nearest(name, list(_MODES))}")
    return mode


def dimensions(img: Any) -> tuple[int, int]:
    """(height, width). Raises `TypeError` for what is not an image."""
    if images.is_array(img):
        return img.shape[0], img.shape[1]
    return img.height, img.width


def get_image_num_channels(img: Any) -> int:
    """The number of channels of an image."""
    if images.is_array(img):
        return img.shape[2] if img.ndim == 3 else 1
    return len(img.getbands())


def channel_fill(fill: Fill, img: Any) -> tuple[float, ...]:
    """fill as one value per channel, integers unless the image is not."""
    channels = get_image_num_channels(img)
    values = (fill,) * channels if isinstance(fill, int | float) else tuple(fill)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise ValueError(
            f"fill is {shown(fill)}, expected one value or {channels}, one per channel"
        )
    return values


@lru_cache
def per_channel(values: tuple[float, ...], channels: int) -> Array:
    numbers = np.array(values * channels if len(values) == 1 else values, np.float32)
    numbers.flags.writeable = False
    return numbers
