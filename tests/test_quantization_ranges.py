"""Ranges of activations: each method against its definition, and against ONNX Runtime's calibrator.

Histograms are compared with the values that they count.
"""

import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from vitc.quantization.histogram import BINS, Histogram
from vitc.quantization.methods import (
    LEVELS,
    Method,
    Moving,
    entropy_range,
    entropy_window,
    mse_range,
    percentile_range,
    squared_error,
)


def drawn(seed: int, count: int = 40_000) -> np.ndarray:
    """Tokens with heavy tails, one side further out than the other."""
    generator = np.random.default_rng(seed)
    values = generator.standard_t(4, count) * generator.uniform(0.3, 3)
    return np.where(values > 0, 2.5 * values, values).astype(np.float32)


def counted(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


# ------------------------------------------------------------------------------- histogram


def test_a_histogram_counts_every_value_where_it_belongs() -> None:
    values = drawn(0)
    histogram = counted(values[:1] * 1e-6, values[:0], values * 1e-3, values, 1e4 * values[:50])
    everything = np.concatenate([values[:1] * 1e-6, values * 1e-3, values, 1e4 * values[:50]])
    assert histogram.counts.sum() == len(everything)
    expected, _ = np.histogram(everything, histogram.edges)
    assert np.array_equal(histogram.counts, expected)
    assert (histogram.low, histogram.high) == (everything.min(), everything.max())
    assert BINS / 2 <= len(histogram.counts) <= BINS
    assert histogram.edges[0] <= everything.min() and everything.max() <= histogram.edges[-1]


def test_a_histogram_depends_neither_on_batches_nor_on_their_order() -> None:
    values = np.concatenate([drawn(1), [1e-44, -1e-44, -1e-40, 0, -0.0, 3e38]]).astype(np.float32)
    first = counted(values)
    shuffled = np.random.default_rng(0).permutation(values)
    for parts in (np.array_split(values, 7), np.array_split(shuffled, 90), [values[::-1]]):
        other = counted(*parts)
        assert other.width == first.width and other.first == first.first
        assert np.array_equal(other.counts, first.counts)


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-45])
def test_a_histogram_of_one_value(value: float) -> None:
    histogram = counted(np.full(9, value, np.float32))
    assert histogram.counts.sum() == histogram.counts.max() == 9
    low, high = histogram.edges[[0, -1]]
    assert low <= min(value, 0) and max(value, 0) <= high
    for choose in (lambda h: percentile_range(h, 99.0), entropy_range, mse_range):
        assert choose(histogram) in (
            (np.float32(value), np.float32(value)),
            (min(np.float32(value), 0), max(np.float32(value), 0)),
        )


def test_a_histogram_refuses_what_is_not_finite() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="not finite"):
            counted(np.array([1, bad], np.float32))


# ------------------------------------------------------------------------------- methods


def chosen(method: Method, values: np.ndarray) -> tuple[float, float]:
    moving = Moving(method.momentum)
    moving.add(values.min(axis=1), values.max(axis=1))
    return method.choose(values.min(), values.max(), moving, counted(values))


def test_minmax_and_moving_average() -> None:
    values = drawn(2).reshape(40, -1)
    assert chosen(Method.of("minmax"), values) == (values.min(), values.max())
    low, high = values[0].min(), values[0].max()
    for row in values[1:].astype(float):
        low, high = 0.8 * low + 0.2 * row.min(), 0.8 * high + 0.2 * row.max()
    assert np.allclose(chosen(Method.of("moving_average", momentum=0.8), values), (low, high))
    # 0 is always one of the levels
    assert chosen(Method.of("minmax"), np.abs(values) + 3)[0] == 0
    assert chosen(Method.of("minmax"), -np.abs(values) - 3)[1] == 0


