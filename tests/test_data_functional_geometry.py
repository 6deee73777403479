"""Borders, crops, quarter turns and displacements of csrc/image, to the bit; Pillow, torchvision
and NumPy are the oracles, for every dtype and number of channels."""

import numpy as np
import pytest
from PIL import Image

from oracle import timm  # noqa: F401  makes torchvision importable
from oracle.pictures import image, same

# isort: split
from torchvision.transforms import functional as TF

from vitc.data import functional as F

SHAPES = ((1, 1), (1, 7), (6, 1), (5, 8), (33, 50))
CHANNELS = (None, 1, 2, 3, 4, 6, 7)
DTYPES = (np.uint8, np.uint16, np.float32)


def pixels(shape: tuple[int, int], channels: int | None, dtype) -> np.ndarray:
    size = shape if channels is None else (*shape, channels)
    return (np.random.default_rng(0).random(size) * 255).astype(dtype)


ALL = [
    pytest.param(pixels(shape, channels, dtype), id=f"{shape} {channels} {dtype.__name__}")
    for shape in SHAPES
    for channels in CHANNELS
    for dtype in DTYPES
]


@pytest.mark.parametrize("img", ALL)
def test_borders_are_numpys(img: np.ndarray) -> None:
    """Also of more than the image: then NumPy goes through it again and again."""
    for left, top, right, bottom in ((1, 2, 3, 4), (0, 0, 0, 1), (70, 0, 9, 80), (0, 0, 0, 0)):
        borders = ((top, bottom), (left, right), (0, 0))[: img.ndim]
        for mode in F.PADDINGS:
            options = {"constant_values": 6} if mode == "constant" else {}
            expected = np.pad(img, borders, mode, **options)
            ours = F.pad(img, (left, top, right, bottom), 6, mode)
            assert ours.dtype == img.dtype and np.array_equal(ours, expected), mode


@pytest.mark.parametrize("mode", F.PADDINGS)
def test_borders_below_0_are_torchvisions(mode: str) -> None:
    img = image()
    for padding in ((-3, 2, 4, -5), (9, -30, -20, 40), (-1, -1, -1, -1), (-59, 0, 3, 0)):
        assert same(F.pad(img, padding, 7, mode), TF.pad(img, list(padding), 7, mode)), padding


def test_a_border_has_a_colour() -> None:
    img = image()
    assert same(F.pad(img, (3, 1), (1, 2, 3)), TF.pad(img, [3, 1], (1, 2, 3)))
    deep = pixels((5, 8), 3, np.float32)
    border = F.pad(deep, 1, (0.25, -2.5, 1e9))[0]
    assert np.array_equal(border, np.tile(np.float32([0.25, -2.5, 1e9]), (10, 1)))


@pytest.mark.parametrize("img", ALL)
def test_crops_are_pillows(img: np.ndarray) -> None:
    """Pillow crops each channel as a grey image, of uint16 and float32 too."""
    boxes = ((0, 0, 1, 1), (-2, -3, 7, 9), (-40, 5, 90, 3), (2, 99, 4, 4), (-9, -9, 4, 4))
    for top, left, height, width in boxes:
        box = (left, top, left + width, top + height)
        planes = np.moveaxis(np.atleast_3d(img), 2, 0)
        expected = [np.asarray(Image.fromarray(plane).crop(box)) for plane in planes]
        ours = F.crop(img, top, left, height, width)
        assert ours.dtype == img.dtype and ours.ndim == img.ndim
        assert np.array_equal(np.atleast_3d(ours), np.stack(expected, 2))


def test_a_crop_that_lies_inside_is_a_view() -> None:
    img = pixels((33, 50), 3, np.uint8)
    assert F.crop(img, 2, 3, 20, 30).base is img
    assert F.crop(img, -2, 3, 20, 30).base is None


@pytest.mark.parametrize("img", ALL)
def test_quarter_turns_are_numpys(img: np.ndarray) -> None:
    for k in range(-2, 7):
        assert np.array_equal(F.rot90(img, k), np.rot90(img, k))
        turned = F.rotate(img, 90 * k, expand=True)
        assert np.array_equal(turned, np.rot90(img, k)) and turned.flags.c_contiguous


# ------------------------------------------------------------------------------- elastic


