"""Blurs."""

from collections.abc import Sequence
from typing import Any

from vitc import checks
from vitc.data import images
from vitc.data.functional.arguments import Size


def box_blur(img: Any, radius: float) -> Any:
    """A blur by three boxes in a row, nearly Gaussian of standard deviation radius: Pillow's.

    16-bit levels are rounded between the passes as Pillow rounds bytes, floats to float32.
    """
    return images.apply("box_blur", img, radius)


def gaussian_blur(img: Any, kernel_size: Size, sigma: float | Sequence[float]) -> Any:
    """A Gaussian blur by a kernel of (x, y) odd pixels and standard deviations (x, y), the image
    mirrored at its edges: torchvision's.

    Sums are in float32; integers are rounded once, ties to even.
    """
    x, y = (sigma, sigma) if isinstance(sigma, int | float) else sigma
    return images.apply("gaussian_blur", img, *checks.pair("kernel_size", kernel_size), x, y)
