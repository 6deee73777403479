"""torchvision's dialect of automatic augmentation against torchvision v1 on Pillow images."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import oracle  # noqa: F401  makes torchvision importable
from oracle.names import without_addresses
from oracle.pictures import draws, image, same, sample, smooth

# isort: split
from torchvision import transforms as TV
from torchvision.transforms.autoaugment import _apply_op

from vitc.data import policies
from vitc.data import transforms as T
from vitc.data.transforms import auto_augment

PICTURES = (image(), smooth(), image("L", (40, 31)))


def theirs(img, steps, interpolation: str = "nearest", fill=None):
    """What torchvision makes of the image by these operations and magnitudes."""
    for name, magnitude in steps:
        if name == "Posterize" and magnitude == 0:  # refused from Pillow 13 on
            img = Image.new(img.mode, img.size)
        else:
            img = _apply_op(img, name, magnitude, TV.InterpolationMode(interpolation), fill)
    return img


# ------------------------------------------------------------------------------- tables


def test_policies_are_torchvisions() -> None:
    """Where torchvision has no magnitude, because none is used, any stands in ours."""
    for kind, found in auto_augment._FOUND.items():
        expected = TV.AutoAugment(TV.AutoAugmentPolicy(kind.value)).policies
        assert len(found) == len(expected)
        for ours, other in zip(found, expected, strict=True):
            for (name, p, level), (their_name, their_p, their_level) in zip(
                ours, other, strict=True
            ):
                assert (name, p) == (their_name, their_p)
                assert their_level in (None, level)
    assert len(policies.V0) == 25


SPACES = [
    (TV.AutoAugment(), 10, {}),
    (TV.RandAugment(), 31, {}),
    (TV.RandAugment(), 7, {}),
    (TV.AugMix(), 10, dict(bits=(4, 4), move=lambda h, w: (w / 3.0, h / 3.0))),
    (TV.TrivialAugmentWide(), 31, dict(bits=(8, 6), wide=True, move=lambda h, w: (32.0, 32.0))),
]


@pytest.mark.parametrize(("transform", "bins", "options"), SPACES, ids=without_addresses)
@pytest.mark.parametrize("shape", [(224, 224), (37, 331), (1, 500)])
def test_magnitudes_are_torchvisions(transform, bins: int, options: dict, shape) -> None:
    """Up to the last bit of float32, in which torch differs between processors, and to the pixel
    where it counts these; and the same operations have a sign."""
    sizes = () if isinstance(transform, TV.TrivialAugmentWide) else (shape,)
    expected = transform._augmentation_space(bins, *sizes)
    options = dict(options)
    move = options.pop("move", lambda h, w: (150.0 / 331.0 * w, 150.0 / 331.0 * h))(*shape)
    ours = auto_augment._magnitudes(bins, move, **options)
    for name, (magnitudes, signed) in expected.items():
        other = np.atleast_1d(magnitudes.numpy())
        assert np.abs(ours[name] - other).max() <= np.spacing(np.float32(other.max())), name
        if name.startswith("Translate") or name == "Posterize":
            assert np.array_equal(ours[name].astype(int), other.astype(int))
        assert (name in auto_augment._SIGNED) == signed


def test_operations_are_torchvisions() -> None:
    assert set(T.RandAugment.operations) == set(TV.RandAugment()._augmentation_space(31, (9, 9)))
    for all_ops in (True, False):
        space = TV.AugMix(all_ops=all_ops)._augmentation_space(10, (9, 9))
        assert set(T.AugMix(all_ops=all_ops).operations) == set(space)


# ------------------------------------------------------------------------------- pixels

CHAINS = [
    T.AutoAugment(),
    T.AutoAugment("cifar10", "bilinear", 9),
    T.AutoAugment("svhn", "bicubic"),
    T.RandAugment(3, 20),
    T.RandAugment(2, 9, interpolation="bilinear", fill=200),
    T.TrivialAugmentWide(),
    T.TrivialAugmentWide(5, "bilinear"),
]


@pytest.mark.parametrize("transform", CHAINS, ids=str)
def test_pixels_are_torchvisions(transform) -> None:
    for picture in PICTURES:
        for steps, ours in draws(transform, picture, 25):
            expected = theirs(picture, steps, transform.interpolation, transform.fill)
            assert same(ours, expected), steps


@pytest.mark.parametrize("transform", [T.AugMix(), T.AugMix(10, 2, 2, 0.5, False, "nearest", 7)])
def test_mixtures_add_up_as_in_torchvision(transform) -> None:
    """Chains by torchvision's operations on Pillow images, added in float32 as it adds tensors."""
    for picture in PICTURES:
        for (weights, chains), ours in draws(transform, picture, 5):
            total = weights[0] * TV.PILToTensor()(picture)
            for weight, chain in zip(weights[1:], chains, strict=True):
                changed = theirs(picture, chain, transform.interpolation, transform.fill)
                total.add_(weight * TV.PILToTensor()(changed))
            expected = total.to(torch.uint8).numpy().transpose(1, 2, 0).squeeze()
            assert np.array_equal(np.asarray(ours), expected)


