"""Images in memory, and in .npz files, which are mapped and not read."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc.arrays import Array, as_array
from vitc.data.decoding import pixels
from vitc.data.sources import npz
from vitc.data.sources.datasets import MOST_CLASSES, Step, transformed


class ArrayDataset:
    """Images in memory, which are not copied.

    images: uint8 (N, H, W) or (N, H, W, C) with C = 1, 3 or 4, which become Pillow images of `mode`
    (None: as they are) before the transform; uint16 of these shapes, or either with any C and
    mode=None, which stay arrays (H, W, C); or floating point (N, C, H, W), which go to the
    transform, or out if it is None, as they are.
    labels: N integers from 0 (or what else a loss takes, one per image). classes: the name of
    each label, None for the numbers themselves.

    Raises `ValueError` or `TypeError` naming shape or dtype where they do not fit.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        transform: Step | None = None,
        *,
        classes: Sequence[str] | None = None,
        mode: str | None = "RGB",
    ) -> None:
        self.images, self.targets = as_array(images), as_array(labels)
        _check_images(self.images, mode)
        if len(self.images) != len(self.targets):
            raise ValueError(f"{len(self.images)} images have {len(self.targets)} labels")
        self.transform, self.mode = transform, mode
        self.classes = _classes(self.targets, classes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = as_image(self.images[index], self.mode)
        label = self.targets[index]
        whole = label.dtype.kind in "iub" and label.ndim == 0
        return transformed(image, self.transform), int(label) if whole else label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images of {len(self.classes)} classes)"


def _check_images(images: Any, mode: str | None) -> None:
    shape, dtype = images.shape, images.dtype
    if dtype.kind == "f":
        if len(shape) != 4:
            raise ValueError(f"images of {dtype} have shape {shape}, expected (N, C, H, W)")
    elif dtype not in (np.uint8, np.uint16):
        raise TypeError(f"images have dtype {dtype}, expected uint8, uint16 or floating point")
    elif len(shape) not in (3, 4):
        raise ValueError(
            f"images of {dtype} have shape {shape}, expected (N, H, W) or (N, H, W, C)"
        )
    elif len(shape) == 4 and shape[3] not in (1, 3, 4) and mode is not None:
        raise ValueError(
            f"images of {dtype} have shape {shape}, expected C = 1, 3 or 4, or mode=None"
        )


def as_image(values: Array, mode: str | None) -> Any:
    """uint8 (H, W) or (H, W, C) with C = 1, 3 or 4 as a Pillow image of mode; other integers
    as (H, W, C) with the channels of mode; floating point as it is."""
    if values.dtype.kind == "f":
        return values
    values = values if values.ndim == 3 else values[:, :, None]
    if values.dtype != np.uint8 or values.shape[2] not in (1, 3, 4):
        return pixels.with_channels(values, mode, "image")
    from PIL import Image

    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    return image if mode in (None, image.mode) else image.convert(mode)


def _classes(labels: Any, classes: Sequence[str] | None) -> list[str]:
    """The names of the labels. Raises `ValueError` for integers that have none."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        return list(classes or ())
    low, high = int(labels.min()), int(labels.max())
    if classes is None and high >= MOST_CLASSES:
        raise ValueError(f"labels go up to {high}, expected less than {MOST_CLASSES}")
    names = [str(label) for label in range(high + 1)] if classes is None else list(classes)
    if low < 0 or high >= len(names):
        raise ValueError(f"labels go from {low} to {high}, expected 0 to {len(names) - 1}")
    return names


# ------------------------------------------------------------------------------- .npz


class NpzDataset(ArrayDataset):
    """One split of an .npz file as MedMNIST's, with `train_images`, `train_labels`, `val_images`...

    Arrays that stand in the file uncompressed (`np.savez`) are mapped: they are read image by image
    when asked for. Compressed ones are read whole, up to max_bytes.
    split: "train", "val", "test", or what else is in the file. Labels (N, 1) are integers
    (N,); (N, L) are float32, one column per class, for images with several labels. transform,
    classes, mode: as of `ArrayDataset`.

    Raises `FileNotFoundError` for a missing file, `OSError` naming the file if it is damaged or too
    large, `ValueError` naming the array that is missing or does not fit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str = "train",
        transform: Step | None = None,
        *,
        classes: Sequence[str] | None = None,
        mode: str | None = "RGB",
        max_bytes: int = 1 << 33,
    ) -> None:
        self.path, self.split = os.path.expanduser(path), split
        file = npz.NpzFile(self.path, max_bytes)
        images, labels = (file.array(f"{split}_{what}") for what in ("images", "labels"))
        if labels.ndim == 2:
            labels = labels[:, 0] if labels.shape[1] == 1 else labels.astype(np.float32)
        try:
            names = _classes_of(file, labels) if classes is None else classes
            super().__init__(images, labels, transform, classes=names, mode=mode)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}, {split}: {error}") from None


def _classes_of(file: npz.NpzFile, labels: Array) -> list[str]:
    """Names of the labels of all splits, so that all have the same."""
    if labels.ndim == 2:
        return [str(label) for label in range(labels.shape[1])]
    each = [file.array(name) for name in file.names if name.endswith("_labels")]
    return _classes(np.concatenate([array.ravel() for array in each]), None)
