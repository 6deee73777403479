"""Augmented samples are a function of (seed, epoch, sample, operation): one SHA-256 for all ways of
loading them, for pipelines that between them hold every random transform."""

import hashlib
import inspect
import time

import numpy as np
import pytest

from oracle.pictures import image
from vitc.data import DataLoader, FastCollateMixup, RandomErasing, auto_augment_transform
from vitc.data import transforms as T
from vitc.data.presets import PRESETS, create_preset

POOL = [image("RGB", (22, 30), seed) for seed in range(10)]

MIXED = T.Compose(
    [
        T.RandomResizedCrop(20, interpolation="random"),
        T.RandomChoice([T.RandomDihedral(), T.RandomPerspective(p=1), T.RandomRotation(9)]),
        T.RandomOrder([T.RandomPosterize(4), T.RandomSolarize(90), T.RandomInvert(0.1)]),
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.RandomGrayscale()], 0.6),
        lambda img: img.rotate(90),  # a function of the user's own
        T.ToTensor(),
        T.Normalize((0.5,), (0.5,)),
        T.RandomErasing(value="random"),
        RandomErasing(mode="pixel", max_count=2),
    ]
)
GEOMETRY = T.Compose(
    [
        T.ResizeKeepRatio(24, random_scale_prob=0.5, random_aspect_prob=0.5),
        T.RandomCropOrPad(26, padding_mode="reflect"),
        T.RandomCrop(22, padding=2),
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomAffine(9, (0.1, 0.1), (0.9, 1.1), 5, "bicubic"),
        T.ElasticTransform(9.0, 1.0),
        T.ToTensor(),
    ]
)
COLOURS = T.Compose(
    [
        T.Resize((20, 20)),
        T.RandomAdjustSharpness(2),
        T.RandomAutocontrast(),
        T.RandomEqualize(0.2),
        T.GaussianBlur(3),
        T.GaussianNoise(sigma=0.02),
        T.RandomGaussianNoise(),
        T.RandomGamma(),
        T.RandomBiasField(),
        T.RandomHistogramShift(),
        T.RandomHEDJitter(),
        T.ToTensor(),
    ]
)
POLICIES = T.RandomChoice(
    [
        T.Compose([T.Resize((20, 20)), policy, T.ToTensor()])
        for policy in (
            T.AutoAugment("svhn"),
            T.RandAugment(),
            T.TrivialAugmentWide(),
            T.AugMix(),
            *map(auto_augment_transform, ("rand-m9-mstd0.5-inc1", "original", "3a", "augmix-m3")),
        )
    ]
)
PIPELINES = {"mixed": MIXED, "geometry": GEOMETRY, "colours": COLOURS, "policies": POLICIES}
PIPELINES |= {name: create_preset(name, 16) for name in PRESETS}
COUNTS = dict.fromkeys(PIPELINES, 160) | {"mixed": 1000}


class Photos:
    """Items that take unequal times, so that threads finish in ever another order."""

    def __init__(self, name: str, delay: float) -> None:
        self.transform, self.count, self.delay = PIPELINES[name], COUNTS[name], delay

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if self.delay:
            time.sleep(self.delay * (index * 7919 % 13 == 0))
        return self.transform(POOL[index % len(POOL)]), index


def by_sample(batches) -> dict[int, bytes]:
    return {
        int(label): image.tobytes()
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    }


def digest(samples: dict[int, bytes]) -> str:
    assert sorted(samples) == list(range(len(samples)))
    return hashlib.sha256(b"".join(samples[index] for index in sorted(samples))).hexdigest()


def loader(name: str, workers: int = 0, **options) -> DataLoader:
    photos = Photos(name, options.pop("delay", 0.0))
    return DataLoader(photos, options.pop("batch_size", 40), num_workers=workers, seed=5, **options)


@pytest.mark.parametrize("name", PIPELINES)
def test_one_digest_however_the_samples_are_loaded(name: str) -> None:
    everything = by_sample(loader(name))
    expected = digest(everything)
    assert len(everything) == COUNTS[name]
    for workers in (1, 2, 3, 8):
        assert digest(by_sample(loader(name, workers, delay=0.001))) == expected
    assert digest(by_sample(loader(name, 3, shuffle=True, batch_size=64))) == expected
    resumed = by_sample(loader(name).batches(2))
    assert digest({i: everything[i] for i in range(80)} | resumed) == expected
    assert min(resumed) == 80
    later = loader(name)
    later.set_epoch(1)
    anew = by_sample([next(iter(later))])
    # A policy may leave a sample as it is, twice.
    assert sum(everything[i] == one for i, one in anew.items()) < len(anew) / 4


def test_the_pipelines_hold_every_random_transform() -> None:
    """So that a new one is tested as well."""
    kinds, waiting = set(), list(PIPELINES.values())
    while waiting:
        step = waiting.pop()
        kinds.add(type(step))
        waiting += getattr(step, "transforms", [])
    public = {getattr(T, name) for name in T.__all__}
    drawing = {
        kind for kind in public if inspect.isclass(kind) and issubclass(kind, T.RandomTransform)
    }
    drawing |= {T.RandomApply, T.RandomChoice, T.RandomOrder}
    assert drawing - kinds == {T.RandomTransform, T.MixUp, T.CutMix}


def test_mixed_batches_do_not_depend_on_threads_or_a_resume() -> None:
    def batches(workers: int, start: int = 0) -> list[bytes]:
        collate = FastCollateMixup(0.8, 1.0, num_classes=160, mode="elem")
        found = loader("geometry", workers, shuffle=True, collate_fn=collate).batches(start)
        return [images.tobytes() + targets.tobytes() for images, targets in found]

    assert batches(0) == batches(3) and batches(0)[2:] == batches(2, 2)
