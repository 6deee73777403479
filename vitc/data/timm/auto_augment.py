"""AutoAugment, RandAugment, AugMix and 3-Augment as timm does them, by its policy strings.

    augment = auto_augment_transform("rand-m9-mstd0.5-inc1")

The levels, sets and probabilities are timm's, which differ much from torchvision's under the same
names: see `vitc.data.transforms` for those. Images are Pillow images or arrays (H, W, C), uint8.

Papers: AutoAugment https://arxiv.org/abs/1805.09501, RandAugment https://arxiv.org/abs/1909.13719,
AugMix https://arxiv.org/abs/1912.02781, 3-Augment https://arxiv.org/abs/2204.07118.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vitc import checks
from vitc.data import functional as F
from vitc.data import policies
from vitc.data.random import between
from vitc.data.transforms.base import RandomTransform
from vitc.errors import nearest, shown

HParams = Mapping[str, Any]
# What an operation draws for a level: its arguments after the image.
Draw = Callable[[float, np.random.Generator, HParams], tuple[float, ...]]

_DEFAULTS: HParams = {"translate_const": 250, "translate_pct": 0.45, "img_mean": 128}
_HIGHEST = 10.0  # magnitude, unless magnitude_max says otherwise

# ------------------------------------------------------------------------------- levels
# A level is the magnitude divided by 10, so from 0 to 1 unless magnitude_max is above 10.


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() > 0.5 else value


def _none(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return ()


def _either_way(
    level: float, rng: np.random.Generator, hparams: HParams, most: float | str
) -> tuple[float, ...]:
    """Up to `most`, a number or what hparams say, to either side of 0."""
    reach = hparams[most] if isinstance(most, str) else most
    return (_signed(level * reach, rng),)


def _enhance(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    """0.1 to 1.9: weakest in the middle."""
    return (level * 1.8 + 0.1,)


def _enhance_increasing(
    level: float, rng: np.random.Generator, hparams: HParams
) -> tuple[float, ...]:
    """1 moved away from to either side, not below 0.1."""
    return (max(0.1, 1.0 + _signed(level * 0.9, rng)),)


def _bits(
    level: float, rng: np.random.Generator, hparams: HParams, start: int, step: int
) -> tuple[float, ...]:
    return (start + step * int(level * 4),)


def _threshold(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return (min(256, int(level * 256)),)


def _threshold_increasing(
    level: float, rng: np.random.Generator, hparams: HParams
) -> tuple[float, ...]:
    return (256 - _threshold(level, rng, hparams)[0],)


def _addition(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return (min(128, int(level * 110)),)


def _desaturation(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return (_within(level, 0.5, 1.0),)


def _radius(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return (_within(level, 0.1, 2.0),)


def _random_radius(level: float, rng: np.random.Generator, hparams: HParams) -> tuple[float, ...]:
    return (between(0.1, 2.0 * _within(level, 0.0, 1.0), rng),)


def _within(level: float, low: float, high: float) -> float:
    return max(low, min(high, low + (high - low) * level))


# ------------------------------------------------------------------------------- operations


def _shear_x(img: Any, factor: float, interpolation: str, fill: F.Fill) -> Any:
    return F.transform(img, (1, factor, 0, 0, 1, 0), interpolation, fill)


def _shear_y(img: Any, factor: float, interpolation: str, fill: F.Fill) -> Any:
    return F.transform(img, (1, 0, 0, factor, 1, 0), interpolation, fill)


def _translate_x(img: Any, pixels: float, interpolation: str, fill: F.Fill) -> Any:
    return F.transform(img, (1, 0, pixels, 0, 1, 0), interpolation, fill)


def _translate_y(img: Any, pixels: float, interpolation: str, fill: F.Fill) -> Any:
    return F.transform(img, (1, 0, 0, 0, 1, pixels), interpolation, fill)


def _translate_x_rel(img: Any, share: float, interpolation: str, fill: F.Fill) -> Any:
    return _translate_x(img, share * F.dimensions(img)[1], interpolation, fill)


def _translate_y_rel(img: Any, share: float, interpolation: str, fill: F.Fill) -> Any:
    return _translate_y(img, share * F.dimensions(img)[0], interpolation, fill)


def _desaturate(img: Any, share: float) -> Any:
    """share: of the colour, how much goes."""
    return F.adjust_saturation(img, min(1.0, max(0.0, 1.0 - share)))


def _rotate(img: Any, degrees: float, interpolation: str, fill: F.Fill) -> Any:
    return F.rotate(img, degrees, interpolation, fill=fill)


class Operation(NamedTuple):
    """What an operation does, and how a level becomes its arguments.

    warps: whether it also takes an interpolation and a fill.
    """

    function: Callable[..., Any]
    draw: Draw
    warps: bool = False


# By timm's names; where `...Increasing` stands beside a name, that one gets weaker with the level.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": Operation(F.autocontrast, _none),
    "Equalize": Operation(F.equalize, _none),
    "Invert": Operation(F.invert, _none),
    "Rotate": Operation(_rotate, partial(_either_way, most=30.0), warps=True),
    "Posterize": Operation(F.posterize, partial(_bits, start=0, step=1)),
    "PosterizeIncreasing": Operation(F.posterize, partial(_bits, start=4, step=-1)),
    "PosterizeOriginal": Operation(F.posterize, partial(_bits, start=4, step=1)),
    "Solarize": Operation(F.solarize, _threshold),
    "SolarizeIncreasing": Operation(F.solarize, _threshold_increasing),
    "SolarizeAdd": Operation(F.solarize_add, _addition),
    "Color": Operation(F.adjust_saturation, _enhance),
    "ColorIncreasing": Operation(F.adjust_saturation, _enhance_increasing),
    "Contrast": Operation(F.adjust_contrast, _enhance),
    "ContrastIncreasing": Operation(F.adjust_contrast, _enhance_increasing),
    "Brightness": Operation(F.adjust_brightness, _enhance),
    "BrightnessIncreasing": Operation(F.adjust_brightness, _enhance_increasing),
    "Sharpness": Operation(F.adjust_sharpness, _enhance),
    "SharpnessIncreasing": Operation(F.adjust_sharpness, _enhance_increasing),
    "ShearX": Operation(_shear_x, partial(_either_way, most=0.3), warps=True),
    "ShearY": Operation(_shear_y, partial(_either_way, most=0.3), warps=True),
    "TranslateX": Operation(_translate_x, partial(_either_way, most="translate_const"), warps=True),
    "TranslateY": Operation(_translate_y, partial(_either_way, most="translate_const"), warps=True),
    "TranslateXRel": Operation(
        _translate_x_rel, partial(_either_way, most="translate_pct"), warps=True
    ),
    "TranslateYRel": Operation(
        _translate_y_rel, partial(_either_way, most="translate_pct"), warps=True
    ),
    "Desaturate": Operation(_desaturate, _desaturation),
    "GaussianBlur": Operation(F.box_blur, _radius),
    "GaussianBlurRand": Operation(F.box_blur, _random_radius),
}


class AugmentOp(RandomTransform):
    """One of `OPERATIONS` at a magnitude, with probability prob.

    magnitude: 0 to 10. hparams: magnitude_std, the spread of the magnitude around this one (inf:
    uniform from 0 to it); magnitude_max, its largest value instead of 10; img_mean, the colour
    beside a warped image (128); interpolation, a name (by default bilinear or bicubic, drawn);
    translate_const, the largest move in pixels (250), and translate_pct, in shares (0.45).
    """

    def __init__(
        self,
        name: str,
        prob: float = 0.5,
        magnitude: float = 10,
        hparams: HParams | None = None,
    ) -> None:
        if name not in OPERATIONS:
            raise ValueError(f"there is no operation {shown(name)}; {nearest(name, OPERATIONS)}")
        self.name, self.magnitude = name, magnitude
        self.prob = checks.probability("prob", prob)
        self.hparams = {**_DEFAULTS, **(hparams or {})}
        self.magnitude_std = self.hparams.get("magnitude_std", 0)
        self.magnitude_max = self.hparams.get("magnitude_max")
        self.interpolation = self.hparams.get("interpolation")

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act, arguments of the operation)."""
        if rng.random() > self.prob:
            return False, ()
        operation = OPERATIONS[self.name]
        arguments = operation.draw(self._draw_magnitude(rng) / _HIGHEST, rng, self.hparams)
        if not operation.warps:
            return True, arguments
        interpolation = self.interpolation or ("bilinear", "bicubic")[rng.integers(2)]
        return True, (*arguments, interpolation, self.hparams["img_mean"])

    def _draw_magnitude(self, rng: np.random.Generator) -> float:
        magnitude = self.magnitude
        if math.isinf(self.magnitude_std):
            magnitude = between(0, magnitude, rng)
        elif self.magnitude_std > 0:
            magnitude = rng.normal(magnitude, self.magnitude_std)
        return max(0.0, min(magnitude, self.magnitude_max or _HIGHEST))

    def apply(self, img: Any, *params: Any) -> Any:
        acts, arguments = params
        return OPERATIONS[self.name].function(img, *arguments) if acts else img

    def __repr__(self) -> str:
        most = "" if self.magnitude_max is None else f", mmax={self.magnitude_max}"
        return (
            f"AugmentOp(name={self.name}, p={self.prob}, m={self.magnitude}, "
            f"mstd={self.magnitude_std}{most})"
        )


