"""Images mixed with each other, one by one and in batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.data import images
from vitc.data.box import Box, box_or_all


def mix(imgs: Sequence[Any], weights: Sequence[float]) -> Any:
    """The sum of images of one form, each times its weight, in float32 and in this order, clamped
    to the range of the levels; integers lose their fraction.

    Raises `ValueError` for images of different forms, no image or more than 64.
    """
    pixels = [images.pixels_of(img) for img in imgs]
    return images.like(_vitc.mix_images(pixels, np.asarray(weights, np.float32)), imgs[0])


def blend(img: Any, other: Any, ratio: float) -> Any:
    """img + ratio (other - img), in float32, clamped to the range of the levels; integers lose
    their fraction. ratio 0 is img, 1 the other, which has the same form."""
    return images.like(_vitc.blend(images.pixels_of(img), images.pixels_of(other), ratio), img)


def mix_batch(
    batch: Array,
    partners: Sequence[int] | Array,
    lam: float | Sequence[float] | Array,
    boxes: Sequence[Box | None] | None = None,
) -> Array:
    """Each image of a batch (B, C, H, W), of uint8, uint16 or float32, mixed with its partner: lam
    times itself and (1 - lam) times the other, in float32; integers are rounded, ties to even.

    partners: (B,) indices in the batch. lam: one number, or (B,). boxes: where an image is mixed,
    the rest staying as it is; None: everywhere. lam 0 there is CutMix.

    Raises `TypeError` for another dtype and for a rectangle that is not a `Box`; `ValueError` for
    partners that are not there, a lam that is not 0 to 1 and a rectangle that sticks out.
    """
    count, (height, width) = len(batch), batch.shape[-2:]
    places = [box_or_all(box, height, width) for box in boxes or [None] * count]
    return _vitc.mix_batch(
        batch,
        np.asarray(partners, np.int64),
        np.broadcast_to(np.asarray(lam, np.float64), count),
        np.array(places, np.int64).reshape(-1, 4),
    )
