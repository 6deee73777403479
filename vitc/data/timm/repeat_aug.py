"""Several augmentations of an image in one epoch: repeated, or side by side, as timm does it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.data import random
from vitc.data.collate import default_collate
from vitc.data.samplers import Sampler
from vitc.errors import shown


class RepeatAugSampler(Sampler):
    """Each sample num_repeats times in a row, each time augmented anew: a `sampler`.

    The samples are dealt out to num_replicas processes, of which this is number rank. An epoch has
    about as many items as the dataset, so it sees 1 / num_repeats of the samples: len(dataset),
    rounded down to a multiple of selected_round (if there are as many), divided by selected_ratio
    (0: num_replicas). With one process the repeats stand in the same batch.

    Paper: https://arxiv.org/abs/1902.05509.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        num_repeats: float = 3,
        selected_round: int = 256,
        selected_ratio: float = 0,
        seed: int | None = None,
    ) -> None:
        self.dataset, self.shuffle = dataset, shuffle
        self.num_replicas = checks.integer("num_replicas", num_replicas, 1)
        self.rank = checks.integer("rank", rank, 0, self.num_replicas - 1)
        self.num_repeats = checks.number("num_repeats", num_repeats, 1)
        length, ratio = len(dataset), selected_ratio or num_replicas
        self.num_samples = math.ceil(length * num_repeats / num_replicas)
        if selected_round and length >= selected_round:
            selected = math.floor(length // selected_round * selected_round / ratio)
        else:
            selected = math.ceil(length / ratio)
        super().__init__(min(selected, self.num_samples), seed)

    def indices(self, seed: int, epoch: int) -> Array:
        length = len(self.dataset)
        order = random.order(seed, epoch, length) if self.shuffle else np.arange(length)
        total = math.ceil(self.num_repeats * length)
        repeated = order[(np.arange(total) // self.num_repeats).astype(np.int64)]
        mine = np.arange(self.rank, self.num_samples * self.num_replicas, self.num_replicas)
        return repeated[mine[: self.length] % total]


class AugMixDataset:
    """Each image as it is and num_splits - 1 times augmented: ((clean, augmented, ...), label).

    dataset: anything with len(), [index] -> (image, label) and a `transform`. transform: three, as
    `create_transform(..., separate=True)` makes them: of all, of the augmented ones, of all in the
    end; None if the dataset has them. `split_collate` makes batches, for losses that compare.
    """

    def __init__(
        self, dataset: Any, transform: Sequence[Any] | None = None, num_splits: int = 2
    ) -> None:
        self.dataset, self.num_splits = dataset, checks.integer("num_splits", num_splits, 2)
        self.transform = dataset.transform if transform is None else transform

    @property
    def transform(self) -> Any:
        return self.dataset.transform, self._augmentation, self._final

    @transform.setter
    def transform(self, parts: Sequence[Any]) -> None:
        if not isinstance(parts, tuple | list) or len(parts) != 3:
            raise ValueError(
                f"transform is {shown(parts)}, expected three, as separate=True gives them"
            )
        self.dataset.transform, self._augmentation, self._final = parts

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[tuple[Any, ...], Any]:
        image, label = self.dataset[index]
        augmented = (self._augmentation(image) for _ in range(self.num_splits - 1))
        return tuple(map(self._final, (image, *augmented))), label


def split_collate(batch: Sequence[tuple[tuple[Any, ...], Any]]) -> tuple[Array, Array]:
    """Items of `AugMixDataset` -> images (splits * batch, ...) and as many labels: first all clean
    ones, then all of the next split, and so on, as timm's fast_collate."""
    images, labels = default_collate(batch)
    return np.concatenate(images), np.concatenate([labels] * len(images))
