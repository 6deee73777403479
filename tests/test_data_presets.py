"""Presets by what they must and must not contain; the ladder of strengths against its table."""

import numpy as np
import pytest

from oracle.pictures import image, smooth
from vitc.data import create_transform, random, resolve_data_config
from vitc.data import transforms as T
from vitc.data.presets import PRESETS, STRENGTHS, augreg_strength, create_preset
from vitc.models import create_model

FLIPS = (T.RandomHorizontalFlip, T.RandomVerticalFlip, T.RandomDihedral)
UNCALIBRATED = (
    T.RandomSolarize,
    T.RandomInvert,
    T.RandomPosterize,
    T.RandomEqualize,
    T.RandomAutocontrast,
    T.RandAugment,
    T.AutoAugment,
    T.TrivialAugmentWide,
    T.AugMix,
)
UPRIGHT = ("medical_xray", "inspection_upright")
CALIBRATED = ("medical_xray", "inspection", "inspection_upright")


def steps(name: str) -> list:
    """All transforms of a preset, also those within others."""
    found, waiting = [], [create_preset(name)]
    while waiting:
        step = waiting.pop()
        found.append(step)
        waiting += getattr(step, "transforms", [])
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_breaks_the_order_of_levels(name: str) -> None:
    assert not [step for step in steps(name) if isinstance(step, UNCALIBRATED)]


@pytest.mark.parametrize("name", PRESETS)
def test_sides_are_exchanged_only_where_they_mean_nothing(name: str) -> None:
    flips = [step for step in steps(name) if isinstance(step, FLIPS)]
    assert bool(flips) == (name not in UPRIGHT)
    turns = [step.degrees for step in steps(name) if isinstance(step, T.RandomRotation)]
    assert all(abs(degrees) <= 15 for limits in turns for degrees in limits)
    assert not [step for step in steps(name) if isinstance(step, T.RandomAffine)]


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_levels_keep_their_hue(name: str) -> None:
    for step in steps(name):
        assert not isinstance(step, T.RandomHEDJitter | T.RandomGrayscale)
        if isinstance(step, T.ColorJitter):
            assert step.hue is None and step.saturation is None


@pytest.mark.parametrize("name", UPRIGHT)
def test_left_stays_left(name: str) -> None:
    """Of a picture dark on the left, bright on the right, dark above: in 60 draws."""
    ramp = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)
    preset = create_preset(name, 32, mean=(0.5,), std=(0.5,))
    from PIL import Image

    for i in range(60):
        with random.item(0, 0, i):
            out = preset(Image.fromarray(ramp))[0]
        assert out[:, 16:].mean() > out[:, :16].mean() and out[16:].mean() > out[:16].mean()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_the_settings_of_a_model(name: str) -> None:
    model = create_model("test_vit", depth=1)
    preset = create_preset(name, **resolve_data_config(model=model))
    out = preset(smooth("RGB", (200, 260)))
    assert out.shape == model.default_cfg["input_size"] and out.dtype == np.float32
    assert preset.transforms[0].interpolation == model.default_cfg["interpolation"]


def test_grey_images_too() -> None:
    for name in CALIBRATED:
        out = create_preset(name, 24, mean=(0.5,), std=(0.5,))(image("L"))
        assert out.shape == (1, 24, 24)


def test_presets_are_known_by_name() -> None:
    with pytest.raises(ValueError, match="no preset 'patology'; did you mean 'pathology'"):
        create_preset("patology")


# ------------------------------------------------------------------------------- by size

# The recommendations of https://arxiv.org/abs/2106.10270, by model and data.
RECOMMENDED = [
    ("vit_tiny_patch16_224", "light1", "none"),
    ("vit_small_patch32_224", "medium1", "none"),
    ("vit_small_patch16_224", "medium2", "light1"),
    ("vit_base_patch32_224", "medium2", "light2"),
    ("vit_base_patch16_224", "medium2", "light2"),
    ("vit_large_patch16_224", "medium2", "medium2"),
]


@pytest.mark.parametrize(("name", "imagenet", "imagenet21k"), RECOMMENDED)
def test_strengths_are_the_papers(name: str, imagenet: str, imagenet21k: str) -> None:
    model = create_model(name, depth=1)
    assert augreg_strength(model, 1_281_167) == augreg_strength(model, 500) == imagenet
    assert augreg_strength(model, 14_197_122) == imagenet21k
    with pytest.raises(ValueError, match="num_images is 0"):
        augreg_strength(model, 0)


def test_strengths_become_policies() -> None:
    expected = {"none": None, "light2": "rand-m10-n2-p1-mmax10", "strong1": "rand-m20-n2-p1-mmax20"}
    for name, string in expected.items():
        assert STRENGTHS[name].auto_augment == string
    policy = create_transform(
        32, is_training=True, auto_augment=STRENGTHS["medium2"].auto_augment
    ).transforms[2]
    assert {(op.prob, op.magnitude, op.magnitude_max) for op in policy.ops} == {(1.0, 15, 15)}
    assert [s.mixup_alpha for s in STRENGTHS.values()] == sorted(
        s.mixup_alpha for s in STRENGTHS.values()
    )
