"""Batches that are normalised and mixed while they are written: against Normalize and Mixup one
after the other, to the bit, and against timm, which rounds mixed bytes, within that rounding."""

import numpy as np
import pytest
import torch
from PIL import Image

from oracle import timm
from vitc.data import Box, DataLoader, create_transform, default_collate, random
from vitc.data import functional as F
from vitc.data import transforms as T
from vitc.data.timm.mixup import FastCollateMixup, Mixup

CLASSES = 5
RNG = np.random.default_rng(0)
LABELS = [0, 3, 2, 4, 1, 0, 2]
MODES = ["batch", "pair", "elem", "half"]
KINDS = [
    dict(),
    dict(mixup_alpha=0.0, cutmix_alpha=0.5),
    dict(mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.8),
    dict(mixup_alpha=0.0, cutmix_minmax=(0.2, 0.8)),
]


def moments(channels: int) -> tuple[list[float], list[float]]:
    return [0.4 + 0.01 * c for c in range(channels)], [0.2 + 0.03 * c for c in range(channels)]


def pictures(channels: int, count: int = 6) -> list[np.ndarray]:
    return list(RNG.integers(0, 256, (count, 20, 31, channels), dtype=np.uint8))


def one_after_the_other(imgs, labels, arguments: dict, seed: int):
    """Each image normalised, the batch stacked, then mixed."""
    whole = T.Compose([T.ToTensor(), T.Normalize(*moments(imgs[0].shape[2]))])
    batch = default_collate([(whole(img), label) for img, label in zip(imgs, labels, strict=True)])
    mixup = FastCollateMixup(num_classes=CLASSES, **arguments)
    with random.item(0, 0, seed):
        images, targets = Mixup.__call__(mixup, *batch)  # FastCollateMixup alone knows "half"
    count = len(imgs) // 2 if arguments["mode"] == "half" else len(imgs)
    return images[:count], targets[:count]


