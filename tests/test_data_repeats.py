"""Random erasing, repeated augmentation and augmentation splits against timm."""

import math
import random as stdlib_random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from oracle import timm
from oracle.pictures import image, sample
from vitc.data import DataLoader, create_transform, random
from vitc.data.timm.random_erasing import RandomErasing
from vitc.data.timm.repeat_aug import AugMixDataset, RepeatAugSampler, split_collate
from vitc.tape import clock

TENSOR = np.ones((3, 40, 60), np.float32)

# ------------------------------------------------------------------------------- erasing


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


# ------------------------------------------------------------------------------- repeats

SAMPLERS = [
    dict(),
    dict(num_repeats=2, num_replicas=4, rank=3),
    dict(num_repeats=1.5, selected_round=0),
    dict(num_replicas=2, rank=1, selected_ratio=3),
    dict(num_replicas=3, rank=2, shuffle=False),
]


@pytest.mark.parametrize("length", [1, 10, 257, 600])
@pytest.mark.parametrize("arguments", SAMPLERS, ids=str)
def test_repeated_samples_are_timms(
    arguments: dict, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = dict(num_replicas=1, rank=0) | arguments
    ours = RepeatAugSampler(range(length), **arguments)
    theirs = timm.data.distributed_sampler.RepeatAugSampler(range(length), **arguments)
    for epoch in (0, 3):
        order = random.order(clock.seed, epoch, length)
        monkeypatch.setattr(
            torch, "randperm", lambda n, generator, order=order: torch.tensor(order)
        )
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_every_repeat_is_augmented_anew() -> None:
    transform = create_transform(16, is_training=True)

    class Photos:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple:
            return transform(image(seed=index)), index

    photos = Photos()
    loader = DataLoader(photos, 4, sampler=RepeatAugSampler(photos))
    ((images, labels),) = loader
    assert np.sort(np.unique(labels, return_counts=True)[1]).tolist() == [1, 3]
    assert len({one.tobytes() for one in images}) == 4


# ------------------------------------------------------------------------------- splits


class Labelled:
    def __init__(self, transform=None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.transform(image(seed=index)), index


def test_the_clean_part_comes_first_and_the_others_differ() -> None:
    parts = create_transform(16, is_training=True, separate=True, auto_augment="augmix-m9")
    splits = AugMixDataset(Labelled(), parts, num_splits=3)
    images, labels = next(iter(DataLoader(splits, 5, collate_fn=split_collate)))
    assert images.shape == (15, 3, 16, 16) and labels.tolist() == [0, 1, 2, 3, 4] * 3
    first, _, final = parts
    for index in range(5):
        with random.item(clock.seed, 0, index):
            clean = final(first(image(seed=index)))
        assert np.array_equal(images[index], clean)
    for index in range(5):
        assert len({images[index + 5 * split].tobytes() for split in range(3)}) == 3


def test_batches_of_splits_are_timms() -> None:
    rng = np.random.default_rng(0)
    batch = [
        (tuple(rng.integers(0, 256, (3, 4, 5), dtype=np.uint8) for _ in range(3)), label)
        for label in (4, 7)
    ]
    ours, theirs = split_collate(batch), timm.data.loader.fast_collate(batch)
    assert all(
        np.array_equal(mine, other.numpy()) for mine, other in zip(ours, theirs, strict=True)
    )


BAD = [
    (lambda: RandomErasing(2), "probability is 2"),
    (lambda: RandomErasing(min_area=0.5, max_area=0.2), "min_area, max_area is .0.5, 0.2."),
    (lambda: RandomErasing(mode="grey"), "mode is 'grey', expected one of const, rand, pixel"),
    (lambda: RandomErasing(min_count=0), "min_count is 0"),
    (lambda: RandomErasing(min_count=3, max_count=2), "max_count is 2, expected 3 or more"),
    (lambda: RepeatAugSampler(range(9), num_replicas=2, rank=2), "rank is 2, expected 0 to 1"),
    (lambda: RepeatAugSampler(range(9), num_repeats=0), "num_repeats is 0"),
    (lambda: AugMixDataset(Labelled(abs)), "expected three, as separate=True gives them"),
    (lambda: AugMixDataset(Labelled(), [abs] * 3, 1), "num_splits is 1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_erasing_needs_arrays() -> None:
    with pytest.raises(TypeError, match="expected an array .C, H, W. or .* got Image"):
        RandomErasing()(image())
    assert math.isclose(RandomErasing().aspect[1], 1 / 0.3)
