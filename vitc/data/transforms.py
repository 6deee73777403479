"""Transforms of images, under torchvision's names and with its arguments and distributions.

A transform is any callable, so functions of one's own may stand anywhere in a `Compose`. Those here
take and give Pillow images up to `ToTensor`, and arrays (C, H, W) after it.

A random transform has two halves: `draw(img, rng)` draws its parameters, `apply(img, *params)` acts
on them; the second has no randomness, and given the same parameters its pixels are torchvision's.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.arrays import Array
from vitc.data import functional as F
from vitc.data.functional import Fill, InterpolationMode, Size
from vitc.data.random import generator

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "CenterCrop",
    "CenterCropOrPad",
    "ColorJitter",
    "Compose",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomTransform",
    "RandomVerticalFlip",
    "Resize",
    "ResizeKeepRatio",
    "ToTensor",
    "Transform",
]

Step = Callable[[Any], Any]
Range = tuple[float, float]


class Transform:
    """What has a `__call__` and prints the attributes named in `shown`."""

    shown: tuple[str, ...] = ()

    def __call__(self, img: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __call__()")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)
        return f"{type(self).__name__}({arguments})"


class RandomTransform(Transform):
    """Draws parameters, then applies them.

    draw: the parameters, as a tuple, for this image. apply: the image changed by them.
    """

    def __call__(self, img: Any) -> Any:
        return self.apply(img, *self.draw(img, generator()))

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        raise NotImplementedError(f"{type(self).__name__} has no draw()")

    def apply(self, img: Any, *params: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no apply()")


# ------------------------------------------------------------------------------- chains


def _listed(name: str, lines: Sequence[Any]) -> str:
    return "\n".join([f"{name}(", *(f"    {line}" for line in lines), ")"])


class Compose(Transform):
    """The transforms one after the other."""

    def __init__(self, transforms: Sequence[Step]) -> None:
        self.transforms = list(transforms)
        for step in self.transforms:
            if not callable(step):
                raise TypeError(f"a transform must be callable, got {step!r}")

    def __call__(self, img: Any) -> Any:
        for step in self.transforms:
            img = step(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class Lambda(Transform):
    """A function as a transform."""

    def __init__(self, lambd: Step) -> None:
        if not callable(lambd):
            raise TypeError(f"lambd must be callable, got {lambd!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)


class RandomApply(Compose):
    """All of the transforms with probability p, else none."""

    def __init__(self, transforms: Sequence[Step], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = _probability(p)

    def __call__(self, img: Any) -> Any:
        return super().__call__(img) if generator().random() < self.p else img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, [f"p={self.p}", *self.transforms])


class RandomChoice(Compose):
    """One of the transforms, with equal chances or with weights p."""

    def __init__(self, transforms: Sequence[Step], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if not self.transforms:
            raise ValueError("RandomChoice got no transforms")
        weights = np.ones(len(self.transforms)) if p is None else np.asarray(p, np.float64)
        if weights.shape != (len(self.transforms),) or (weights < 0).any() or not weights.any():
            raise ValueError(f"p is {p!r}, expected {len(self.transforms)} weights of 0 or more")
        self.p = p
        self._borders = np.cumsum(weights / weights.sum())

    def __call__(self, img: Any) -> Any:
        # The last border may come out just below 1.
        drawn = np.searchsorted(self._borders[:-1], generator().random(), side="right")
        return self.transforms[drawn](img)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


# ------------------------------------------------------------------------------- arrays


class ToTensor(Transform):
    """A Pillow image, or a uint8 array (H, W) or (H, W, C), as float32 (C, H, W) from 0 to 1.

    Values of more than 8 bits keep their size, see `functional.to_tensor`.
    """

    def __call__(self, img: Any) -> Array:
        return F.to_tensor(img)


class Normalize(Transform):
    """(x - mean) / std by channel, of floating point (C, H, W).

    Raises `ValueError` if the number of channels is another than that of mean and std.
    """

    shown = ("mean", "std")

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        if not all(np.float32(value) > 0 for value in self.std):
            raise ValueError(f"std is {std!r}, expected values above 0")

    def __call__(self, img: Array) -> Array:
        return F.normalize(img, self.mean, self.std)


# ------------------------------------------------------------------------------- fixed geometry


class Resize(Transform):
    """Another number of pixels: size (height, width), or of the shorter edge if it is one number.

    interpolation: a name of `InterpolationMode`. max_size: what the longer edge may have at most,
    if size is one number. antialias: Pillow always does.
    """

    shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(
        self,
        size: Size,
        interpolation: str = "bilinear",
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        height_or_short = F.pair(size)[0]
        self.size, self.max_size = size, max_size
        self.interpolation = F.interpolation_mode(interpolation)
        self.antialias = _antialias(antialias)
        one = isinstance(size, int) or len(size) == 1
        if max_size is not None and not (one and max_size > height_or_short):
            raise ValueError(
                f"max_size is {max_size}, size is {size}: expected one number below max_size"
            )

    def __call__(self, img: "Image") -> "Image":
        return F.resize(img, self.size, self.interpolation, self.max_size)


class ResizeKeepRatio(Transform):
    """Resizes in proportion until one edge fits size (height, width): timm's transform.

    longest: 0 to fill size and stick out of it, 1 to stay within it; or between.
    """

    shown = ("size", "interpolation", "longest")

    def __init__(self, size: Size, longest: float = 0.0, interpolation: str = "bilinear") -> None:
        self.size, self.longest = F.pair(size), float(longest)
        self.interpolation = F.interpolation_mode(interpolation)

    def __call__(self, img: "Image") -> "Image":
        shape = F.dimensions(img)
        ratios = [have / want for have, want in zip(shape, self.size, strict=True)]
        ratio = max(ratios) * self.longest + min(ratios) * (1.0 - self.longest)
        return F.resize(img, [round(edge / ratio) for edge in shape], self.interpolation)


class CenterCrop(Transform):
    """The middle of the image; where it is smaller than size, there is black around it."""

    shown = ("size",)

    def __init__(self, size: Size) -> None:
        self.size = F.pair(size)

    def __call__(self, img: "Image") -> "Image":
        return F.center_crop(img, self.size)


class CenterCropOrPad(Transform):
    """The same with another value around it: timm's transform."""

    shown = ("size", "fill")

    def __init__(self, size: Size, fill: Fill = 0) -> None:
        self.size, self.fill = F.pair(size), fill

    def __call__(self, img: "Image") -> "Image":
        return F.center_crop(img, self.size, self.fill)


