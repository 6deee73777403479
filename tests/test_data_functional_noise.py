"""Normal numbers of csrc/image and the noise made of them.

Oracles: of the numbers the normal distribution itself (scipy) and oracle.normals, of the noise the
sum in NumPy, of its strength torchvision.
"""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import oracle  # noqa: F401  makes torchvision importable
from oracle.levels import assert_one_answer
from oracle.normals import normal_numbers
from oracle.pictures import draws, image, sample

# isort: split
from torchvision.transforms.v2 import functional as TF

from vitc.data import functional as F
from vitc.data import random
from vitc.data import transforms as T

RNG = np.random.default_rng(0)
PIXELS16 = RNG.integers(0, 65536, (20, 30, 7), dtype=np.uint16)
FLOATS = RNG.random((20, 30, 2)).astype(np.float32)
KINDS = [image(), image("L"), Image.fromarray(PIXELS16[..., 0]), PIXELS16, PIXELS16[..., 0], FLOATS]
KEYS = [(0, 0), (1, 2), (2**32 - 1, 2**31)]


def normals(shape: tuple[int, ...], key: tuple[int, int]) -> np.ndarray:
    """The numbers themselves: standard noise on nothing."""
    return F.gaussian_noise(np.zeros(shape, np.float32), 0.0, 1.0, clip=False, key=key)


# ------------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("key", KEYS)
def test_a_number_is_that_of_its_place(key: tuple[int, int]) -> None:
    """Within 2e-6 of 7."""
    expected = normal_numbers(576, key)
    assert np.abs(normals((9, 64), key).ravel() - expected).max() < 2e-6


@pytest.mark.parametrize("key", KEYS)
def test_a_million_numbers_are_standard_normal(key: tuple[int, int]) -> None:
    """Every p-value above 0.001: of the distribution, its mean, its spread, its skewness and
    kurtosis, the number beyond 3 and 4, and the correlation of numbers up to 200 apart."""
    drawn = normals((1000, 1000), key).ravel().astype(np.float64)
    assert stats.kstest(drawn, stats.norm.cdf).pvalue > 0.001
    count = len(drawn)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        z = ((drawn**power).mean() - mean) / np.sqrt(variance / count)
        assert 2 * stats.norm.sf(abs(z)) > 0.001, power
    for edge in (3, 4):
        for beyond in (drawn > edge, drawn < -edge):
            assert stats.binomtest(int(beyond.sum()), count, stats.norm.sf(edge)).pvalue > 0.001
    spectrum = np.abs(np.fft.rfft(drawn, 2 * count)) ** 2
    correlation = np.fft.irfft(spectrum)[1:201] / count
    assert stats.kstest(correlation * np.sqrt(count), stats.norm.cdf).pvalue > 0.001


def test_the_largest_number_is_finite() -> None:
    """Of the smallest distance there is, 2^-32: sqrt(64 ln 2) at most."""
    drawn = np.abs(normals((2000, 2000), (3, 4)))
    assert 4.9 < drawn.max() < np.sqrt(64 * np.log(2))


def test_the_numbers_of_a_key_stay_what_they_are() -> None:
    """On every machine and in every release: runs are to be repeatable."""
    assert zlib.crc32(normals((100, 1000), (1, 2)).tobytes()) == 0x5B731142


def test_other_keys_give_other_numbers() -> None:
    drawn = [normals((1, 20000), (1 << bit, 0)) for bit in range(32)]
    drawn += [normals((1, 20000), (0, 1 << bit)) for bit in range(32)]
    related = np.corrcoef(np.concatenate(drawn))[np.triu_indices(64, 1)]
    assert stats.kstest(related * np.sqrt(20000), stats.norm.cdf).pvalue > 0.001


def test_pieces_have_the_numbers_of_the_whole() -> None:
    whole = normals((1, 5000), (5, 6))
    for width in (1, 63, 64, 65, 200, 513):
        rows = 5000 // width
        assert np.array_equal(normals((rows, width), (5, 6)).ravel(), whole[0, : rows * width])
    apart = np.zeros((40, 90), np.float32)[:, 3:66]  # rows with a gap between
    assert np.array_equal(
        F.gaussian_noise(apart, 0, 1, False, key=(5, 6)).ravel(), whole[0, : 40 * 63]
    )