# ------------------------------------------------------------------------------- distributions


def counts(steps, names) -> list[int]:
    drawn = [name for name, _ in steps]
    return [drawn.count(name) for name in names]


@pytest.mark.parametrize("transform", [T.RandAugment(2), T.TrivialAugmentWide()], ids=str)
def test_operations_are_equally_frequent(transform) -> None:
    steps = [step for steps in sample(transform, image()) for step in steps]
    assert stats.chisquare(counts(steps, T.RandAugment.operations)).pvalue > 0.001
    signs = [m < 0 for name, m in steps if name in auto_augment._SIGNED and m]
    assert stats.binomtest(sum(signs), len(signs)).pvalue > 0.001


WHOLE = [
    (T.TrivialAugmentWide(), TV.TrivialAugmentWide()._augmentation_space(31), slice(None)),
    (T.AugMix(4), TV.AugMix(4)._augmentation_space(10, (37, 61)), slice(4)),
    (T.RandAugment(1, 5), TV.RandAugment()._augmentation_space(31, (37, 61)), slice(5, 6)),
    (T.RandAugment(1, 5, 7), TV.RandAugment()._augmentation_space(7, (37, 61)), slice(5, 6)),
]


@pytest.mark.parametrize(("transform", "space", "allowed"), WHOLE, ids=str)
def test_all_magnitudes_that_torchvision_allows_are_drawn_and_no_others(
    transform, space, allowed
) -> None:
    drawn = sample(transform, image(), 3000 if isinstance(transform, T.AugMix) else 6000)
    if isinstance(transform, T.AugMix):
        drawn = [chain for _, chains in drawn for chain in chains]
    steps = {step for steps in drawn for step in steps}
    for name, (magnitudes, signed) in space.items():
        every = np.atleast_1d(magnitudes.numpy())
        expected = every[allowed] if len(every) > 1 else every
        if signed:
            expected = {*expected, *-expected}
        seen = np.unique([m for operation, m in steps if operation == name])
        # 0 has both signs and is one number; the last bit is torch's own between processors.
        assert np.allclose(seen, np.unique([*expected]), rtol=3e-7), name


def test_one_magnitude_or_any() -> None:
    fixed = {abs(m) for (name, m), *_ in sample(T.RandAugment(1), image()) if name == "Rotate"}
    assert fixed == {9.0}
    wide = [m for ((name, m),) in sample(T.TrivialAugmentWide(), image(), 9000) if name == "Rotate"]
    seen = np.bincount(np.rint(np.abs(wide) / 4.5).astype(int), minlength=31)
    assert len(seen) == 31 and stats.chisquare(seen).pvalue > 0.001


def test_pairs_and_their_probabilities() -> None:
    """Against the expectation: every pair as often, every operation with its own probability."""
    drawn = sample(T.AutoAugment(), image(), 5000)
    expected = dict.fromkeys({name for pair in policies.ORIGINAL for name, *_ in pair}, 0.0)
    for pair in policies.ORIGINAL:
        for name, p, _ in pair:
            expected[name] += 5000 * p / 25
    seen = counts([step for steps in drawn for step in steps], expected)
    for count, mean in zip(seen, expected.values(), strict=True):
        assert abs(count - mean) < 4 * mean**0.5  # at most: each is a sum of rare events
    assert {len(steps) for steps in drawn} == {0, 1, 2}


def test_weights_of_a_mixture() -> None:
    drawn = sample(T.AugMix(alpha=0.6), image(), 1500)
    weights = np.array([weights for weights, _ in drawn], np.float64)
    assert np.allclose(weights.sum(1), 1, atol=1e-6)
    assert stats.kstest(weights[:, 0], stats.beta(0.6, 0.6).cdf).pvalue > 0.001
    inner = weights[:, 1] / weights[:, 1:].sum(1)
    assert stats.kstest(inner, stats.beta(0.6, 1.2).cdf).pvalue > 0.001
    depths = [len(chain) for _, chains in drawn for chain in chains]
    assert stats.chisquare([depths.count(depth) for depth in (1, 2, 3)]).pvalue > 0.001


# ------------------------------------------------------------------------------- words

BAD = [
    (lambda: T.AutoAugment("mnist"), "'mnist' is not a valid AutoAugmentPolicy"),
    (lambda: T.RandAugment(magnitude=31), "magnitude is 31, expected 0 to 30"),
    (lambda: T.RandAugment(num_magnitude_bins=1), "num_magnitude_bins is 1, expected 2 or more"),
    (lambda: T.AugMix(0), "severity is 0, expected 1 to 10"),
    (lambda: T.AugMix(mixture_width=0), "mixture_width is 0"),
    (lambda: T.TrivialAugmentWide(interpolation="cubic"), "interpolation is 'cubic'"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_printed_as_in_torchvision() -> None:
    """Up to the name of the interpolation, which is printed as it may be passed."""
    for name in ("AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix"):
        expected = repr(getattr(TV, name)())
        for mode in ("nearest", "bilinear"):
            expected = expected.replace(f"InterpolationMode.{mode.upper()}", mode)
        assert repr(getattr(T, name)()) == expected
