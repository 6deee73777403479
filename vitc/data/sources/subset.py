"""Parts of a dataset, and splits into those to train and to test."""

from collections.abc import Iterable, Sequence
from operator import index as as_index
from typing import Any

import numpy as np

from vitc.errors import shown


class Subset:
    """The samples of a dataset with these indices, in this order: torch's Subset.

    What the dataset knows of its samples is carried over: `classes` and `class_to_idx`, and for
    each sample `targets`, `samples`, `groups`, `weights` and `facts`.

    Raises `IndexError` for an index outside of the dataset.
    """

    classes: list[str]
    class_to_idx: dict[str, int]
    targets: Any
    samples: Any
    groups: Any
    weights: Any
    facts: Any

    def __init__(self, dataset: Any, indices: Iterable[int]) -> None:
        self.dataset, self.indices = dataset, [as_index(i) for i in indices]
        for i in self.indices:
            if not -len(dataset) <= i < len(dataset):
                raise IndexError(f"index {i} is outside of a dataset of {len(dataset)} samples")
        for name in ("classes", "class_to_idx"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))
        for name in ("targets", "samples", "groups", "weights"):
            if hasattr(dataset, name):
                setattr(self, name, _picked(getattr(dataset, name), self.indices))
        if hasattr(dataset, "facts"):
            self.facts = {name: _picked(v, self.indices) for name, v in dataset.facts.items()}

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


# ------------------------------------------------------------------------------- splits


def train_test_split(
    dataset: Any,
    test_size: float | int = 0.25,
    stratify: Any = None,
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> tuple[Subset, Subset]:
    """Two `Subset`s without a common sample, to train and to test, drawn from seed.

    test_size: a share below 1, or a number of samples. stratify: one label per sample, usually
    `dataset.targets`; each part gets every label in proportion. It is scikit-learn's function.
    groups: one per sample, as `dataset.groups`, say of patients; a group goes to one part as a
    whole. Shares are then those of the nearest fold of `k_fold`, so one in 2, 3, 4, ...

    To give the parts different transforms, split two datasets that differ in nothing else:

        train, _ = train_test_split(ImageFolder("photos", augmented), stratify=labels)
        _, test = train_test_split(ImageFolder("photos", plain), stratify=labels)

    Raises `ImportError` if scikit-learn is not installed, `ValueError` for a split that cannot be.
    """
    if groups is not None:
        share = test_size if test_size < 1 else test_size / len(dataset)
        return k_fold(dataset, max(2, round(1 / share)), stratify, seed, groups)[0]
    split = _sklearn().train_test_split
    places = np.arange(len(dataset))
    train, test = split(places, test_size=test_size, stratify=stratify, random_state=seed)
    return Subset(dataset, train), Subset(dataset, test)


def k_fold(
    dataset: Any,
    n_splits: int = 5,
    stratify: Any = None,
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> list[tuple[Subset, Subset]]:
    """For cross-validation: n_splits pairs of `Subset`s, to train and to test; each sample is in
    one of the parts to test.

    stratify, groups: as of `train_test_split`. These are scikit-learn's KFold, StratifiedKFold,
    GroupKFold and StratifiedGroupKFold, shuffled by seed.

    Raises `ImportError` if scikit-learn is not installed, `ValueError` for a split that cannot be.
    """
    name = ("Stratified" if stratify is not None else "") + ("Group" if groups is not None else "")
    folds = getattr(_sklearn(), f"{name}KFold")(n_splits, shuffle=True, random_state=seed)
    pairs = folds.split(np.arange(len(dataset)), stratify, groups)
    return [(Subset(dataset, train), Subset(dataset, test)) for train, test in pairs]


def refuse_shared_groups(**splits: Any) -> None:
    """Raises `ValueError` naming a group that is in two splits, which would then not be apart.

        refuse_shared_groups(train=train, test=test)

    splits: datasets with `groups`, or the groups themselves, one per sample.
    """
    owner: dict[Any, str] = {}
    for split, members in splits.items():
        for group in set(getattr(members, "groups", members)):
            if (other := owner.setdefault(group, split)) != split:
                raise ValueError(
                    f"the group {shown(group)} is in two splits, {shown(other)} and {shown(split)}"
                )


def _sklearn() -> Any:
    try:
        import sklearn.model_selection as found
    except ImportError:
        raise ImportError('splits need scikit-learn: pip install "vitc[train]"') from None
    return found
