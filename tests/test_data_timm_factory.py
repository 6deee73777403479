"""vitc.data.timm.factory against timm: the evaluation to the bit, the training by its parts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oracle import timm
from vitc.data import create_transform, resolve_data_config, resolve_model_data_config
from vitc.models import create_model

timm_transform, timm_config = timm.data.create_transform, timm.data.resolve_data_config


def photographs() -> list[Image.Image]:
    """Two synthetic ones; and real ones if the package that holds them is installed."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((30, 47), (31, 20))]
    images = [Image.fromarray(x).resize((x.shape[1] * 8, x.shape[0] * 8)) for x in coarse]
    try:
        import elpv_dataset
    except ImportError:
        return images
    folder = Path(elpv_dataset.__file__).parent / "data" / "images"
    real = sorted(folder.glob("*.png"))[:2]
    return images + [Image.open(path).convert("RGB") for path in real]


PHOTOGRAPHS = photographs()


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(input_size=(3, 160, 160), crop_pct=0.95, interpolation="bicubic"),
        dict(input_size=64, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3),
        dict(input_size=(96, 128), interpolation="bicubic"),
        dict(input_size=128, crop_mode="squash", interpolation="bicubic"),
        dict(input_size=(3, 100, 120), crop_mode="squash"),
        dict(input_size=128, crop_mode="border", crop_pct=0.9, interpolation="bicubic"),
        dict(input_size=(130, 100), crop_mode="border"),
        dict(input_size=400),
        dict(input_size=112, is_training=True, no_aug=True),
        dict(input_size=(3, 112, 112), is_training=True, no_aug=True, interpolation="random"),
        dict(input_size=90, crop_border_pixels=9),
        dict(input_size=96, normalize=False),
        dict(input_size=96, is_training=True, no_aug=True, normalize=False),
    ],
    ids=str,
)
def test_evaluation_is_timms_to_the_bit(arguments: dict) -> None:
    ours, theirs = create_transform(**arguments), timm_transform(**arguments)
    for photograph in PHOTOGRAPHS:
        mine = ours(photograph)
        expected = theirs(photograph).numpy()
        assert mine.dtype == expected.dtype and mine.flags.c_contiguous
        assert np.array_equal(mine, expected)


DEIT = dict(auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25)
KEPT = ("magnitude_std", "img_mean", "translate_const", "translate_pct")


def described(transform) -> list[str]:
    """The steps with what they print, in the words that both sides share."""
    words = []
    for step in transform.transforms:
        name = type(step).__name__
        if name == "ResizeKeepRatio":
            names = ("size", "longest", "random_scale_prob", "random_scale_range")
            names += ("random_scale_area", "random_aspect_prob", "random_aspect_range")
            words.append(f"{[getattr(step, name) for name in names]}")
        elif name.endswith("CropOrPad"):
            words.append(f"{name} {tuple(step.size)} {step.fill} {step.padding_mode}")
        elif hasattr(step, "scale"):
            words.append(f"crop {tuple(step.size)} {tuple(step.scale)} {tuple(step.ratio)}")
        elif name == "Normalize":
            words.append(f"{np.asarray(step.mean, np.float32)} {np.asarray(step.std, np.float32)}")
        else:
            printed = repr(step).replace("MaybePIL", "PIL").replace("MaybeToTensor", "ToTensor")
            words.append(printed.replace("interpolation=bilinear ", ""))
        ops = getattr(step, "ops", getattr(step, "policy", [[]])[0])
        words += [f"{[op.hparams.get(key, DEFAULTS.get(key)) for key in KEPT]}" for op in ops]
    return words


DEFAULTS = {"magnitude_std": 0, "translate_pct": 0.45}


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(input_size=(3, 96, 128), interpolation="random", scale=(0.5, 1.0), ratio=(0.8, 1.25)),
        dict(hflip=0.0, vflip=0.3, color_jitter=None),
        dict(color_jitter=(0.1, 0.2, 0.3, 0.1), color_jitter_prob=0.7, grayscale_prob=0.2),
        dict(gaussian_blur_prob=0.3, normalize=False),
        dict(train_crop_mode="rkrc", input_size=(80, 96)),
        dict(train_crop_mode="rkrr", scale=(0.5, 1.0), ratio=(0.7, 1.4)),
        DEIT,
        dict(auto_augment="3a", interpolation="random", color_jitter=0.3, input_size=(96, 64)),
        dict(auto_augment="augmix-m3-w3", re_prob=0.3, re_mode="pixel", re_count=3),
        dict(auto_augment="original-mstd0.5", mean=(0.5,) * 3, std=(0.5,) * 3),
    ],
    ids=str,
)
def test_training_has_timms_steps_in_order(arguments: dict) -> None:
    ours = create_transform(is_training=True, **arguments)
    assert described(ours) == described(timm_transform(is_training=True, **arguments))
    size = arguments.get("input_size", 224)
    shape = (3, size, size) if isinstance(size, int) else (3, *size[-2:])
    for photograph in PHOTOGRAPHS:
        assert ours(photograph).shape == shape


