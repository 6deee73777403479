"""What the transforms do to an image once their parameters are drawn: torchvision's functions.

Names, arguments and results are those of torchvision.transforms.functional on Pillow images, to the
bit. An image is a Pillow image or an array (H, W, C) or (H, W) of uint8, uint16 or float32, with
any number of channels; the result is of the same kind. Floating point images go from 0 to 1 where
colours are concerned. A size is (height, width), a number of pixels an int.
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from vitc import _vitc, checks
from vitc.arrays import Array
from vitc.data import images
from vitc.data.random import generator, noise_key
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
_FILTERS = {mode: number for number, mode in enumerate(InterpolationMode)}
PADDINGS = ("constant", "edge", "reflect", "symmetric")


def interpolation_mode(value: Any) -> InterpolationMode:
    """The mode of this name; torchvision's own enumeration is taken too."""
    name = getattr(value, "value", value)
    mode = _MODES.get(name) if isinstance(name, str) else None
    if mode is None:
        raise ValueError(f"interpolation is {shown(value)}; {nearest(name, list(_MODES))}")
    return mode


def dimensions(img: Any) -> tuple[int, int]:
    """(height, width). Raises `TypeError` for what is no image."""
    if images.is_array(img):
        return img.shape[0], img.shape[1]
    return img.height, img.width


def get_image_num_channels(img: Any) -> int:
    """The number of channels of an image."""
    if images.is_array(img):
        return img.shape[2] if img.ndim == 3 else 1
    return len(img.getbands())


# ------------------------------------------------------------------------------------ geometry


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
    numbers = height, width, _FILTERS[mode], small_weights
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
    # Python rounds halves to the even number, and so does torchvision.
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
    return images.apply("pad", img, *_borders(padding), mode, *_fill(fill, img))


