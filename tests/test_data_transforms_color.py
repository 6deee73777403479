"""The transforms of colour and of arrays against torchvision v1: no pixel differs.

Where torchvision leaves Pillow (its Gaussian kernel, in float32), levels differ by at most 1.
"""

import numpy as np
import pytest
import torch
from PIL import Image

import oracle  # noqa: F401  makes torchvision importable
from oracle.names import without_addresses
from oracle.pictures import draws, image, same, smooth

# isort: split
from torchvision import transforms as TV
from torchvision.transforms import functional as TF
from torchvision.transforms import v2

from vitc.data import functional as F
from vitc.data import transforms as T

PICTURES = [make(mode) for mode in ("RGB", "L") for make in (image, smooth)]
PICTURES += [image("RGB", size) for size in ((1, 1), (1, 7), (40, 1))]

# ------------------------------------------------------------------------------- pixels

CHANGES = [
    *(("adjust_sharpness", (factor,)) for factor in (0.0, 0.3, 1.0, 1.9, 4.0)),
    *(("adjust_gamma", arguments) for arguments in ((0.4,), (2.2, 0.8), (1.0,), (0,), (0.9, 1.3))),
    *(("posterize", (bits,)) for bits in range(1, 9)),
    *(("solarize", (threshold,)) for threshold in (0, 0.5, 128, 178.5, 255.0, 256)),
    ("invert", ()),
    ("autocontrast", ()),
    ("equalize", ()),
]


@pytest.mark.parametrize(("name", "arguments"), CHANGES)
def test_changes_of_colour_are_torchvisions(name: str, arguments: tuple) -> None:
    for picture in PICTURES:
        assert same(getattr(F, name)(picture, *arguments), getattr(TF, name)(picture, *arguments))


def test_no_bits_are_black() -> None:
    """Pillow draws it that way up to version 12 and refuses it from 13 on; timm asks for it."""
    assert same(F.posterize(image(), 0), Image.new("RGB", image().size))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_perspectives_are_torchvisions(interpolation: str) -> None:
    transform = T.RandomPerspective(0.7, 0.8, interpolation, fill=9)
    seen = set()
    for picture in (image(), image("L", (40, 30))):
        for (acts, corners, moved), ours in draws(transform, picture):
            mode = TV.InterpolationMode(interpolation)
            theirs = TF.perspective(picture, corners, moved, mode, fill=9) if acts else picture
            assert same(ours, theirs)
            seen.add(acts)
    assert seen == {True, False}


OCCASIONAL = [
    (T.RandomInvert(0.5), TF.invert, ()),
    (T.RandomPosterize(3, 0.5), TF.posterize, (3,)),
    (T.RandomSolarize(99, 0.5), TF.solarize, (99,)),
    (T.RandomAdjustSharpness(1.7, 0.5), TF.adjust_sharpness, (1.7,)),
    (T.RandomAutocontrast(0.5), TF.autocontrast, ()),
    (T.RandomEqualize(0.5), TF.equalize, ()),
]


@pytest.mark.parametrize(("transform", "theirs", "arguments"), OCCASIONAL, ids=without_addresses)
def test_changes_with_a_probability_are_torchvisions(transform, theirs, arguments) -> None:
    seen = set()
    for (acts,), ours in draws(transform, smooth()):
        assert same(ours, theirs(smooth(), *arguments) if acts else smooth())
        seen.add(acts)
    assert seen == {True, False}


def test_blur_draws_its_width() -> None:
    for (sigma,), ours in draws(T.GaussianBlur(5, (0.2, 1.5)), image(), 5):
        assert 0.2 <= sigma <= 1.5 and same(ours, F.gaussian_blur(image(), 5, sigma))


