"""Blurs of csrc/image: NumPy is the oracle of every dtype, torchvision and Pillow of theirs."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from oracle import timm  # noqa: F401  makes torchvision importable
from oracle.pictures import image

# isort: split
from torchvision.transforms import functional as TF
from torchvision.transforms.v2 import functional as V2

from vitc.data import functional as F

SHAPES = ((1, 1), (1, 9), (7, 1), (5, 8), (33, 50))
WHITE = {np.uint8: 255, np.uint16: 65535, np.float32: 1}


def pixels(shape: tuple[int, ...], dtype) -> np.ndarray:
    levels = np.random.default_rng(0).random(shape) * (WHITE[dtype] + (dtype != np.float32))
    return levels.astype(dtype)


# ------------------------------------------------------------------------------- a true kernel

KERNELS = (
    (3, (0.6, 0.6)),
    ((5, 1), (2.0, 0.1)),
    ((1, 9), (0.3, 40.0)),
    (23, (0.8, 2.0)),
    (101, (1.0, 15.0)),
)


def weighted(img: np.ndarray, size: int, sigma: float, axis: int) -> np.ndarray:
    reach = size // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    borders = [(reach, reach) if i == axis else (0, 0) for i in range(img.ndim)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(img, borders, "reflect"), size, axis)
    return windows @ (weights / weights.sum())


def gaussian(img: np.ndarray, kernel_size, sigma) -> np.ndarray:
    """In double, and not rounded."""
    x, y = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    return weighted(weighted(img.astype(np.float64), x, sigma[0], 1), y, sigma[1], 0)


@pytest.mark.parametrize(("kernel_size", "sigma"), KERNELS)
@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("channels", [None, 1, 3, 5])
def test_a_gaussian_blur_is_numpys(channels: int | None, dtype, kernel_size, sigma) -> None:
    """Tolerance: 1e-6 of the white level, and half a level for rounding to integers."""
    for shape in SHAPES:
        img = pixels(shape if channels is None else (*shape, channels), dtype)
        ours, expected = F.gaussian_blur(img, kernel_size, sigma), gaussian(img, kernel_size, sigma)
        assert ours.dtype == dtype and ours.shape == img.shape
        half = 0 if dtype == np.float32 else 0.5
        assert np.abs(ours - expected).max() <= half + 1e-6 * WHITE[dtype]


@pytest.mark.parametrize(("kernel_size", "sigma"), KERNELS[:4])
def test_a_gaussian_blur_is_torchvisions(kernel_size, sigma) -> None:
    """Of Pillow images, and of tensors in both versions: at most one level of 255 apart, where the
    last bit of a float decides; so are less than 1 of 1000. Floats are 1e-6 apart."""
    size = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    img = image()
    planes = torch.from_numpy(np.asarray(img).transpose(2, 0, 1).copy())
    ours = np.asarray(F.gaussian_blur(img, kernel_size, sigma)).astype(int)
    theirs = [np.asarray(TF.gaussian_blur(img, size, list(sigma)))]
    for function in (TF.gaussian_blur, V2.gaussian_blur):
        theirs.append(function(planes, size, list(sigma)).permute(1, 2, 0).numpy())
    for other in theirs:
        assert np.abs(ours - other).max() <= 1 and np.mean(ours != other) < 1e-3
    unit = np.asarray(img, np.float32) / np.float32(255)
    other = V2.gaussian_blur(torch.from_numpy(unit).permute(2, 0, 1), size, list(sigma))
    assert (
        np.abs(F.gaussian_blur(unit, kernel_size, sigma) - other.permute(1, 2, 0).numpy()).max()
        < 1e-6
    )


def test_halves_are_rounded_to_the_even_number() -> None:
    """By weights of just 1/4, 1/2 and 1/4, so that a quarter of the results are halves."""
    sigma = (2 * np.log(2)) ** -0.5
    img = pixels((1, 500), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(img, ((0, 0), (1, 1)), "reflect"), 3, 1
    )
    expected = np.rint(windows @ [0.25, 0.5, 0.25])
    assert np.array_equal(F.gaussian_blur(img, (3, 1), sigma), expected)


# ------------------------------------------------------------------------------- boxes

RADII = (0.1, 0.7, 1, 2, 5.3, 63, 180)


def box_radius(sigma: float) -> np.float32:
    """Pillow's, each step in float32."""
    one, variance = np.float32(1), np.float32(sigma) * np.float32(sigma) / np.float32(3)
    length = np.float32(np.sqrt(12.0 * float(variance) + 1.0))
    whole = np.float32(np.floor((float(length) - 1) / 2))
    above = (2 * whole + one) * (whole * (whole + one) - 3 * variance)
    return whole + above / (6 * (variance - (whole + one) * (whole + one)))