def displaced(img: np.ndarray, field: np.ndarray, mode: str, fill: float) -> np.ndarray:
    """The image with a border of fill, in double: not rounded."""
    height, width = img.shape[:2]
    bordered = np.full((height + 3, width + 3, *img.shape[2:]), fill, np.float64)
    bordered[1:-2, 1:-2] = img
    x, y = np.arange(width) + field[0].astype(float), np.arange(height)[:, None] + field[1]
    x, y = (np.nan_to_num(at, nan=-1) for at in (x, y))
    x, y = np.clip(x, -1, width) + 1, np.clip(y, -1, height) + 1
    if mode == "nearest":
        return bordered[np.rint(y).astype(int), np.rint(x).astype(int)]
    top, left = y.astype(int), x.astype(int)
    shape = (height, width) + (1,) * (img.ndim - 2)
    down, right = (y - top).reshape(shape), (x - left).reshape(shape)
    upper = bordered[top, left] * (1 - right) + bordered[top, left + 1] * right
    lower = bordered[top + 1, left] * (1 - right) + bordered[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("img", ALL)
def test_displacements_are_numpys(img: np.ndarray, mode: str) -> None:
    """Whole numbers to the bit, floats within 1e-6 of the highest level, 255."""
    height, width = img.shape[:2]
    rng = np.random.default_rng(1)
    field = rng.normal(0, 3, (2, height, width)).astype(np.float32)
    field[:, ::3, ::2] = 0
    for wild in (np.nan, np.inf, -1e30, 1e30):
        field[rng.integers(2), rng.integers(height), rng.integers(width)] = wild
    ours, expected = F.elastic_transform(img, field, mode, 7), displaced(img, field, mode, 7)
    assert ours.dtype == img.dtype and ours.shape == img.shape
    if img.dtype == np.float32:
        assert np.abs(ours - expected).max() < 255e-6
    else:
        assert np.array_equal(ours, np.rint(expected))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_whole_displacements_only_move(mode: str) -> None:
    img = pixels((33, 50), 3, np.uint8)
    field = np.empty((2, 33, 50), np.float32)
    field[0], field[1] = -4, 7
    moved = F.elastic_transform(img, field, mode, (1, 2, 3))
    expected = F.pad(F.crop(img, 7, 0, 26, 46), (4, 0, 0, 7), (1, 2, 3))
    assert np.array_equal(moved, expected)


def test_halfway_levels_are_rounded_to_the_even_number() -> None:
    img = pixels((1, 500), 1, np.uint8)
    field = np.zeros((2, 1, 500), np.float32)
    field[0, 0, :-1] = 0.5
    expected = np.rint((img[:, :-1].astype(float) + img[:, 1:]) / 2)
    assert np.array_equal(F.elastic_transform(img, field)[:, :-1], expected)


WRONG = [
    (
        lambda img: F.elastic_transform(img, np.zeros((2, 8, 5), np.float32)),
        "displacement has shape (2, 8, 5), expected (2, 5, 8)",
    ),
    (
        lambda img: F.elastic_transform(img, np.zeros((2, 5, 8), np.float32), fill=(1, 2)),
        "fill is (1, 2), expected one value or 3",
    ),
    (
        lambda img: F.pad(img, 1, 0, "wrap"),
        "padding_mode is 'wrap', expected one of constant, edge",
    ),
    (lambda img: F.pad(img, (1, 2, 3)), "padding is (1, 2, 3), expected one, two or four"),
    (lambda img: F.pad(img, 1, (1, 2)), "fill is (1, 2), expected one value or 3"),
    (lambda img: F.pad(img, (0.5, 0)), "padding is 0.5, expected an integer"),
    (lambda img: F.pad(img, 1 << 21), "padding is 2.09715e+06, expected an integer from"),
    (lambda img: F.pad(img, -4), "height is -3, expected 1 to 1048576"),
    (
        lambda img: F.pad(img, (-8, 0, 5, 0), 0, "edge"),
        "borders below 0 leave nothing of the image",
    ),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_is_wrong_is_named(call, words: str) -> None:
    with pytest.raises(ValueError) as told:
        call(pixels((5, 8), 3, np.uint8))
    assert words in str(told.value)
