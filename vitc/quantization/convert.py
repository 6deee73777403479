"""The step of every 8-bit mode that makes the model: weights to int8, ranges to scales."""

from collections.abc import Collection, Mapping
from typing import TypeVar

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.int8 import beside
from vitc.models.model import Model
from vitc.quantization.weights import quantize_weight

M = TypeVar("M", bound=Model)
Range = tuple[float, float]


def int8_model(
    model: M,
    names: Collection[str],
    ranges: Mapping[str, Range] | None = None,
    state: Mapping[str, Array] | None = None,
) -> M:
    """An independent copy of a float32 model with 8-bit layers, frozen and in evaluation mode.

    names: the weights of the layers, as in the state dict. ranges: of their inputs, for every name
    the least and the greatest value that it distinguishes: then the copy is static, and what is out
    of a range is cut off. None: dynamic, each token has a range of its own. state: values in place
    of the model's, read one at a time.

    Raises `ValueError` for a model that is quantised or of float64, for a name that is not the
    weight of a linear layer, for a name without a range or a range without a name, and for a range
    that is none.
    """
    if model.quantized:
        raise ValueError("the model is quantised already")
    if model.params.dtype != "float32":
        raise ValueError("quantisation is for models of float32")
    possible = model.linear_weights()
    for name in names:
        if name not in possible:
            raise ValueError(f"{shown(name)} is not the weight of a linear layer of the model")
    inputs = _inputs(names, ranges)
    made = model.with_room_for_int8(names, "dynamic" if ranges is None else "static")
    values = model.state_dict() if state is None else state
    for name in model.shapes:
        if name in names:
            weight, scale = quantize_weight(values[name])
            made.write({name: weight, beside(name, "weight_scale"): scale})
        elif state is not None:
            made.write({name: np.ascontiguousarray(values[name], np.float32)})
    made.write(inputs)
    return made.eval()


def _inputs(names: Collection[str], ranges: Mapping[str, Range] | None) -> dict[str, Array]:
    """The scales and zero points of the layers' inputs, by their names in the state dict."""
    if ranges is None:
        return {}
    if faults := [name for name in {*names, *ranges} if (name in names) != (name in ranges)]:
        wrong = min(map(str, faults))
        what = "has a range, but is not quantised" if wrong in ranges else "has no range"
        raise ValueError(f"{shown(wrong)} {what}")
    found: dict[str, Array] = {}
    for name in names:
        try:
            scale, zero_point = scale_of(*ranges[name])
        except ValueError as error:
            raise ValueError(f"the range of {name}: {error}") from None
        found[beside(name, "input_scale")] = np.array([scale], np.float32)
        found[beside(name, "input_zero_point")] = np.array([zero_point], np.float32)
    return found


def scale_of(low: float, high: float) -> tuple[float, int]:
    """The step and the zero point of 256 numbers from low to high: x is kept as
    round(x / scale) + zero_point.

    The range is widened to contain 0, which so is exact. It may be empty: then the scale is 1.
    Raises `ValueError` for bounds that are not finite, or in the wrong order.
    """
    low, high = float(low), float(high)
    if not (np.isfinite([low, high]).all() and low <= high):
        raise ValueError(f"from {low} to {high}, expected two finite numbers in rising order")
    low, high = min(low, 0.0), max(high, 0.0)
    step, limits = (high - low) / 255, np.finfo(np.float32)
    if step > float(limits.max):
        raise ValueError(f"from {low} to {high} is too wide for float32")
    if step < limits.tiny:
        return 1.0, 0
    step = float(np.float32(step))
    return step, int(np.clip(np.rint(-low / step), 0, 255))
