"""Changes of intensity as instruments make them: gamma, noise, shading, stain.

For images whose levels are measurements: each is monotonous or small, none turns colours around.
Levels are meant from 0 to 1, whatever the dtype: uint8, uint16, or floating point as it is.
"""

from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.checks import Range
from vitc.data import functional as F
from vitc.data.random import between, noise_key
from vitc.data.transforms.base import Occasional, RandomTransform


class GaussianNoise(RandomTransform):
    """Normal noise added to every level: torchvision's v2 transform.

    mean, sigma: of the noise, on levels from 0 to 1. clip: keep floating point within 0 to 1;
    integers are always kept within their range.
    """

    shown: tuple[str, ...] = ("mean", "sigma", "clip")

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        self.mean, self.sigma, self.clip = mean, checks.number("sigma", sigma, 0), clip

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(key of the noise,)."""
        return (noise_key(rng),)

    def apply(self, img: Any, *params: Any) -> Any:
        return F.gaussian_noise(img, self.mean, self.sigma, self.clip, key=params[0])


class RandomGaussianNoise(Occasional):
    """Normal noise whose standard deviation is uniform in sigma, with probability p."""

    shown = ("sigma", "p")

    def __init__(self, sigma: float | Range = (0.0, 0.05), p: float = 0.5) -> None:
        super().__init__(p)
        sigma = (sigma, sigma) if isinstance(sigma, int | float) else sigma
        self.sigma = checks.bounds("sigma", sigma, 0.0)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, standard deviation, key of the noise)."""
        return *super().draw(img, rng), between(*self.sigma, rng), noise_key(rng)

    def apply(self, img: Any, *params: Any) -> Any:
        acts, sigma, key = params
        return F.gaussian_noise(img, 0.0, sigma, clip=False, key=key) if acts else img


class RandomGamma(Occasional):
    """level ** gamma with probability p, the logarithm of gamma being uniform in log_gamma.

    One number is the range from minus to plus. Negative levels count as 0.
    """

    shown = ("log_gamma", "p")

    def __init__(self, log_gamma: float | Range = (-0.3, 0.3), p: float = 0.5) -> None:
        super().__init__(p)
        self.log_gamma = checks.around_zero("log_gamma", log_gamma)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, gamma)."""
        return *super().draw(img, rng), float(np.exp(between(*self.log_gamma, rng)))

    def apply(self, img: Any, *params: Any) -> Any:
        acts, gamma = params
        if not acts:
            return img
        return F.map_levels(img, lambda levels: np.maximum(levels, 0) ** np.float32(gamma))


class RandomBiasField(Occasional):
    """Uneven illumination or sensitivity with probability p: levels times exp of a polynomial of x
    and y, each from -1 to 1 over the image, up to `order`, every coefficient uniform between
    -coefficients and +coefficients."""

    shown = ("coefficients", "order", "p")

    def __init__(self, coefficients: float = 0.1, order: int = 3, p: float = 0.5) -> None:
        super().__init__(p)
        self.coefficients = checks.number("coefficients", coefficients, 0)
        self.order = checks.integer("order", order, 0)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, coefficients (order + 1, order + 1) of y ** row * x ** column)."""
        powers = np.arange(self.order + 1)
        drawn = rng.uniform(-self.coefficients, self.coefficients, (self.order + 1,) * 2)
        return *super().draw(img, rng), drawn * (powers[:, None] + powers <= self.order)

    def apply(self, img: Any, *params: Any) -> Any:
        acts, coefficients = params
        if not acts:
            return img
        y, x = (np.linspace(-1, 1, edge) for edge in F.dimensions(img))
        field = np.exp(np.polynomial.polynomial.polygrid2d(y, x, coefficients)).astype(np.float32)
        return F.shade(img, field)


class RandomHistogramShift(Occasional):
    """Levels put through a crooked but rising curve with probability p.

    The curve goes through num_control_points (one number or a range), equally far apart; all but
    the first and the last are moved to anywhere between their neighbours.
    """

    shown = ("num_control_points", "p")

    def __init__(self, num_control_points: int | tuple[int, int] = 10, p: float = 0.1) -> None:
        super().__init__(p)
        given = num_control_points
        self.num_control_points = (given, given) if isinstance(given, int) else tuple(given)
        checks.bounds("num_control_points", self.num_control_points, 3, 256)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, the curve at equal distances from 0 to 1)."""
        least, most = self.num_control_points
        points = np.linspace(0, 1, int(rng.integers(least, most + 1)))
        for i in range(1, len(points) - 1):
            points[i] = between(points[i - 1], points[i + 1], rng)
        return *super().draw(img, rng), points

    def apply(self, img: Any, *params: Any) -> Any:
        acts, points = params
        if not acts:
            return img
        places = np.linspace(0, 1, len(points))
        return F.map_levels(img, lambda levels: np.interp(levels, places, points).astype("f"))


# Optical densities (red, green, blue) of haematoxylin, eosin and DAB, by Ruifrok and Johnston,
# Analytical and Quantitative Cytology and Histology 23 (2001), 291-299.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


class RandomHEDJitter(Occasional):
    """More or less of each stain with probability p, on RGB images of stained tissue.

    The optical density -ln(level) is split into haematoxylin, eosin and a rest; each becomes
    a x + b, with a uniform in 1 +- theta and b in +- theta. Paper: https://arxiv.org/abs/1902.06543.
    """

    shown = ("theta", "p")

    def __init__(self, theta: float = 0.05, p: float = 0.5) -> None:
        super().__init__(p)
        self.theta = checks.number("theta", theta, 0)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, factors (3,), additions (3,))."""
        theta = self.theta
        factors, additions = rng.uniform(1 - theta, 1 + theta, 3), rng.uniform(-theta, theta, 3)
        return *super().draw(img, rng), factors, additions

    def apply(self, img: Any, *params: Any) -> Any:
        acts, factors, additions = params
        if not acts:
            return img
        levels = F.to_unit(img)
        if levels.ndim != 3 or levels.shape[2] != 3:
            raise ValueError(f"the image has shape {levels.shape}, stains need (H, W, 3)")
        density = -np.log(np.maximum(levels, 1e-6))
        stains = _times(density, np.linalg.inv(_STAINS)) * factors + additions
        return F.from_unit(np.exp(-_times(stains, _STAINS)).astype(np.float32), img)


def _times(pixels: Array, matrix: Array) -> Array:
    """Each pixel as a row times the matrix, column by column: a matrix product would call a library
    whose result may depend on its threads."""
    return np.stack([(pixels * column).sum(-1) for column in matrix.T], -1)
