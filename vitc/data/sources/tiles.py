"""Large images in tiles: where the tiles lie, a dataset of them, and from their scores back to the
image."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.data.sources.datasets import Step, transformed
from vitc.errors import shown


def tile_grid(
    height: int, width: int, tile: int | Sequence[int], stride: int | Sequence[int] | None = None
) -> Array:
    """int64 (tiles, 4): top, left, bottom and right of tiles that cover an image, row by row.

    tile, stride: one number or (height, width); stride None is that of tile, less makes tiles
    overlap. The last tile of a row or column is moved back to end with the image; in an image
    smaller than a tile it reaches beyond.

    Raises `ValueError` for a stride above the tile, which would leave gaps.
    """
    sizes = checks.pair("tile", tile)
    steps = sizes if stride is None else checks.pair("stride", stride)
    if any(step > size for step, size in zip(steps, sizes, strict=True)):
        raise ValueError(f"stride is {shown(stride)}, expected at most the tile of {shown(tile)}")
    rows, columns = (
        _starts(whole, size, step)
        for whole, size, step in zip((height, width), sizes, steps, strict=True)
    )
    corners = np.array([(top, left) for top in rows for left in columns])
    return np.concatenate([corners, corners + np.array(sizes)], axis=1)


def _starts(whole: int, size: int, step: int) -> list[int]:
    last = max(whole - size, 0)
    return [*range(0, last, step), last]


class TileDataset:
    """The tiles of a dataset's images, one after the other: an item is (tile, label of its image).

    dataset: gives (Pillow image or array (H, W, C), label), without a transform; it is read once
    through to learn the sizes, by their headers alone if it has a `decode`. transform: of a tile.
    An image is decoded once for tiles that are asked for in order. What lies beyond an image is
    black.

    boxes: int64 (tiles, 4), as of `tile_grid`. owners: int64 (tiles,), the image of each tile.
    groups: those of the dataset, else the owners, so that no split tears an image apart.
    """

    def __init__(
        self,
        dataset: Any,
        tile: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        transform: Step | None = None,
    ) -> None:
        self.dataset, self.transform = dataset, transform
        shapes = [_shape(dataset, index) for index in range(len(dataset))]
        grids = [tile_grid(height, width, tile, stride) for height, width in shapes]
        self.boxes = np.concatenate(grids)
        self.owners = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
        self.shapes = shapes
        self.groups = [getattr(dataset, "groups", range(len(grids)))[i] for i in self.owners]
        if hasattr(dataset, "targets"):
            self.targets = [dataset.targets[i] for i in self.owners]
        self.classes = list(getattr(dataset, "classes", ()))
        self._last = threading.local()

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self._image(int(self.owners[index]))
        return transformed(_cut(image, *self.boxes[index].tolist()), self.transform), label

    def _image(self, index: int) -> tuple[Any, Any]:
        if getattr(self._last, "index", None) != index:
            self._last.item = self.dataset[index]
            self._last.index = index
        item: tuple[Any, Any] = self._last.item
        return item

    def __repr__(self) -> str:
        return f"TileDataset({len(self)} tiles of {len(self.shapes)} images)"


def _shape(dataset: Any, index: int) -> tuple[int, int]:
    """Height and width of an image of a dataset."""
    if hasattr(dataset, "decode") and hasattr(dataset, "frames"):
        height, width = dataset.decode.shape(dataset.samples[index][0], dataset.frames[index])
        return height, width
    image, _ = dataset[index]
    width, height = image.size if hasattr(image, "getbands") else image.shape[1::-1]
    return height, width


def _cut(image: Any, top: int, left: int, bottom: int, right: int) -> Any:
    if hasattr(image, "getbands"):
        return image.crop((left, top, right, bottom))
    part = image[top:bottom, left:right]
    missing = (bottom - top - part.shape[0], right - left - part.shape[1])
    return np.pad(part, [(0, n) for n in (*missing, 0)]) if any(missing) else part


# ------------------------------------------------------------------------------- scores


def aggregate(scores: Any, owners: Any, method: str = "max", k: int = 3) -> Array:
    """Scores of tiles (tiles, ...) to scores of images (images, ...), class by class.

    owners: (tiles,), the image of each tile, as `TileDataset.owners`. method: "max", "mean", or
    "topk", the mean of the k highest (of all, if there are fewer).

    Raises `ValueError` for an unknown method, another number of owners, or an image without tiles.
    """
    scores, owners = as_array(scores), as_array(owners)
    if len(scores) != len(owners):
        raise ValueError(f"{len(scores)} scores have {len(owners)} owners")
    checks.one_of("method", method, _METHODS)
    checks.integer("k", k, 1)
    counts = np.bincount(owners)
    if not counts.all():
        raise ValueError(f"image {int(np.argmin(counts))} has no tiles")
    ends = np.cumsum(counts)[:-1]
    parts = np.split(scores[np.argsort(owners, kind="stable")], ends)
    return np.stack([_METHODS[method](part, k) for part in parts])


_METHODS = {
    "max": lambda part, k: part.max(axis=0),
    "mean": lambda part, k: part.mean(axis=0),
    "topk": lambda part, k: np.sort(part, axis=0)[-k:].mean(axis=0),
}


def heat_map(scores: Any, boxes: Any, shape: tuple[int, int]) -> Array:
    """float64 (H, W): at each pixel the mean score of the tiles that cover it, NaN where none does.

    scores: (tiles,), of one image. boxes: (tiles, 4), its tiles. shape: (H, W), of the image.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    for score, (top, left, bottom, right) in zip(as_array(scores), as_array(boxes), strict=True):
        total[top:bottom, left:right] += score
        count[top:bottom, left:right] += 1
    with np.errstate(invalid="ignore"):
        return total / count
