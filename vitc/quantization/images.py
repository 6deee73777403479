"""The images that a model is calibrated with, from wherever they come."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import checks, data
from vitc.arrays import Array, as_array
from vitc.data.sources.datasets import IMG_EXTENSIONS
from vitc.errors import shown
from vitc.models.model import Model

LEAST, ENOUGH, MOST = 32, 300, 512
WORKERS = 2  # threads that load files


class Images:
    """Prepared images, (N, C, H, W) float32 batch by batch, the same in every pass.

    Made by `calibration_images`. workers: threads that load files.
    """

    def __init__(self, source: Any, count: int, workers: int = WORKERS) -> None:
        self._source, self._count, self.workers = source, count, workers

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int) -> Iterator[Array]:
        """Arrays of `size` images, the last of what is left."""
        if isinstance(self._source, np.ndarray):
            parts: Iterable[Any] = (self._source[i : i + size] for i in range(0, self._count, size))
        else:
            parts = data.DataLoader(self._source, size, num_workers=self.workers)
        for part in parts:
            yield np.ascontiguousarray(_inputs(part), np.float32)

    def first(self, count: int) -> "Images":
        """Some of them, spread over all."""
        return self._chosen(spread(self._count, count))

    def halves(self) -> tuple["Images", "Images"]:
        """Every second one, and the others."""
        return self._chosen(range(0, self._count, 2)), self._chosen(range(1, self._count, 2))

    def _chosen(self, chosen: Sequence[int]) -> "Images":
        if isinstance(self._source, np.ndarray):
            return Images(self._source[list(chosen)], len(chosen))
        return Images(data.Subset(self._source, chosen), len(chosen), self.workers)


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to count, evenly spaced: of files in the order of their
    folders, all classes in proportion."""
    chosen = min(count, most)
    return [i * count // chosen for i in range(chosen)]


def calibration_images(
    model: Model, source: Any, samples: int = MOST, *, workers: int = WORKERS
) -> Images:
    """The images of a source, prepared for the model.

    source: a folder, in which and below which images are looked for, and which are prepared as the
    model's evaluation does it (size, crop, interpolation, mean, std); a `.npy` file or an array of
    prepared images (N, C, H, W); a dataset; or a loader, whose first images are taken and kept in
    memory, with or without labels. Of all others at most `samples` are taken, evenly spaced. What
    this function returned is given back. workers: threads that load files.

    Raises `ValueError` for less than 32 images (less than 300 are a warning), for another shape,
    NaN, and values that are not of the model's mean and std; `TypeError` for another kind of
    source, `OSError` for files that cannot be read.
    """
    if isinstance(source, Images):
        return source
    images = _images(model, source, checks.integer("samples", samples, LEAST))
    images.workers = checks.integer("workers", workers, 0)
    if len(images) < LEAST:
        raise ValueError(
            f"there are {len(images)} images to calibrate with, expected {LEAST} or more, better "
            f"{ENOUGH}: ranges of a few images do not hold for others"
        )
    _check(next(images.batches(LEAST)), model)
    if len(images) < ENOUGH:
        warnings.warn(
            f"{len(images)} images to calibrate with are few; {ENOUGH} or more give ranges that "
            "hold for others",
            stacklevel=3,
        )
    return images


def _images(model: Model, source: Any, samples: int) -> Images:
    if isinstance(source, str | os.PathLike):
        return _of_path(model, Path(source), samples)
    if is_dataset(source):
        return _of_dataset(source, samples)
    if hasattr(source, "__array__") or hasattr(source, "__dlpack__"):
        return _of_array(as_array(source), samples, "the array")
    if isinstance(source, Iterable):
        return _of_loader(source, samples)
    raise TypeError(
        f"calibration is {shown(source)}, expected a folder of images, a .npy file, an array "
        "(N, C, H, W), a dataset, a loader or a Calibration"
    )


def is_dataset(source: Any) -> bool:
    """Whether items are read by their number, and there is no other way to go through them."""
    by_number = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return by_number and not hasattr(source, "__iter__")


def _of_path(model: Model, path: Path, samples: int) -> Images:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
        if not files:
            raise FileNotFoundError(f"{path}: there are no image files in this folder")
        settings = data.resolve_data_config(model=model)
        mode = "L" if settings["input_size"][0] == 1 else "RGB"
        transform = data.create_transform(**settings)
        chosen = [files[i] for i in spread(len(files), samples)]
        return Images(data.ImageList(chosen, transform, mode=mode), len(chosen))
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.suffix.lower() != ".npy":
        raise ValueError(
            f"{path}: expected a folder of images, a .npy file of prepared images, or a .json file "
            "that Calibration.save wrote"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an array of numbers in NumPy's format: {error}") from None
    return _of_array(array, samples, str(path))


def _of_array(array: Array, samples: int, what: str) -> Images:
    if array.ndim != 4:
        raise ValueError(f"{what} has shape {array.shape}, expected (N, C, H, W)")
    if array.dtype.kind != "f":
        raise ValueError(
            f"{what} has dtype {array.dtype}, expected floating point: images after ToTensor and "
            "Normalize, or give the folder that they are in"
        )
    chosen = spread(len(array), samples)
    return Images(array if len(chosen) == len(array) else array[chosen], len(chosen))


def _of_dataset(source: Any, samples: int) -> Images:
    chosen = spread(len(source), samples)
    return Images(data.Subset(source, chosen), len(chosen))


def _of_loader(source: Iterable[Any], samples: int) -> Images:
    """The first images of a loader, which may give others in its next pass."""
    parts, count = [], 0
    for batch in source:
        part = _inputs(batch)
        if part.ndim != 4:
            raise ValueError(
                f"a batch of the loader has shape {part.shape}, expected (batch, C, H, W)"
            )
        parts.append(part[: samples - count])
        count += len(parts[-1])
        if count == samples:
            break
    if not parts:
        raise ValueError("the loader has no batches")
    return _of_array(np.concatenate(parts), samples, "a batch of the loader")


def _inputs(batch: Any) -> Array:
    """The images of a batch, which may have labels behind them."""
    return as_array(batch[0] if isinstance(batch, tuple | list) else batch)


# ------------------------------------------------------------------------------- what is in them


class Preparation(NamedTuple):
    """How pixels from 0 to 1 were changed: (pixel - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def limits(self) -> tuple[Array, Array]:
        """(C,), (C,): what black and white become."""
        mean, std = np.array(self.mean), np.array(self.std)
        return -mean / std, (1 - mean) / std

    def __str__(self) -> str:
        return f"mean {_numbers(self.mean)} and std {_numbers(self.std)}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in sorted(set(values), key=values.index))


_KNOWN = [
    Preparation(data.IMAGENET_DEFAULT_MEAN, data.IMAGENET_DEFAULT_STD),
    Preparation(data.IMAGENET_INCEPTION_MEAN, data.IMAGENET_INCEPTION_STD),
    Preparation(data.OPENAI_CLIP_MEAN, data.OPENAI_CLIP_STD),
]
_NEAR = 0.01  # of the way from black to white


def _check(images: Array, model: Model) -> None:
    """Raises `ValueError` for images that are not what the model takes."""
    (port,) = model.program().inputs
    if images.shape[1:] != port.outer:
        raise ValueError(
            f"an image to calibrate with has shape {images.shape[1:]}, the model takes {port.outer}"
        )
    if not np.isfinite(images).all():
        raise ValueError("the images to calibrate with hold NaN or infinite values")
    settings = data.resolve_data_config(model=model)
    own = Preparation(settings["mean"], settings["std"])
    if len(own.mean) == images.shape[1]:
        _check_preparation(images, own)


def _check_preparation(images: Array, own: Preparation) -> None:
    """Raises `ValueError` for images that were prepared in another way, as far as that can be seen;
    warns of values that no pixel gives."""
    low, high = (f(images, axis=(0, 2, 3)).astype(float) for f in (np.min, np.max))
    black, white = own.limits
    seen = f"the images to calibrate with have values from {low.min():.3g} to {high.max():.3g}"
    wanted = f"the model was made for {own}, which give {black.min():.3g} to {white.max():.3g}"
    if high.max() > 20 > white.max():
        raise ValueError(
            f"{seen}, as pixels from 0 to 255 have: divide by 255 and normalise; {wanted}"
        )
    if low.min() >= 0 and high.max() <= 1 and (black < -0.1).all():
        raise ValueError(f"{seen}, as pixels that are not normalised have; {wanted}")
    for known in _KNOWN:
        if _fits(low, high, known) and not _fits(low, high, own):
            raise ValueError(f"{seen}, as those of {known} have; {wanted}")
    room = 0.05 * (white - black)
    if (low < black - room).any() or (high > white + room).any():
        warnings.warn(f"{seen}; {wanted}", stacklevel=4)


def _fits(low: Array, high: Array, preparation: Preparation) -> bool:
    """Whether black and white of this preparation are the ends of the values, in every channel."""
    if len(preparation.mean) != len(low):
        return False
    black, white = preparation.limits
    near = _NEAR * (white - black)
    return bool((abs(low - black) <= near).all() and (abs(high - white) <= near).all())
