"""Parts of a dataset, and the split into two."""

from collections.abc import Iterable
from operator import index as as_index
from typing import Any

import numpy as np


class Subset:
    """The samples of a dataset with these indices, in this order: torch's Subset.

    `classes`, `class_to_idx`, `targets` and `samples` are carried over if the dataset has them.

    Raises `IndexError` for an index outside of the dataset.
    """

    classes: list[str]
    class_to_idx: dict[str, int]
    targets: Any
    samples: Any

    def __init__(self, dataset: Any, indices: Iterable[int]) -> None:
        self.dataset, self.indices = dataset, [as_index(i) for i in indices]
        for i in self.indices:
            if not -len(dataset) <= i < len(dataset):
                raise IndexError(f"index {i} is outside of a dataset of {len(dataset)} samples")
        for name in ("classes", "class_to_idx"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))
        for name in ("targets", "samples"):
            if hasattr(dataset, name):
                setattr(self, name, _picked(getattr(dataset, name), self.indices))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def _picked(values: Any, indices: list[int]) -> Any:
    if isinstance(values, np.ndarray):
        return values[indices]
    return [values[i] for i in indices]


def train_test_split(
    dataset: Any, test_size: float | int = 0.25, stratify: Any = None, seed: int = 0
) -> tuple[Subset, Subset]:
    """Two `Subset`s without a common sample, to train and to test, drawn from seed.

    test_size: a share below 1, or a number of samples. stratify: one label per sample, usually
    `dataset.targets`; each part gets every label in proportion. It is scikit-learn's function.

    To give the parts different transforms, split two datasets that differ in nothing else:

        train, _ = train_test_split(ImageFolder("photos", augmented), stratify=labels)
        _, test = train_test_split(ImageFolder("photos", plain), stratify=labels)

    Raises `ImportError` if scikit-learn is not installed, `ValueError` for a split that cannot be.
    """
    try:
        from sklearn.model_selection import train_test_split as split  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(
            'train_test_split needs scikit-learn: pip install "vitc[train]"'
        ) from None
    places = np.arange(len(dataset))
    train, test = split(places, test_size=test_size, stratify=stratify, random_state=seed)
    return Subset(dataset, train), Subset(dataset, test)
