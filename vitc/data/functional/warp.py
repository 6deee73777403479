"""Rotations, affine maps, perspectives and displacements: pixels between pixels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.data import images
from vitc.data.functional.arguments import (
    FILTERS,
    Fill,
    InterpolationMode,
    channel_fill,
    dimensions,
    interpolation_mode,
)
from vitc.data.functional.geometry import rot90
from vitc.errors import shown


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
    return images.like(
        _vitc.displace(pixels, displacement, bilinear, *channel_fill(fill, img)), img
    )


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
    return apply(name, img, *size, FILTERS[mode], *matrix, *channel_fill(fill, img))
