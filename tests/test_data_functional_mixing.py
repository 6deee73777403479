"""Mixed images and batches against the same sums in NumPy's float32, to the bit. That these are
timm's and torchvision's numbers is in test_data_timm_mixup.py, test_data_transforms_mixing.py and
test_data_timm_auto_augment.py."""

import numpy as np
import pytest
from PIL import Image

from oracle.levels import assert_one_answer
from oracle.pictures import draws, image
from vitc.data import Box, auto_augment_transform
from vitc.data import functional as F
from vitc.data import transforms as T

DTYPES = [np.uint8, np.uint16, np.float32]
WHITE = {np.uint8: 255, np.uint16: 65535, np.float32: 1}
SHAPES = [(1, 1), (17, 31), (17, 31, 3), (9, 200, 7)]


def pixels(dtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    levels = np.random.default_rng(seed).random(shape) * 1.2 - 0.1  # some of them are 0 and white
    return (levels.clip(0, 1) * WHITE[dtype]).astype(dtype)


def cut(levels: np.ndarray, dtype) -> np.ndarray:
    assert levels.dtype == np.float32
    return np.clip(levels, 0, WHITE[dtype]).astype(dtype)


# ------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mixture_is_the_sum_of_weighted_images(dtype, shape: tuple[int, ...]) -> None:
    imgs = [pixels(dtype, shape, seed) for seed in range(4)]
    for weights in ((0.1, 0.2, 0.3, 0.4), (1, 0, 0, 0), (1.5, -0.7, 0.9, -0.2), (0.3,)):
        total = np.zeros(shape, np.float32)
        for img, weight in zip(imgs, weights, strict=False):
            total += np.float32(weight) * img.astype(np.float32)
        ours = F.mix(imgs[: len(weights)], weights)
        assert ours.dtype == dtype and np.array_equal(ours, cut(total, dtype))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_blend_goes_from_one_image_to_the_other(dtype, shape: tuple[int, ...]) -> None:
    one, other = pixels(dtype, shape, 1), pixels(dtype, shape, 2)
    for ratio in (0.0, 0.3, 1 / 3, 1.0, 1.7, -0.4):
        base, away = one.astype(np.float32), other.astype(np.float32)
        expected = cut(base + np.float32(ratio) * (away - base), dtype)
        ours = F.blend(one, other, ratio)
        assert ours.dtype == dtype and np.array_equal(ours, expected)


def test_images_stay_of_their_kind() -> None:
    one, other = image(), image(seed=1)
    for ours in (F.mix([one, other], (0.5, 0.5)), F.blend(one, np.asarray(other), 0.5)):
        assert isinstance(ours, Image.Image) and ours.mode == "RGB"
        assert (
            np.abs(np.asarray(ours) - (np.asarray(one) / 2.0 + np.asarray(other) / 2.0)).max() < 1
        )
    rows = pixels(np.uint8, (40, 50, 3))[::2, 5:30]
    assert np.array_equal(F.blend(rows, rows[::-1], 1.0), rows[::-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_augmix_keeps_the_dtype_and_the_range(dtype) -> None:
    img = pixels(dtype, (40, 50, 5))
    for policy in (T.AugMix(), auto_augment_transform("augmix-m5-w4", {})):
        for _, ours in draws(policy, img, 3):
            assert ours.dtype == dtype and ours.shape == img.shape
            assert 0 <= ours.min() < 0.3 * WHITE[dtype] < 0.6 * WHITE[dtype] < ours.max()


# ------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_is_mixed_image_by_image(dtype) -> None:
    batch = pixels(dtype, (5, 3, 20, 33))
    partners, lam = [4, 0, 2, 2, 1], np.array([0.3, 1.0, 0.5, 0.0, 2 / 3])
    boxes = [None, None, Box(2, 3, 17, 27), Box(0, 0, 20, 33), Box(5, 5, 0, 4)]
    expected = batch.astype(np.float32)
    for i, box in enumerate(boxes):
        top, left, height, width = box or (0, 0, 20, 33)
        bottom, right = top + height, left + width
        one, other = (
            batch[k, :, top:bottom, left:right].astype(np.float32) for k in (i, partners[i])
        )
        mixed = np.float32(lam[i]) * one + np.float32(1 - lam[i]) * other
        expected[i, :, top:bottom, left:right] = mixed if dtype == np.float32 else np.rint(mixed)
    before = batch.copy()
    ours = F.mix_batch(batch, partners, lam, boxes)
    assert ours.dtype == dtype and np.array_equal(ours, expected) and np.array_equal(batch, before)
    strided = np.repeat(batch, 2, 3)[..., ::2]
    assert np.array_equal(F.mix_batch(strided, partners, lam, boxes), ours)


def test_halves_are_rounded_to_even_numbers() -> None:
    batch = np.array([1, 2, 3, 255, 0, 1, 4, 254], np.uint8).reshape(2, 1, 1, 4)
    assert F.mix_batch(batch, [1, 0], 0.5)[0].ravel().tolist() == [0, 2, 4, 254]


def test_what_is_cut_out_is_copied_bit_by_bit() -> None:
    batch = np.array([[np.nan, np.inf], [-0.0, 1.0]], np.float32).reshape(2, 1, 1, 2)
    for lam in (0.0, 1.0):
        ours = F.mix_batch(batch, [1, 0], lam)
        assert ours.tobytes() == (batch if lam else batch[::-1]).tobytes()


def test_every_instruction_set_mixes_alike() -> None:
    code = (
        "import numpy as np, zlib; from vitc.data import functional as F\n"
        "rng = np.random.default_rng(0)\n"
        "batch = rng.integers(0, 256, (2, 3, 41, 53), dtype=np.uint8)\n"
        "for dtype in ('B', 'H', 'f'):\n"
        "    x = batch.astype(dtype)\n"
        "    print(zlib.crc32(F.mix_batch(x, [1, 0], 0.37)))\n"
        "    print(zlib.crc32(F.mix(list(x[0]), (0.2, 0.3, 0.4))))\n"
        "    print(zlib.crc32(F.blend(x[0, 0], x[0, 1], 0.3)))\n"
    )
    assert_one_answer(code)


BATCH = np.zeros((2, 3, 4, 5), np.float32)
IMG = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.mix_batch(BATCH, [1, 2], 0.5), ValueError, "partner 2 of a batch of 2 images"),
        (lambda: F.mix_batch(BATCH, [-1, 0], 0.5), ValueError, "partner -1 of a batch"),
        (lambda: F.mix_batch(BATCH, [1], 0.5), ValueError, "partners has shape .1,., expected .2,"),
        (lambda: F.mix_batch(BATCH, [1, 0], 1.5), ValueError, "lam is 1.5, expected 0 to 1"),
        (lambda: F.mix_batch(BATCH, [1, 0], np.nan), ValueError, "lam is nan, expected 0 to 1"),
        (
            lambda: F.mix_batch(BATCH, [1, 0], 0.5, [None, Box(0, 0, 4, 6)]),
            ValueError,
            "box .0, 0, 4, 6. is not within 4 x 5 pixels",
        ),
        (
            lambda: F.mix_batch(BATCH, [1, 0], 0.5, [None, (0, 0, 4, 5)]),
            TypeError,
            "rectangle is .0, 0, 4, 5., expected a vitc.data.Box or None",
        ),
        (lambda: F.mix_batch(BATCH.astype("d"), [1, 0], 0.5), TypeError, "dtype float64, expected"),
        (lambda: F.mix_batch(BATCH[0], [1, 0, 2], 0.5), ValueError, "has 3 dimensions, expected 4"),
        (lambda: F.mix([IMG, IMG[1:]], (0.5, 0.5)), ValueError, "must be of one size"),
        (lambda: F.mix([IMG, IMG], (0.5,)), ValueError, "weights has shape .1,., expected .2,."),
        (
            lambda: F.mix([IMG] * 65, np.ones(65)),
            ValueError,
            "65 images to be mixed, expected",
        ),
        (lambda: F.blend(IMG, IMG.astype("f"), 0.5), ValueError, "and type"),
        (lambda: F.blend(IMG.astype("i"), IMG, 0.5), TypeError, "dtype int32, expected uint8"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
