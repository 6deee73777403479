"""From images to the arrays (C, H, W) that a model takes, and what is done to these."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.checks import Range
from vitc.data import functional as F
from vitc.data.box import Box
from vitc.data.random import between, log_uniform, noise_key
from vitc.data.transforms.base import RandomTransform, Step, Transform
from vitc.errors import shown


class ToTensor(Transform):
    """An image as float32 (C, H, W): integers of 8 and of 16 bits from 0 to 1.

    Others keep their values, see `functional.to_tensor`. torchvision leaves 16 bits unscaled, which
    no mean and standard deviation of a model fits.
    """

    gives_array = True

    def __call__(self, img: Any) -> Array:
        tensor = F.to_tensor(img)
        return tensor / np.float32(65535) if _depth(img) == 16 else tensor

    def with_next(self, step: Step) -> Step | None:
        if type(self) is ToTensor and type(step) is Normalize:
            return _ToNormalized(self, step)
        return None


_DEPTHS = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16, "L": 8, "RGB": 8, "I;16": 16}


def _depth(img: Any) -> int | None:
    """Bits per channel of an image of integers, if they are 8 or 16."""
    kind = img.dtype if isinstance(img, np.ndarray) else getattr(img, "mode", "")
    return _DEPTHS.get(kind)


class PILToTensor(Transform):
    """An image as an array (C, H, W) of the same values and dtype."""

    gives_array = True

    def __call__(self, img: Any) -> Array:
        return F.pil_to_tensor(img)


class ToImage(Transform):
    """An image as an array (H, W, C) of the same values and dtype: still an image, which any
    transform takes. With `ToDtype` it makes up torchvision's v2 pipelines:

        Compose([ToImage(), RandomResizedCrop(224), ToDtype(np.float32, scale=True)])
    """

    def __call__(self, img: Any) -> Array:
        F.dimensions(img)
        pixels = np.asarray(img)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels


class ToDtype(Transform):
    """An image as an array (C, H, W) of another dtype.

    scale: whether integers become 0 to 1, which is v2's x * (1 / 255); see `ToTensor` for
    x / 255. Raises `ValueError` for scale and a dtype that is not floating point.
    """

    gives_array = True

    shown = ("dtype", "scale")

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        self.dtype, self.scale = np.dtype(dtype), scale
        if scale and self.dtype.kind != "f":
            raise ValueError(f"dtype is {self.dtype}, expected floating point with scale=True")

    def __call__(self, img: Any) -> Array:
        planes = F.pil_to_tensor(img)
        out = planes.astype(self.dtype)
        if self.scale and planes.dtype.kind in "iu":
            out *= self.dtype.type(1 / np.iinfo(planes.dtype).max)
        return out


class Normalize(Transform):
    """(x - mean) / std by channel, of floating point (C, H, W).

    Raises `ValueError` if the number of channels is another than that of mean and std.
    """

    shown = ("mean", "std")

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        if not all(np.float32(value) > 0 for value in self.std):
            raise ValueError(f"std is {shown(std)}, expected values above 0")

    def __call__(self, img: Array) -> Array:
        return F.normalize(img, self.mean, self.std)

    def with_next(self, step: Step) -> Step | None:
        return _then_erased(self, step) if type(self) is Normalize else None


class _ToNormalized(Transform):
    """`ToTensor` and a `Normalize`, of 8 bits in one pass."""

    gives_array = True

    def __init__(self, first: ToTensor, second: Normalize) -> None:
        self.first, self.second = first, second

    def __call__(self, img: Any) -> Array:
        if _depth(img) != 8:
            return self.second(self.first(img))
        return F.to_normalized_tensor(img, self.second.mean, self.second.std)

    def with_next(self, step: Step) -> Step | None:
        return _then_erased(self, step)


class Erasing(RandomTransform):
    """What overwrites rectangles of an array (C, H, W): the array itself if `inplace`, else a
    copy."""

    inplace = False

    def overwriting(self) -> "Erasing":
        """The same, inplace."""
        other = copy.copy(self)
        other.inplace = True
        return other


class _ThenErased(Transform):
    """A step whose result is nobody else's, and an erasing of it in place."""

    gives_array = True

    def __init__(self, first: Step, erasing: Erasing) -> None:
        self.first, self.erasing = first, erasing

    def __call__(self, img: Any) -> Array:
        erased: Array = self.erasing.overwriting()(self.first(img))
        return erased


def _then_erased(first: Step, step: Step) -> Step | None:
    return _ThenErased(first, step) if isinstance(step, Erasing) else None


class RandomErasing(Erasing):
    """A rectangle of an array (C, H, W) overwritten, with probability p.

    scale: range of its share of the area. ratio: range of height / width, whose logarithm is
    uniform. value: a number, one per channel, or "random" for a standard normal number per value,
    of floating point only. The array stays as it is unless inplace. It is left alone if no
    rectangle fits.
    """

    shown = ("p", "scale", "ratio", "value", "inplace")

    def __init__(
        self,
        p: float = 0.5,
        scale: Range = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        value: float | str | Sequence[float] = 0,
        inplace: bool = False,
    ) -> None:
        self.p = checks.probability("p", p)
        self.scale = checks.bounds("scale", scale, 0.0, 1.0)
        self.ratio = checks.positive("ratio", ratio)
        if isinstance(value, str) and value != "random":
            raise ValueError(f"value is {shown(value)}, expected numbers or 'random'")
        self.value, self.inplace = value, inplace

    def draw(self, img: Array, rng: np.random.Generator) -> tuple[Any, ...]:
        """(the rectangle as a `Box` or None, key of its values)."""
        _, height, width = _planes(img)
        acts = bool(rng.random() < self.p)
        box = erased_box(height, width, self.scale, self.ratio, rng) if acts else None
        return box, noise_key(rng)

    def apply(self, img: Array, *params: Any) -> Array:
        box, key = params
        if box is None:
            return img
        if isinstance(self.value, str):
            return F.erase_boxes(normalized(img), [box], 0.0, 1.0, key=key, inplace=self.inplace)
        if np.size(self.value) not in (1, len(img)):
            raise ValueError(
                f"value is {shown(self.value)}, expected one per channel of {img.shape}"
            )
        return F.erase_boxes(img, [box], self.value, inplace=self.inplace)


def normalized(img: Array) -> Array:
    """An array that standard normal numbers fit into. Raises `TypeError` for integers."""
    if img.dtype.kind != "f":
        raise TypeError(
            f"the array has dtype {shown(img.dtype)}, expected float32, as Normalize() gives: it "
            "is to be filled with standard normal numbers"
        )
    return img


def _planes(img: Any) -> tuple[int, int, int]:
    """The shape of an array (C, H, W). Raises `TypeError` for anything else."""
    if not isinstance(img, np.ndarray) or img.ndim != 3:
        shape = getattr(img, "shape", type(img).__name__)
        raise TypeError(f"expected an array (C, H, W), as ToTensor() gives; got {shape}")
    channels, height, width = img.shape
    return channels, height, width


def erased_box(
    height: int, width: int, scale: Range, ratio: Range, rng: np.random.Generator
) -> Box | None:
    """A random rectangle that is smaller than the image both ways; None if ten tries have not found
    one."""
    for _ in range(10):
        area = height * width * between(*scale, rng)
        aspect = log_uniform(*ratio, rng)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Box(int(top), int(left), h, w)
    return None