def boxed(img: np.ndarray, radius: np.float32, axis: int) -> np.ndarray:
    """One pass, of integers as Pillow's of bytes, else in double."""
    reach, one = int(radius), 1 << 24
    near = int(np.float32(one) / (radius * 2 + np.float32(1)))
    far = (one - (2 * reach + 1) * near) // 2
    if img.dtype.kind == "f":
        near = 1 / (float(radius) * 2 + 1)
        far = (1 - (2 * reach + 1) * near) / 2
    borders = [(reach + 1,) * 2 if i == axis else (0, 0) for i in range(img.ndim)]
    wide = np.pad(img.astype(np.float64 if img.dtype.kind == "f" else np.int64), borders, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * reach + 3, axis)
    inner, outer = windows[..., 1:-1].sum(-1), windows[..., 0] + windows[..., -1]
    if img.dtype.kind == "f":
        return inner * near + outer * far
    return ((inner * near + outer * far + (1 << 23)) >> 24).astype(img.dtype)


def three_boxes(img: np.ndarray, sigma: float) -> np.ndarray:
    img = img.astype(np.float64) if img.dtype == np.float32 else img
    for axis in (1, 1, 1, 0, 0, 0):
        img = boxed(img, box_radius(sigma), axis)
    return img


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("channels", [None, 1, 3, 5, 32])
def test_boxes_are_pillows(channels: int | None, dtype, radius: float) -> None:
    """Pillow's of bytes, of which the formula in NumPy gives the same; it is the oracle of others.
    To the bit for integers; of floats, which are rounded between the passes, 1e-6 of white."""
    for shape in (*SHAPES, (45, 19)):
        img = pixels(shape if channels is None else (*shape, channels), dtype)
        ours, expected = F.box_blur(img, radius), three_boxes(img, radius)
        assert ours.dtype == dtype and ours.shape == img.shape
        if dtype == np.float32:
            assert np.abs(ours - expected).max() < 1e-6
        else:
            assert np.array_equal(ours, expected)
        if dtype == np.uint8 and channels in (None, 3):
            theirs = Image.fromarray(img).filter(ImageFilter.GaussianBlur(radius))
            assert np.array_equal(ours, np.asarray(theirs))


def test_boxes_of_light_do_not_overflow() -> None:
    """Sums of 2 * 63 + 1 levels of 255 are the last that fit 15 bits."""
    for dtype in WHITE:
        img = np.full((3, 300, 3), WHITE[dtype], dtype)
        for radius in (0.2, 63, 64, 65, 66, 200, 10000):
            assert np.abs(F.box_blur(img, radius) - img.astype(float)).max() <= 1e-6 * WHITE[dtype]


WRONG = [
    (lambda img: F.box_blur(img, -1), "radius is -1, expected 0 to 10000"),
    (lambda img: F.gaussian_blur(img, 4, 1.0), "kernel_size is 4, expected an odd number from 1"),
    (lambda img: F.gaussian_blur(img, (3, 0), 1.0), "kernel_size is (3, 0), expected one or two"),
    (lambda img: F.gaussian_blur(img, 3, (1.0, 0.0)), "sigma is 0, expected more than 0"),
    (lambda img: F.gaussian_blur(img, 3, -1), "sigma is -1, expected more than 0"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_is_wrong_is_named(call, words: str) -> None:
    with pytest.raises(ValueError) as told:
        call(pixels((5, 8, 3), np.uint8))
    assert words in str(told.value)
