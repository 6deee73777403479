"""Crops, flips and warps whose place and strength are drawn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.checks import Range
from vitc.data import functional as F
from vitc.data.box import Box
from vitc.data.functional import Fill, Size
from vitc.data.random import between, log_uniform
from vitc.data.transforms.base import Occasional, RandomTransform, antialiased
from vitc.errors import shown


class ResizeKeepRatio(RandomTransform):
    """Resizes in proportion until one edge fits size (height, width): timm's transform.

    longest: 0 to fill size and stick out of it, 1 to stay within it; or between. interpolation: a
    name, or "random" for bilinear or bicubic. With probability random_scale_prob the edges are
    multiplied by a factor from random_scale_range (random_scale_area: divided by the root of one),
    with random_aspect_prob width / height changes by a factor from random_aspect_range.
    """

    shown = ("size", "interpolation", "longest", "random_scale_prob", "random_aspect_prob")

    def __init__(
        self,
        size: Size,
        longest: float = 0.0,
        interpolation: str = "bilinear",
        random_scale_prob: float = 0.0,
        random_scale_range: Range = (0.85, 1.05),
        random_scale_area: bool = False,
        random_aspect_prob: float = 0.0,
        random_aspect_range: Range = (0.9, 1.11),
    ) -> None:
        self.size, self.longest = checks.pair("size", size), float(longest)
        self.interpolation = _drawable(interpolation)
        self.random_scale_prob = checks.probability("random_scale_prob", random_scale_prob)
        self.random_scale_range = checks.positive("random_scale_range", random_scale_range)
        self.random_scale_area = random_scale_area
        self.random_aspect_prob = checks.probability("random_aspect_prob", random_aspect_prob)
        self.random_aspect_range = checks.positive("random_aspect_range", random_aspect_range)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[tuple[int, int], str]:
        """((height, width), interpolation)."""
        shape = F.dimensions(img)
        ratios = [have / want for have, want in zip(shape, self.size, strict=True)]
        ratio = max(ratios) * self.longest + min(ratios) * (1.0 - self.longest)
        scale, aspect = self._draw_factors(rng)
        height, width = (
            round(shape[0] * (scale / aspect) / ratio),
            round(shape[1] * (scale * aspect) / ratio),
        )
        return (max(height, 1), max(width, 1)), _drawn(self.interpolation, rng)

    def _draw_factors(self, rng: np.random.Generator) -> tuple[float, float]:
        """(of both edges, the root of that of width / height)."""
        scale = aspect = 1.0
        if rng.random() < self.random_scale_prob:
            scale = between(*self.random_scale_range, rng)
            scale = 1 / math.sqrt(scale) if self.random_scale_area else scale
        if rng.random() < self.random_aspect_prob:
            aspect = math.sqrt(log_uniform(*self.random_aspect_range, rng))
        return scale, aspect

    def apply(self, img: Any, *params: Any) -> Any:
        size, mode = params
        return F.resize(img, size, mode)


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
        self.size = checks.pair("size", size)
        self.scale, self.ratio = checks.positive("scale", scale), checks.positive("ratio", ratio)
        self.interpolation = _drawable(interpolation)
        self.antialias = antialiased(antialias)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[int, int, int, int, str]:
        """(top, left, height, width, interpolation)."""
        box = self._draw_box(*F.dimensions(img), rng)
        return (*box, _drawn(self.interpolation, rng))

    def _draw_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        for _ in range(10):
            area = height * width * between(*self.scale, rng)
            ratio = log_uniform(*self.ratio, rng)
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                return Box(int(top), int(left), h, w)
        return self._largest(height, width)

    def _largest(self, height: int, width: int) -> Box:
        """The largest crop in the middle whose aspect ratio is allowed."""
        narrowest, widest = self.ratio
        h, w = height, width
        if width / height < narrowest:
            h = round(width / narrowest)
        elif width / height > widest:
            w = round(height * widest)
        return Box((height - h) // 2, (width - w) // 2, h, w)

    def apply(self, img: Any, *params: Any) -> Any:
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
        self.size = checks.pair("size", size)
        self.padding, self.pad_if_needed, self.fill = padding, pad_if_needed, fill
        self.padding_mode = checks.one_of("padding_mode", padding_mode, F.PADDINGS)

    def __call__(self, img: Any) -> Any:
        return super().__call__(self.padded(img))

    def padded(self, img: Any) -> Any:
        """The image that the crop is taken from."""
        F.dimensions(img)
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        height, width = (
            want - have for want, have in zip(self.size, F.dimensions(img), strict=True)
        )
        if self.pad_if_needed and width > 0:
            img = F.pad(img, (width, 0), self.fill, self.padding_mode)
        if self.pad_if_needed and height > 0:
            img = F.pad(img, (0, height), self.fill, self.padding_mode)
        return img

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[int, int]:
        """(top, left), for the padded image."""
        height, width = F.dimensions(img)
        free = height - self.size[0], width - self.size[1]
        if min(free) < 0:
            raise ValueError(
                f"the image has {height} x {width} pixels, less than the crop of "
                f"{self.size[0]} x {self.size[1]}; resize it first, or pad_if_needed=True"
            )
        return int(rng.integers(free[0] + 1)), int(rng.integers(free[1] + 1))

    def apply(self, img: Any, *params: Any) -> Any:
        top, left = params
        return F.crop(img, top, left, *self.size)


class RandomCropOrPad(RandomTransform):
    """A crop of a fixed size at a random place; where the image is smaller, it lies at a random
    place within the result. timm's transform."""

    shown = ("size", "fill", "padding_mode")

    def __init__(self, size: Size, fill: Fill = 0, padding_mode: str = "constant") -> None:
        self.size, self.fill = checks.pair("size", size), fill
        self.padding_mode = checks.one_of("padding_mode", padding_mode, F.PADDINGS)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[int, ...]:
        """(top, left); below 0 it is how much is padded there."""
        free = [have - want for have, want in zip(F.dimensions(img), self.size, strict=True)]
        return tuple(int(rng.integers(min(n, 0), max(n, 0) + 1)) for n in free)

    def apply(self, img: Any, *params: Any) -> Any:
        (top, left), (height, width) = params, self.size
        below, right = (
            start + want - have
            for start, want, have in zip(params, self.size, F.dimensions(img), strict=True)
        )
        borders = [max(n, 0) for n in (-left, -top, right, below)]
        if any(borders):
            img = F.pad(img, borders, self.fill, self.padding_mode)
        return F.crop(img, max(top, 0), max(left, 0), height, width)


