"""What rectangles are filled with: constants by NumPy's assignment to the bit, normal numbers by
oracle.normals within 2e-6; the rectangles themselves are compared with timm's and torchvision's in
test_data_timm_random_erasing.py and test_data_transforms_distributions.py."""

import numpy as np
import pytest
import torch
from scipy import stats

import oracle  # noqa: F401  makes torchvision importable
from oracle.normals import normal_numbers
from oracle.pictures import draws, image

# isort: split
from torchvision.transforms import functional as TF

from vitc.data import RandomErasing, random
from vitc.data import functional as F
from vitc.data import transforms as T

KEY = (3, 2**32 - 1)
BOXES = [(0, 0, 40, 60), (3, 7, 11, 20), (39, 59, 1, 1), (5, 5, 0, 9), (10, 0, 7, 3)]
DTYPES = [np.uint8, np.uint16, np.float32]
WHITE = {np.uint8: 255, np.uint16: 65535, np.float32: 1}


def array(dtype, channels: int = 3, channels_last: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    planes = (rng.random((channels, 40, 60)) * WHITE[dtype]).astype(dtype)
    return np.ascontiguousarray(planes.transpose(1, 2, 0)) if channels_last else planes


def numbers(box: tuple[int, ...], channels: int, place: int, by_value: bool) -> np.ndarray:
    """(C, h, w) normal numbers of the rectangle at a place among others."""
    shape = (channels, *box[2:]) if by_value else (channels, 1, 1)
    drawn = normal_numbers(int(np.prod(shape)), KEY, place).reshape(shape)
    return np.broadcast_to(drawn, (channels, *box[2:]))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_are_numpys(dtype, channels: int, channels_last: bool) -> None:
    given = array(dtype, channels, channels_last)
    before = given.copy()
    values = np.linspace(0.2, 0.9, channels) * WHITE[dtype]
    for box in BOXES:
        top, left, height, width = box
        ours = F.erase_boxes(given, [box], values, channels_last=channels_last)
        expected = given.copy()
        planes = expected.transpose(2, 0, 1) if channels_last else expected
        planes[:, top : top + height, left : left + width] = values[:, None, None]
        assert ours.dtype == dtype and np.array_equal(ours, expected)
    assert np.array_equal(given, before)


@pytest.mark.parametrize("by_value", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_values_are_the_streams_of_the_rectangles(dtype, by_value: bool) -> None:
    """Later rectangles lie on the former; integers are clamped, and may be rounded to the next."""
    mean, sigma = np.array([0.5, 0.1, 0.9]) * WHITE[dtype], np.array([0.1, 0.2, 0.3]) * WHITE[dtype]
    given, expected = array(dtype), array(dtype).astype(np.float64)
    for place, box in enumerate(BOXES):
        top, left, height, width = box
        z = numbers(box, 3, place, by_value)
        values = mean[:, None, None] + sigma[:, None, None] * z
        if dtype != np.float32:
            values = np.floor(values.clip(0, WHITE[dtype]))
        expected[:, top : top + height, left : left + width] = values
    ours = F.erase_boxes(given, BOXES, mean, sigma, key=KEY, by_value=by_value)
    error = np.abs(ours - expected)
    if dtype == np.float32:
        assert error.max() < 2e-6
    else:
        assert error.max() <= 1 and (error > 0).mean() < 0.01
    turned = F.erase_boxes(
        array(dtype, 3, True), BOXES, mean, sigma, key=KEY, by_value=by_value, channels_last=True
    )
    assert np.array_equal(turned.transpose(2, 0, 1), ours)


@pytest.mark.parametrize("inplace", [True, False])
def test_a_rectangle_of_given_values_is_torchvisions(inplace: bool) -> None:
    values = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    for value in (values, values[:, :1, :1]):
        given, theirs = array(np.float32), torch.from_numpy(array(np.float32))
        expected = TF.erase(theirs, 6, 7, 4, 5, torch.from_numpy(value), inplace)
        ours = F.erase(given, 6, 7, 4, 5, value, inplace)
        assert np.array_equal(ours, expected.numpy()) and (ours is given) == inplace
        assert np.array_equal(given, theirs.numpy())


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_timms_modes(mode: str) -> None:
    erasing, tensor = RandomErasing(1.0, mode=mode, min_count=2), np.ones((3, 40, 60), np.float32)
    sigma = float(mode != "const")
    for (boxes, key), ours in draws(erasing, tensor, 10):
        expected = F.erase_boxes(tensor, boxes, 0, sigma, by_value=mode == "pixel", key=key)
        assert len(boxes) == 2 and np.array_equal(ours, expected)
        top, left, height, width = boxes[-1]
        inside = ours[:, top : top + height, left : left + width].reshape(3, -1)
        kinds = {"const": 1, "rand": 3, "pixel": inside.size}[mode]
        assert len(np.unique(inside)) > 0.99 * kinds and (mode != "const" or not inside.any())
    assert (tensor == 1).all()


def test_torchvisions_random_values_are_standard_normal() -> None:
    tensor, values = np.full((3, 50, 70), 9, np.float32), []
    for (box, key), ours in draws(T.RandomErasing(1, value="random"), tensor, 9):
        assert np.array_equal(ours, F.erase_boxes(tensor, [box], 0, 1, key=key))
        values.append(ours[ours != 9])
    assert stats.kstest(np.concatenate(values), stats.norm().cdf).pvalue > 0.001


def test_a_batch_is_erased_image_by_image() -> None:
    batch = np.ones((5, 3, 40, 60), np.float32)
    with random.item(0, 0, 0):
        ours = RandomErasing(0.7, mode="pixel")(batch)
    with random.item(0, 0, 0):
        expected = [RandomErasing(0.7, mode="pixel")(img) for img in batch]
    assert np.array_equal(ours, expected) and (batch == 1).all()


@pytest.mark.parametrize(
    "erasing", [RandomErasing(1.0, mode="pixel"), T.RandomErasing(1.0, value=(1, 2, 3))], ids=str
)
@pytest.mark.parametrize("img", [np.asarray(image()), array(np.uint16, 3, True)], ids=["8", "16"])
def test_a_pipeline_erases_its_own_array_in_place(erasing, img, monkeypatch) -> None:
    """The same values as step by step; a chain within a chain still copies."""
    steps = [T.ToTensor(), T.Normalize((0.5,), (0.2,)), erasing]
    with random.item(0, 0, 0):
        expected = img
        for step in steps:
            expected = step(expected)
    seen: list[bool] = []
    erase = F.erase_boxes
    monkeypatch.setattr(
        F, "erase_boxes", lambda *x, **y: (seen.append(y["inplace"]), erase(*x, **y))[1]
    )
    for chain in (T.Compose(steps), T.Compose([T.Compose(steps[:2]), erasing])):
        with random.item(0, 0, 0):
            assert np.array_equal(chain(img), expected)
    assert seen == [True, False]
    assert not erasing.inplace


def test_memory_in_any_order_is_erased_in_place() -> None:
    for given in (array(np.float32)[:, ::2, 1::2], array(np.float32, 3, True).transpose(2, 0, 1)):
        expected = F.erase_boxes(given, [(3, 4, 5, 6)], 0, 1, key=KEY)
        assert F.erase_boxes(given, [(3, 4, 5, 6)], 0, 1, key=KEY, inplace=True) is given
        assert np.array_equal(given, expected)
    turned = T.Compose([T.Lambda(lambda x: x.transpose(2, 0, 1)), T.Normalize((0.5,), (0.2,))])
    erased = T.Compose([*turned.transforms, T.RandomErasing(1.0)])
    given = array(np.float32, 3, True)
    with random.item(0, 0, 0):
        ours = erased(given)
    assert (ours != turned(given)).any() and ((ours == turned(given)) | (ours == 0)).all()


def test_an_array_of_the_users_is_left_alone() -> None:
    given = np.ones((3, 40, 60), np.float32)
    assert (T.Compose([T.Identity(), RandomErasing(1.0)])(given) == 0).any() and (given == 1).all()
    own = T.Compose([T.Lambda(lambda x: x), T.RandomErasing(1.0)])
    assert (own(given) == 0).any() and (given == 1).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: F.erase_boxes(x, [(0, 0, 41, 1)]),
            ValueError,
            "box .0, 0, 41, 1. is not",
        ),
        (lambda x: F.erase_boxes(x, [(-1, 0, 1, 1)]), ValueError, "is not within 40 x 60 pixels"),
        (lambda x: F.erase_boxes(x, [(0, 2**62, 1, 2**62)]), ValueError, "is not within"),
        (lambda x: F.erase_boxes(x, [(0, 0, 1, 1)], (1, 2)), ValueError, "mean has shape .2,."),
        (lambda x: F.erase_boxes(x.astype("d"), []), TypeError, "dtype float64, expected uint8"),
        (lambda x: F.erase_boxes(x[0], [(0, 0, 1, 1)]), ValueError, "three dimensions"),
        (
            lambda x: F.erase_boxes(np.broadcast_to(x[:1], x.shape), [], inplace=True),
            ValueError,
            "read-only",
        ),
        (lambda x: F.erase_boxes(x, [], 0, 1, key=(-1, 0)), ValueError, "key is -1, expected"),
        (lambda x: RandomErasing(1, mode="rand")(x.astype("B")), TypeError, "expected float32"),
        (lambda x: T.RandomErasing(1, value="random")(x.astype("B")), TypeError, "dtype uint8"),
    ],
)
def test_what_cannot_be_erased_is_refused(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        for _ in range(20):
            call(array(np.float32))