class Pad(Transform):
    """A border around the image; see `functional.pad`."""

    shown = ("padding", "fill", "padding_mode")

    def __init__(self, padding: Size, fill: Fill = 0, padding_mode: str = "constant") -> None:
        self.padding, self.fill = padding, fill
        self.padding_mode = _padding_mode(padding_mode)

    def __call__(self, img: "Image") -> "Image":
        F.dimensions(img)
        return F.pad(img, self.padding, self.fill, self.padding_mode)


# ------------------------------------------------------------------------------- random geometry


class RandomResizedCrop(RandomTransform):
    """A crop of random area and aspect ratio, resized to size.

    scale: range of the crop's share of the area. ratio: range of width / height, whose logarithm is
    uniform. interpolation: a name, or "random" for bilinear or bicubic, as in timm.
    """

    shown = ("size", "scale", "ratio", "interpolation", "antialias")

    def __init__(
        self,
        size: Size,
        scale: Range = (0.08, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool | None = True,
    ) -> None:
        self.size = F.pair(size)
        self.scale, self.ratio = _range("scale", scale, 0.0), _range("ratio", ratio, 0.0)
        if self.ratio[0] == 0 or self.scale[1] == 0:
            raise ValueError(f"scale is {scale}, ratio is {ratio}: expected values above 0")
        self.random = interpolation == "random"
        self.interpolation = "random" if self.random else F.interpolation_mode(interpolation)
        self.antialias = _antialias(antialias)

    def draw(self, img: "Image", rng: np.random.Generator) -> tuple[int, int, int, int, str]:
        """(top, left, height, width, interpolation)."""
        box = self._draw_box(*F.dimensions(img), rng)
        mode = ("bilinear", "bicubic")[rng.integers(2)] if self.random else self.interpolation
        return (*box, mode)

    def _draw_box(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        narrowest, widest = map(math.log, self.ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(narrowest, widest))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                return int(top), int(left), h, w
        return self._largest(height, width)

    def _largest(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The largest crop in the middle whose aspect ratio is allowed."""
        narrowest, widest = self.ratio
        h, w = height, width
        if width / height < narrowest:
            h = round(width / narrowest)
        elif width / height > widest:
            w = round(height * widest)
        return (height - h) // 2, (width - w) // 2, h, w

    def apply(self, img: "Image", *params: Any) -> "Image":
        top, left, height, width, mode = params
        return F.resized_crop(img, top, left, height, width, self.size, mode)


class RandomCrop(RandomTransform):
    """A crop of a fixed size at a random place, of the image after padding.

    pad_if_needed: pad an image smaller than size until it fits; otherwise it is a `ValueError`.
    """

    shown = ("size", "padding")

    def __init__(
        self,
        size: Size,
        padding: Size | None = None,
        pad_if_needed: bool = False,
        fill: Fill = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = F.pair(size)
        self.padding, self.pad_if_needed, self.fill = padding, pad_if_needed, fill
        self.padding_mode = _padding_mode(padding_mode)

    def __call__(self, img: "Image") -> "Image":
        return super().__call__(self.padded(img))

    def padded(self, img: "Image") -> "Image":
        """The image that the crop is taken from."""
        F.dimensions(img)
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        height, width = self.size
        if self.pad_if_needed and img.width < width:
            img = F.pad(img, (width - img.width, 0), self.fill, self.padding_mode)
        if self.pad_if_needed and img.height < height:
            img = F.pad(img, (0, height - img.height), self.fill, self.padding_mode)
        return img

    def draw(self, img: "Image", rng: np.random.Generator) -> tuple[int, int]:
        """(top, left), for the padded image."""
        free = [have - want for have, want in zip(F.dimensions(img), self.size, strict=True)]
        if min(free) < 0:
            raise ValueError(
                f"the image has {img.height} x {img.width} pixels, less than the crop of "
                f"{self.size[0]} x {self.size[1]}; resize it first, or pad_if_needed=True"
            )
        return int(rng.integers(free[0] + 1)), int(rng.integers(free[1] + 1))

    def apply(self, img: "Image", *params: Any) -> "Image":
        top, left = params
        return F.crop(img, top, left, *self.size)


class _RandomFlip(RandomTransform):
    shown = ("p",)
    flip: Step

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(p)

    def draw(self, img: "Image", rng: np.random.Generator) -> tuple[bool]:
        """(whether to flip,)."""
        F.dimensions(img)
        return (rng.random() < self.p,)

    def apply(self, img: "Image", *params: Any) -> "Image":
        return self.flip(img) if params[0] else img


class RandomHorizontalFlip(_RandomFlip):
    """Left and right exchanged with probability p."""

    flip = staticmethod(F.hflip)


class RandomVerticalFlip(_RandomFlip):
    """Top and bottom exchanged with probability p."""

    flip = staticmethod(F.vflip)


class RandomRotation(RandomTransform):
    """Turned by an angle from the range `degrees` (one number: from minus to plus), uniformly.

    expand, center, fill: see `functional.rotate`.
    """

    shown = ("degrees", "interpolation", "expand", "center", "fill")

    def __init__(
        self,
        degrees: float | Range,
        interpolation: str = "nearest",
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Fill = 0,
    ) -> None:
        self.degrees = _around_zero("degrees", degrees)
        self.interpolation = F.interpolation_mode(interpolation)
        self.expand, self.center, self.fill = expand, center, fill

    def draw(self, img: "Image", rng: np.random.Generator) -> tuple[float]:
        """(angle,)."""
        F.dimensions(img)
        return (rng.uniform(*self.degrees),)

    def apply(self, img: "Image", *params: Any) -> "Image":
        return F.rotate(img, params[0], self.interpolation, self.expand, self.center, self.fill)


class RandomAffine(RandomTransform):
    """Turned, moved, scaled and sheared around the middle, each from its own range, uniformly.

    degrees: range of the angle. translate: the largest share of the (width, height) to move by.
    scale: range of the factor. shear: range of the angle along x, or (x from, to, y from, to). One
    number for degrees or shear is the range from minus to plus. None: not this one.
    """

    shown = ("degrees", "translate", "scale", "shear", "interpolation", "fill", "center")

    def __init__(
        self,
        degrees: float | Range,
        translate: Range | None = None,
        scale: Range | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: str = "nearest",
        fill: Fill = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        self.degrees = _around_zero("degrees", degrees)
        self.translate, self.scale = translate, None if scale is None else _range("scale", scale)
        if translate is not None and not all(0 <= share <= 1 for share in translate):
            raise ValueError(f"translate is {translate}, expected two shares from 0 to 1")
        if self.scale is not None and self.scale[0] <= 0:
            raise ValueError(f"scale is {scale}, expected factors above 0")
        self.shear = None if shear is None else _shears(shear)
        self.interpolation = F.interpolation_mode(interpolation)
        self.fill, self.center = fill, center

    def draw(
        self, img: "Image", rng: np.random.Generator
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """(angle, (x, y) to move by in pixels, scale, (x, y) of the shear)."""
        height, width = F.dimensions(img)
        angle = rng.uniform(*self.degrees)
        move, scale, shear = (0, 0), 1.0, (0.0, 0.0)
        if self.translate is not None:
            x, y = self.translate[0] * width, self.translate[1] * height
            move = round(rng.uniform(-x, x)), round(rng.uniform(-y, y))
        if self.scale is not None:
            scale = rng.uniform(*self.scale)
        if self.shear is not None:
            shear = rng.uniform(*self.shear[:2]), rng.uniform(*self.shear[2:])
        return angle, move, scale, shear

    def apply(self, img: "Image", *params: Any) -> "Image":
        angle, move, scale, shear = params
        return F.affine(img, angle, move, scale, shear, self.interpolation, self.fill, self.center)


# ------------------------------------------------------------------------------- colour


class Grayscale(Transform):
    """The luma of the image in 1 channel, or repeated in 3."""

    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"num_output_channels is {num_output_channels}, expected 1 or 3")
        self.num_output_channels = num_output_channels

    def __call__(self, img: "Image") -> "Image":
        F.dimensions(img)
        return F.to_grayscale(img, self.num_output_channels)


class RandomGrayscale(RandomTransform):
    """The luma in as many channels as the image has, with probability p."""

    shown = ("p",)

    def __init__(self, p: float = 0.1) -> None:
        self.p = _probability(p)

    def draw(self, img: "Image", rng: np.random.Generator) -> tuple[bool]:
        """(whether to act,)."""
        F.dimensions(img)
        return (rng.random() < self.p,)

    def apply(self, img: "Image", *params: Any) -> "Image":
        return F.to_grayscale(img, len(img.getbands())) if params[0] else img


class ColorJitter(RandomTransform):
    """Brightness, contrast, saturation and hue changed by random factors, in random order.

    brightness, contrast, saturation: the factor is uniform between max(0, 1 - x) and 1 + x, or in a
    range (least, most). hue: uniform between -x and x (at most 0.5), or in a range.
    """

    shown = ("brightness", "contrast", "saturation", "hue")
    _functions = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)

    def __init__(
        self,
        brightness: float | Range = 0,
        contrast: float | Range = 0,
        saturation: float | Range = 0,
        hue: float | Range = 0,
    ) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)
        self.hue = _factors("hue", hue, center=0.0, bounds=(-0.5, 0.5))

    def draw(
        self, img: "Image", rng: np.random.Generator
    ) -> tuple[Array, float | None, float | None, float | None, float | None]:
        """(order of the four, their factors), None for one that is not to act."""
        F.dimensions(img)
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        order = rng.permutation(4)
        b, c, s, h = [None if limits is None else rng.uniform(*limits) for limits in ranges]
        return order, b, c, s, h

    def apply(self, img: "Image", *params: Any) -> "Image":
        order, *factors = params
        for i in order:
            if factors[i] is not None:
                img = self._functions[i](img, factors[i])
        return img


# ------------------------------------------------------------------------------- arguments


def _probability(p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, expected a probability from 0 to 1")
    return p


def _antialias(antialias: bool | None) -> bool | None:
    if antialias is False:
        raise ValueError("antialias=False: images are always antialiased when shrunk")
    return antialias


def _padding_mode(mode: str) -> str:
    if mode not in F.PADDINGS:
        raise ValueError(f"padding_mode is {mode!r}, expected one of {', '.join(F.PADDINGS)}")
    return mode


def _range(
    name: str, value: Sequence[float], least: float = -math.inf, most: float = math.inf
) -> Range:
    """value as (least, most). Raises `ValueError` unless it is ordered and within bounds."""
    values = tuple(float(x) for x in value)
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        bounds = "" if math.isinf(least) else f" from {least} to {most}"
        raise ValueError(f"{name} is {value}, expected a range (least, most){bounds}")
    return values[0], values[1]


def _around_zero(name: str, value: float | Sequence[float]) -> Range:
    if isinstance(value, int | float):
        value = (-value, value)
    return _range(name, value)


def _shears(value: float | Sequence[float]) -> tuple[float, float, float, float]:
    values = (-value, value) if isinstance(value, int | float) else tuple(value)
    along_x = _range("shear", values[:2])
    return *along_x, *_range("shear", values[2:] or (0.0, 0.0))


def _factors(
    name: str, value: float | Range, center: float = 1.0, bounds: Range = (0.0, math.inf)
) -> Range | None:
    """The range that a factor of `ColorJitter` is drawn from; None if it would change nothing."""
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"{name} is {value}, expected 0 or more")
        low = center - value
        value = (max(low, 0.0) if bounds[0] == 0 else low, center + value)
    low, high = _range(name, value, *bounds)
    return None if low == high == center else (low, high)
