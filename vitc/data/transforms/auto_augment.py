"""AutoAugment, RandAugment, TrivialAugmentWide and AugMix as torchvision does them.

Their levels differ much from timm's under the same names: see `vitc.data.timm` for those.
Images are Pillow images or arrays (H, W, C), uint8.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.data import functional as F
from vitc.data import policies
from vitc.data.functional import Fill
from vitc.data.transforms.base import RandomTransform

# ------------------------------------------------------------------------------- operations


def _shear_x(img: Any, m: float, interpolation: str, fill: Fill) -> Any:
    shear = (math.degrees(math.atan(m)), 0.0)
    return F.affine(img, 0.0, (0, 0), 1.0, shear, interpolation, fill, center=(0, 0))


def _shear_y(img: Any, m: float, interpolation: str, fill: Fill) -> Any:
    shear = (0.0, math.degrees(math.atan(m)))
    return F.affine(img, 0.0, (0, 0), 1.0, shear, interpolation, fill, center=(0, 0))


def _translate_x(img: Any, m: float, interpolation: str, fill: Fill) -> Any:
    return F.affine(img, 0.0, (int(m), 0), 1.0, (0.0, 0.0), interpolation, fill)


def _translate_y(img: Any, m: float, interpolation: str, fill: Fill) -> Any:
    return F.affine(img, 0.0, (0, int(m)), 1.0, (0.0, 0.0), interpolation, fill)


_WARPS: dict[str, Callable[..., Any]] = {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": lambda img, m, interpolation, fill: F.rotate(img, m, interpolation, fill=fill),
}
_ENHANCE: dict[str, Callable[[Any, float], Any]] = {
    "Brightness": lambda img, m: F.adjust_brightness(img, 1.0 + m),
    "Color": lambda img, m: F.adjust_saturation(img, 1.0 + m),
    "Contrast": lambda img, m: F.adjust_contrast(img, 1.0 + m),
    "Sharpness": lambda img, m: F.adjust_sharpness(img, 1.0 + m),
}
_LEVELS: dict[str, Callable[[Any, float], Any]] = {
    "Posterize": lambda img, m: F.posterize(img, int(m)),
    "Solarize": F.solarize,
    "AutoContrast": lambda img, m: F.autocontrast(img),
    "Equalize": lambda img, m: F.equalize(img),
    "Invert": lambda img, m: F.invert(img),
    "Identity": lambda img, m: img,
}
_CHANGES = _ENHANCE | _LEVELS
_SIGNED = {*_WARPS, *_ENHANCE}

# ------------------------------------------------------------------------------- magnitudes

_NARROW = {"shear": 0.3, "rotate": 30.0, "enhance": 0.9}
_WIDE = {"shear": 0.99, "rotate": 135.0, "enhance": 0.99}


@lru_cache
def _magnitudes(
    bins: int, move: tuple[float, float], wide: bool = False, bits: tuple[int, int] = (8, 4)
) -> dict[str, Array]:
    """By operation its strength (bins,), or one 0 where there is none.

    move: largest translation (x, y) in pixels. wide: with the strengths of TrivialAugmentWide.
    bits: (how many are kept at the weakest, how many fewer at the strongest).
    """
    most = _WIDE if wide else _NARROW
    rounded = np.rint(np.arange(bins, dtype=np.float32) / np.float32((bins - 1) / bits[1]))
    return {
        "Identity": np.zeros(1),
        **{name: _ramp(most["shear"], bins) for name in ("ShearX", "ShearY")},
        "TranslateX": _ramp(move[0], bins),
        "TranslateY": _ramp(move[1], bins),
        "Rotate": _ramp(most["rotate"], bins),
        **{name: _ramp(most["enhance"], bins) for name in _ENHANCE},
        "Posterize": bits[0] - rounded,
        "Solarize": _ramp(255.0, bins)[::-1],
        **{name: np.zeros(1) for name in ("AutoContrast", "Equalize", "Invert")},
    }


def _ramp(most: float, bins: int) -> Array:
    """From 0 to most in steps of float32, the upper half counted down from most, as torch.linspace
    does: its 16 of 32 pixels is just below 16, and so moves by 15."""
    step = float(np.float32(most) / np.float32(bins - 1))
    up = step * np.arange(bins)
    down = np.float32(most) - up[::-1]
    return np.where(np.arange(bins) < bins // 2, up, down).astype(np.float32)


Applied = tuple[str, float]  # operation and magnitude


def _signed(name: str, magnitude: float, rng: np.random.Generator) -> Applied:
    negative = name in _SIGNED and rng.random() < 0.5
    return name, float(-magnitude if negative else magnitude)


class _Policy(RandomTransform):
    """Draws operations with their magnitudes and applies them one after the other."""

    def __init__(self, interpolation: str, fill: Fill | None) -> None:
        self.interpolation, self.fill = F.interpolation_mode(interpolation), fill

    def apply(self, img: Any, *params: Any) -> Any:
        return self._applied(img, params)

    def _applied(self, img: Any, steps: Iterable[Applied]) -> Any:
        fill = 0 if self.fill is None else self.fill
        for name, magnitude in steps:
            if name in _WARPS:
                img = _WARPS[name](img, magnitude, self.interpolation, fill)
            else:
                img = _CHANGES[name](img, magnitude)
        return img


def _largest_move(img: Any) -> tuple[float, float]:
    height, width = F.dimensions(img)
    return 150.0 / 331.0 * width, 150.0 / 331.0 * height


# ------------------------------------------------------------------------------- policies


class AutoAugmentPolicy(Enum):
    """For what data a policy was found."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