def test_every_instruction_set_gives_the_same_bits() -> None:
    code = (
        "import numpy as np, zlib; from vitc.data import functional as F\n"
        "z = F.gaussian_noise(np.zeros((500, 999), np.float32), 0.1, 1, False, key=(7, 8))\n"
        "x = F.gaussian_noise(np.full((99, 99, 3), 99, np.uint8), 0.1, 1, key=(7, 8))\n"
        "print(zlib.crc32(z), zlib.crc32(x))"
    )
    assert_one_answer(code)


# ------------------------------------------------------------------------------------ noise


@pytest.mark.parametrize("clip", [True, False])
def test_noise_is_added_to_every_level(clip: bool) -> None:
    """Against the sum in double precision: integers to half a level, others within 2e-6."""
    for img in KINDS:
        pixels = np.asarray(img)
        whole = pixels.dtype.kind != "f"
        most = np.iinfo(pixels.dtype).max if whole else 1
        for (key,), ours in draws(T.GaussianNoise(0.1, 0.2, clip), img, 3):
            noise = 0.1 + 0.2 * normals(pixels.shape, key).astype(np.float64)
            expected = pixels / most + noise
            if clip or whole:
                expected = expected.clip(0, 1)
            assert type(ours) is type(img) and np.asarray(ours).dtype == pixels.dtype
            error = np.abs(np.asarray(ours) - expected * most).max()
            assert error <= (0.5 + 1e-6 * most if whole else 2e-6)


def test_noise_stays_within_the_range() -> None:
    clipped = F.gaussian_noise(FLOATS, sigma=5.0)
    assert clipped.min() == 0 and clipped.max() == 1
    strong = F.gaussian_noise(PIXELS16, sigma=1e6, key=(1, 2))
    assert set(np.unique(strong)) == {0, 65535}
    lost = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert np.array_equal(F.gaussian_noise(lost)[0], [np.nan, 1, 0], equal_nan=True)


def test_noise_is_as_strong_as_torchvisions() -> None:
    """Spread and mean of the change of uint8 levels, which torchvision cuts instead of rounding:
    half a level of the mean towards 0 each side, so only the spread is comparable."""
    grey = Image.new("L", (100, 100), 128)
    torch.manual_seed(0)
    theirs = TF.gaussian_noise(TF.pil_to_tensor(grey), 0.0, 0.05).numpy().astype(float)
    ours = np.asarray(T.GaussianNoise(sigma=0.05)(grey)).astype(float)
    assert abs(ours.mean() - 128) < 0.5 and abs(theirs.mean() - 128) < 0.5
    assert abs(ours.std() / theirs.std() - 1) < 0.05


def test_a_random_noise_draws_its_spread() -> None:
    transform = T.RandomGaussianNoise((0.1, 0.3), p=0.6)
    drawn = sample(transform, image("L"), 600)
    spreads = [sigma for acts, sigma, _ in drawn if acts]
    assert stats.binomtest(len(spreads), 600, 0.6).pvalue > 0.001
    assert stats.kstest(spreads, stats.uniform(0.1, 0.2).cdf).pvalue > 0.001
    assert len({key for *_, key in drawn}) == 600
    for (acts, sigma, key), ours in draws(transform, FLOATS, 9):
        expected = F.gaussian_noise(FLOATS, 0.0, sigma, False, key=key)
        assert np.array_equal(ours, expected if acts else FLOATS)


def test_noise_without_a_key_is_drawn_anew() -> None:
    with random.item(0, 0, 0):
        first, second = (F.gaussian_noise(FLOATS) for _ in range(2))
    with random.item(0, 0, 0):
        again = F.gaussian_noise(FLOATS)
    assert np.array_equal(first, again) and not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(sigma=-0.1), "sigma is -0.1, expected 0 to 1000000"),
        (dict(mean=1e7), "mean is 1e.07, expected -1000000 to 1000000"),
        (dict(mean=float("nan")), "expected a finite number"),
        (dict(key=(0, 2**32)), "key is 4294967296, expected an unsigned integer of 32 bits"),
        (dict(key=(0.5, 0)), "key is 0.5, expected an unsigned integer of 32 bits"),
    ],
)
def test_impossible_noise_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        F.gaussian_noise(FLOATS, **arguments)