# ------------------------------------------------------------------------------- policies


class _Chain(RandomTransform):
    """Draws operations, each with what it draws, and applies them one after the other."""

    def apply(self, img: Any, *params: Any) -> Any:
        return _applied(img, params)


def _drawn(
    ops: Iterable[AugmentOp], img: Any, rng: np.random.Generator
) -> tuple[tuple[AugmentOp, tuple[Any, ...]], ...]:
    return tuple((op, op.draw(img, rng)) for op in ops)


def _applied(img: Any, steps: Iterable[tuple[AugmentOp, tuple[Any, ...]]]) -> Any:
    for op, params in steps:
        img = op.apply(img, *params)
    return img


class AutoAugment(_Chain):
    """One of the sub-policies, which are lists of operations."""

    def __init__(self, policy: Sequence[Sequence[AugmentOp]]) -> None:
        self.policy = policy

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(operation, its parameters), one pair after the other."""
        return _drawn(self.policy[int(rng.integers(len(self.policy)))], img, rng)

    def __repr__(self) -> str:
        lines = (", ".join(map(str, ops)) for ops in self.policy)
        return "AutoAugment(policy=" + "".join(f"\n\t[{line}]" for line in lines) + ")"


class RandAugment(_Chain):
    """num_layers of the operations: any, or with choice_weights (which sum to 1) different ones."""

    def __init__(
        self,
        ops: Sequence[AugmentOp],
        num_layers: int = 2,
        choice_weights: Sequence[float] | None = None,
    ) -> None:
        self.ops, self.num_layers, self.choice_weights = ops, num_layers, choice_weights

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(operation, its parameters), one pair after the other."""
        weights = self.choice_weights
        places = rng.choice(len(self.ops), self.num_layers, replace=weights is None, p=weights)
        return _drawn([self.ops[place] for place in places], img, rng)

    def __repr__(self) -> str:
        return f"RandAugment(n={self.num_layers}, ops=" + _indented(self.ops) + ")"