_FOUND = {
    AutoAugmentPolicy.IMAGENET: policies.ORIGINAL,
    AutoAugmentPolicy.CIFAR10: policies.CIFAR10,
    AutoAugmentPolicy.SVHN: policies.SVHN,
}


class AutoAugment(_Policy):
    """One of the 25 pairs of operations of a policy, each with its own probability.

    policy: an `AutoAugmentPolicy` or its value. fill: beside warped images, one number or one per
    channel. Paper: https://arxiv.org/abs/1805.09501.
    """

    shown = ("policy", "fill")

    def __init__(
        self,
        policy: AutoAugmentPolicy | str = AutoAugmentPolicy.IMAGENET,
        interpolation: str = "nearest",
        fill: Fill | None = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.policy = AutoAugmentPolicy(policy)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(operation, magnitude), up to two of them."""
        found = _FOUND[self.policy]
        magnitudes, chosen = _magnitudes(10, _largest_move(img)), []
        for name, p, level in found[int(rng.integers(len(found)))]:
            if rng.random() <= p:
                strengths = magnitudes[name]
                chosen.append(_signed(name, strengths[min(level, len(strengths) - 1)], rng))
        return tuple(chosen)


class RandAugment(_Policy):
    """num_ops operations of 14 with equal chances, all of one magnitude.

    magnitude: below num_magnitude_bins. Paper: https://arxiv.org/abs/1909.13719.
    """

    shown = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")
    operations = (
        "Identity",
        *_WARPS,
        *_ENHANCE,
        "Posterize",
        "Solarize",
        "AutoContrast",
        "Equalize",
    )

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill | None = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_ops = checks.integer("num_ops", num_ops, 0)
        self.num_magnitude_bins = _bins(num_magnitude_bins)
        self.magnitude = checks.integer("magnitude", magnitude, 0, self.num_magnitude_bins - 1)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(operation, magnitude), num_ops of them."""
        magnitudes = _magnitudes(self.num_magnitude_bins, _largest_move(img))
        names = [self.operations[place] for place in rng.integers(14, size=self.num_ops)]
        return tuple(
            _signed(name, magnitudes[name][self.magnitude % len(magnitudes[name])], rng)
            for name in names
        )


class TrivialAugmentWide(_Policy):
    """One operation of 14 with equal chances, of any magnitude.

    Paper: https://arxiv.org/abs/2103.10158.
    """

    shown = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill | None = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = _bins(num_magnitude_bins)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """((operation, magnitude),)."""
        magnitudes = _magnitudes(self.num_magnitude_bins, (32.0, 32.0), wide=True, bits=(8, 6))
        return (_any_strength(RandAugment.operations, magnitudes, self.num_magnitude_bins, rng),)


class AugMix(_Policy):
    """The image and mixture_width chains of chain_depth operations (below 1: 1 to 3, drawn), added
    with weights from Dirichlet distributions of alpha.

    severity: of 10, how many magnitudes may be drawn. all_ops: also brightness, contrast, colour
    and sharpness. Paper: https://arxiv.org/abs/1912.02781.
    """

    shown = (
        "severity",
        "mixture_width",
        "chain_depth",
        "alpha",
        "all_ops",
        "interpolation",
        "fill",
    )

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        fill: Fill | None = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.severity = checks.integer("severity", severity, 1, 10)
        self.mixture_width = checks.integer("mixture_width", mixture_width, 1)
        self.chain_depth, self.alpha, self.all_ops = chain_depth, alpha, all_ops
        plain = (*_WARPS, "Posterize", "Solarize", "AutoContrast", "Equalize")
        self.operations = (*plain, *_ENHANCE) if all_ops else plain

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(weights of the image and of the chains, chains of (operation, magnitude))."""
        height, width = F.dimensions(img)
        magnitudes = _magnitudes(10, (width / 3.0, height / 3.0), bits=(4, 4))
        own, others = rng.dirichlet([self.alpha] * 2)
        weights = [own, *(others * rng.dirichlet([self.alpha] * self.mixture_width))]
        chains = []
        for _ in range(self.mixture_width):
            depth = self.chain_depth if self.chain_depth > 0 else int(rng.integers(1, 4))
            chains.append(
                [
                    _any_strength(self.operations, magnitudes, self.severity, rng)
                    for _ in range(depth)
                ]
            )
        return np.array(weights, np.float32), chains

    def apply(self, img: Any, *params: Any) -> Any:
        weights, chains = params
        return F.mix([img, *(self._applied(img, chain) for chain in chains)], weights)


def _any_strength(
    names: Sequence[str], magnitudes: dict[str, Array], strongest: int, rng: np.random.Generator
) -> Applied:
    """Any of the operations at any of its first `strongest` magnitudes."""
    name = names[int(rng.integers(len(names)))]
    strengths = magnitudes[name][:strongest]
    return _signed(name, strengths[rng.integers(len(strengths))], rng)


def _bins(number: int) -> int:
    return checks.integer("num_magnitude_bins", number, 2)
