"""Operations of csrc/image against Pillow (0 differing pixels on bytes), torch and NumPy.

Pictures are scikit-image's photographs and ELPV's solar cells, whole, and noise of odd sizes down
to one pixel. Images of more channels are compared channel by channel with Pillow's grey ones,
images of 16 bits and of real numbers with Pillow's modes I;16 and F.
"""

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data

from oracle import timm  # noqa: F401  makes torchvision importable

# isort: split
from torchvision.transforms import functional as TF
from torchvision.transforms.v2 import functional as V2

from vitc import _vitc
from vitc.data import Box
from vitc.data import functional as F

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "moon", "page")
CELLS = ("cell0001.png", "cell0006.png")
SIZES = ((1, 1), (1, 9), (13, 1), (2, 3), (17, 31), (64, 33))
TARGETS = ((24, 24), (1, 1), (7, 90), (100, 41), (64, 11))
FACTORS = (0.0, 0.3, 1.0, 1.7, 5.0)


def photograph(name: str, step: int = 3) -> np.ndarray:
    return np.ascontiguousarray(getattr(data, name)()[::step, ::step])


def solar_cell(name: str, step: int = 3) -> np.ndarray:
    file = files("elpv_dataset") / "data" / "images" / name
    return np.ascontiguousarray(np.asarray(Image.open(str(file)))[::step, ::step])


