"""Losses, and the functions of outputs that keep a gradient, as in torch.nn.functional."""

from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array, as_floats, over_axis
from vitc.tape import Edge, Loss, Output, grad_enabled, on_tape

__all__ = ["cross_entropy", "kl_div", "log_softmax", "softmax"]


def softmax(input: Any, dim: int = -1) -> Array:
    """Probabilities along dim. It gives a plain array without a gradient."""
    return over_axis(_vitc.softmax, _floats(input, "the input"), dim)


def log_softmax(input: Any, dim: int = -1) -> Array:
    """log(softmax(input)) along dim. Of a model's output it keeps the gradient."""
    x = _floats(input, "the input")
    y = over_axis(_vitc.log_softmax, x, dim)
    edge = _edge(input)
    if edge is None:
        return y
    if dim not in (-1, x.ndim - 1):
        raise ValueError(f"dim is {dim}: of a model's output it is taken over the last axis only")
    cols = y.shape[-1]
    rows = np.ascontiguousarray(y).reshape(-1, cols)

    def backward(dy: Array) -> Array:
        dy = np.ascontiguousarray(dy).reshape(-1, cols)
        return _vitc.log_softmax_backward(dy, rows).reshape(y.shape)

    return on_tape(y, edge, backward)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    sample_weight: Any = None,
) -> Loss:
    """Cross entropy of logits, as torch.nn.functional.cross_entropy; its numbers are the oracle.

    input: logits (batch, classes), straight from a model if the loss is to have a gradient.
    target: (batch,) whole numbers from 0 to classes - 1, or (batch, classes) probabilities.
    weight: (classes,), multiplies the loss of a class. ignore_index: a label that does not count.
    sample_weight: (batch,), multiplies the loss of a row; both weights count in the mean's divisor.
    reduction: "mean" or "sum".

    Raises `ValueError` for shapes that do not fit and for labels out of range, naming them.
    """
    logits = _logits(input)
    dtype = str(logits.dtype)
    value, total, gradient = _vitc.cross_entropy(
        logits,
        _target(target, dtype),
        None if weight is None else as_floats(weight, dtype, "weight"),
        None if sample_weight is None else as_floats(sample_weight, dtype, "sample_weight"),
        label_smoothing,
        ignore_index,
    )
    return _loss(input, value, gradient, {"mean": total, "sum": 1.0}, reduction)


def kl_div(
    input: Any,
    target: Any,
    reduction: str = "batchmean",
    log_target: bool = False,
) -> Loss:
    """Kullback-Leibler divergence sum(target * (log target - input)); torch.nn.functional.kl_div.

    input: log-probabilities (batch, classes), from `log_softmax` if the loss is to have a gradient.
    target: probabilities (batch, classes), or their logarithms if log_target; it gets no gradient.
    reduction: "batchmean" (divide by the batch), "mean" (by the number of elements) or "sum".
    """
    logs = _logits(input)
    given = as_floats(target, str(logs.dtype), "the target")
    if given.shape != logs.shape:
        raise ValueError(f"the target has shape {given.shape}, expected {logs.shape}")
    probs = np.exp(given) if log_target else given
    log_probs = given if log_target else np.log(np.where(given > 0, given, 1))
    value = float(np.sum(probs * (log_probs - logs), dtype=np.float64))
    weights = {"batchmean": len(logs), "mean": logs.size, "sum": 1.0}
    return _loss(input, value, -probs, weights, reduction)


# ------------------------------------------------------------------------------------- helpers


def _edge(x: Any) -> Edge | None:
    return x.edge if isinstance(x, Output) and grad_enabled() else None


def _floats(x: Any, what: str) -> Array:
    array = as_array(x)
    return as_floats(array, "float64" if array.dtype == np.float64 else "float32", what)


def _logits(x: Any) -> Array:
    logits = _floats(x, "the input").view(np.ndarray)
    if logits.ndim != 2:
        raise ValueError(f"the input has shape {logits.shape}, expected (batch, classes)")
    return logits


def _target(target: Any, dtype: str) -> Array:
    """Labels as int64, probabilities in the dtype of the logits."""
    array = as_array(target)
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, dtype=np.int64)
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=dtype)
    raise TypeError(f"the target has dtype {array.dtype}, expected whole numbers or probabilities")


def _loss(
    source: Any, value: float, gradient: Array, weights: dict[str, float], reduction: str
) -> Loss:
    if reduction not in weights:
        raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(weights)}")
    edge = _edge(source)
    terms = [] if edge is None else [(edge, gradient)]
    complete = edge is not None or not grad_enabled()
    return Loss(value, weights[reduction], terms, complete=complete)
