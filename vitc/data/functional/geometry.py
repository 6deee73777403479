"""Sizes, crops, borders, flips and quarter turns."""

from collections.abc import Sequence
from typing import Any

from vitc import checks
from vitc.data import images
from vitc.data.functional.arguments import (
    FILTERS,
    PADDINGS,
    Fill,
    InterpolationMode,
    Size,
    channel_fill,
    dimensions,
    interpolation_mode,
)
from vitc.errors import shown


def resize(
    img: Any,
    size: Size,
    interpolation: str = "bilinear",
    max_size: int | None = None,
    small_weights: bool = False,
) -> Any:
    """The image with another number of pixels; shrinking averages (antialiasing), always.

    size: (height, width), or one number for the shorter edge, the other following in proportion.
    max_size: the longer edge is at most this, whatever size says. small_weights: of 8-bit images,
    weights rounded to 16 bits, as torch resizes tensors of uint8; Pillow's have 22 bits, and the
    pixels differ by 1 at most.
    """
    shape = dimensions(img)
    height, width = resized_shape(shape, size, max_size)
    if (height, width) == shape:
        return img
    mode = interpolation_mode(interpolation)
    numbers = height, width, FILTERS[mode], small_weights
    if mode == InterpolationMode.NEAREST:
        return images.apply("resize", img, *numbers)
    return images.apply_to_opaque("resize", img, *numbers)


def resized_shape(
    shape: tuple[int, int], size: Size, max_size: int | None = None
) -> tuple[int, int]:
    """The (height, width) that `resize` gives an image of this shape."""
    if isinstance(size, Sequence) and len(size) == 2:
        return size[0], size[1]
    short, long = min(shape), max(shape)
    new_short = checks.pair("size", size)[0]
    new_long = int(new_short * long / short)
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if shape[0] > shape[1] else (new_short, new_long)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A rectangle of the image; black where it sticks out.

    Of an array it is a view, which costs nothing, unless it sticks out.
    """
    bottom, right = top + height, left + width
    if not images.is_array(img):
        return img.crop((left, top, right, bottom))
    inside = img[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] == (height, width):
        return inside
    return pad(img, (-left, -top, right - img.shape[1], bottom - img.shape[0]))


def center_crop(img: Any, output_size: Size, fill: Fill = 0, padding_mode: str = "constant") -> Any:
    """The middle of the image, which is first padded, see `pad`, where it is too small."""
    height, width = checks.pair("output_size", output_size)
    img_height, img_width = dimensions(img)
    tall, wide = max(height - img_height, 0), max(width - img_width, 0)
    if tall or wide:
        borders = (wide // 2, tall // 2, (wide + 1) // 2, (tall + 1) // 2)
        img = pad(img, borders, fill, padding_mode)
    # Python rounds ties to even, and so does torchvision.
    img_height, img_width = dimensions(img)
    top, left = round((img_height - height) / 2), round((img_width - width) / 2)
    return crop(img, top, left, height, width)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Size,
    interpolation: str = "bilinear",
) -> Any:
    """`crop`, then `resize`: no pixel outside of the rectangle has any weight."""
    return resize(crop(img, top, left, height, width), size, interpolation)


def pad(img: Any, padding: Size, fill: Fill = 0, padding_mode: str = "constant") -> Any:
    """The image with a border.

    padding: one number for all edges, (left and right, top and bottom), or (left, top, right,
    bottom); where it is below 0 the image is cut off, and then continued. fill: the border's value,
    or one per channel. padding_mode: "constant", or what the border is made from: "edge", "reflect"
    (without the edge itself) or "symmetric" (with it).
    """
    mode = PADDINGS.index(checks.one_of("padding_mode", padding_mode, PADDINGS))
    return images.apply("pad", img, *_borders(padding), mode, *channel_fill(fill, img))


def _borders(padding: Size) -> tuple[int, int, int, int]:
    sizes = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sizes) not in (1, 2, 4):
        raise ValueError(f"padding is {shown(padding)}, expected one, two or four integers")
    left, top, right, bottom = sizes * (4 // len(sizes))
    return left, top, right, bottom


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return images.apply("flip", img, True, False)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return images.apply("flip", img, False, True)


def rot90(img: Any, k: int = 1) -> Any:
    """The image turned by k quarters of a turn against the clock, as numpy.rot90."""
    quarters = k % 4
    if quarters == 0:
        return img
    if quarters == 2:
        return images.apply("flip", img, True, True)
    return images.apply("rot90", img, quarters == 3)