def _borders(padding: Size) -> tuple[int, int, int, int]:
    sizes = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sizes) not in (1, 2, 4):
        raise ValueError(f"padding is {shown(padding)}, expected one, two or four whole numbers")
    left, top, right, bottom = sizes * (4 // len(sizes))
    return left, top, right, bottom


def _fill(fill: Fill, img: Any) -> tuple[float, ...]:
    """fill as one value per channel, whole numbers unless the image is not."""
    channels = get_image_num_channels(img)
    values = (fill,) * channels if isinstance(fill, int | float) else tuple(fill)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise ValueError(
            f"fill is {shown(fill)}, expected one value or {channels}, one per channel"
        )
    return values


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return images.apply("flip", img, True, False)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return images.apply("flip", img, False, True)


def rotate(
    img: Any,
    angle: float,
    interpolation: str = "nearest",
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Fill = 0,
) -> Any:
    """The image turned by `angle` degrees against the clock around center (x, y), or its middle.

    expand: make the output large enough to hold all of it.
    """
    (height, width), angle = dimensions(img), angle % 360.0
    if center is None and (
        angle in (0, 180) or (angle in (90, 270) and (expand or height == width))
    ):
        return rot90(img, int(angle) // 90)
    x, y = (width / 2.0, height / 2.0) if center is None else center
    # Pillow rounds, so that a quarter turn is one to the bit.
    cos, sin = (round(f(-math.radians(angle)), 15) for f in (math.cos, math.sin))
    matrix = _moved((cos, sin, 0.0, -sin, cos, 0.0), -x, -y)
    matrix = (*matrix[:2], matrix[2] + x, *matrix[3:5], matrix[5] + y)
    if not expand:
        return _affine(img, (height, width), matrix, interpolation, fill)
    corners = [
        _moved(matrix, *corner) for corner in ((0, 0), (width, 0), (width, height), (0, height))
    ]
    columns, rows = [corner[2] for corner in corners], [corner[5] for corner in corners]
    wide = math.ceil(max(columns)) - math.floor(min(columns))
    tall = math.ceil(max(rows)) - math.floor(min(rows))
    matrix = _moved(matrix, -(wide - width) / 2.0, -(tall - height) / 2.0)
    return _affine(img, (tall, wide), matrix, interpolation, fill)


def _moved(matrix: Sequence[float], x: float, y: float) -> tuple[float, ...]:
    """The affine map with its image of (x, y) as the offset."""
    a, b, c, d, e, f = matrix
    return a, b, a * x + b * y + c, d, e, d * x + e * y + f


def _affine(
    img: Any, size: tuple[int, int], matrix: Sequence[float], interpolation: str, fill: Fill
) -> Any:
    return _warp("affine", img, size, matrix, interpolation, fill)


def _warp(
    name: str,
    img: Any,
    size: tuple[int, int],
    matrix: Sequence[float],
    interpolation: str,
    fill: Fill,
) -> Any:
    mode = interpolation_mode(interpolation)
    nearest_one = mode == InterpolationMode.NEAREST
    apply = images.apply if nearest_one else images.apply_to_opaque
    return apply(name, img, *size, _FILTERS[mode], *matrix, *_fill(fill, img))


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
    interpolation: str = "nearest",
    fill: Fill = 0,
    center: Sequence[float] | None = None,
) -> Any:
    """The image sheared, turned clockwise and scaled around its middle or center, then moved.

    angle and shear (x, y) are in degrees, translate (x, y) and center (x, y) in pixels.
    """
    height, width = dimensions(img)
    middle = (width / 2, height / 2) if center is None else center
    matrix = _inverse(angle, translate, scale, shear, middle)
    return _affine(img, (height, width), matrix, interpolation, fill)


def _inverse(
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
    center: Sequence[float],
) -> tuple[float, ...]:
    """Where a pixel of the output comes from, row by row: x = a i + b j + c, y = d i + e j + f.

    Forward is out = center + translate + scale R(angle) Y(-shear y) X(-shear x) (in - center); of
    this it is the inverse, in which each factor is undone in reverse order.
    """
    turn, (x, y) = math.radians(angle), (math.tan(math.radians(side)) for side in shear)
    cos, sin = math.cos(turn), math.sin(turn)
    a, b = ((1 + x * y) * cos - x * sin) / scale, ((1 + x * y) * sin + x * cos) / scale
    d, e = (y * cos - sin) / scale, (y * sin + cos) / scale
    moved_x, moved_y = center[0] + translate[0], center[1] + translate[1]
    c, f = center[0] - (a * moved_x + b * moved_y), center[1] - (d * moved_x + e * moved_y)
    return a, b, c, d, e, f


def transform(
    img: Any,
    matrix: Sequence[float],
    interpolation: str = "nearest",
    fill: Fill = 0,
) -> Any:
    """The image seen through an affine map, in a frame of the same size.

    matrix: (a, b, c, d, e, f): pixel (x, y) of the result is pixel (a x + b y + c, d x + e y + f)
    of the image, both counted from the upper left corner.
    """
    return _affine(img, dimensions(img), matrix, interpolation, fill)


def perspective(
    img: Any,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> Any:
    """The image as a plane seen at an angle: its four startpoints (x, y) move to the endpoints."""
    matrix = _homography(startpoints, endpoints)
    return _warp("perspective", img, dimensions(img), matrix, interpolation, fill)


def _homography(
    startpoints: Sequence[Sequence[int]], endpoints: Sequence[Sequence[int]]
) -> tuple[float, ...]:
    """(a ... h) with x = (a i + b j + c) / (g i + h j + 1), y = (d i + e j + f) / (g i + h j + 1)
    for every endpoint (i, j) and its startpoint (x, y); in float32, as torchvision rounds it."""
    rows = []
    for (x, y), (i, j) in zip(startpoints, endpoints, strict=True):
        rows.append([i, j, 1, 0, 0, 0, -x * i, -x * j])
        rows.append([0, 0, 0, i, j, 1, -y * i, -y * j])
    solution = np.linalg.lstsq(np.array(rows, np.float64), np.ravel(startpoints), rcond=None)[0]
    return tuple(solution.astype(np.float32).tolist())


def rot90(img: Any, k: int = 1) -> Any:
    """The image turned by k quarters of a turn against the clock, as numpy.rot90."""
    quarters = k % 4
    if quarters == 0:
        return img
    if quarters == 2:
        return images.apply("flip", img, True, True)
    return images.apply("rot90", img, quarters == 3)


def elastic_transform(
    img: Any, displacement: Array, interpolation: str = "bilinear", fill: Fill = 0
) -> Any:
    """Each pixel from elsewhere: displacement float32 (2, H, W) is how far to the right and how far
    down, in pixels. Beside the image there is fill. interpolation: "bilinear" or "nearest".
    """
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(
            f"interpolation is {shown(interpolation)}, expected 'bilinear' or 'nearest'"
        )
    pixels = images.pixels_of(img)
    bilinear = interpolation == "bilinear"
    return images.like(_vitc.displace(pixels, displacement, bilinear, *_fill(fill, img)), img)


# ------------------------------------------------------------------------------------ colour


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the image itself, 2 twice as bright."""
    return images.apply_to_colours("brightness", img, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 is an even grey, the image's mean, 1 the image itself, 2 twice the contrast."""
    return images.apply_to_colours("contrast", img, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 is grey, 1 the image itself, 2 twice as colourful. It leaves a grey image as it is.

    The grey of more or less than three channels is their mean.
    """
    return images.apply_to_colours("saturation", img, saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """The hue turned by hue_factor, from -0.5 to 0.5 turns. It leaves a grey image as it is.

    Raises `ValueError` for another factor, and for neither one nor three channels.
    """
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor is {shown(hue_factor)}, expected -0.5 to 0.5")
    return images.apply_to_colours("hue", img, hue_factor)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The luma of the image, in 1 channel or repeated in 3; the mean of other than 3 channels."""
    from PIL import Image

    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels is {shown(num_output_channels)}, expected 1 or 3")
    if images.is_array(img):
        return _vitc.image("grayscale", img, num_output_channels)
    grey = img.convert("L")
    return grey if num_output_channels == 1 else Image.merge("RGB", (grey, grey, grey))


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 is the image smoothed over 3 x 3 pixels, 1 the image itself, 2 twice as sharp."""
    return images.apply_to_colours("sharpness", img, sharpness_factor)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """white gain (level / white) ** gamma: above 1 dark parts get darker, below 1 lighter."""
    return images.apply_to_colours("gamma", img, gamma, gain)


def invert(img: Any) -> Any:
    """255 - level; of 16 bits 65535 - level, of floating point 1 - level."""
    return images.apply_to_colours("invert", img)


def posterize(img: Any, bits: int) -> Any:
    """The upper `bits` bits (0 to 8, of 16-bit images to 16) of each level, the others 0.

    Floating point from 0 to 1 gets the lowest level of each of 2 ** bits equal ranges, bits being
    24 at most.
    """
    return images.apply_to_colours("posterize", img, bits)


def solarize(img: Any, threshold: float) -> Any:
    """Levels of threshold or more inverted."""
    return images.apply_to_colours("solarize", img, threshold)


def solarize_add(img: Any, addition: int, threshold: int = 128) -> Any:
    """`addition` added to levels below threshold, up to white; the others stay. timm's."""
    return images.apply_to_colours("solarize_add", img, addition, threshold)


def autocontrast(img: Any) -> Any:
    """Every channel stretched so that its darkest level becomes black and its lightest white."""
    return images.apply_to_colours("autocontrast", img)


def equalize(img: Any) -> Any:
    """Every channel's levels redistributed so that they become equally frequent.

    The new level is the share of darker pixels: of 8 bits in Pillow's whole numbers; of 16 bits,
    and of floating point from 0 to 1 as rounded to 16 bits, to the nearest of 65,536 levels.
    """
    return images.apply_to_colours("equalize", img)


def box_blur(img: Any, radius: float) -> Any:
    """A blur by three boxes in a row, nearly Gaussian of standard deviation radius: Pillow's.

    16-bit levels are rounded between the passes as Pillow rounds bytes, floats to float32.
    """
    return images.apply("box_blur", img, radius)


def gaussian_blur(img: Any, kernel_size: Size, sigma: float | Sequence[float]) -> Any:
    """A Gaussian blur by a kernel of (x, y) odd pixels and standard deviations (x, y), the image
    mirrored at its edges: torchvision's.

    Sums are in float32; whole numbers are rounded once, halves to the even number.
    """
    x, y = (sigma, sigma) if isinstance(sigma, int | float) else sigma
    return images.apply("gaussian_blur", img, *checks.pair("kernel_size", kernel_size), x, y)


def mix(imgs: Sequence[Any], weights: Sequence[float]) -> Any:
    """The sum of images of one form, each times its weight, in float32 and in this order, cut to
    the range of the levels; whole numbers lose their fraction.

    Raises `ValueError` for images of different forms, no image or more than 64.
    """
    pixels = [images.pixels_of(img) for img in imgs]
    return images.like(_vitc.mix_images(pixels, np.asarray(weights, np.float32)), imgs[0])


def blend(img: Any, other: Any, ratio: float) -> Any:
    """img + ratio (other - img), in float32, cut to the range of the levels; whole numbers lose
    their fraction. ratio 0 is img, 1 the other, which has the same form."""
    return images.like(_vitc.blend(images.pixels_of(img), images.pixels_of(other), ratio), img)


def gaussian_noise(
    img: Any,
    mean: float = 0.0,
    sigma: float = 0.1,
    clip: bool = True,
    *,
    key: tuple[int, int] | None = None,
) -> Any:
    """Normal noise added to every level, all channels of every pixel on their own.

    mean, sigma: of the noise, on levels from 0 to 1. clip: keep floating point within 0 to 1; whole
    numbers are rounded and kept within their range always. key: two whole numbers of 32 bits, which
    decide the noise to the bit; without them it is drawn, see `vitc.data.random`.

    Raises `ValueError` for a sigma below 0 or a key that is none.
    """
    return images.apply("noise", img, mean, sigma, clip, *(key or noise_key(generator())))


def to_unit(img: Any) -> Array:
    """The levels of an image as float32 (H, W) or (H, W, C): whole numbers from 0 to 1, floating
    point as they are."""
    if not isinstance(img, np.ndarray):
        dimensions(img)
    pixels = np.asarray(img)
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def from_unit(levels: Array, img: Any) -> Any:
    """Such levels as an image of the kind and dtype of img; whole numbers are rounded and clipped,
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


# ------------------------------------------------------------------------------------ arrays


def to_tensor(pic: Any) -> Array:
    """A Pillow image or an array (H, W) or (H, W, C) as (C, H, W), C-contiguous.

    8-bit values become float32 from 0 to 1, and so do single bits. Others keep their value:
    floating point its dtype too, 16 and 32-bit whole numbers become float32 (torchvision gives
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
    box: tuple[int, int, int, int] | None = None,
    channels_first: bool = False,
) -> Array:
    """`normalize` of `to_tensor` of the image, in one pass and to the bit: float32 (C, H, W).

    mean, std: C numbers, or one for all channels. hflip: left and right exchanged first. out: an
    array to be filled, such as a place of a batch; bf16: the result as the 16 bits of bfloat16, in
    uint16.

    other: an image to be mixed in, after the same treatment (other_hflip: its own flip): within box
    (top, left, bottom, right), or everywhere, the result is lam times this image plus (1 - lam)
    times the other. That is mixup; with lam=0 and a box it is CutMix. channels_first: they are
    arrays (C, H, W), as `pil_to_tensor` gives them.

    Raises `TypeError` for other dtypes than uint8, uint16 and float32, `ValueError` for numbers
    that are not one per channel, a std not above 0, an out or an other that does not fit.
    """
    pixels = pic if channels_first else images.pixels_of(pic)
    channels = len(pixels) if channels_first else get_image_num_channels(pixels)
    other = other if other is None or channels_first else images.pixels_of(other)
    height, width = pixels.shape[-2:] if channels_first else pixels.shape[:2]
    return _vitc.write_image(
        pixels,
        _per_channel(tuple(mean), channels),
        _per_channel(tuple(std), channels),
        flip=hflip,
        bf16=bf16,
        out=out,
        other=other,
        other_flip=other_hflip,
        lam=lam,
        box=box or (0, 0, height, width),
        channels_first=channels_first,
    )


@lru_cache
def _per_channel(values: tuple[float, ...], channels: int) -> Array:
    numbers = np.array(values * channels if len(values) == 1 else values, np.float32)
    numbers.flags.writeable = False
    return numbers


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
    of the array; whole numbers are cut to their range and lose their fraction. by_value: a number
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
        _per_channel(tuple(np.ravel(mean).tolist()), channels),
        _per_channel(tuple(np.ravel(sigma).tolist()), channels),
        key=key or (noise_key(generator()) if np.any(sigma) else (0, 0)),
        by_value=by_value,
        channels_last=channels_last,
    )
    if inplace and not whole:
        img[...] = out
        return img
    return out


def mix_batch(
    batch: Array,
    partners: Sequence[int] | Array,
    lam: float | Sequence[float] | Array,
    boxes: Sequence[Sequence[int] | None] | None = None,
) -> Array:
    """Each image of a batch (B, C, H, W), of uint8, uint16 or float32, mixed with its partner: lam
    times itself and (1 - lam) times the other, in float32; whole numbers are rounded, halves to
    even ones.

    partners: (B,) places in the batch. lam: one number, or (B,). boxes: (top, left, bottom, right),
    where an image is mixed, the rest staying as it is; None: everywhere. lam 0 there is CutMix.

    Raises `TypeError` for another dtype; `ValueError` for partners that are not there, a lam that
    is not 0 to 1 and a rectangle that sticks out.
    """
    count, (height, width) = len(batch), batch.shape[-2:]
    everywhere = (0, 0, height, width)
    places = [box or everywhere for box in boxes or [None] * count]
    return _vitc.mix_batch(
        batch,
        np.asarray(partners, np.int64),
        np.broadcast_to(np.asarray(lam, np.float64), count),
        np.array(places, np.int64).reshape(-1, 4),
    )
