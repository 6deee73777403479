"""vitc.data.samplers: frequencies by chi square, effective numbers by their formula, groups by
counting."""

from collections import Counter

import numpy as np
import pytest
import torch

from vitc.data import (
    ClassBalancedSampler,
    DataLoader,
    GroupSampler,
    WeightedRandomSampler,
)
from vitc.tape import clock

ALL = [
    WeightedRandomSampler([1.0, 2, 3, 4, 5]),
    WeightedRandomSampler([1.0, 2, 3, 4, 5], replacement=False),
    ClassBalancedSampler([0, 0, 0, 1, 2]),
    GroupSampler(["a", "a", "a", "b", "c"]),
]


def drawn(sampler, epochs: int) -> np.ndarray:
    epoch = []
    for number in range(epochs):
        sampler.set_epoch(number)
        epoch.append(list(sampler))
    return np.array(epoch)


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sum((counts - expected) ** 2 / expected))


@pytest.mark.parametrize("sampler", ALL, ids=lambda s: type(s).__name__)
def test_draws_depend_on_seed_and_epoch_alone(sampler) -> None:
    before, again = clock.seed, type(sampler).__new__(type(sampler))
    again.__dict__.update(sampler.__dict__, seed=before)
    assert np.array_equal(drawn(sampler, 20), drawn(again, 20))
    again.seed = before + 1
    assert not np.array_equal(drawn(sampler, 20), drawn(again, 20))
    epochs = drawn(sampler, 20)
    assert len({tuple(epoch) for epoch in epochs}) > 1 and len(sampler) == epochs.shape[1]


def test_the_seed_is_the_loaders_unless_given() -> None:
    def order(seed: int, own: int | None, epoch: int = 0) -> list[int]:
        sampler = WeightedRandomSampler([1.0] * 9, 30, seed=own)
        loader = DataLoader(range(9), 30, sampler=sampler, seed=seed)
        loader.set_epoch(epoch)
        (batch,) = loader
        return batch.tolist()

    assert order(1, None) == order(2, 1) == order(3, 1)
    assert len({tuple(order(1, None)), tuple(order(2, None)), tuple(order(1, None, 1))}) == 3


def test_weights_are_frequencies() -> None:
    weights = np.array([0, 1, 2, 0, 5, 0.5, 0])
    sampler = WeightedRandomSampler(weights, 20_000, seed=3)
    counts = np.bincount(list(sampler), minlength=7)
    seen = weights > 0
    assert not counts[~seen].any()
    expected = 20_000 * weights[seen] / weights.sum()
    assert chi_square(counts[seen], expected) < 16.3  # 3 degrees of freedom, 0.1 %


def test_without_replacement_first_places_have_torchs_frequencies() -> None:
    """The first sample is drawn by weight, the second by weight among the others."""
    weights = np.array([1.0, 2, 4])
    pairs = drawn(WeightedRandomSampler(weights, 2, replacement=False), 6000)
    assert np.all(pairs[:, 0] != pairs[:, 1])
    torch.manual_seed(0)
    theirs = torch.multinomial(torch.tensor(weights).expand(6000, 3), 2).numpy()
    share = weights / weights.sum()
    expected = np.array(
        [share[i] * share[j] / (1 - share[i]) for i in range(3) for j in range(3) if i != j]
    )
    for found in (pairs, theirs):
        counts = Counter(map(tuple, found.tolist()))
        ours = np.array([counts[i, j] for i in range(3) for j in range(3) if i != j])
        assert chi_square(ours, 6000 * expected) < 20.5  # 5 degrees of freedom, 0.1 %


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_classes_are_weighed_by_their_effective_number(beta: float) -> None:
    targets = np.repeat([0, 1, 2], [80, 15, 5])
    sampler = ClassBalancedSampler(targets, beta, num_samples=20_000)
    effective = np.array([(1 - beta**n) / (1 - beta) for n in (80, 15, 5)])
    share = np.array([80, 15, 5]) / effective
    counts = np.bincount(targets[list(sampler)])
    assert chi_square(counts, 20_000 * share / share.sum()) < 13.8  # 2 degrees of freedom, 0.1 %


def test_every_group_has_its_turn() -> None:
    groups = ["big"] * 50 + ["mid"] * 3 + ["one"]
    sampler = GroupSampler(groups, per_group=2)
    epochs = drawn(sampler, 200)
    assert len(sampler) == 5
    for epoch in epochs:
        assert Counter(groups[i] for i in epoch) == {"big": 2, "mid": 2, "one": 1}
        assert len(set(epoch)) == 5
    counts = np.bincount(epochs.ravel(), minlength=54)[:50]
    assert chi_square(counts, np.full(50, 8.0)) < 85.4  # 49 degrees of freedom, 0.1 %


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedRandomSampler([0.0, 0]), "weights are finite numbers from 0"),
        (lambda: WeightedRandomSampler([1, -1]), "weights are finite numbers from 0"),
        (lambda: WeightedRandomSampler([1, np.nan]), "weights are finite numbers from 0"),
        (lambda: WeightedRandomSampler([[1.0]]), r"weights of shape \(1, 1\)"),
        (lambda: WeightedRandomSampler([]), "an epoch of 0 samples"),
        (lambda: WeightedRandomSampler([1, 0], 2, False), "2 samples without .*, 1 have a weight"),
        (lambda: ClassBalancedSampler([0, 1], beta=1), "beta is 1, expected"),
        (lambda: GroupSampler(["a"], per_group=0), "per_group is 0"),
    ],
)
def test_bad_arguments_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