# ------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_turns_and_mirror_images_are_numpys(mode: str) -> None:
    picture, seen = image(mode), set()
    for (quarters, flipped), ours in draws(T.RandomDihedral(), picture, 60):
        turned = np.rot90(np.asarray(picture), quarters)
        assert np.array_equal(np.asarray(ours), turned[:, ::-1] if flipped else turned)
        seen.add((quarters, flipped))
    assert len(seen) == 8


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_elastic_images_are_torchvisions_up_to_rounding(interpolation: str) -> None:
    """Which moves by shares of half the image, in float32: at most 1 level, or for nearest the
    pixel beside, where it lies halfway. Not within a pixel of the edge, where torchvision weighs
    the image twice."""
    transform = T.ElasticTransform((60.0, 20.0), 2.0, interpolation, 30)
    for picture in (smooth(), smooth("L", (40, 31))):
        size = np.array(picture.size, np.float32).reshape(2, 1, 1)
        for (moves,), ours in draws(transform, picture, 4):
            displacement = torch.from_numpy(moves / size * 2).permute(1, 2, 0)[None]
            mode = TV.InterpolationMode(interpolation)
            theirs = TF.elastic_transform(picture, displacement, mode, 30)
            difference = np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16))
            y, x = np.mgrid[: size[1, 0, 0], : size[0, 0, 0]] + moves[::-1]
            inside = (y >= 0) & (y <= size[1] - 1) & (x >= 0) & (x <= size[0] - 1)
            outside = (y < -1) | (y > size[1]) | (x < -1) | (x > size[0])
            assert np.mean(difference[inside] > (interpolation == "bilinear")) < 0.001
            assert (np.asarray(ours)[outside] == 30).all() and outside.any() and inside.any()


def test_elastic_displacements_are_torchvisions() -> None:
    """Their spread over the image, in pixels, and that neighbours move alike."""
    moves = [moves for (moves,), _ in draws(T.ElasticTransform((60.0, 20.0), 3.0), smooth(), 20)]
    torch.manual_seed(0)
    theirs = [
        TV.ElasticTransform.get_params([60.0, 20.0], [3.0, 3.0], [37, 61])[0].permute(2, 0, 1)
        for _ in range(20)
    ]
    other = np.array([t.numpy() for t in theirs]) * np.array([61, 37]).reshape(2, 1, 1) / 2
    spread = [np.std(drawn, axis=(0, 2, 3)) for drawn in (moves, other)]
    steps = [np.std(np.diff(drawn, axis=3), axis=(0, 2, 3)) for drawn in (moves, other)]
    assert np.allclose(*spread, rtol=0.1) and np.allclose(*steps, rtol=0.1)


def test_several_crops_are_torchvisions() -> None:
    for arguments in (((20, 30),), (20, True)):
        ours, theirs = T.TenCrop(*arguments)(image()), TV.TenCrop(*arguments)(image())
        assert len(ours) == 10 and all(map(same, ours, theirs))
        assert all(map(same, T.FiveCrop(arguments[0])(image()), theirs))
    with pytest.raises(ValueError, match="37 x 61 pixels, less than the crop 38 x 2"):
        T.FiveCrop((38, 2))(image())


@pytest.mark.parametrize("size", [(24, 31), (90, 20), (40, 100), 64])
def test_letterbox_keeps_the_whole_image(size) -> None:
    """The oracle is Pillow's own ImageOps.pad, which rounds and centres alike."""
    from PIL import ImageOps

    for picture in (image(), image(size=(61, 37))):
        height, width = np.broadcast_to(size, 2).tolist()
        theirs = ImageOps.pad(picture, (width, height), Image.Resampling.BILINEAR, (7, 8, 9))
        assert same(T.Letterbox(size, (7, 8, 9))(picture), theirs)


# ------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_values_kept_as_they_are(mode: str) -> None:
    ours = T.PILToTensor()(image(mode))
    assert ours.dtype == np.uint8 and np.array_equal(ours, TV.PILToTensor()(image(mode)).numpy())
    assert np.array_equal(T.ToImage()(image(mode)).transpose(2, 0, 1), ours)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_other_dtypes_are_torchvisions_v2(dtype: str) -> None:
    for scale in (False, True)[: 1 if dtype == "int16" else 2]:
        theirs = v2.Compose([v2.PILToTensor(), v2.ToDtype(getattr(torch, dtype), scale=scale)])
        ours = T.ToDtype(dtype, scale=scale)(image())
        assert ours.dtype == dtype and np.array_equal(ours, theirs(image()).numpy())


