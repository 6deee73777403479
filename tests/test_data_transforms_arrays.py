"""Transforms of arrays (H, W, C) against the same transforms of Pillow images, to the bit."""

import numpy as np
import pytest
from PIL import Image

from oracle.pictures import image, smooth
from vitc.data import RandomErasing, auto_augment_transform, create_transform, random
from vitc.data import transforms as T

GEOMETRY = [
    T.Resize(24),
    T.Resize((19, 50), "bicubic"),
    T.CenterCrop(30),
    T.CenterCropOrPad((60, 20), 9),
    T.Pad((1, 2, 3, 4), 7),
    T.Pad(3, padding_mode="reflect"),
    T.Letterbox(40, 9),
    T.TrimBorder(3),
    T.FiveCrop(20),
    T.ResizeKeepRatio(30, 0.5, "random", 0.5, random_aspect_prob=0.5),
    T.RandomResizedCrop(20, interpolation="random"),
    T.RandomCrop(30, 4, padding_mode="edge"),
    T.RandomCropOrPad((50, 50), 8),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(),
    T.RandomDihedral(),
    T.RandomRotation(40, "bilinear", True, fill=9),
    T.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 9, "bicubic"),
    T.RandomPerspective(p=1),
    T.ElasticTransform(20.0, 2.0),
]
COLOURS = [
    T.Grayscale(),
    T.RandomGrayscale(),
    T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    T.RandomInvert(),
    T.RandomPosterize(3),
    T.RandomSolarize(99),
    T.RandomAdjustSharpness(2),
    T.RandomAutocontrast(),
    T.RandomEqualize(),
    T.GaussianBlur(5),
    T.AutoAugment(),
    T.RandAugment(),
    T.TrivialAugmentWide(),
    T.AugMix(),
    *map(auto_augment_transform, ("rand-m9-mstd0.5-inc1", "original", "v0r", "3a", "augmix-m3")),
]
INTENSITY = [
    T.GaussianNoise(),
    T.RandomGaussianNoise(),
    T.RandomGamma(),
    T.RandomBiasField(),
    T.RandomHistogramShift(p=0.5),
]


def several(transform, img, count: int = 6) -> list:
    results = []
    for i in range(count):
        with random.item(0, 0, i):
            out = transform(img)
        results += out if isinstance(out, tuple) else [out]
    return results


def stacked(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("transform", [*GEOMETRY, *COLOURS, *INTENSITY], ids=str)
def test_an_array_is_changed_as_the_image_is(transform) -> None:
    for picture in (image(), smooth("L", (60, 40))):
        array = stacked(np.asarray(picture))
        before = array.copy()
        for ours, theirs in zip(
            several(transform, array), several(transform, picture), strict=True
        ):
            assert isinstance(ours, np.ndarray) and isinstance(theirs, Image.Image)
            assert ours.dtype == np.uint8 and np.array_equal(ours, stacked(np.asarray(theirs)))
        assert np.array_equal(array, before)


@pytest.mark.parametrize("transform", [*GEOMETRY, *INTENSITY], ids=str)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_dtypes_and_numbers_of_channels_keep_them(transform, dtype) -> None:
    """Every channel is treated as the others: the same values in all give the same in all."""
    rng = np.random.default_rng(0)
    plane = rng.random((40, 60, 1)) if dtype == np.float32 else rng.integers(0, 65536, (40, 60, 1))
    array = np.repeat(plane.astype(dtype), 7, 2)
    for out in several(transform, array, 3):
        assert out.dtype == dtype and out.shape[2] == 7
        if not isinstance(transform, T.GaussianNoise | T.RandomGaussianNoise):
            assert (out == out[..., :1]).all()


def test_the_end_of_a_pipeline_is_the_same() -> None:
    steps = [T.RandomResizedCrop(20), T.ToTensor(), T.Normalize((0.5,), (0.2,)), RandomErasing()]
    chain = T.Compose(steps)
    for ours, theirs in zip(
        several(chain, np.asarray(image())), several(chain, image()), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_functions_of_the_users_see_the_image_that_came_in() -> None:
    """A pipeline that ends in an array may begin with one; not if someone else looks at it."""
    seen = []

    def look(img):
        seen.append(type(img).__name__)
        return img

    class Own(T.RandomVerticalFlip):
        def change(self, img):
            return look(super().change(img))

    class End(T.ToTensor):
        def __call__(self, img):
            return super().__call__(look(img))

    flip, end = T.RandomHorizontalFlip(), [T.ToTensor(), look]
    for steps in (
        [look, *end],
        [flip, T.Lambda(look), *end],
        [T.RandomApply([flip, look], 1.0), *end],
        [T.RandomChoice([T.Compose([look])]), *end],
        [Own(1.0), *end],
        [flip, End(), T.Normalize((0.5,), (0.5,)), look],
    ):
        T.Compose(steps)(image())
    assert seen == ["Image", "ndarray"] * 6
    assert isinstance(T.Compose([flip, T.Resize(9)])(image()), Image.Image)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "F", "1"])
def test_one_pass_for_two_steps_gives_the_bits_of_two(mode: str) -> None:
    channels = len(image(mode).getbands())
    mean, std = (0.485, 0.456, 0.406, 0.5)[:channels], (0.229, 0.224, 0.225, 0.3)[:channels]
    chain = T.Compose([T.ToTensor(), T.Normalize(mean, std)])
    columns = (np.array(numbers, np.float32)[:, None, None] for numbers in (mean, std))
    expected = (T.ToTensor()(image(mode)) - next(columns)) / next(columns)
    for picture in (image(mode), np.asarray(image(mode))):
        assert np.array_equal(chain(picture), expected)
    early = T.Compose([T.Resize(20, "bicubic"), *chain.transforms])
    if mode != "1":
        resized = T.Resize(20, "bicubic")(image(mode))
        assert np.array_equal(early(image(mode)), chain(resized))
    assert len(chain.transforms) == 2 and repr(chain).count("Normalize") == 1


def test_one_pass_still_names_what_does_not_fit() -> None:
    chain = T.Compose([T.ToTensor(), T.Normalize((0, 0), (1, 1))])
    for picture in (image(), np.asarray(image())):
        with pytest.raises(ValueError, match="mean"):
            chain(picture)
    with pytest.raises(TypeError, match="got str"):
        chain("image.png")


def test_torchvisions_v2_pipelines_run_as_they_stand() -> None:
    steps = [T.RandomResizedCrop(20), T.ToDtype(np.float32, scale=True), T.Normalize((0.5,), (1,))]
    image_first, plain = T.Compose([T.ToImage(), *steps]), T.Compose(steps)
    for ours, theirs in zip(several(image_first, image()), several(plain, image()), strict=True):
        assert ours.shape == (3, 20, 20) and np.array_equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_arrays_of_16_bits_reach_a_model_from_0_to_1(channels: int) -> None:
    """ToTensor and Normalize, together and one by one; the formula in float32."""
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 50, channels), dtype=np.uint16)
    pixels[0, 0] = 65535
    plain = T.ToTensor()(pixels)
    expected = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(65535)
    assert np.array_equal(plain, expected) and plain.max() == 1
    normalize = T.Normalize([0.4] * channels, [0.3] * channels)
    assert np.array_equal(T.Compose([T.ToTensor(), normalize])(pixels), normalize(plain))
    transform = create_transform(32, mean=[0.5] * channels, std=[0.5] * channels)
    ready = transform(pixels)
    assert ready.shape == (channels, 32, 32) and -1 <= ready.min() < ready.max() <= 1
