"""Histograms of values that arrive in batches, whatever their range becomes."""

import numpy as np

from vitc.arrays import Array

BINS = 4096  # at most: 8 for each of 256 levels at the least
_FINEST = -149  # the exponent of the smallest float32


class Histogram:
    """How many values fell into bins of equal width, with the least and the greatest of them.

    A bin is [i w, (i + 1) w), and its width w a power of two. When a value lies outside, neighbours
    are joined until all lie inside: no count is lost or shared out, and the result depends on the
    values alone, not on how they were cut into batches or in which order they came. The bins reach
    from below 0 to above it, and their number is from `BINS` / 2 to `BINS`.

    counts: (bins,) int64. first: the number i of the first bin. low, high: of the values, exact.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(1, np.int64)
        self.first = 0
        self.low, self.high = np.inf, -np.inf
        self._exponent = _FINEST

    @property
    def width(self) -> float:
        return 2.0**self._exponent

    @property
    def edges(self) -> Array:
        """(bins + 1,) float64: where the bins begin, and the last ends."""
        return (self.first + np.arange(len(self.counts) + 1)) * self.width

    @property
    def centres(self) -> Array:
        """(bins,) float64."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def add(self, values: Array) -> None:
        """Counts values of any shape, float32. Raises `ValueError` if one is NaN or infinite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("the values are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._make_room()
        numbers = np.floor(np.multiply(values, 1 / self.width, dtype=np.float64).ravel())
        numbers -= self.first
        self.counts += np.bincount(numbers.astype(np.int64), minlength=len(self.counts))

    def _make_room(self) -> None:
        """Joins bins until BINS of them hold everything, and adds those that are missing."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        exponent = self._exponent
        while _bin(high, exponent) - _bin(low, exponent) >= BINS:
            exponent += 1
        first = _bin(low, exponent)
        counts = np.zeros(_bin(high, exponent) - first + 1, np.int64)
        old = self.first + np.arange(len(self.counts))
        np.add.at(counts, (old >> (exponent - self._exponent)) - first, self.counts)
        self.counts, self.first, self._exponent = counts, first, exponent


def _bin(value: float, exponent: int) -> int:
    """The number of the bin of a value."""
    return int(np.floor(np.ldexp(value, -exponent)))
