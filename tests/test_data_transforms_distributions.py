"""What transforms draw against what torchvision's and timm's draw: the same distributions.

Kolmogorov-Smirnov of two samples for each number, chi square for choices, both at 0.1 % with fixed
seeds. torchvision's draws come from `get_params`, timm's likewise.
"""

import random as stdlib_random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from oracle import timm
from oracle.pictures import sample

# isort: split
from torchvision import transforms as TV

from vitc.data import transforms as T
from vitc.tape import clock

COUNT = 2000
PICTURE = Image.new("RGB", (70, 50))
TENSOR = torch.ones(3, 50, 70)
timms = timm.data.transforms


def flat(params) -> list[float]:
    """The numbers of nested tuples, in order."""
    if isinstance(params, tuple | list) or getattr(params, "ndim", 0):
        return [number for part in params for number in flat(part)]
    return [float(params)]


def alike(ours, theirs) -> None:
    """Column by column. Numbers that are whole on both sides compare by their counts."""
    mine, other = (np.array([flat(params) for params in drawn]) for drawn in (ours, theirs))
    assert mine.shape[1] == other.shape[1]
    for a, b in zip(mine.T, other.T, strict=True):
        values = np.union1d(a, b)
        if len(values) == 1:
            continue
        if len(values) <= 12:
            table = [[np.sum(column == value) for value in values] for column in (a, b)]
            assert stats.chi2_contingency(table).pvalue > 0.001
        else:
            assert stats.ks_2samp(a, b).pvalue > 0.001
    varied = mine.std(0) > 0
    if varied.sum() > 1:
        together = [np.corrcoef(columns[:, varied].T) for columns in (mine, other)]
        assert np.abs(together[0] - together[1]).max() < 0.12


def drawn(params_of) -> list:
    torch.manual_seed(0)
    stdlib_random.seed(0)
    return [params_of() for _ in range(COUNT)]


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.9)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (0.2, 0.9)])
def test_resized_crops(scale, ratio) -> None:
    ours = [box[:4] for box in sample(T.RandomResizedCrop(9, scale, ratio), PICTURE)]
    alike(ours, drawn(lambda: TV.RandomResizedCrop.get_params(PICTURE, scale, ratio)))
    interpolating = timms.RandomResizedCropAndInterpolation
    alike(ours, drawn(lambda: interpolating.get_params(PICTURE, scale, ratio)))


def test_crops() -> None:
    ours = sample(T.RandomCrop((45, 30)), PICTURE)
    alike(ours, drawn(lambda: TV.RandomCrop.get_params(PICTURE, (45, 30))[:2]))


@pytest.mark.parametrize("size", [(40, 90), (60, 61), (50, 80)])
def test_crops_or_borders(size) -> None:
    ours = sample(T.RandomCropOrPad(size), PICTURE)
    alike(ours, drawn(lambda: timms.RandomCropOrPad.get_params(PICTURE, size)))


@pytest.mark.parametrize("area", [True, False])
def test_sizes_in_proportion(area: bool) -> None:
    options = dict(
        random_scale_prob=0.7,
        random_scale_range=(0.5, 1.2),
        random_scale_area=area,
        random_aspect_prob=0.6,
        random_aspect_range=(0.7, 1.5),
    )
    ours = [size for size, _ in sample(T.ResizeKeepRatio(300, 0.3, **options), PICTURE)]
    fit = timms.ResizeKeepRatio
    alike(ours, drawn(lambda: fit.get_params(PICTURE, (300, 300), 0.3, **options)))


def test_angles_moves_factors_and_shears() -> None:
    arguments = ((-5.0, 30.0), (0.3, 0.1), (0.5, 2.0), (-20.0, 10.0, 0.0, 5.0))
    ours = sample(T.RandomAffine(*arguments), PICTURE)
    alike(ours, drawn(lambda: TV.RandomAffine.get_params(*arguments, [70, 50])))
    ours = sample(T.RandomRotation((-5.0, 30.0)), PICTURE)
    alike(ours, drawn(lambda: [TV.RandomRotation.get_params([-5.0, 30.0])]))


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0])
def test_corners(scale: float) -> None:
    ours = [params[1:] for params in sample(T.RandomPerspective(scale), PICTURE)]
    alike(ours, drawn(lambda: TV.RandomPerspective.get_params(70, 50, scale)))


def test_orders_and_factors_of_colour() -> None:
    ours = sample(T.ColorJitter(0.4, 2, (0.5, 0.7), 0.1), PICTURE)
    ranges = ([0.6, 1.4], [0.0, 3.0], [0.5, 0.7], [-0.1, 0.1])
    theirs = drawn(lambda: TV.ColorJitter.get_params(*ranges))
    alike(ours, theirs)


def test_widths_of_blur() -> None:
    ours = sample(T.GaussianBlur(5, (0.3, 1.1)), PICTURE)
    alike(ours, drawn(lambda: [TV.GaussianBlur.get_params(0.3, 1.1)]))


@pytest.mark.parametrize(("scale", "ratio"), [((0.02, 0.33), (0.3, 3.3)), ((0.3, 0.9), (0.8, 1))])
def test_erased_rectangles(scale, ratio) -> None:
    array = TENSOR.numpy()
    ours = [box for box, _ in sample(T.RandomErasing(1.0, scale, ratio), array)]
    theirs = drawn(lambda: TV.RandomErasing.get_params(TENSOR, scale, ratio, [0.0])[:4])
    # Where nothing fits, theirs is the whole image, put in the place of itself.
    alike([(0, 0, 50, 70) if box is None else box for box in ours], theirs)


@pytest.mark.parametrize(
    "name", ["HorizontalFlip", "VerticalFlip", "Grayscale", "Invert", "Autocontrast", "Equalize"]
)
@pytest.mark.parametrize("p", [0.1, 0.7])
def test_probabilities(name: str, p: float) -> None:
    acts = [acts for (acts,) in sample(getattr(T, f"Random{name}")(p), PICTURE)]
    assert stats.binomtest(sum(acts), COUNT, p).pvalue > 0.001


def test_turns_and_mirror_images_are_equally_frequent() -> None:
    ours = sample(T.RandomDihedral(), PICTURE)
    counts = [ours.count((turns, flip)) for turns in range(4) for flip in (False, True)]
    assert sum(counts) == COUNT and stats.chisquare(counts).pvalue > 0.001


def test_orders_are_equally_frequent() -> None:
    clock.restart(clock.seed)
    order = T.RandomOrder([lambda x, i=i: [*x, i] for i in range(3)])
    found = [tuple(order([])) for _ in range(COUNT)]
    counts = [found.count(each) for each in set(found)]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 0.001
