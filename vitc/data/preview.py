"""What a transform does to images, as a picture: look at it before you train."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.arrays import Array, as_array
from vitc.data import random
from vitc.data.decoding.decode import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

_GAP, _WIDE_GAP = 4, 12  # pixels between cells, and beside the originals
_PAPER = (40, 80, 120)  # blue: against white, black and the grey of what is erased it has an edge
_LARGEST_CELL = 256


def preview(
    transform: Any,
    images: Iterable[Any],
    copies: int = 7,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
) -> "Image":
    """A picture of a transform's work: a row per image, first the image, then `copies` draws.

    images: Pillow images, arrays (H, W, C) of uint8 or uint16, or paths of files. Each draw is that
    of an epoch of a loader with this seed. A normalisation in the transform is undone for looking,
    values outside of the range are cut. path: where the picture is written as well, None for
    nowhere.

    Raises `ValueError` without images, and if a transform gives something other than an image.
    """
    rows = [open_image(x) if isinstance(x, str | os.PathLike) else x for x in images]
    if not rows or copies < 1:
        raise ValueError(f"a preview of {len(rows)} images in {copies} copies, expected 1 or more")
    undo = _statistics(transform)
    grid = [[_shown(image)] for image in rows]
    for index, image in enumerate(rows):
        for epoch in range(copies):
            with random.item(seed, epoch, index):
                grid[index].append(_shown(transform(image), undo))
    picture = _sheet(grid)
    if path is not None:
        picture.save(path)
    return picture


def _sheet(grid: Sequence[Sequence["Image"]]) -> "Image":
    """The cells on paper, all of the size of the largest draw (to a limit)."""
    from PIL import Image

    drawn = [cell for row in grid for cell in row[1:]]
    width = min(max(cell.width for cell in drawn), _LARGEST_CELL)
    height = min(max(cell.height for cell in drawn), _LARGEST_CELL)
    columns, rows = len(grid[0]), len(grid)
    size = (columns * (width + _GAP) + _WIDE_GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for y, row in enumerate(grid):
        for x, cell in enumerate(row):
            left = _GAP + x * (width + _GAP) + (_WIDE_GAP - _GAP if x else 0)
            top = _GAP + y * (height + _GAP)
            fitted = _fitted(cell, width, height)
            middle = ((width - fitted.width) // 2, (height - fitted.height) // 2)
            sheet.paste(fitted, (left + middle[0], top + middle[1]))
    return sheet


def _fitted(cell: "Image", width: int, height: int) -> "Image":
    """The whole image within a cell; a small one in whole multiples of its pixels."""
    from PIL.Image import Resampling

    scale = min(width / cell.width, height / cell.height)
    if scale >= 2:
        return cell.resize((cell.width * int(scale), cell.height * int(scale)), Resampling.NEAREST)
    size = (max(1, round(cell.width * scale)), max(1, round(cell.height * scale)))
    return cell if scale == 1 else cell.resize(size, Resampling.BICUBIC)


# ------------------------------------------------------------------------------- pixels


def _statistics(transform: Any) -> tuple[Array, Array]:
    """(mean, std) of the last normalisation in a transform, (0, 1) without one."""
    found = (np.zeros(1), np.ones(1))
    if hasattr(transform, "mean") and hasattr(transform, "std"):
        found = (np.ravel(transform.mean), np.ravel(transform.std))
    for step in getattr(transform, "transforms", ()):
        mean, std = _statistics(step)
        if not (np.all(mean == 0) and np.all(std == 1)):
            found = (mean, std)
    return found


def _shown(image: Any, undo: tuple[Array, Array] = (np.zeros(1), np.ones(1))) -> "Image":
    """An image or what a transform made of one, as a Pillow image in RGB."""
    from PIL import Image

    if hasattr(image, "getbands"):
        if not image.mode.startswith(("I", "F")):
            rgb: Image.Image = image.convert("RGB")
            return rgb
        image = np.asarray(image).astype(np.uint16)
    values = as_array(image)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise ValueError(f"the transform gives an array {values.shape}, expected (C, H, W)")
    if values.dtype.kind == "f":
        mean, std = (np.asarray(x, np.float64).reshape(-1, 1, 1) for x in undo)
        values = np.moveaxis((values * std + mean) * 255, 0, 2)
    elif values.dtype == np.uint16:
        values = values / 257
    values = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    colours = values[:, :, :3] if values.shape[2] >= 3 else np.repeat(values[:, :, :1], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(colours))