def cut(height: int, width: int, channels: int | None = 3, seed: int = 0) -> np.ndarray:
    """A piece of noise on a photograph: all levels, and edges."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


IMAGES = [
    *(pytest.param(photograph(name), id=name) for name in PHOTOGRAPHS),
    *(pytest.param(solar_cell(name), id=name) for name in CELLS),
    *(pytest.param(cut(*size), id=f"{size} RGB") for size in SIZES),
    *(pytest.param(cut(*size, None), id=f"{size} L") for size in SIZES),
]


def pillow(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels)


def by_channel(function, pixels: np.ndarray) -> np.ndarray:
    """What Pillow makes of each channel alone."""
    planes = [np.asarray(function(pillow(plane))) for plane in np.moveaxis(pixels, 2, 0)]
    return np.stack(planes, 2)


def resizing(height: int, width: int, mode: str):
    return lambda img: img.resize((width, height), Image.Resampling[mode.upper()])


# ---------------------------------------------------------------------------------------- resize


@pytest.mark.parametrize("mode", F.InterpolationMode)
@pytest.mark.parametrize("pixels", IMAGES)
def test_resizing_is_pillows(pixels: np.ndarray, mode: str) -> None:
    for height, width in TARGETS:
        expected = np.asarray(resizing(height, width, mode)(pillow(pixels)))
        assert np.array_equal(F.resize(pixels, (height, width), mode), expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("mode", F.InterpolationMode)
def test_resizing_any_channels_is_pillows_of_each(mode: str, channels: int) -> None:
    for size in ((40, 53), (9, 2)):
        pixels = cut(*size, channels)
        for target in TARGETS:
            expected = by_channel(resizing(*target, mode), pixels)
            assert np.array_equal(F.resize(pixels, target, mode), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("mode", F.InterpolationMode)
def test_resizing_16_bits_and_real_numbers_is_pillows(mode: str, dtype) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (40, 53, 3)).astype(dtype)
    for target in TARGETS:
        expected = by_channel(resizing(*target, mode), pixels)
        assert np.array_equal(F.resize(pixels, target, mode), expected)


@pytest.mark.parametrize("sizes", [(40, 30, 20, 20), (41, 30, 20, 20), (500, 4, 3, 2)])
def test_the_passes_are_in_pillows_order(sizes: tuple[int, ...]) -> None:
    pixels = cut(*sizes[:2])
    expected = np.asarray(resizing(*sizes[2:], "lanczos")(pillow(pixels)))
    assert np.array_equal(F.resize(pixels, sizes[2:], "lanczos"), expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_weights_are_torchs(channels: int, mode: str) -> None:
    pixels = np.ascontiguousarray(np.atleast_3d(photograph("coffee"))[:, :, :channels])
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for size in ((64, 64), (40, 90)):  # torch never goes down first
        theirs = torch.nn.functional.interpolate(batch, size, mode=mode, antialias=True)
        ours = F.resize(pixels, size, mode, small_weights=True)
        assert np.array_equal(ours, theirs[0].permute(1, 2, 0).numpy())
        assert np.abs(F.resize(pixels, size, mode).astype(int) - ours).max() <= 1


def test_a_crop_is_resized_without_its_surroundings() -> None:
    pixels = photograph("astronaut")
    for box in ((0, 0, 50, 60), (100, 70, 71, 101), (10, 20, 33, 7), (-5, 90, 40, 200)):
        expected = TF.resized_crop(pillow(pixels), *box, [24, 31], TF.InterpolationMode.BICUBIC)
        ours = F.resized_crop(pixels, *box, [24, 31], "bicubic")
        assert np.array_equal(ours, np.asarray(expected))


# ---------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("pixels", IMAGES)
def test_flips_are_numpys(pixels: np.ndarray) -> None:
    for image in (pixels, pixels.astype(np.uint16), pixels.astype(np.float32)):
        assert np.array_equal(F.hflip(image), image[:, ::-1])
        assert np.array_equal(F.vflip(image), image[::-1])


MATRICES = {
    "shear": (1, 0.3, -5.5, 0, 1, 0),
    "move": (1, 0, 7.25, 0, 1, -3),
    "scale": (0.7, 0, 2, 0, 1.9, -4),
    "turn": (0.9, -0.4, 11, 0.4, 0.9, -9),
    "far": (1000, 3, 40000, 2, 900, -70000),
    "empty": (1, 0.1, 1e5, 0, 1, 0),
}


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_affine_maps_are_pillows(matrix: tuple[float, ...], mode: str) -> None:
    kind, where = Image.Resampling[mode.upper()], Image.Transform.AFFINE

    def moved(img: Image.Image) -> Image.Image:
        return img.transform(img.size, where, matrix, kind, fillcolor=9)

    for size in SIZES:
        assert np.array_equal(
            F.transform(cut(*size, 2), matrix, mode, 9), by_channel(moved, cut(*size, 2))
        )
    pixels = photograph("coffee")
    filled = pillow(pixels).transform((200, 134), where, matrix, kind, fillcolor=(1, 2, 3))
    assert np.array_equal(F.transform(pixels, matrix, mode, (1, 2, 3)), np.asarray(filled))
    real = pixels[..., 0].astype(np.float32)
    assert np.array_equal(F.transform(real, matrix, mode, 9), np.asarray(moved(pillow(real))))
    if mode == "nearest":  # Pillow has no other for 16 bits
        deep = pixels[..., 0].astype(np.uint16) * 257
        assert np.array_equal(F.transform(deep, matrix, mode, 9), np.asarray(moved(pillow(deep))))


@pytest.mark.parametrize("angle", [0, 17.5, 90, 180, -90, 270, 359])
@pytest.mark.parametrize("options", [{}, {"expand": True}, {"center": (3, 5)}])
def test_rotations_are_pillows(options, angle: float) -> None:
    for pixels in (photograph("coffee"), cut(31, 31), cut(1, 9)):
        for mode in ("nearest", "bicubic"):
            expected = pillow(pixels).rotate(
                angle, Image.Resampling[mode.upper()], fillcolor=(7, 8, 9), **options
            )
            turned = F.rotate(pixels, angle, mode, fill=(7, 8, 9), **options)
            assert np.array_equal(turned, np.asarray(expected))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_perspective_is_torchvisions(mode: str) -> None:
    pixels = photograph("coffee")
    start = [(0, 0), (199, 0), (199, 133), (0, 133)]
    end = [(11, 3), (180, 20), (190, 130), (5, 110)]
    theirs = TF.perspective(pillow(pixels), start, end, TF.InterpolationMode(mode), [1, 2, 3])
    assert np.array_equal(F.perspective(pixels, start, end, mode, (1, 2, 3)), np.asarray(theirs))


# ---------------------------------------------------------------------------------------- colour

ENHANCERS = {
    F.adjust_brightness: ImageEnhance.Brightness,
    F.adjust_contrast: ImageEnhance.Contrast,
    F.adjust_saturation: ImageEnhance.Color,
    F.adjust_sharpness: ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("function", ENHANCERS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("pixels", IMAGES)
def test_enhancing_is_pillows(pixels: np.ndarray, function) -> None:
    for factor in FACTORS:
        expected = ENHANCERS[function](pillow(pixels)).enhance(factor)
        assert np.array_equal(function(pixels, factor), np.asarray(expected))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("function", ENHANCERS, ids=lambda function: function.__name__)
def test_transparency_stays(function, mode: str) -> None:
    image = pillow(cut(20, 30, 4)).convert(mode)
    expected = ENHANCERS[function](image).enhance(1.4)
    assert np.array_equal(np.asarray(function(image, 1.4))[..., -1], np.asarray(image)[..., -1])
    if mode == "RGBA":
        assert function(image, 1.4).tobytes() == expected.tobytes()


@pytest.mark.parametrize("factor", [0.0, 0.1, -0.37, 0.5])
def test_the_hue_of_all_colours_is_pillows(factor: float) -> None:
    steps = np.arange(0, 256, 3, dtype=np.uint8)  # with 0 and 255
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)
    assert np.array_equal(
        F.adjust_hue(cube, factor), np.asarray(TF.adjust_hue(pillow(cube), factor))
    )


@pytest.mark.long
def test_the_hue_of_really_all_colours_is_pillows() -> None:
    words = np.arange(1 << 24, dtype=np.uint32).view(np.uint8).reshape(4096, 4096, 4)
    cube = np.ascontiguousarray(words[..., :3])
    assert np.array_equal(F.adjust_hue(cube, 0.1), np.asarray(TF.adjust_hue(pillow(cube), 0.1)))


def test_grey_is_pillows() -> None:
    pixels = photograph("coffee")
    grey = np.asarray(pillow(pixels).convert("L"))
    assert np.array_equal(F.to_grayscale(pixels)[..., 0], grey)
    assert np.array_equal(F.to_grayscale(pixels, 3), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_colours_of_real_numbers_are_the_formulas(channels: int) -> None:
    """Oracle: NumPy in double; tolerance: one rounding to float per step."""
    image = np.random.default_rng(2).random((20, 30, channels)).astype(np.float32)
    wide = image.astype(np.float64)
    weights = [0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels
    grey = (wide @ weights)[..., None]
    for factor in FACTORS:
        for function, base in (
            (F.adjust_brightness, 0.0),
            (F.adjust_contrast, grey.mean()),
            (F.adjust_saturation, grey if channels > 1 else wide),
        ):
            blended = (
                wide
                if function is F.adjust_saturation and channels == 1
                else base + factor * (wide - base)
            )
            assert np.abs(function(image, factor) - np.clip(blended, 0, 1)).max() < 2e-6
        deep = (wide * 65535).astype(np.uint16)
        brighter = np.clip(deep * np.float64(np.float32(factor)), 0, 65535)
        assert np.abs(F.adjust_brightness(deep, factor) - np.floor(brighter)).max() <= 1


def test_the_hue_of_real_numbers_is_torchvisions() -> None:
    """Tolerance: the two ways round at different places; 2e-6 of the range."""
    image = np.random.default_rng(3).random((20, 30, 3)).astype(np.float32)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    for factor in (0.0, 0.2, -0.45):
        theirs = TF.adjust_hue(planes, factor).permute(1, 2, 0).numpy()
        assert np.abs(F.adjust_hue(image, factor) - theirs).max() < 2e-6


@pytest.mark.parametrize("radius", [0, 0.1, 0.7, 1, 2, 5.3, 40])
@pytest.mark.parametrize("pixels", IMAGES)
def test_box_blur_is_pillows(pixels: np.ndarray, radius: float) -> None:
    expected = pillow(pixels).filter(ImageFilter.GaussianBlur(radius))
    assert np.array_equal(F.box_blur(pixels, radius), np.asarray(expected))


LEVELS = [
    *(
        pytest.param(F.posterize, TF.posterize, bits, id=f"posterize {bits}")
        for bits in range(1, 9)
    ),
    *(pytest.param(F.solarize, TF.solarize, t, id=f"solarize {t}") for t in (0, 99.5, 128, 256)),
    *(pytest.param(F.adjust_gamma, TF.adjust_gamma, g, id=f"gamma {g}") for g in (0, 0.4, 1, 2.2)),
    pytest.param(F.invert, TF.invert, None, id="invert"),
    pytest.param(F.equalize, TF.equalize, None, id="equalize"),
    pytest.param(F.autocontrast, TF.autocontrast, None, id="autocontrast"),
]


@pytest.mark.parametrize(("ours", "theirs", "number"), LEVELS)
def test_maps_of_levels_are_torchvisions(ours, theirs, number: float | None) -> None:
    numbers = () if number is None else (number,)
    images = [photograph("coffee"), photograph("moon"), cut(1, 1), cut(40, 7), cut(9, 9, None) // 9]
    for pixels in images:
        expected = np.asarray(theirs(pillow(pixels), *numbers))
        assert np.array_equal(ours(pixels, *numbers), expected)
    seven = cut(30, 20, 7)
    expected = by_channel(lambda img: theirs(img, *numbers), seven)
    assert np.array_equal(ours(seven, *numbers), expected)


def test_maps_of_levels_of_16_bits_and_real_numbers_are_the_formulas() -> None:
    deep = np.random.default_rng(5).integers(500, 60000, (20, 30, 3)).astype(np.uint16)
    unit = (deep / 65535).astype(np.float32)
    assert np.array_equal(F.invert(deep), 65535 - deep) and np.array_equal(F.invert(unit), 1 - unit)
    assert np.array_equal(F.posterize(deep, 9), deep & 0xFF80)
    assert np.array_equal(F.solarize(deep, 30000), np.where(deep < 30000, deep, 65535 - deep))
    added = np.where(deep < 32768, np.minimum(deep.astype(int) + 40000, 65535), deep)
    assert np.array_equal(F.solarize_add(deep, 40000, 32768), added)
    assert np.abs(F.adjust_gamma(unit, 2.2) - unit.astype(float) ** 2.2).max() < 1e-6
    low, high = unit.min((0, 1)), unit.max((0, 1))
    assert np.abs(F.autocontrast(unit) - (unit - low) / (high - low)).max() < 1e-6
    stretched = (deep - deep.min((0, 1)).astype(float)) / np.ptp(deep, (0, 1)) * 65535
    assert np.abs(F.autocontrast(deep) - np.floor(stretched)).max() <= 1


@pytest.mark.parametrize("bits", [0, 1, 3, 8, 16, 24])
def test_posterized_real_numbers_are_torchvisions(bits: int) -> None:
    """Who takes 8 bits at most; its formula in NumPy is the oracle of more."""
    unit = np.random.default_rng(8).random((20, 30, 3)).astype(np.float32)
    unit[0, :3] = [[0, 0.5, 1], [0.25, 0.75, 1 - 2**-24], [2**-8, -0.5, 1.5]]
    levels = 2.0**bits
    expected = np.clip(np.floor(unit * levels), 0, levels - 1) / levels
    if bits <= 8:
        expected = V2.posterize(torch.from_numpy(unit), bits).numpy()
    assert np.array_equal(F.posterize(unit, bits), expected)


def equalized(levels: np.ndarray) -> np.ndarray:
    """A channel of 0 to 65535: the share of darker pixels among all but the lightest, rounded, in
    whole numbers of any length."""
    flat = np.sort(levels.ravel())
    darker, of = np.searchsorted(flat, levels).astype(object), int((flat != flat[-1]).sum())
    return levels if of == 0 else ((2 * 65535 * darker + of) // (2 * of)).astype(int)


def test_equalized_16_bits_and_real_numbers_are_the_formula() -> None:
    """Oracle: sorting, in NumPy; equal to the bit, floats divided by 65535."""
    rng = np.random.default_rng(7)
    few, dark = rng.integers(0, 9, (20, 30, 3)) * 7000, rng.integers(0, 300, (17, 5, 3)) ** 2 // 9
    for image in (few, dark, rng.integers(0, 65536, (300, 290, 2)), np.full((3, 4, 1), 1234)):
        planes = np.stack([equalized(plane) for plane in np.moveaxis(image, 2, 0)], 2)
        assert np.array_equal(F.equalize(image.astype(np.uint16)), planes)
        unit = image.astype(np.float32) / np.float32(65535)
        assert np.array_equal(F.equalize(unit), planes.astype(np.float32) / np.float32(65535))
    outside = np.float32([[-1, 0, 0.5, 1, 7]])
    assert np.array_equal(F.equalize(outside), F.equalize(outside.clip(0, 1)))


def test_equalized_bytes_are_nearly_those_of_16_bits() -> None:
    """Oracle: Pillow, whose steps are whole numbers of pixels: a hundredth of white apart."""
    pixels = photograph("coffee", 1)
    deep = F.equalize(pixels.astype(np.uint16) * 257) / 257
    assert np.abs(deep - np.asarray(TF.equalize(pillow(pixels)))).max() < 2.55


def test_sharpness_of_real_numbers_is_the_formula() -> None:
    """Oracle: a convolution in double; tolerance: float32 sums of 13."""
    unit = np.random.default_rng(6).random((12, 15, 4)).astype(np.float32)
    wide, inner = unit.astype(float), unit.astype(float).copy()
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (0, 1))
    inner[1:-1, 1:-1] = (windows.sum((-1, -2)) + 4 * wide[1:-1, 1:-1]) / 13
    expected = np.clip(inner + 1.8 * (wide - inner), 0, 1)
    assert np.abs(F.adjust_sharpness(unit, 1.8) - expected).max() < 2e-6


# ---------------------------------------------------------------------------------------- writing

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def standardized(pixels: np.ndarray, mean=MEAN, std=STD) -> np.ndarray:
    planes = pixels.transpose(2, 0, 1)
    unit = planes / np.float32(255) if pixels.dtype == np.uint8 else planes.astype(np.float32)
    return (unit - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))


@pytest.mark.parametrize("size", SIZES)
def test_written_planes_are_to_tensor_and_normalize(size: tuple[int, int]) -> None:
    pixels = cut(*size)
    theirs = TF.normalize(TF.to_tensor(pillow(pixels)), MEAN.tolist(), STD.tolist()).numpy()
    assert np.array_equal(F.to_normalized_tensor(pixels, MEAN, STD), theirs)
    assert np.array_equal(F.to_normalized_tensor(pixels, MEAN, STD, hflip=True), theirs[..., ::-1])
    assert np.array_equal(F.to_normalized_tensor(pillow(pixels), MEAN, STD), theirs)


@pytest.mark.parametrize("seed", range(5))
def test_any_mean_and_std_divide_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(0, 1, 7).astype(np.float32), rng.random(7).astype(np.float32) + 1e-3
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 7, 2)
    assert np.array_equal(
        F.to_normalized_tensor(levels, mean, std), standardized(levels, mean, std)
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_16_bits_and_real_numbers_keep_their_scale(dtype) -> None:
    pixels = (np.random.default_rng(4).random((9, 11, 3)) * 60000).astype(dtype)
    out = np.empty((3, 9, 11), np.float32)
    assert F.to_normalized_tensor(pixels, MEAN, STD, out=out) is out
    assert np.array_equal(out, standardized(pixels))


def test_bfloat16_is_torchs() -> None:
    pixels = photograph("coffee")
    expected = torch.from_numpy(standardized(pixels)).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(F.to_normalized_tensor(pixels, MEAN, STD, bf16=True), expected)


def test_mixup_and_cutmix_are_those_of_the_planes() -> None:
    one, other = cut(20, 30), cut(20, 30, seed=1)
    a, b, lam = standardized(one), standardized(other)[..., ::-1], np.float32(0.3)
    mixed = F.to_normalized_tensor(one, MEAN, STD, other=other, other_hflip=True, lam=0.3)
    assert np.array_equal(mixed, lam * a + (1 - lam) * b)
    box = Box(3, 5, 14, 25)
    pasted = F.to_normalized_tensor(one, MEAN, STD, other=other, other_hflip=True, lam=0, box=box)
    a[:, 3:17, 5:30] = b[:, 3:17, 5:30]
    assert np.array_equal(pasted, a)


# ---------------------------------------------------------------------------------------- the rest


def test_views_are_images_too() -> None:
    pixels = photograph("astronaut")
    views = (pixels[3:50, 7:40], pixels[::2], pixels[:, ::-1], pixels[..., ::-1], pixels[::-1])
    for view in views:
        whole = np.ascontiguousarray(view)
        for change in (lambda x: F.resize(x, (20, 30)), F.hflip, lambda x: F.adjust_contrast(x, 2)):
            assert np.array_equal(change(view), change(whole))


def test_every_level_computes_the_same() -> None:
    """This file and those named at every instruction set, without the long test and this one."""
    others = (f"tests/test_data_functional_{name}.py" for name in ("blur", "geometry", "golden"))
    files = (__file__, *others)
    if os.environ.get("VITC_ISA"):
        return
    for level in ("ref", "avx2"):
        if level in _vitc.config()["isas"]:
            command = [sys.executable, "-m", "pytest", "-qx", "-n0", "-p", "no:cacheprovider"]
            done = subprocess.run(
                [*command, *files],
                cwd=Path(__file__).parents[1],
                env={**os.environ, "VITC_ISA": level},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout[-4000:]


WRONG = [
    (lambda: F.resize(cut(4, 4), (1 << 21, 3)), ValueError, "expected 1 to 1048576"),
    (lambda: F.hflip(np.zeros((0, 4, 3), np.uint8)), ValueError, "0 x 4 pixels of 3 channels"),
    (lambda: F.hflip(np.zeros((4, 4, 3))), TypeError, "float64, expected uint8, uint16 or float32"),
    (lambda: F.hflip(np.zeros((4, 4, 3), ">u2")), TypeError, "expected uint8, uint16 or float32"),
    (lambda: F.hflip(np.zeros((2, 4, 4, 3), np.uint8)), ValueError, "expected (H, W) or (H, W, C)"),
    (lambda: F.hflip(np.zeros((9, 4, 2000), np.uint8)), ValueError, "2000 channels"),
    (lambda: F.adjust_brightness(cut(4, 4), float("nan")), ValueError, "a finite number"),
    (lambda: F.adjust_contrast(cut(4, 4), -1), ValueError, "contrast_factor is -1, expected 0"),
    (lambda: F.adjust_hue(cut(4, 4), 0.6), ValueError, "hue_factor is 0.6"),
    (lambda: F.adjust_hue(cut(4, 4, 7), 0.1), ValueError, "7 channels has no hue"),
    (lambda: F.hflip(pillow(cut(4, 4)).convert("P")), TypeError, "mode 'P'"),
    (lambda: F.to_normalized_tensor(cut(4, 4), [0, 0], [1, 1]), ValueError, "expected (3,)"),
    (lambda: F.to_normalized_tensor(cut(4, 4), [0], [0]), ValueError, "std of channel 0 is 0"),
    (
        lambda: F.to_normalized_tensor(cut(4, 4), [0], [1], other=cut(4, 5)),
        ValueError,
        "images to be mixed",
    ),
    (
        lambda: F.to_normalized_tensor(cut(4, 4), [0], [1], other=cut(4, 4), box=Box(0, 0, 5, 4)),
        ValueError,
        "is not within 4 x 4",
    ),
    (
        lambda: F.to_normalized_tensor(cut(4, 4), [0], [1], other=cut(4, 4), lam=1.5),
        ValueError,
        "lam is 1.5",
    ),
    (
        lambda: F.to_normalized_tensor(cut(4, 4), [0], [1], out=np.zeros((3, 4, 5), np.float32)),
        ValueError,
        "out has shape",
    ),
    (lambda: F.rotate(cut(4, 4), 9, "lanczos"), ValueError, "expected nearest, bilinear or"),
    (lambda: F.rotate(cut(4, 4), 9, fill=(1, 2)), ValueError, "fill is (1, 2)"),
    (lambda: F.posterize(cut(4, 4), 9), ValueError, "bits is 9, expected an integer"),
    (
        lambda: F.posterize(np.zeros((4, 4), np.float32), 25),
        ValueError,
        "an integer from 0 to 24",
    ),
    (lambda: F.adjust_gamma(cut(4, 4), -1), ValueError, "gamma is -1, expected 0 or more"),
    (lambda: _vitc.image("blur", cut(4, 4)), ValueError, "no operation on images named 'blur'"),
    (lambda: _vitc.image("flip", cut(4, 4), 1), TypeError, "takes 2 numbers (across down), got 1"),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG)
def test_what_is_wrong_is_named(call, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as told:
        call()
    assert words in str(told.value)
