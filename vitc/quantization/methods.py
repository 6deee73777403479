"""How the range of an activation is chosen from what was seen of it.

A range is (low, high) with low <= 0 <= high, so that 0 is one of its levels; what lies outside is
cut off when the activation is quantised.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.quantization.histogram import Histogram

Range = tuple[float, float]
LEVELS = 256  # of 8 bits
MOMENTUM = 0.99


class Moving:
    """Moving averages of the least and the greatest value of an image, one image after another:
    a <- momentum a + (1 - momentum) b, from those of the first image on (torch's
    MovingAverageMinMaxObserver, with a batch of one). They depend on the order of the images, and
    not on the batches."""

    range: Range | None = None

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def add(self, lows: Array, highs: Array) -> None:
        """lows, highs: (images,)."""
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
            old = (low, high) if self.range is None else self.range
            keep, take = self.momentum, 1 - self.momentum
            self.range = keep * old[0] + take * low, keep * old[1] + take * high


class Method(NamedTuple):
    """How to choose a range. name: one of `METHODS`. percentile, momentum: of those methods."""

    name: str = "minmax"
    percentile: float = 99.99
    momentum: float = MOMENTUM

    @classmethod
    def of(cls, name: str, percentile: float = 99.99, momentum: float = MOMENTUM) -> "Method":
        """Checked. Raises `ValueError` or `TypeError` naming what is wrong."""
        checks.one_of("method", name, METHODS)
        checks.bounds("percentile", (50, checks.finite("percentile", percentile)), 50, 100)
        return cls(name, float(percentile), float(checks.below_one("momentum", momentum)))

    @property
    def reads_histogram(self) -> bool:
        return self.name in _OF_HISTOGRAM

    def choose(self, low: float, high: float, moving: Moving, histogram: Histogram) -> Range:
        """low, high: of all that was seen."""
        if self.name == "moving_average":
            assert moving.range is not None
            low, high = moving.range
        elif self.reads_histogram:
            low, high = _OF_HISTOGRAM[self.name](self, histogram)
        return min(low, 0.0), max(high, 0.0)


# ------------------------------------------------------------------------------- percentile


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """What leaves (100 - percentile) / 2 percent of the values outside on each side.

    Within a bin, values count as spread out evenly. 100 gives the least and greatest value.
    """
    share = (100 - percentile) / 200
    total = np.concatenate([[0], np.cumsum(histogram.counts)]) / histogram.counts.sum()
    places = np.interp([share, 1 - share], total, histogram.edges)
    return _within(histogram, places)


def _within(histogram: Histogram, places: Array) -> Range:
    """Two places, where they lie between the values."""
    low, high = np.clip(places, histogram.low, histogram.high).tolist()
    return low, high


# ------------------------------------------------------------------------------- entropy


def entropy_range(histogram: Histogram) -> Range:
    """The window around 0 whose 8-bit image tells the most of the values: of those with [-t, t],
    the one with the least Kullback-Leibler divergence of what is left from what was, as in
    TensorRT (Migacz 2017) and ONNX Runtime, over 256 levels from -t to t."""
    half = max(-histogram.first, histogram.first + len(histogram.counts))
    counts = np.zeros(2 * half, np.int64)
    start = half + histogram.first
    counts[start : start + len(histogram.counts)] = histogram.counts
    window = np.array(entropy_window(counts, LEVELS))
    return _within(histogram, (window - half) * histogram.width)


def entropy_window(counts: Array, levels: int) -> tuple[int, int]:
    """The bins [left, right) of counts (2 n,), which has 0 in the middle, that ONNX Runtime's
    calibrator chooses with this number of quantised bins, its rounding included."""
    middle = len(counts) // 2
    if len(counts) <= levels:
        return 0, len(counts)
    windows = [
        (middle - i, min(middle + i + 1, len(counts))) for i in range(levels // 2, middle + 1)
    ]
    return windows[int(np.argmin([_divergence(counts, *window, levels) for window in windows]))]


def _divergence(counts: Array, left: int, right: int, levels: int) -> float:
    """Of the quantised window from the one with all that is outside at its ends."""
    inside = counts[left:right]
    reference = inside.copy()
    reference[0] += counts[:left].sum()
    reference[-1] += counts[right:].sum()
    return _kullback_leibler(_smooth(reference), _smooth(_quantised(inside, reference, levels)))


def _quantised(inside: Array, reference: Array, levels: int) -> Array:
    """The counts of each level, spread over its bins. A rest of bins counts to the last level and
    stays empty, as ONNX Runtime does it."""
    each = len(inside) // levels
    whole = each * levels
    sums = inside[:whole].reshape(-1, each).sum(axis=1)
    sums[-1] += inside[whole:].sum()
    filled = (reference[:whole] != 0).reshape(-1, each).sum(axis=1)
    spread = np.zeros(len(inside), np.int64)
    spread[:whole] = np.repeat(np.where(filled, sums // np.maximum(filled, 1), 0), each)
    return spread


def _smooth(counts: Array, eps: float = 0.0001) -> Array | None:
    """Without zeros: these get eps, taken evenly from the others."""
    empty = counts == 0
    taken = int(empty.sum())
    if taken == len(counts):
        return None
    share = eps * taken / (len(counts) - taken)
    return counts.astype(np.float32) + np.where(empty, eps, -share).astype(np.float32)


def _kullback_leibler(p: Array | None, q: Array | None) -> float:
    if p is None or q is None:
        return math.inf
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


# ------------------------------------------------------------------------------- error

_STEPS = 40  # to each side


def mse_range(histogram: Histogram) -> Range:
    """The range with the least mean squared error of the values after quantisation, of those whose
    ends are 1/40 to 40/40 of the least and the greatest value; the widest of equals."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = np.arange(_STEPS, 0, -1) / _STEPS
    found = [
        (squared_error(histogram, low * a, high * b), (low * a, high * b))
        for a in (shares if low < 0 else shares[:1])
        for b in (shares if high > 0 else shares[:1])
    ]
    low, high = min(found, key=lambda pair: pair[0])[1]
    return float(low), float(high)


def squared_error(histogram: Histogram, low: float, high: float) -> float:
    """The mean of (x - Q(x))^2 with the values at the centres of their bins and 256 levels from low
    to high, one of which is 0."""
    values = histogram.centres
    step = (high - low) / (LEVELS - 1)
    if step <= 0:
        return float(np.average(values**2, weights=histogram.counts))
    zero = np.rint(-low / step)
    levels = np.clip(np.rint(values / step) + zero, 0, LEVELS - 1)
    return float(np.average((values - (levels - zero) * step) ** 2, weights=histogram.counts))


_OF_HISTOGRAM: dict[str, Callable[[Method, Histogram], Range]] = {
    "percentile": lambda method, histogram: percentile_range(histogram, method.percentile),
    "entropy": lambda method, histogram: entropy_range(histogram),
    "mse": lambda method, histogram: mse_range(histogram),
}
METHODS = ("minmax", "moving_average", *_OF_HISTOGRAM)
