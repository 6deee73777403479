"""Bias correction: the mean error of a layer's outputs, taken out through its bias."""

from collections.abc import Mapping

import numpy as np

from vitc.arrays import Array
from vitc.models.model import Model
from vitc.program import Program
from vitc.quantization.convert import scale_of
from vitc.quantization.images import Images
from vitc.quantization.methods import Range
from vitc.quantization.observe import layer_inputs
from vitc.quantization.weights import quantize_weight


def bias_names(program: Program, names: tuple[str, ...]) -> dict[str, str]:
    """By the name of a weight, the bias of its linear layer, where it has one. names: of the
    entries of the table."""
    return {
        names[op.params[0]]: names[op.params[1]]
        for op in program.operations
        if op.kind == "linear" and len(op.params) > 1 and op.params[1] >= 0
    }


def corrections(
    model: Model, ranges: Mapping[str, Range | None], images: Images
) -> dict[str, Array]:
    """By the names of biases, what is added to them: W E[x] - W' E[x'] for each output channel,
    with x what the layer of the float32 model reads, over all tokens of the images, x' what is left
    of it in 8 bits, and W' of W (Nagel et al. 2019). Layers without a bias are left as they are.
    Sums are in double precision.

    ranges: of the inputs, by the names of the weights; None for those whose tokens have their own,
    which moves no mean: x' is x.
    """
    biases = bias_names(model.program(), model.params.names)
    names = [name for name in ranges if name in biases]
    sums: dict[str, Array] = {}
    tokens: dict[str, int] = {}
    for inputs in layer_inputs(model, names, images) if names else ():
        for name, x in inputs:
            range_ = ranges[name]
            both = np.stack([_sum(x), _sum(x if range_ is None else in_8_bits(x, range_))])
            sums[name] = sums.get(name, 0) + both
            tokens[name] = tokens.get(name, 0) + x.shape[0] * x.shape[1]
    found = {}
    for name in names:
        exact, rounded = sums[name] / tokens[name]
        weight = model.state_dict()[name].astype(np.float64)
        weight = weight.reshape(len(weight), -1)
        found[biases[name]] = (weight @ exact - _rounded(weight) @ rounded).astype(np.float32)
    return found


def in_8_bits(x: Array, range_: Range) -> Array:
    """The values that are left of x."""
    scale, zero_point = scale_of(*range_)
    levels = np.clip(np.rint(x * np.float32(1 / scale)) + zero_point, 0, 255)
    kept: Array = (levels - np.float32(zero_point)) * np.float32(scale)
    return kept


def _rounded(weight: Array) -> Array:
    whole, scale = quantize_weight(weight.astype(np.float32))
    return whole.astype(np.float64) * scale[:, None]


def _sum(x: Array) -> Array:
    """(images, N, K) -> (K,) in double precision."""
    total: Array = x.sum(axis=(0, 1), dtype=np.float64)
    return total
