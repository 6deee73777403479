"""From images to the arrays (C, H, W) that a model takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.data import images
from vitc.data.box import Box, box_or_all
from vitc.data.functional.arguments import dimensions, get_image_num_channels, per_channel


def to_tensor(pic: Any) -> Array:
    """A Pillow image or an array (H, W) or (H, W, C) as (C, H, W), C-contiguous.

    8-bit values become float32 from 0 to 1, and so do single bits. Others keep their value:
    floating point its dtype too, 16 and 32-bit integers become float32 (torchvision gives
    int16, which overflows).
    """
    pixels = np.asarray(pic)
    if pixels.dtype == np.uint8:
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        mean, std = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        return _vitc.write_image(pixels, mean, std)
    planes = pil_to_tensor(pic)
    return planes if planes.dtype.kind == "f" else planes.astype(np.float32)


def to_normalized_tensor(
    pic: Any,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    hflip: bool = False,
    bf16: bool = False,
    out: Array | None = None,
    other: Any = None,
    other_hflip: bool = False,
    lam: float = 1.0,
    box: Box | None = None,
    channels_first: bool = False,
) -> Array:
    """`normalize` of `to_tensor` of the image, in one pass and to the bit: float32 (C, H, W).

    mean, std: C numbers, or one for all channels. hflip: left and right exchanged first. out: an
    array to be filled, such as a place of a batch; bf16: the result as the 16 bits of bfloat16, in
    uint16.

    other: an image to be mixed in, after the same treatment (other_hflip: its own flip): within
    box, or everywhere, the result is lam times this image plus (1 - lam) times the other. That is
    mixup; with lam=0 and a box it is CutMix. channels_first: they are arrays (C, H, W), as
    `pil_to_tensor` gives them.

    Raises `TypeError` for other dtypes than uint8, uint16 and float32 and for a rectangle that is
    not a `Box`; `ValueError` for numbers that are not one per channel, a std not above 0, an out or
    an other that does not fit.
    """
    pixels = pic if channels_first else images.pixels_of(pic)
    channels = len(pixels) if channels_first else get_image_num_channels(pixels)
    other = other if other is None or channels_first else images.pixels_of(other)
    height, width = pixels.shape[-2:] if channels_first else pixels.shape[:2]
    return _vitc.write_image(
        pixels,
        per_channel(tuple(mean), channels),
        per_channel(tuple(std), channels),
        flip=hflip,
        bf16=bf16,
        out=out,
        other=other,
        other_flip=other_hflip,
        lam=lam,
        box=box_or_all(box, height, width),
        channels_first=channels_first,
    )


def normalize(tensor: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """(tensor - mean) / std of (C, H, W) floating point, by channel; of the same dtype.

    mean, std: C numbers, or one for all channels. The input is left as it is.
    """
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
        kind = getattr(tensor, "dtype", type(tensor).__name__)
        raise TypeError(
            f"expected an array of floating point numbers, as ToTensor() gives; got {kind}"
        )
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, tensor.shape[-3]):
            raise ValueError(
                f"{name} has {len(values)} values, the image has shape {tensor.shape}: expected "
                "one value per channel"
            )
    shape = (-1, 1, 1)
    out: Array = tensor - np.reshape(mean, shape).astype(tensor.dtype)
    out /= np.reshape(std, shape).astype(tensor.dtype)
    return out


def pil_to_tensor(pic: Any) -> Array:
    """A Pillow image or an array (H, W) or (H, W, C) as (C, H, W) of the same values and dtype."""
    if not isinstance(pic, np.ndarray):
        dimensions(pic)
    pixels = np.asarray(pic)
    if pixels.ndim not in (2, 3):
        raise ValueError(f"the image has shape {pixels.shape}, expected (H, W) or (H, W, C)")
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
