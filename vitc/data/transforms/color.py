"""Colours and grey levels changed at random."""

import math
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.checks import Range
from vitc.data import functional as F
from vitc.data.random import between
from vitc.data.transforms.base import Occasional, RandomTransform, Transform
from vitc.errors import shown


class Grayscale(Transform):
    """The luma of the image in 1 channel, or repeated in 3."""

    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(
                f"num_output_channels is {shown(num_output_channels)}, expected 1 or 3"
            )
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        F.dimensions(img)
        return F.to_grayscale(img, self.num_output_channels)


class RandomGrayscale(Occasional):
    """The luma in as many channels as the image has, with probability p."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def change(self, img: Any) -> Any:
        return F.to_grayscale(img, F.get_image_num_channels(img))


class RandomInvert(Occasional):
    """The negative with probability p."""

    def change(self, img: Any) -> Any:
        return F.invert(img)


class RandomPosterize(Occasional):
    """Levels of `bits` bits (0 to 8) with probability p."""

    shown = ("bits", "p")

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = checks.integer("bits", bits, 0, 8)

    def change(self, img: Any) -> Any:
        return F.posterize(img, self.bits)


class RandomSolarize(Occasional):
    """Levels of threshold or more inverted, with probability p."""

    shown = ("threshold", "p")

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def change(self, img: Any) -> Any:
        return F.solarize(img, self.threshold)


class RandomAdjustSharpness(Occasional):
    """Sharper or (factor below 1) less sharp, with probability p; see `adjust_sharpness`."""

    shown = ("sharpness_factor", "p")

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = checks.number("sharpness_factor", sharpness_factor, 0)

    def change(self, img: Any) -> Any:
        return F.adjust_sharpness(img, self.sharpness_factor)


class RandomAutocontrast(Occasional):
    """The full range of levels in every channel, with probability p."""

    def change(self, img: Any) -> Any:
        return F.autocontrast(img)


class RandomEqualize(Occasional):
    """Equally frequent levels in every channel, with probability p."""

    def change(self, img: Any) -> Any:
        return F.equalize(img)


class GaussianBlur(RandomTransform):
    """Blurred by a Gaussian kernel of odd size, whose standard deviation is uniform in sigma.

    kernel_size: pixels, or (x, y). sigma: a range, or one number for just that.
    """

    shown = ("kernel_size", "sigma")

    def __init__(self, kernel_size: F.Size, sigma: float | Range = (0.1, 2.0)) -> None:
        self.kernel_size = checks.pair("kernel_size", kernel_size)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"kernel_size is {shown(kernel_size)}, expected odd numbers")
        sigmas = (sigma, sigma) if isinstance(sigma, int | float) else sigma
        self.sigma = checks.positive("sigma", sigmas)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[float]:
        """(sigma,)."""
        return (between(*self.sigma, rng),)

    def apply(self, img: Any, *params: Any) -> Any:
        return F.gaussian_blur(img, self.kernel_size, params[0])


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
        self.hue = _factors("hue", hue, center=0.0, limits=(-0.5, 0.5))

    def draw(
        self, img: Any, rng: np.random.Generator
    ) -> tuple[Array, float | None, float | None, float | None, float | None]:
        """(order of the four, their factors), None for one that is not to act."""
        F.dimensions(img)
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        order = rng.permutation(4)
        b, c, s, h = [None if limits is None else between(*limits, rng) for limits in ranges]
        return order, b, c, s, h

    def apply(self, img: Any, *params: Any) -> Any:
        order, *factors = params
        for i in order:
            if factors[i] is not None:
                img = self._functions[i](img, factors[i])
        return img


def _factors(
    name: str, value: float | Range, center: float = 1.0, limits: Range = (0.0, math.inf)
) -> Range | None:
    """The range that a factor of `ColorJitter` is drawn from; None if it would change nothing."""
    if isinstance(value, int | float):
        low = center - checks.number(name, value, 0)
        value = (max(low, 0.0) if limits[0] == 0 else low, center + value)
    low, high = checks.bounds(name, value, *limits)
    return None if low == high == center else (low, high)
