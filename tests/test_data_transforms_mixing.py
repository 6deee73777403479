"""vitc.data.transforms.mixing against torchvision v2: numbers to the bit for given draws,
distributions."""

import numpy as np
import pytest
import torch
from scipy import stats

import oracle  # noqa: F401  makes torchvision importable
from oracle.given import WEIGHTS, Given

# isort: split
from torchvision.transforms import v2

from vitc.data import Box, random
from vitc.data import transforms as T

CLASSES = 5
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 3, 20, 30)).astype(np.float32)
PIXELS = RNG.integers(0, 256, IMAGES.shape, dtype=np.uint8)
LABELS = np.array([0, 3, 2, 4, 1, 0])


def torchvisions(box: Box | None) -> tuple[int, int, int, int] | None:
    """In the order of torchvision's CutMix.make_params."""
    return box and (box.left, box.top, box.right, box.bottom)


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
@pytest.mark.parametrize("soft", [False, True])
def test_batches_are_torchvisions(name: str, soft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = getattr(T, name)(num_classes=CLASSES), getattr(v2, name)(num_classes=CLASSES)
    labels = RNG.dirichlet(np.ones(CLASSES), 6).astype(np.float32) if soft else LABELS
    for seed in range(5):
        with random.item(0, 0, seed):
            lam, box = ours.draw(IMAGES, random.generator())
        given = dict(lam=lam, lam_adjusted=lam, box=torchvisions(box))
        monkeypatch.setattr(other, "make_params", lambda inputs, given=given: given)
        images, targets = other(torch.from_numpy(IMAGES), torch.from_numpy(labels))
        for inputs in ((IMAGES, labels), ((IMAGES, labels),)):
            with random.item(0, 0, seed):
                mine = ours(*inputs)
            assert np.array_equal(mine[0], images.numpy())
            assert np.array_equal(mine[1], targets.numpy())


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_torchvisions_weights_and_rectangles(name: str) -> None:
    ours, other = getattr(T, name)(alpha=0.7, num_classes=9), getattr(v2, name)(alpha=0.7)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    mine = [ours.draw(IMAGES, rng) for _ in range(2000)]
    params = [other.make_params([torch.from_numpy(IMAGES)]) for _ in range(2000)]
    weights = [next(p[key] for key in ("lam_adjusted", "lam") if key in p) for p in params]
    assert stats.ks_2samp([lam for lam, _ in mine], weights).pvalue > 0.001
    if name == "CutMix":
        for side in range(4):
            drawn = [[torchvisions(box)[side] for _, box in mine], [p["box"][side] for p in params]]
            assert stats.ks_2samp(*drawn).pvalue > 0.001


@pytest.mark.parametrize(("lam", "y", "x"), WEIGHTS)
def test_rectangles_of_given_draws_are_torchvisions(lam, y, x, monkeypatch) -> None:
    other = v2.CutMix(num_classes=CLASSES)
    monkeypatch.setattr(other._dist, "sample", lambda shape: lam)
    places = iter((x, y))
    monkeypatch.setattr(torch, "randint", lambda *a, **k: torch.tensor([next(places)]))
    expected = other.make_params([torch.from_numpy(IMAGES)])
    share, box = T.CutMix(num_classes=CLASSES).draw(IMAGES, Given(lam, x, y))
    assert torchvisions(box) == expected["box"] and share == expected["lam_adjusted"]


BAD = [
    (lambda: T.MixUp(alpha=0), "alpha is 0"),
    (lambda: T.MixUp()(IMAGES, LABELS), "num_classes, which is None"),
    (lambda: T.MixUp(num_classes=3)(IMAGES, LABELS), "labels are .* expected 0 to 2"),
    (lambda: T.CutMix(num_classes=CLASSES)(IMAGES[0], LABELS), "images of shape .3, 20, 30."),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_mixing_needs_floats_and_cutting_does_not() -> None:
    with pytest.raises(TypeError, match="images have dtype uint8, expected floating point"):
        T.MixUp(num_classes=CLASSES)(PIXELS, LABELS)
    assert T.CutMix(num_classes=CLASSES)(PIXELS, LABELS)[0].dtype == np.uint8


def test_printed_as_in_torchvision() -> None:
    assert repr(T.MixUp(alpha=0.2, num_classes=4)) == "MixUp(alpha=0.2, num_classes=4)"