class AugMixAugment(RandomTransform):
    """`width` chains of `depth` operations (-1: 1 to 3, drawn), averaged by weights from a
    Dirichlet distribution, and blended with the image by a share from a Beta distribution, both of
    alpha.

    blended: blend one chain after the other in integers, which is faster and less exact.
    """

    def __init__(
        self,
        ops: Sequence[AugmentOp],
        alpha: float = 1.0,
        width: int = 3,
        depth: int = -1,
        blended: bool = False,
    ) -> None:
        self.ops, self.depth, self.blended = ops, depth, blended
        self.alpha, self.width = alpha, checks.integer("width", width, 1)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(weights of the chains, share of their mixture, chains of (operation, parameters))."""
        weights = rng.dirichlet([self.alpha] * self.width).astype(np.float32)
        share = np.float32(rng.beta(self.alpha, self.alpha))
        chains = []
        for _ in range(self.width):
            depth = self.depth if self.depth > 0 else rng.integers(1, 4)
            places = rng.integers(len(self.ops), size=depth)
            chains.append(_drawn([self.ops[place] for place in places], img, rng))
        return weights, share, chains

    def apply(self, img: Any, *params: Any) -> Any:
        weights, share, chains = params
        augmented = [_applied(img, chain) for chain in chains]
        if not self.blended:
            return F.blend(img, F.mix(augmented, weights), float(share))
        for other, ratio in zip(augmented, _ratios(weights * share), strict=True):
            img = F.blend(img, other, float(ratio))
        return img

    def __repr__(self) -> str:
        return (
            f"AugMixAugment(alpha={self.alpha}, width={self.width}, depth={self.depth}, ops="
            + _indented(self.ops)
            + ")"
        )


def _ratios(weights: Sequence[float]) -> list[float]:
    """How much each image must be blended in, one after the other, to end up with its weight."""
    left, ratios = 1.0, []
    for weight in reversed(weights):
        ratios.append(weight / left)
        left *= 1 - ratios[-1]
    return ratios[::-1]


def _indented(ops: Iterable[AugmentOp]) -> str:
    return "".join(f"\n\t{op}" for op in ops)


# ------------------------------------------------------------------------------- sets

_GEOMETRY = ["ShearX", "ShearY", "TranslateXRel", "TranslateYRel"]
_ENHANCE = ["Color", "Contrast", "Brightness", "Sharpness"]
_DECREASING = ["Posterize", "Solarize", "SolarizeAdd", *_ENHANCE]


def _increasing(names: Iterable[str]) -> list[str]:
    return [f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in names]


_RANDOM = ["AutoContrast", "Equalize", "Invert", "Rotate", *_DECREASING, *_GEOMETRY]
_AUGMIX = _increasing(
    ["AutoContrast", *_ENHANCE, "Equalize", "Rotate", "Posterize", "Solarize", *_GEOMETRY]
)

# Behind `t` in a string of RandAugment; the weighted ones draw without replacement.
_SETS: dict[str, list[str] | dict[str, float]] = {
    "3a": ["SolarizeIncreasing", "Desaturate", "GaussianBlur"],
    "3aw": {
        "SolarizeIncreasing": 6,
        "Desaturate": 6,
        "GaussianBlur": 6,
        "Rotate": 3,
        "ShearX": 2,
        "ShearY": 2,
        "PosterizeIncreasing": 1,
        "AutoContrast": 1,
        "ColorIncreasing": 1,
        "SharpnessIncreasing": 1,
        "ContrastIncreasing": 1,
        "BrightnessIncreasing": 1,
        "Equalize": 1,
        "Invert": 1,
    },
    "weights": {
        "Rotate": 3,
        "ShearX": 2,
        "ShearY": 2,
        "TranslateXRel": 1,
        "TranslateYRel": 1,
        "ColorIncreasing": 0.25,
        "SharpnessIncreasing": 0.25,
        "AutoContrast": 0.25,
        "SolarizeIncreasing": 0.05,
        "SolarizeAdd": 0.05,
        "ContrastIncreasing": 0.05,
        "BrightnessIncreasing": 0.05,
        "Equalize": 0.05,
        "PosterizeIncreasing": 0.05,
        "Invert": 0.05,
    },
}

# A policy, and which of the three ways to posterize it means.
_POLICIES: dict[str, tuple[list[policies.SubPolicy], str]] = {
    "original": (policies.ORIGINAL, "PosterizeOriginal"),
    "originalr": (policies.ORIGINAL, "PosterizeIncreasing"),
    "v0": (policies.V0, "Posterize"),
    "v0r": (policies.V0, "PosterizeIncreasing"),
    "3a": (
        [[("Solarize", 1.0, 5)], [("Desaturate", 1.0, 10)], [("GaussianBlurRand", 1.0, 10)]],
        "",
    ),
}

# ------------------------------------------------------------------------------- strings


def auto_augment_transform(config_str: str, hparams: HParams | None = None) -> RandomTransform:
    """The transform of a policy string, which is a name and options with dashes between.

    rand: RandAugment; m magnitude (10), n operations per image (2), p probability of each (0.5),
    mstd spread of the magnitude (above 100: uniform from 0 to m), mmax largest magnitude (10), inc1
    operations that get stronger with the magnitude, t set of operations (weights, 3a, 3aw).
    augmix: AugMix; m severity (3), w chains (3), d operations in each (-1: 1 to 3), a alpha (1), b1
    blend one by one, mstd as above (by default uniform).
    original, originalr, v0, v0r: AutoAugment, 3a: 3-Augment; mstd as above.

    hparams: see `AugmentOp`; they come before what the string says.

        auto_augment_transform("rand-m9-mstd0.5-inc1")

    Raises `ValueError` for a string that has no meaning, also where timm passes over it.
    """
    name, *_ = config_str.split("-")
    if name == "rand":
        return _rand_augment(config_str, hparams or {})
    if name == "augmix":
        return _augmix(config_str, hparams or {})
    if name not in _POLICIES:
        raise ValueError(
            f"{shown(config_str)} is not a policy; {nearest(name, {'rand', 'augmix', *_POLICIES})}"
        )
    options = _options(config_str, {"mstd": float})
    hparams = {"magnitude_std": options.get("mstd", 0), **(hparams or {})}
    policy, posterize = _POLICIES[name]
    return AutoAugment(
        [
            [
                AugmentOp(posterize if name == "Posterize" else name, p, level, hparams)
                for name, p, level in sub_policy
            ]
            for sub_policy in policy
        ]
    )


def _rand_augment(config: str, hparams: HParams) -> RandAugment:
    kinds = {"m": int, "n": int, "p": float, "mstd": float, "mmax": int, "inc": int, "t": str}
    options = _options(config, kinds)
    spread = options.get("mstd", 0)
    spread = math.inf if spread > 100 else spread
    hparams = {"magnitude_std": spread, "magnitude_max": options.get("mmax"), **hparams}
    names, weights = _choices(config, options.get("t"), bool(options.get("inc")))
    ops = [
        AugmentOp(name, options.get("p", 0.5), options.get("m", _HIGHEST), hparams)
        for name in names
    ]
    return RandAugment(ops, options.get("n", 2), weights)


def _choices(
    config: str, chosen: str | None, increasing: bool
) -> tuple[list[str], Sequence[float] | None]:
    """The operations, and their shares if they are not all the same."""
    if chosen is None:
        return (_increasing(_RANDOM) if increasing else _RANDOM), None
    if chosen not in _SETS:
        raise ValueError(
            f"{shown(config)}: there is no set {shown(chosen)}; {nearest(chosen, _SETS)}"
        )
    names = _SETS[chosen]
    if isinstance(names, list):
        return names, None
    weights = np.array(list(names.values()), np.float64)
    return list(names), (weights / weights.sum()).tolist()


def _augmix(config: str, hparams: HParams) -> AugMixAugment:
    kinds = {"m": int, "w": int, "d": int, "a": float, "b": int, "mstd": float}
    options = _options(config, kinds)
    hparams = {"magnitude_std": options.get("mstd", math.inf), **hparams}
    ops = [AugmentOp(name, 1.0, options.get("m", 3), hparams) for name in _AUGMIX]
    return AugMixAugment(
        ops,
        options.get("a", 1.0),
        options.get("w", 3),
        options.get("d", -1),
        bool(options.get("b")),
    )


def _options(config: str, kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """What stands behind the name in a policy string, each section a key and its value."""
    options = {}
    for section in config.split("-")[1:]:
        key, value = section[:1], section[1:]
        if key != "t":
            key, value = re.fullmatch(r"([a-z]*)(.*)", section, re.DOTALL).groups()  # type: ignore[union-attr]
        try:
            options[key] = kinds[key](value)
        except (KeyError, ValueError):
            known = ", ".join(kinds)
            raise ValueError(
                f"{shown(config)}: {shown(section)} is not an option, expected a number behind "
                f"one of {known}"
            ) from None
    return options