def in_one_pass(items, labels, arguments: dict, seed: int, channels: int):
    mean, std = moments(channels)
    collate = FastCollateMixup(num_classes=CLASSES, mean=mean, std=std, **arguments)
    with random.item(0, 0, seed):
        return collate(list(zip(items, labels, strict=True)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_batch_has_the_bits_of_normalize_and_mixup(kind: dict, mode: str, channels: int) -> None:
    arguments = dict(mode=mode, **kind)
    for count in (6, 7):
        imgs, labels = pictures(channels, count), LABELS[:count]
        kinds = [imgs, [np.ascontiguousarray(img.transpose(2, 0, 1)) for img in imgs]]
        if channels == 1:
            kinds += [[img[..., 0] for img in imgs]]
        if channels != 5:
            kinds += [[Image.fromarray(img.squeeze()) for img in imgs]]
        for seed in range(4):
            expected = one_after_the_other(imgs, labels, arguments, seed)
            for items in kinds:
                ours = in_one_pass(items, labels, arguments, seed, channels)
                assert ours[0].dtype == np.float32 and ours[0].flags.c_contiguous
                assert np.array_equal(ours[0], expected[0])
                assert np.array_equal(ours[1], expected[1])


def test_timm_differs_by_the_rounding_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a level, over the standard deviation, and 1e-6 of its own way of normalising."""
    theirs = timm.data.mixup.FastCollateMixup(num_classes=CLASSES)
    ours = FastCollateMixup(num_classes=CLASSES)
    mean, std = moments(3)
    planes = [np.ascontiguousarray(img.transpose(2, 0, 1)) for img in pictures(3)]
    worst = 0.0
    for seed in range(5):
        with random.item(0, 0, seed):
            lam, _ = ours.draw((6, 3, 20, 31), random.generator())
        monkeypatch.setattr(theirs, "_params_per_batch", lambda lam=lam: (lam, False))
        images, targets = theirs(list(zip(planes, LABELS[:6], strict=True)))
        scale = [torch.tensor(x).mul(255).view(1, 3, 1, 1) for x in (mean, std)]
        expected = images.float().sub(scale[0]).div(scale[1]).numpy()
        mixed, labels = in_one_pass(planes, LABELS[:6], {}, seed, 3)
        levels = np.abs(mixed - expected) * np.reshape(std, (-1, 1, 1)) * 255
        worst = max(worst, levels.max())
        assert np.array_equal(labels, targets.numpy())
    assert 0.4 < worst < 0.5 + 1e-3


def test_items_of_torch_are_taken() -> None:
    planes = [np.ascontiguousarray(img.transpose(2, 0, 1)) for img in pictures(3)]
    ours, theirs = (
        in_one_pass(items, LABELS[:6], {}, 0, 3)[0]
        for items in (planes, [torch.from_numpy(plane) for plane in planes])
    )
    assert np.array_equal(ours, theirs)


def test_switched_off_it_only_normalises() -> None:
    imgs, (mean, std) = pictures(3), moments(3)
    collate = FastCollateMixup(num_classes=CLASSES, mean=mean, std=std, mixup_off_epoch=2)
    items = list(zip(imgs, LABELS[:6], strict=True))
    plain = np.stack([F.to_normalized_tensor(img, mean, std) for img in imgs])
    with random.batch(0, 1, 0):
        assert not np.array_equal(collate(items)[0], plain)
    with random.batch(0, 2, 0):
        images, targets = collate(items)
    assert np.array_equal(images, plain) and (targets.max(1) > 0.9).all()
    collate = FastCollateMixup(num_classes=CLASSES, mean=mean, std=std)
    collate.mixup_enabled = False
    assert np.array_equal(collate(items)[0], plain)


def test_a_pipeline_of_timms_arguments_ends_in_it() -> None:
    """use_prefetcher: timm's transform to the byte, and the same batches for any threads."""
    photos = [Image.fromarray(img) for img in pictures(3, 24)]
    ours = create_transform(16, use_prefetcher=True, re_prob=0.5)
    theirs = timm.data.create_transform(16, use_prefetcher=True)
    for photo in photos[:3]:
        assert ours(photo).dtype == np.uint8 and np.array_equal(ours(photo), theirs(photo).numpy())
    augmented = create_transform(16, is_training=True, use_prefetcher=True, re_prob=0.5)
    assert "Erasing" not in repr(augmented) and "Normalize" not in repr(augmented)

    class Photos:
        def __len__(self) -> int:
            return len(photos)

        def __getitem__(self, i: int):
            return augmented(photos[i]), i % CLASSES

    def epochs(workers: int) -> list[bytes]:
        mean, std = moments(3)
        collate = FastCollateMixup(0.8, 1.0, num_classes=CLASSES, mean=mean, std=std)
        loader = DataLoader(
            Photos(), 6, shuffle=True, seed=1, num_workers=workers, collate_fn=collate
        )
        return [
            images.tobytes() + targets.tobytes() for _ in range(2) for images, targets in loader
        ]

    first = epochs(0)
    assert len(set(first)) == 8 and first == epochs(1) == epochs(3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_order_of_the_axes_changes_nothing(dtype) -> None:
    imgs = [(RNG.random((20, 31, 4)) * 250).astype(dtype) for _ in range(2)]
    planes = [img.transpose(2, 0, 1) for img in imgs]
    mean, std = moments(4)
    mixing = dict(lam=0.3, box=Box(2, 3, 15, 27), other_hflip=True, hflip=True)
    for options in ({}, dict(hflip=True), dict(bf16=True)):
        expected = F.to_normalized_tensor(imgs[0], mean, std, **options)
        for given in (planes[0], np.ascontiguousarray(planes[0])):
            ours = F.to_normalized_tensor(given, mean, std, channels_first=True, **options)
            assert np.array_equal(ours, expected)
    expected = F.to_normalized_tensor(imgs[0], mean, std, other=imgs[1], **mixing)
    ours = F.to_normalized_tensor(
        planes[0], mean, std, other=planes[1], channels_first=True, **mixing
    )
    assert np.array_equal(ours, expected)
    apart = np.zeros((9, 20, 31), dtype)[::2][:4]  # planes with a gap between
    apart[:] = planes[0]
    ours = F.to_normalized_tensor(apart, mean, std, channels_first=True)
    assert np.array_equal(ours, F.to_normalized_tensor(imgs[0], mean, std))


def collated(items, **arguments):
    arguments = dict(num_classes=CLASSES, mean=(0.5,) * 3, std=(0.2,) * 3) | arguments
    return FastCollateMixup(**arguments)(list(zip(items, range(len(items)), strict=True)))


GOOD, GREY = np.zeros((3, 8, 9), np.uint8), np.zeros((8, 9), np.uint8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: collated([GOOD] * 2, std=None), ValueError, "and std None, expected as many"),
        (lambda: collated([GOOD] * 2, std=(0.2,)), ValueError, "expected as many numbers of each"),
        (lambda: collated([GOOD] * 2, std=(0, 1, 1)), ValueError, "std of channel 0 is 0"),
        (lambda: collated([GOOD.astype("f")] * 2), TypeError, "images of float32, expected uint8"),
        (lambda: collated([GOOD, GOOD[:, 1:]]), ValueError, r"\(3, 7, 9\), \(3, 8, 9\), expected"),
        (
            lambda: collated([Image.fromarray(GREY).convert("P")]),
            TypeError,
            "the image has mode 'P'",
        ),
        (lambda: collated([GREY] * 2), ValueError, r"\(8, 9\), expected one shape, \(3, H, W\)"),
        (lambda: collated([GOOD[None]] * 2), ValueError, r"\(1, 3, 8, 9\), expected one shape"),
        (
            lambda: F.to_normalized_tensor(GREY, (0.5,), (0.2,), channels_first=True),
            ValueError,
            "two dimensions, expected .C, H, W.",
        ),
    ],
)
def test_what_cannot_be_collated_is_refused(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
