"""Changes of intensity against torchvision, scikit-image and formulas in double precision."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from skimage import color

from oracle.pictures import draws, image, sample, smooth
from vitc import _vitc
from vitc.data import functional as F
from vitc.data import transforms as T

RNG = np.random.default_rng(0)
PIXELS16 = RNG.integers(0, 65536, (20, 30, 7), dtype=np.uint16)
FLOATS = RNG.random((20, 30, 2)).astype(np.float32)
KINDS = [image(), image("L"), Image.fromarray(PIXELS16[..., 0]), PIXELS16, PIXELS16[..., 0], FLOATS]
EVERYTHING = [
    T.GaussianNoise(sigma=0.05),
    T.RandomGaussianNoise(p=1),
    T.RandomGamma(p=1),
    T.RandomBiasField(0.3, p=1),
    T.RandomHistogramShift(p=1),
]


def unit(img) -> np.ndarray:
    """Levels from 0 to 1 in double precision."""
    pixels = np.asarray(img)
    most = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    return pixels.astype(np.float64) / most


def close(ours, expected: np.ndarray) -> bool:
    """Within one level of integers, which are rounded and clipped; else within 2e-6."""
    pixels = np.asarray(ours)
    if pixels.dtype.kind == "f":
        return np.abs(pixels - expected).max() < 2e-6
    most = np.iinfo(pixels.dtype).max
    return np.abs(pixels - np.clip(expected, 0, 1) * most).max() <= 0.51


@pytest.mark.parametrize("transform", EVERYTHING, ids=str)
def test_every_kind_of_image_stays_of_its_kind(transform) -> None:
    for img in KINDS:
        before = np.array(img)
        ((_, out),) = draws(transform, img, 1)
        assert type(out) is type(img) and np.asarray(out).dtype == before.dtype
        assert np.shape(out) == before.shape and not np.array_equal(out, before)
        assert getattr(out, "mode", "") == getattr(img, "mode", "")
        assert np.array_equal(img, before)


def test_levels_survive_the_way_to_floats_and_back() -> None:
    for img in KINDS:
        assert np.array_equal(F.from_unit(F.to_unit(img), img), img)


def test_levels_are_mapped_as_if_one_by_one() -> None:
    """By a table, to the bit what the function gives of every level itself."""
    for img in [*KINDS, PIXELS16[::2, 3:9]]:
        for function in (np.square, lambda levels: 1.5 - levels, lambda levels: levels):
            ours = F.map_levels(img, function)
            assert np.array_equal(ours, F.from_unit(function(F.to_unit(img)), img))
            assert type(ours) is type(img)
    whole = np.array([[0, 2**30], [2**31 - 1, 9]], np.int32)  # too many levels for a table
    assert F.map_levels(whole, np.zeros_like).dtype == np.int32


def test_a_table_must_have_every_level() -> None:
    bytes_, table = np.zeros((2, 3), np.uint8), np.arange(256, dtype=np.uint8)
    for given, wanted, kind, message in [
        (bytes_, table[1:], ValueError, "the table has shape .255,., expected .256,."),
        (bytes_, table.astype("H"), TypeError, "the table has dtype uint16, expected uint8"),
        (PIXELS16, table.astype("H"), ValueError, "expected .65536,."),
        (FLOATS, table, TypeError, "the image has dtype float32, expected uint8 or uint16"),
        (bytes_[0], table, ValueError, "expected .H, W. or .H, W, C."),
    ]:
        with pytest.raises(kind, match=message):
            _vitc.look_up(given, wanted)


def test_gamma_is_a_power() -> None:
    for img in KINDS:
        for (acts, gamma), ours in draws(T.RandomGamma(0.5, 0.7), img, 8):
            assert close(ours, unit(img) ** gamma if acts else unit(img))


def test_a_bias_field_is_the_exponential_of_a_polynomial() -> None:
    for img in KINDS:
        for (acts, coefficients), ours in draws(T.RandomBiasField(0.2, 2, 0.7), img, 6):
            levels = unit(img)
            y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in levels.shape[:2]), indexing="ij")
            field = sum(coefficients[i, j] * y**i * x**j for i in range(3) for j in range(3 - i))
            field = np.exp(field).reshape(*y.shape, *[1] * (levels.ndim - 2))
            assert close(ours, levels * field if acts else levels)
            assert coefficients[1, 1] and coefficients[0, 2] and coefficients[2, 0]
            assert coefficients[1, 2] == coefficients[2, 1] == coefficients[2, 2] == 0


def test_shading_is_numpys_product() -> None:
    """Of levels from 0 to 1 in float32, to the bit."""
    for img in [*KINDS, PIXELS16[::2, 3:9], FLOATS[..., 0] * 9 - 4]:
        height, width = np.shape(img)[:2]
        field = RNG.uniform(-0.1, 1.9, (height, width)).astype(np.float32)
        factors = field.reshape(height, width, *[1] * (np.ndim(img) - 2))
        ours = F.shade(img, field)
        assert type(ours) is type(img)
        assert np.array_equal(ours, F.from_unit(F.to_unit(img) * factors, img))
        with pytest.raises(ValueError, match="field has shape"):
            F.shade(img, field[1:])


def test_a_curve_rises_from_nothing_to_everything() -> None:
    """Against its definition in double precision; floating point outside of 0 to 1 stays there."""
    for img in KINDS:
        for (acts, points), ours in draws(T.RandomHistogramShift((4, 9), 0.7), img, 6):
            places = np.linspace(0, 1, len(points))
            assert close(ours, np.interp(unit(img), places, points) if acts else unit(img))
            assert points[0] == 0 and points[-1] == 1 and (np.diff(points) >= 0).all()
    drawn = sample(T.RandomHistogramShift(3), image(), 900)
    assert stats.kstest([points[1] for _, points in drawn], stats.uniform().cdf).pvalue > 0.001
    counts = [len(points) for _, points in sample(T.RandomHistogramShift((4, 6)), image(), 900)]
    assert stats.chisquare([counts.count(n) for n in (4, 5, 6)]).pvalue > 0.001


# ------------------------------------------------------------------------------- stain


def test_stains_are_scikit_images() -> None:
    """Of a picture made of non-negative stains, where scikit-image's clipping does nothing. Its
    stains are optical densities divided by -ln(1e-6)."""
    unit_density = -np.log(1e-6)
    stains = RNG.uniform(0.005, 0.05, (20, 30, 3))
    picture = color.combine_stains(stains, color.rgb_from_hed).astype(np.float32)
    for (acts, factors, additions), ours in draws(T.RandomHEDJitter(0.1, 0.8), picture, 10):
        changed = stains * factors + additions / unit_density if acts else stains
        density = changed * unit_density @ color.rgb_from_hed
        assert np.abs(ours - np.exp(-density)).max() < 3e-6


def test_stains_are_changed_in_pillow_images_too() -> None:
    """Against the same with scikit-image's matrices, in double precision."""
    for (_, factors, additions), ours in draws(T.RandomHEDJitter(0.05, 1.0), smooth(), 4):
        assert np.abs(factors - 1).max() <= 0.05 and np.abs(additions).max() <= 0.05
        stains = -np.log(unit(smooth())) @ color.hed_from_rgb * factors + additions
        assert close(ours, np.exp(-stains @ color.rgb_from_hed))
    still = T.RandomHEDJitter(0.0, 1.0)(image())
    assert np.array_equal(still, image())


BAD = [
    (lambda: T.GaussianNoise(sigma=-1), "sigma is -1, expected 0 or more"),
    (lambda: T.RandomGaussianNoise((0.2, 0.1)), "sigma is .0.2, 0.1."),
    (lambda: T.RandomGamma(-1), "log_gamma is"),
    (lambda: T.RandomBiasField(-0.1), "coefficients is -0.1"),
    (lambda: T.RandomHistogramShift(2), "num_control_points is .2, 2."),
    (lambda: T.RandomHEDJitter(-0.1), "theta is -0.1"),
    (lambda: T.RandomHEDJitter(p=1)(image("L")), "the image has shape .37, 61., stains need"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_intensities_are_those_of_images() -> None:
    with pytest.raises(TypeError, match="expected .* image, got list"):
        T.RandomGamma(p=1)([1, 2])
