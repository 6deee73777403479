"""Weights in 8 bits, symmetric, with one scale per output channel."""

import numpy as np

from vitc.arrays import Array


def quantize_weight(weight: Array) -> tuple[Array, Array]:
    """Weight (M, ...) as int8 from -127 to 127 and scales (M,): symmetric, per output channel.

    scale = max|w| / 127; a channel of zeros, or so small that 1 / scale overflows, has scale 1.
    """
    rows = weight.reshape(len(weight), -1)
    largest = np.abs(rows).max(axis=1) / np.float32(127)
    scale = np.where(largest >= np.finfo(np.float32).tiny, largest, 1).astype(np.float32)
    whole = np.rint(rows / scale[:, None]).clip(-127, 127).astype(np.int8)
    return whole.reshape(weight.shape), scale
