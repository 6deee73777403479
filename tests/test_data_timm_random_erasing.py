"""vitc.data.timm.random_erasing against timm: rectangles by their distributions. What fills
them: test_data_functional_erasing.py."""

import math
import random as stdlib_random

import numpy as np
import pytest
import torch
from scipy import stats

from oracle import timm
from oracle.pictures import image, sample
from vitc.data import RandomErasing

TENSOR = np.ones((3, 40, 60), np.float32)


def timms_rectangles(count: int, **arguments) -> list[list[tuple[int, int, int, int]]]:
    """What timm erases, read back from zeros in ones. Only for one rectangle per image."""
    stdlib_random.seed(0)
    erasing = timm.data.random_erasing.RandomErasing(mode="const", device="cpu", **arguments)
    found = []
    for _ in range(count):
        rows, columns = np.nonzero(erasing(torch.ones(1, 40, 60))[0].numpy() == 0)
        if len(rows):
            top, left = rows.min(), columns.min()
            found.append((top, left, rows.max() - top + 1, columns.max() - left + 1))
    return found


@pytest.mark.parametrize(
    "arguments", [dict(probability=0.6), dict(probability=0.9, min_aspect=0.5, max_area=0.8)]
)
def test_rectangles_are_distributed_as_timms(arguments: dict) -> None:
    """How many by chi square, edges and places by Kolmogorov-Smirnov, at 0.1 %."""
    drawn = sample(RandomErasing(**arguments), TENSOR)
    ours = [boxes[0] for boxes, _ in drawn if boxes]
    theirs = timms_rectangles(2000, **arguments)
    table = [[len(found), 2000 - len(found)] for found in (ours, theirs)]
    assert stats.chi2_contingency(table).pvalue > 0.001
    for place in range(4):
        columns = [[box[place] for box in found] for found in (ours, theirs)]
        assert stats.ks_2samp(*columns).pvalue > 0.001


def test_the_number_of_rectangles_is_uniform_and_their_area_shared_and_less_than_all() -> None:
    drawn = sample(RandomErasing(1.0, max_count=3, min_area=0.3, max_area=0.3), TENSOR)
    counts = [len(boxes) for boxes, _ in drawn]
    assert stats.chisquare([counts.count(n) for n in (1, 2, 3)]).pvalue > 0.001
    small = sample(RandomErasing(1.0, max_area=1.0, min_aspect=0.9), np.ones((1, 4, 4)), 500)
    assert {max(box[2:]) for boxes, _ in small for box in boxes} == {1, 2, 3}
    areas = [box[2] * box[3] * len(boxes) for boxes, _ in drawn for box in boxes]
    assert abs(np.mean(areas) / 2400 - 0.3) < 0.003


def test_the_first_split_of_a_batch_is_left_alone() -> None:
    batch = np.ones((6, 3, 40, 60), np.float32)
    erased = (RandomErasing(1.0, num_splits=3)(batch) == 0).any((1, 2, 3))
    assert erased.tolist() == [False, False, True, True, True, True]
    assert (RandomErasing(1.0)(batch) == 0).any((1, 2, 3)).all() and (batch == 1).all()


BAD = [
    (lambda: RandomErasing(2), "probability is 2"),
    (lambda: RandomErasing(min_area=0.5, max_area=0.2), "min_area, max_area is .0.5, 0.2."),
    (lambda: RandomErasing(mode="grey"), "mode is 'grey', expected one of const, rand, pixel"),
    (lambda: RandomErasing(min_count=0), "min_count is 0"),
    (lambda: RandomErasing(min_count=3, max_count=2), "max_count is 2, expected 3 or more"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_erasing_needs_arrays() -> None:
    with pytest.raises(TypeError, match="expected an array .C, H, W. or .* got Image"):
        RandomErasing()(image())
    assert math.isclose(RandomErasing().aspect[1], 1 / 0.3)
