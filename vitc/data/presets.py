"""Ready augmentations: by field, and by the size of model and data.

    config = resolve_data_config(model=model)
    train = create_preset("pathology", **config)

    strength = STRENGTHS[augreg_strength(model, len(photos))]
    train = create_transform(**config, is_training=True, auto_augment=strength.auto_augment)

What each field's images allow differs: a chest X-ray turned left to right shows another anatomy,
tissue has no upright, a calibrated grey level means something. None of them solarizes, inverts,
posterizes or equalizes, and only the two whose colours vary in practice touch hue and saturation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vitc import checks
from vitc.data import transforms as T
from vitc.data.functional import Size
from vitc.data.timm.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from vitc.errors import nearest, shown

# ------------------------------------------------------------------------------- by field


def _crop(size: Size, share: float, interpolation: str) -> T.Step:
    """A crop of at least this share of the area, hardly distorted: shapes are findings."""
    return T.RandomResizedCrop(size, (share, 1.0), (0.9, 1 / 0.9), interpolation)


def _medical_xray(size: Size, interpolation: str) -> list[T.Step]:
    """No flips: the sides of a body differ, and up is up. Exposure, noise and pose vary."""
    return [
        _crop(size, 0.8, interpolation),
        T.RandomRotation(10, "bilinear"),
        T.RandomGamma((-0.2, 0.2)),
        T.ColorJitter(0.1, 0.2),
        T.RandomBiasField(0.05, p=0.2),
        T.RandomGaussianNoise((0.0, 0.02), p=0.3),
    ]


def _pathology(size: Size, interpolation: str) -> list[T.Step]:
    """Tissue has no upright; stain, scanner and focus vary between laboratories."""
    return [
        _crop(size, 0.5, interpolation),
        T.RandomDihedral(),
        T.RandomHEDJitter(0.05, p=0.8),
        T.ColorJitter(0.1, 0.1, 0.1, 0.02),
        T.RandomApply([T.GaussianBlur(5, (0.1, 1.5))], 0.2),
        T.RandomGaussianNoise((0.0, 0.02), p=0.2),
    ]


def _dermatology(size: Size, interpolation: str) -> list[T.Step]:
    """Lesions have no upright; light and skin vary, but the hue of a lesion is a finding."""
    return [
        _crop(size, 0.5, interpolation),
        T.RandomDihedral(),
        T.ColorJitter(0.2, 0.2, 0.2, 0.02),
        T.RandomApply([T.GaussianBlur(5, (0.1, 1.0))], 0.2),
    ]


def _inspection(size: Size, interpolation: str) -> list[T.Step]:
    """Parts lie anyhow before a fixed camera: turns and flips, little else. For parts with an
    upright, with writing or with a handedness take `inspection_upright`."""
    crop, *rest = _inspection_upright(size, interpolation)
    return [crop, T.RandomDihedral(), *rest]


def _inspection_upright(size: Size, interpolation: str) -> list[T.Step]:
    """The whole part stays in the picture; light, exposure and focus drift."""
    return [
        _crop(size, 0.85, interpolation),
        T.RandomRotation(3, "bilinear"),
        T.ColorJitter(0.1, 0.1),
        T.RandomGamma((-0.1, 0.1), p=0.3),
        T.RandomApply([T.GaussianBlur(3, (0.1, 0.8))], 0.1),
        T.RandomGaussianNoise((0.0, 0.02), p=0.3),
    ]


PRESETS: dict[str, Callable[[Size, str], list[T.Step]]] = {
    "medical_xray": _medical_xray,
    "pathology": _pathology,
    "dermatology": _dermatology,
    "inspection": _inspection,
    "inspection_upright": _inspection_upright,
}


def create_preset(
    name: str,
    input_size: int | Sequence[int] = 224,
    *,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
) -> T.Compose:
    """Image -> float32 (C, H, W), to train on images of a field: a name of `PRESETS`.

    Takes what `resolve_data_config` gives; crop_pct and crop_mode are of the evaluation, which
    `create_transform` does, and change nothing here.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {shown(name)}; {nearest(name, PRESETS)}")
    size = input_size if isinstance(input_size, int) else tuple(input_size)[-2:]
    steps = PRESETS[name](size, interpolation)
    return T.Compose([*steps, T.ToTensor(), T.Normalize(mean, std)])


# ------------------------------------------------------------------------------- by size


class Strength(NamedTuple):
    """A step of the ladder of "How to train your ViT?", https://arxiv.org/abs/2106.10270.

    mixup_alpha: for `Mixup`, 0 for none. layers, magnitude: of RandAugment, 0 layers for none.
    """

    mixup_alpha: float
    layers: int
    magnitude: int

    @property
    def auto_augment(self) -> str | None:
        """For `create_transform`: as in the paper's code, every drawn operation acts, and levels go
        beyond 10. The operations are timm's: without cutout, and where the paper's posterize keeps
        one bit, at magnitudes below 3, this keeps none."""
        if not self.layers:
            return None
        return f"rand-m{self.magnitude}-n{self.layers}-p1-mmax{max(10, self.magnitude)}"


STRENGTHS = {
    "none": Strength(0.0, 0, 0),
    "light1": Strength(0.0, 2, 0),
    "light2": Strength(0.2, 2, 10),
    "medium1": Strength(0.2, 2, 15),
    "medium2": Strength(0.5, 2, 15),
    "strong1": Strength(0.5, 2, 20),
    "strong2": Strength(0.8, 2, 20),
}

# Up to this width (between those of Ti, S and B), the strength for data like ImageNet-1k and like
# ImageNet-21k, for patches of 16 pixels and of 32.
_BY_WIDTH = (
    (288, {16: ("light1", "none"), 32: ("light1", "none")}),
    (576, {16: ("medium2", "light1"), 32: ("medium1", "none")}),
    (896, {16: ("medium2", "light2"), 32: ("medium2", "light2")}),
    (float("inf"), {16: ("medium2", "medium2"), 32: ("medium2", "medium2")}),
)
_MUCH = 4_000_000  # images: between 1.3 and 14 million


def augreg_strength(model: Any, num_images: int) -> str:
    """The name in `STRENGTHS` that the paper's runs recommend for a model and a number of images.

    Larger models want more, more data wants less; the smallest models are harmed by strong
    augmentation however little data there is. Below ImageNet-1k, as on it.
    """
    checks.integer("num_images", num_images, 1)
    patch = model.default_cfg["input_size"][1] // model.grid_size[0]
    strengths = next(found for width, found in _BY_WIDTH if model.embed_dim <= width)
    return strengths[16 if patch < 24 else 32][num_images >= _MUCH]
