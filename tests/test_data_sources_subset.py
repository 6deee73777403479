"""Subsets: what a part carries over, and splits against scikit-learn's promises."""

import sys

import numpy as np
import pytest
from sklearn import model_selection

from vitc.data import ArrayDataset, Subset, k_fold, refuse_shared_groups, train_test_split

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


@pytest.fixture
def data() -> ArrayDataset:
    images = np.arange(100, dtype=np.float32).reshape(100, 1, 1, 1)
    return ArrayDataset(images, LABELS, classes=["a", "b", "c"])


def test_a_subset_carries_over_classes_targets_and_samples(data) -> None:
    part = Subset(data, np.array([99, 0, -30]))
    assert [float(image.item()) for image, _ in (part[i] for i in range(3))] == [99, 0, 70]
    assert (part.classes, part.class_to_idx) == (data.classes, data.class_to_idx)
    assert part.targets.tolist() == [2, 0, 1]
    assert not hasattr(part, "samples")
    data.samples = [(f"{i}.png", 0) for i in range(100)]
    twice = Subset(Subset(data, [5, 6, 7]), [2, 0])
    assert twice.samples == [("7.png", 0), ("5.png", 0)]
    assert repr(part) == "Subset(3 of ArrayDataset(100 images of 3 classes))"


def test_an_index_outside_is_named(data) -> None:
    with pytest.raises(IndexError, match="index 100 is outside of a dataset of 100 samples"):
        Subset(data, [0, 100])


def test_splits_are_disjoint_stratified_and_drawn_from_the_seed(data) -> None:
    train, test = train_test_split(data, 0.2, stratify=data.targets)
    assert sorted(train.indices + test.indices) == list(range(100))
    assert np.bincount(test.targets).tolist() == [12, 6, 2]
    again = train_test_split(data, 0.2, stratify=data.targets)[1]
    other = train_test_split(data, 0.2, stratify=data.targets, seed=1)[1]
    assert again.indices == test.indices != other.indices
    assert len(train_test_split(data)[1]) == 25


GROUPS = [f"P{i // 4}" for i in range(100)]  # of four samples each, some with two labels


def test_groups_stay_together_and_labels_in_proportion(data) -> None:
    data.groups = GROUPS
    train, test = train_test_split(data, 0.2, data.targets, groups=data.groups)
    refuse_shared_groups(train=train, test=test)
    assert sorted(train.indices + test.indices) == list(range(100))
    assert len(test) == 20 and np.all(np.abs(np.bincount(test.targets) - [12, 6, 2]) <= 2)
    assert test.groups == [GROUPS[i] for i in test.indices]
    again = train_test_split(data, 20, data.targets, groups=data.groups)[1]
    assert again.indices == test.indices
    assert train_test_split(data, 20, seed=1, groups=GROUPS)[1].indices != test.indices


@pytest.mark.parametrize("stratify", [None, LABELS])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_folds_are_scikit_learns(stratify, groups, data) -> None:
    kind = getattr(
        model_selection,
        ("Stratified" if stratify is not None else "") + ("Group" if groups else "") + "KFold",
    )
    ours = k_fold(data, 4, stratify, 7, groups)
    theirs = kind(4, shuffle=True, random_state=7).split(LABELS, stratify, groups)
    for (train, test), (a, b) in zip(ours, theirs, strict=True):
        assert (train.indices, test.indices) == (a.tolist(), b.tolist())
    assert sorted(i for _, test in ours for i in test.indices) == list(range(100))


def test_too_few_groups_are_named(data) -> None:
    with pytest.raises(ValueError, match="n_splits=5 greater than the number of groups: 2"):
        k_fold(data, 5, LABELS, groups=["a", "b"] * 50)


def test_a_group_in_two_splits_is_named() -> None:
    refuse_shared_groups(train=["a", "b", "a"], val=["c"], test=[])
    with pytest.raises(ValueError, match="the group 'b' is in two splits, 'train' and 'test'"):
        refuse_shared_groups(train=["a", "b"], val=["c"], test=["b"])


def test_without_scikit_learn_the_extra_is_named(data, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(ImportError, match=r'pip install "vitc\[train\]"'):
        train_test_split(data)