def test_sixteen_bits_become_zero_to_one() -> None:
    pixels = np.array([[0, 65535]], np.uint16)
    assert T.ToDtype(np.float32, scale=True)(pixels).tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("value", [0, 0.25, (1, 2, 3)])
def test_erasing_is_torchvisions(value) -> None:
    tensor = T.ToTensor()(image())
    before, seen = tensor.copy(), set()
    for (box, _), ours in draws(T.RandomErasing(0.7, value=value), tensor):
        expected = torch.from_numpy(tensor)
        if box is not None:
            filler = torch.from_numpy(np.asarray(value, np.float32))
            filler = filler[:, None, None] if filler.ndim == 1 else filler
            expected = TF.erase(expected, *box, filler)
        assert np.array_equal(ours, expected.numpy())
        seen.add(box is None)
    assert seen == {True, False} and np.array_equal(tensor, before)


def test_erasing_in_place_and_where_nothing_fits() -> None:
    tensor = np.ones((3, 20, 20), np.float32)
    ((_, ours),) = draws(T.RandomErasing(1, inplace=True), tensor, 1)
    assert ours is tensor and (tensor == 0).any()
    thin = np.ones((3, 1, 20), np.float32)  # nothing is both lower than it and there at all
    for _, ours in draws(T.RandomErasing(1), thin):
        assert (ours == 1).all()


# ------------------------------------------------------------------------------- words

SHOWN = [
    (T.RandomInvert(0.3), TV.RandomInvert(0.3)),
    (T.RandomGrayscale(0.3), TV.RandomGrayscale(0.3)),
    (T.RandomPerspective(p=0.3), TV.RandomPerspective(p=0.3)),
    (T.RandomPosterize(2), TV.RandomPosterize(2)),
    (T.RandomSolarize(2), TV.RandomSolarize(2)),
    (T.RandomAdjustSharpness(2), TV.RandomAdjustSharpness(2)),
    (T.GaussianBlur(3), TV.GaussianBlur(3)),
    (T.TenCrop(4), TV.TenCrop(4)),
    (T.RandomErasing(), TV.RandomErasing()),
    (T.PILToTensor(), TV.PILToTensor()),
    (T.RandomOrder([T.RandomInvert()]), TV.RandomOrder([TV.RandomInvert()])),
]


@pytest.mark.parametrize(("ours", "theirs"), SHOWN, ids=str)
def test_printed_as_in_torchvision(ours, theirs) -> None:
    """Up to the space after a comma, which some of theirs have not."""
    assert repr(ours) == repr(theirs).replace(",p=", ", p=")


BAD = [
    (lambda: T.ElasticTransform(-1.0), "alpha is -1.0, expected 0 or more"),
    (lambda: T.ElasticTransform(interpolation="bicubic")(image()), "expected 'bilinear'"),
    (lambda: T.RandomPosterize(9), "bits is 9, expected 0 to 8"),
    (lambda: T.RandomAdjustSharpness(-1), "sharpness_factor is -1, expected 0 or more"),
    (lambda: T.GaussianBlur(4), "kernel_size is 4, expected odd numbers"),
    (lambda: T.GaussianBlur(3, (0, 1)), "sigma is .0, 1., expected values above 0"),
    (lambda: T.RandomPerspective(1.5), "distortion_scale is 1.5"),
    (lambda: T.RandomErasing(value="noise"), "value is 'noise', expected numbers or 'random'"),
    (lambda: T.RandomErasing(scale=(0, 2)), "scale is .0, 2., expected a range"),
    (
        lambda: T.RandomErasing(1, value=(1, 2))(np.ones((3, 9, 9), np.float32)),
        "expected one per channel",
    ),
    (lambda: T.ToDtype("uint8", scale=True), "dtype is uint8, expected floating point"),
    (lambda: T.TrimBorder(-1), "border_size is -1"),
    (lambda: T.TrimBorder(20)(image()), "nothing is left of it"),
    (lambda: F.posterize(image(), 9), "bits is 9"),
    (lambda: F.adjust_gamma(image(), -1), "gamma is -1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_erasing_stands_after_the_image() -> None:
    with pytest.raises(TypeError, match="an array .C, H, W., as ToTensor.. gives; got Image"):
        T.RandomErasing()(image())
