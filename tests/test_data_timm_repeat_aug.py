"""vitc.data.timm.repeat_aug against timm: repeated samples and batches of splits."""

import numpy as np
import pytest
import torch
from PIL import Image

from oracle import timm
from oracle.pictures import image
from vitc.data import DataLoader, create_transform, random
from vitc.data.timm.repeat_aug import AugMixDataset, RepeatAugSampler, split_collate
from vitc.tape import clock

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
    (lambda: RepeatAugSampler(range(9), num_replicas=2, rank=2), "rank is 2, expected 0 to 1"),
    (lambda: RepeatAugSampler(range(9), num_repeats=0), "num_repeats is 0"),
    (lambda: AugMixDataset(Labelled(abs)), "expected three, as separate=True gives them"),
    (lambda: AugMixDataset(Labelled(), [abs] * 3, 1), "num_splits is 1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
