"""Blurs of csrc/image: NumPy in double is the oracle of every dtype, torchvision of its own."""

import numpy as np
import pytest
import torch

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
    """Tolerance: 1e-6 of the white level, and half a level for rounding to whole numbers."""
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


WRONG = [
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