@pytest.mark.parametrize("percentile", [90, 99, 99.9, 99.99, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_percentile_leaves_its_share_on_each_side(percentile: float, seed: int) -> None:
    """Counted in the values: those below the bin that it lies in are too few, those below the end
    of that bin are enough."""
    values = drawn(seed)
    histogram = counted(values)
    low, high = percentile_range(histogram, percentile)
    share = (100 - percentile) / 200
    for place, wanted in ((low, share), (high, 1 - share)):
        bin_ = np.floor(np.nextafter(place, -np.inf if wanted > 0.5 else np.inf) / histogram.width)
        below, through = (np.mean(values < (bin_ + i) * histogram.width) for i in (0, 1))
        assert below <= wanted + 1e-12 and through >= wanted - 1e-12
    if percentile == 100:
        assert (low, high) == (values.min(), values.max())


def test_a_percentile_by_hand() -> None:
    """Values from 0 to 4096 in 4096 bins: half a percent of them is below 20.48."""
    histogram = counted(np.arange(4096, dtype=np.float32) + 0.5, np.array([-0.25], np.float32))
    histogram.counts[0] = 0  # of the value that made room below 0
    assert histogram.width == 2 and len(histogram.counts) == 2049
    assert percentile_range(histogram, 99) == pytest.approx((20.48, 4096 - 20.48))


def onnxruntimes(method: str, values: np.ndarray, bins: int, percentile: float = 99.99):
    """What ONNX Runtime's collector chooses, and its histogram."""
    collector = HistogramCollector(method, False, bins, LEVELS, percentile, "same")
    for part in np.array_split(values, 3):
        collector.collect({"x": part})
    result = collector.compute_collection_result()["x"]
    return (float(result[0]), float(result[1])), collector.get_histogram_dict()["x"]


@pytest.mark.parametrize("seed", range(4))
def test_a_percentile_is_that_of_onnx_runtime_within_a_bin(seed: int) -> None:
    values = drawn(seed)
    found = np.array(percentile_range(counted(values), 98))
    expected, histogram = onnxruntimes("percentile", values, 8192, 98)
    bin_ = histogram[1][1] - histogram[1][0] + counted(values).width
    assert np.all(np.abs(found - expected) <= bin_)


@pytest.mark.parametrize("seed", range(4))
def test_entropy_chooses_the_window_that_onnx_runtime_does(seed: int) -> None:
    expected, (counts, edges, low, high, _) = onnxruntimes("entropy", drawn(seed), 700)
    left, right = entropy_window(counts, LEVELS)
    assert (max(edges[left], low), min(edges[right], high)) == expected
    assert right - left < len(counts)  # something was cut off


@pytest.mark.parametrize("seed", range(6))
def test_entropy_counts_what_is_cut_off_at_the_ends(seed: int) -> None:
    """A made-up histogram with many values far out on one side."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(100 * np.exp(-((np.arange(-160, 160) / 60) ** 2)))
    far = generator.integers(0, 30, 3)
    counts[far if seed % 2 else -1 - far] += generator.integers(50, 5000)
    edges = np.linspace(-8, 8, 321, dtype=np.float32)
    collector = HistogramCollector("entropy", False, 320, 128, 99, "same")
    bounds = np.float32(-8), np.float32(8)
    expected = collector.get_entropy_threshold((counts, edges, *bounds, np.float32(8)), 128)
    left, right = entropy_window(counts, 128)
    assert (edges[left], edges[right]) == expected


def test_entropy_cuts_outliers_off_and_keeps_0_in_the_middle() -> None:
    values = np.append(np.random.default_rng(0).normal(0, 1, 200_000), [40, -30]).astype(np.float32)
    low, high = entropy_range(counted(values))
    assert 3 < -low < 8 and 3 < high < 8
    assert abs(low + high) <= 2 * counted(values).width
    positive = np.abs(values)
    assert entropy_range(counted(positive))[0] == positive.min()


def quantised(values: np.ndarray, low: float, high: float) -> np.ndarray:
    step = (high - low) / 255
    zero = np.rint(-low / step)
    return (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step


def test_the_squared_error_is_that_of_the_values() -> None:
    values = drawn(5).astype(float)
    histogram = counted(values.astype(np.float32))
    for low, high in ((-1, 2), (values.min(), values.max()), (-0.2, 30), (0, 3)):
        exact = np.mean((values - quantised(values, low, high)) ** 2)
        assert squared_error(histogram, low, high) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_mse_chooses_the_least_error_of_its_grid(seed: int) -> None:
    values = drawn(seed).astype(float)
    low, high = mse_range(counted(values.astype(np.float32)))
    shares = np.arange(1, 41) / 40
    errors = [
        np.mean((values - quantised(values, values.min() * a, values.max() * b)) ** 2)
        for a in shares
        for b in shares
    ]
    found = np.mean((values - quantised(values, low, high)) ** 2)
    assert found <= 1.01 * min(errors)
    assert found < np.mean((values - quantised(values, values.min(), values.max())) ** 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kl",), "method is 'kl', expected one of minmax, moving_average, percentile"),
        (("percentile", 101), "percentile"),
        (("percentile", float("nan")), "percentile is nan"),
        (("moving_average", 99, 1), "momentum is 1"),
    ],
)
def test_methods_are_checked(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Method.of(*arguments)
