"""Weights in 8 bits, symmetric, with one scale per output channel."""

from collections.abc import Collection, Mapping

import numpy as np

from vitc.arrays import Array
from vitc.models.int8 import scale_name


def int8_state(state: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """The state dict with the named weights in int8 and their scales."""
    out: dict[str, Array] = {}
    for name, value in state.items():
        if name in names:
            out[name], out[scale_name(name)] = quantize_weight(value)
        else:
            out[name] = value
    return out


def quantize_weight(weight: Array) -> tuple[Array, Array]:
    """Weight (M, ...) as int8 from -127 to 127 and scales (M,): symmetric, per output channel.

    scale = max|w| / 127; a channel of zeros has scale 1.
    """
    rows = weight.reshape(len(weight), -1)
    largest = np.abs(rows).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    whole = np.rint(rows / scale[:, None]).clip(-127, 127).astype(np.int8)
    return whole.reshape(weight.shape), scale
