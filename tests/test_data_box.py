"""vitc.data.box: the orders of a rectangle's numbers by hand, and pixels by NumPy's slices."""

import numpy as np
import pytest

from vitc.data import Box
from vitc.data import functional as F
from vitc.data.box import box_or_all


def test_a_box_is_where_it_begins_and_how_large_it_is() -> None:
    box = Box.from_corners(1, 2, 4, 9)
    assert box == Box(top=1, left=2, height=3, width=7) == (1, 2, 3, 7)
    assert (box.bottom, box.right) == (4, 9) and box.share(6, 14) == 0.25


def test_a_box_or_all() -> None:
    assert box_or_all(Box(1, 2, 3, 7), 20, 30) == Box(1, 2, 3, 7)
    assert box_or_all(None, 20, 30) == Box(0, 0, 20, 30)
    with pytest.raises(TypeError, match=r"rectangle is \(1, 2, 3, 7\), expected a vitc.data.Box"):
        box_or_all((1, 2, 3, 7), 20, 30)


def test_all_functions_take_the_same_box() -> None:
    box = Box(3, 4, 5, 9)
    img = np.arange(20 * 30, dtype=np.float32).reshape(20, 30, 1)
    inside = (slice(3, 8), slice(4, 13))
    expected = img.copy()
    expected[inside] = -1
    planes = img.transpose(2, 0, 1)
    assert np.array_equal(F.crop(img, *box), img[inside])
    assert np.array_equal(F.erase(planes, *box, -1)[0], expected[..., 0])
    assert np.array_equal(F.erase_boxes(img, [box], -1.0, channels_last=True), expected)
    other = np.full_like(img, -1)
    batch = np.stack([planes, other.transpose(2, 0, 1)])
    assert np.array_equal(F.mix_batch(batch, [1, 0], 0.0, [box, None])[0, 0], expected[..., 0])
    ours = F.to_normalized_tensor(img, (0.0,), (1.0,), other=other, lam=0.0, box=box)
    assert np.array_equal(ours[0], expected[..., 0])