class RandomHorizontalFlip(Occasional):
    """Left and right exchanged with probability p."""

    def change(self, img: Any) -> Any:
        return F.hflip(img)


class RandomVerticalFlip(Occasional):
    """Top and bottom exchanged with probability p."""

    def change(self, img: Any) -> Any:
        return F.vflip(img)


class RandomDihedral(RandomTransform):
    """One of the eight turns and mirror images of a square, with equal chances.

    For images without an upright, as microscopy and most views of surfaces are. An image that is
    not square changes its shape by a quarter of a turn.
    """

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[int, bool]:
        """(quarters of a turn, whether left and right are exchanged after it)."""
        quarters, flipped = divmod(int(rng.integers(8)), 2)
        return quarters, bool(flipped)

    def apply(self, img: Any, *params: Any) -> Any:
        quarters, flipped = params
        img = F.rot90(img, quarters)
        return F.hflip(img) if flipped else img


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
        self.degrees = checks.around_zero("degrees", degrees)
        self.interpolation = F.interpolation_mode(interpolation)
        self.expand, self.center, self.fill = expand, center, fill

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[float]:
        """(angle,)."""
        F.dimensions(img)
        return (between(*self.degrees, rng),)

    def apply(self, img: Any, *params: Any) -> Any:
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
        self.degrees = checks.around_zero("degrees", degrees)
        self.translate = translate
        self.scale = None if scale is None else checks.positive("scale", scale)
        if translate is not None and not all(0 <= share <= 1 for share in translate):
            raise ValueError(f"translate is {shown(translate)}, expected two shares from 0 to 1")
        self.shear = None if shear is None else _shears(shear)
        self.interpolation = F.interpolation_mode(interpolation)
        self.fill, self.center = fill, center

    def draw(
        self, img: Any, rng: np.random.Generator
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """(angle, (x, y) to move by in pixels, scale, (x, y) of the shear)."""
        height, width = F.dimensions(img)
        angle = between(*self.degrees, rng)
        move, scale, shear = (0, 0), 1.0, (0.0, 0.0)
        if self.translate is not None:
            x, y = self.translate[0] * width, self.translate[1] * height
            move = round(between(-x, x, rng)), round(between(-y, y, rng))
        if self.scale is not None:
            scale = between(*self.scale, rng)
        if self.shear is not None:
            shear = between(*self.shear[:2], rng), between(*self.shear[2:], rng)
        return angle, move, scale, shear

    def apply(self, img: Any, *params: Any) -> Any:
        angle, move, scale, shear = params
        return F.affine(img, angle, move, scale, shear, self.interpolation, self.fill, self.center)


class RandomPerspective(Occasional):
    """Seen at an angle with probability p: each corner moves inwards by a random distance.

    distortion_scale: the largest distance as a share of half of the edge.
    """

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: str = "bilinear",
        fill: Fill = 0,
    ) -> None:
        super().__init__(p)
        self.distortion_scale = checks.probability("distortion_scale", distortion_scale)
        self.interpolation, self.fill = F.interpolation_mode(interpolation), fill

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, the four corners (x, y), where they move)."""
        height, width = F.dimensions(img)
        corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
        reach = [int(self.distortion_scale * (edge // 2)) for edge in (width, height)]
        moved = []
        for corner in corners:
            inwards = rng.integers(np.add(reach, 1))
            moved.append(
                [int(at - d if at > 0 else d) for at, d in zip(corner, inwards, strict=True)]
            )
        return *super().draw(img, rng), corners, moved

    def apply(self, img: Any, *params: Any) -> Any:
        acts, corners, moved = params
        if not acts:
            return img
        return F.perspective(img, corners, moved, self.interpolation, self.fill)


class ElasticTransform(RandomTransform):
    """Pulled about like rubber: every pixel moves by noise that a Gaussian blur has smoothed.

    alpha: strength, or (x, y); half of it is the displacement in pixels where the noise were 1.
    sigma: standard deviation of the blur in pixels, or (x, y).
    """

    shown = ("alpha", "sigma", "interpolation", "fill")

    def __init__(
        self,
        alpha: float | Range = 50.0,
        sigma: float | Range = 5.0,
        interpolation: str = "bilinear",
        fill: Fill = 0,
    ) -> None:
        self.alpha, self.sigma = _both("alpha", alpha), _both("sigma", sigma)
        self.interpolation, self.fill = F.interpolation_mode(interpolation), fill

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(displacement (2, H, W),)."""
        moves = []
        for alpha, sigma in zip(self.alpha, self.sigma, strict=True):
            noise = rng.uniform(-1, 1, F.dimensions(img)).astype(np.float32)
            if sigma:
                # As many pixels as torchvision takes: 8 sigma, made odd.
                noise = F.gaussian_blur(noise, int(8 * sigma + 1) | 1, sigma)
            moves.append(noise * np.float32(alpha / 2))
        return (np.stack(moves),)

    def apply(self, img: Any, *params: Any) -> Any:
        return F.elastic_transform(img, params[0], self.interpolation, self.fill)


def _both(name: str, value: float | Range) -> Range:
    """(x, y), both 0 or more."""
    x, y = (value, value) if isinstance(value, int | float) else value
    return float(checks.number(name, x, 0)), float(checks.number(name, y, 0))


def _drawable(interpolation: str) -> str:
    return "random" if interpolation == "random" else F.interpolation_mode(interpolation)


def _drawn(interpolation: str, rng: np.random.Generator) -> str:
    if interpolation != "random":
        return interpolation
    return ("bilinear", "bicubic")[rng.integers(2)]


def _shears(value: float | Sequence[float]) -> tuple[float, float, float, float]:
    values = (-value, value) if isinstance(value, int | float) else tuple(value)
    along_x = checks.bounds("shear", values[:2])
    return *along_x, *checks.bounds("shear", values[2:] or (0.0, 0.0))