def test_training_in_three_parts_is_timms() -> None:
    ours = create_transform(is_training=True, separate=True, **DEIT)
    theirs = timm_transform(is_training=True, separate=True, **DEIT)
    assert [described(part) for part in ours] == [described(part) for part in theirs]


def test_a_fixed_interpolation_is_that_of_the_policy_too() -> None:
    policy = create_transform(is_training=True, **DEIT).transforms[2]
    assert {op.interpolation for op in policy.ops} == {"bicubic"}
    policy = create_transform(is_training=True, **DEIT | dict(interpolation="random")).transforms[2]
    assert {op.interpolation for op in policy.ops} == {None}


def test_training_interpolates_as_asked() -> None:
    for name in ("bilinear", "bicubic", "random"):
        step = create_transform(64, is_training=True, interpolation=name).transforms[0]
        assert step.interpolation == name


def test_arguments_of_timm_that_are_missing_are_named() -> None:
    with pytest.raises(TypeError, match="no argument 'patchify' in this version"):
        create_transform(224, patchify=True)
    with pytest.raises(TypeError, match="'color_jiter' .*did you mean 'color_jitter'"):
        create_transform(color_jiter=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(crop_mode="middle"), "crop_mode is 'middle', expected one of center, squash"),
        (dict(crop_pct=1.5), "crop_pct is 1.5"),
        (dict(is_training=True, color_jitter=(1, 2)), "color_jitter is"),
        (dict(input_size=-4), "input_size is -4"),
        (dict(interpolation="linear"), "interpolation is 'linear'"),
        (dict(is_training=True, train_crop_mode="rk"), "train_crop_mode is 'rk', expected one of"),
        (dict(separate=True), "separate=True, expected is_training=True"),
        (dict(is_training=True, re_prob=0.1, re_mode="noise"), "mode is 'noise', expected one of"),
    ],
)
def test_bad_values_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_transform(**arguments)


# ------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224", "test_vit"])
def test_settings_of_a_model_are_timms(name: str) -> None:
    ours = resolve_data_config(model=create_model(name, depth=1))
    assert ours == timm_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert create_transform(**ours)(PHOTOGRAPHS[0]).shape == ours["input_size"]


def test_settings_fit_the_model_as_it_was_made() -> None:
    model = create_model("test_vit", depth=1, img_size=(64, 96), in_chans=1)
    config = resolve_model_data_config(model)
    assert config["input_size"] == (1, 64, 96)
    assert (len(config["mean"]), len(config["std"])) == (1, 1)
    grey = create_transform(**config)(PHOTOGRAPHS[0].convert("L"))
    assert grey.shape == (1, 64, 96)


@pytest.mark.parametrize(
    "args",
    [
        {},
        dict(img_size=112, mean=(0.5,), interpolation="bilinear", crop_pct=0.8),
        dict(input_size=(1, 64, 64), mean=(0.1,), std=(0.2,), crop_mode="squash"),
    ],
    ids=str,
)
def test_arguments_come_before_the_models(args: dict) -> None:
    cfg = dict(input_size=(3, 160, 160), mean=(0.5,) * 3, crop_pct=0.95)
    assert resolve_data_config(args, cfg) == timm_config(args, cfg)


def test_channels_may_be_given_alone() -> None:
    config = resolve_data_config(dict(in_chans=4, std=(1, 2, 3, 4), mean=(0.5,)))
    assert config["input_size"] == (4, 224, 224)
    assert (config["mean"], config["std"]) == ((0.5,) * 4, (1, 2, 3, 4))


def test_statistics_of_another_number_of_channels_are_named() -> None:
    with pytest.raises(ValueError, match="mean is .* expected one value or 1"):
        resolve_data_config(dict(in_chans=1, mean=(0.5, 0.5, 0.5)))
