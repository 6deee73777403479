"""The transforms that timm trains and evaluates with, and the settings a model asks for."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitc import checks
from vitc.data import transforms as T
from vitc.data.functional import Size
from vitc.data.timm.auto_augment import auto_augment_transform
from vitc.data.timm.constants import (
    DEFAULT_CROP_PCT,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
)
from vitc.data.timm.random_erasing import RandomErasing
from vitc.errors import nearest, shown

CROP_MODES = ("center", "squash", "border")


def create_transform(
    input_size: int | Sequence[int] = 224,
    is_training: bool = False,
    no_aug: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
    re_prob: float = 0.0,
    re_mode: str = "const",
    re_count: int = 1,
    re_num_splits: int = 0,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    crop_border_pixels: int | None = None,
    *,
    use_prefetcher: bool = False,
    normalize: bool = True,
    separate: bool = False,
    **unknown: Any,
) -> Any:
    """Image -> float32 (C, H, W): timm's transform of the same arguments and defaults.

    input_size: of the result: one number, (height, width) or (channels, height, width).
    is_training: random crop, flips with probability hflip and vflip, auto_augment, colour jitter
    (one number for brightness, contrast and saturation, or three, or four with hue; not beside
    auto_augment, unless that is 3-Augment), grey and blurred images, and in the end with
    probability re_prob up to re_count rectangles erased (re_mode: const, rand, pixel).
    train_crop_mode: "rrc" crops a share `scale` of the area (0.08 to 1) of a width / height `ratio`
    (3/4 to 4/3); "rkrc", "rkrr" resize in proportion within scale (0.8 to 1) and ratio (0.9 to
    1/0.9), and crop or mirror-pad, the middle or a random part. auto_augment: see
    `auto_augment_transform`. no_aug: none of this, a resize and a crop.
    Otherwise the evaluation: trim crop_border_pixels, resize to input_size / crop_pct (0.875) and
    crop the middle. crop_mode: "center" resizes the shorter edge, "squash" both, "border" the
    longer one, with the mean colour around. interpolation: "bilinear", "bicubic", ..., or in
    training "random". normalize: without it the levels stay as they are, dtype too, and nothing is
    erased. use_prefetcher: the same, for what normalises whole batches, as `FastCollateMixup` does.
    separate: the training as three transforms, for `AugMixDataset`.

    Raises `TypeError` for an argument that timm has and this version has not.
    """
    if unknown:
        name, known = next(iter(unknown)), inspect.signature(create_transform).parameters
        hint = nearest(name, set(known) - {"unknown"})
        raise TypeError(f"create_transform has no argument {shown(name)} in this version; {hint}")
    size = input_size if isinstance(input_size, int) else tuple(input_size)[-2:]
    normalize = normalize and not use_prefetcher
    final: list[T.Step] = [T.ToTensor(), T.Normalize(mean, std)] if normalize else [T.PILToTensor()]
    if is_training and not no_aug:
        primary = [
            *_train_crop(size, train_crop_mode, scale, ratio, interpolation),
            *_flips(hflip, vflip),
        ]
        secondary = _policy(auto_augment, size, interpolation, mean)
        if not auto_augment or "3a" in auto_augment:
            secondary += _jitter(color_jitter, color_jitter_prob)
        secondary += _washed_out(grayscale_prob, gaussian_blur_prob)
        if re_prob and normalize:
            counts = dict(max_count=re_count, num_splits=re_num_splits)
            final += [RandomErasing(re_prob, mode=re_mode, **counts)]
        if separate:
            return T.Compose(primary), T.Compose(secondary), T.Compose(final)
        return T.Compose([*primary, *secondary, *final])
    if separate:
        raise ValueError("separate=True, expected is_training=True without no_aug")
    if is_training:
        plain = "bilinear" if interpolation == "random" else interpolation
        return T.Compose([T.Resize(size, plain), T.CenterCrop(size), *final])
    trim = [T.TrimBorder(crop_border_pixels)] if crop_border_pixels else []
    return T.Compose([*trim, *_evaluation(size, interpolation, mean, crop_pct, crop_mode), *final])


def _train_crop(
    size: Size,
    mode: str | None,
    scale: tuple[float, float] | None,
    ratio: tuple[float, float] | None,
    interpolation: str,
) -> list[T.Step]:
    if mode in (None, "rrc"):
        scale, ratio = scale or (0.08, 1.0), ratio or (3 / 4, 4 / 3)
        return [T.RandomResizedCrop(size, scale, ratio, interpolation)]
    crops = {"rkrc": T.CenterCropOrPad, "rkrr": T.RandomCropOrPad}
    checks.one_of("train_crop_mode", mode, ("rrc", *crops))
    fit = T.ResizeKeepRatio(
        size,
        interpolation=interpolation,
        random_scale_prob=0.5,
        random_scale_range=scale or (0.8, 1.0),
        random_scale_area=True,
        random_aspect_prob=0.5,
        random_aspect_range=ratio or (0.9, 1 / 0.9),
    )
    return [fit, crops[mode](size, padding_mode="reflect")]


def _flips(hflip: float, vflip: float) -> list[T.Step]:
    flips: list[T.Step] = [T.RandomHorizontalFlip(hflip)] if hflip else []
    return [*flips, T.RandomVerticalFlip(vflip)] if vflip else flips


def _policy(
    auto_augment: str | None, size: Size, interpolation: str, mean: Sequence[float]
) -> list[T.Step]:
    if not auto_augment:
        return []
    hparams: dict[str, Any] = {
        "translate_const": int(min(checks.pair("size", size)) * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in mean),
    }
    if interpolation != "random":
        hparams["interpolation"] = interpolation
    if auto_augment.startswith("augmix"):
        hparams["translate_pct"] = 0.3
    return [auto_augment_transform(auto_augment, hparams)]


def _jitter(jitter: float | Sequence[float] | None, prob: float | None) -> list[T.Step]:
    if not jitter:
        return []
    strengths = (jitter,) * 3 if isinstance(jitter, int | float) else tuple(jitter)
    if len(strengths) not in (3, 4):
        raise ValueError(f"color_jitter is {shown(jitter)}, expected one, three or four numbers")
    steps: list[T.Step] = [T.ColorJitter(*strengths)]
    return steps if prob is None else [T.RandomApply(steps, prob)]


def _washed_out(grayscale_prob: float, blur_prob: float) -> list[T.Step]:
    grey: list[T.Step] = [T.RandomGrayscale(grayscale_prob)] if grayscale_prob else []
    return [*grey, T.RandomApply([T.GaussianBlur(23)], blur_prob)] if blur_prob else grey


def _evaluation(
    size: Size,
    interpolation: str,
    mean: Sequence[float],
    crop_pct: float | None,
    crop_mode: str | None,
) -> list[T.Step]:
    checks.one_of("crop_mode", crop_mode or "center", CROP_MODES)
    share = crop_pct or DEFAULT_CROP_PCT
    if not 0 < share <= 1:
        raise ValueError(f"crop_pct is {shown(crop_pct)}, expected a share above 0, at most 1")
    height, width = (math.floor(edge / share) for edge in checks.pair("input_size", size))
    if crop_mode == "squash":
        return [T.Resize((height, width), interpolation), T.CenterCrop(size)]
    if crop_mode == "border":
        colour = [round(255 * value) for value in mean]
        fit = T.ResizeKeepRatio((height, width), 1.0, interpolation)
        return [fit, T.CenterCropOrPad(size, colour)]
    if height == width:
        return [T.Resize(height, interpolation), T.CenterCrop(size)]
    return [T.ResizeKeepRatio((height, width), 0.0, interpolation), T.CenterCrop(size)]


# ------------------------------------------------------------------------------- settings

# What `resolve_data_config` gives, and what it is if neither arguments nor model say otherwise.
_SETTINGS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "crop_pct": DEFAULT_CROP_PCT,
    "crop_mode": "center",
}


def resolve_data_config(
    args: Mapping[str, Any] | None = None,
    pretrained_cfg: Mapping[str, Any] | None = None,
    model: Any = None,
) -> dict[str, Any]:
    """What `create_transform` needs for a model: input_size, interpolation, mean, std, crop_pct and
    crop_mode, from args, else from pretrained_cfg (else the model's own), else timm's defaults.

    args: also takes img_size and in_chans. A single mean or std holds for all channels.

        transform = create_transform(**resolve_data_config(model=model), is_training=True)

    Raises `ValueError` if mean or std have neither one value nor one per channel.
    """
    given = {name: value for name, value in (args or {}).items() if value is not None}
    config = pretrained_cfg or getattr(model, "default_cfg", {})
    chosen = {
        name: given.get(name, config.get(name) or default) for name, default in _SETTINGS.items()
    }
    chosen["input_size"] = _input_size(given, chosen["input_size"])
    channels = chosen["input_size"][0]
    for name in ("mean", "std"):
        values = tuple(chosen[name])
        values = values * channels if len(values) == 1 else values
        if name in given and len(values) != channels:
            raise ValueError(f"{name} is {shown(given[name])}, expected one value or {channels}")
        chosen[name] = values
    return chosen


def _input_size(given: Mapping[str, Any], chosen: Sequence[int]) -> tuple[int, ...]:
    channels, *edges = chosen
    if "input_size" not in given:
        channels = given.get("in_chans", channels)
        edges = list(checks.pair("img_size", given.get("img_size", edges)))
    return channels, *edges


def resolve_model_data_config(model: Any, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`resolve_data_config` with the model first, as in timm."""
    return resolve_data_config(args, model=model)
