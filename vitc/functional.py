"""Losses, and the functions of outputs that keep a gradient, as in torch.nn.functional."""

from typing import Any

import numpy as np

from vitc import _vitc, checks
from vitc.arrays import Array, as_array, as_floats, over_axis
from vitc.errors import shown
from vitc.tape import Edge, Loss, Output, grad_enabled, on_tape

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "focal_loss",
    "kl_div",
    "log_softmax",
    "mse_loss",
    "one_hot",
    "sigmoid_focal_loss",
    "softmax",
]


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
    target: (batch,) integers from 0 to classes - 1, or (batch, classes) probabilities.
    weight: (classes,), multiplies the loss of a class. ignore_index: a label that does not count.
    sample_weight: (batch,), multiplies the loss of a row; both weights count in the mean's divisor.
    reduction: "mean" or "sum".

    Raises `ValueError` for shapes that do not fit and for labels out of range, naming them.
    """
    return focal_loss(
        input,
        target,
        0.0,
        weight,
        ignore_index,
        reduction,
        label_smoothing,
        sample_weight=sample_weight,
    )


def focal_loss(
    input: Any,
    target: Any,
    gamma: float = 2.0,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    sample_weight: Any = None,
) -> Loss:
    """`cross_entropy` in which each class counts (1 - its probability) ** gamma, so that what is
    learned already pulls less (Lin et al. 2017, over classes).

    gamma: 0 or more. The other arguments, and the errors, are those of `cross_entropy`.
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
        gamma,
    )
    return _loss(input, value, gradient, {"mean": total, "sum": 1.0}, reduction)


def kl_div(
    input: Any,
    target: Any,
    reduction: str = "batchmean",
    log_target: bool = False,
    *,
    sample_weight: Any = None,
) -> Loss:
    """Kullback-Leibler divergence sum(target * (log target - input)); torch.nn.functional.kl_div.

    input: log-probabilities (batch, ...), from `log_softmax` if the loss is to have a gradient.
    target: probabilities of that shape, or their logarithms if log_target; it gets no gradient.
    reduction: "batchmean" (divide by the batch), "mean" (also by the elements of a row) or "sum".
    sample_weight: (batch,), multiplies the loss of a row and counts in the divisor.

    Raises `ValueError` for shapes that differ.
    """
    return row_loss(
        "divergence", input, target, reduction, sample_weight=sample_weight, log_target=log_target
    )


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
    *,
    sample_weight: Any = None,
) -> Loss:
    """Cross entropy of each class for itself; torch.nn.functional.binary_cross_entropy_with_logits.

    input: logits (batch, classes). target: of that shape, from 0 to 1. weight, pos_weight:
    (classes,) or a number; the second multiplies the part of the positives. reduction: "mean" over
    all elements, "batchmean" (their sum, divided by the batch) or "sum". sample_weight: (batch,),
    multiplies the loss of a row and counts in the divisor.

    Raises `ValueError` for shapes that do not fit.
    """
    return row_loss(
        "binary_cross_entropy",
        input,
        target,
        reduction,
        sample_weight=sample_weight,
        class_weights=weight,
        positive_weights=pos_weight,
    )


def sigmoid_focal_loss(
    inputs: Any,
    targets: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "mean",
    *,
    sample_weight: Any = None,
) -> Loss:
    """Binary cross entropy times (1 - p_t) ** gamma, and alpha for positives, 1 - alpha for
    negatives unless alpha is below 0 (Lin et al. 2017); torchvision.ops.sigmoid_focal_loss.

    The other arguments, and the errors, are those of `binary_cross_entropy_with_logits`.
    """
    return row_loss(
        "binary_focal",
        inputs,
        targets,
        reduction,
        sample_weight=sample_weight,
        alpha=alpha,
        gamma=gamma,
    )


def mse_loss(
    input: Any, target: Any, reduction: str = "mean", *, sample_weight: Any = None
) -> Loss:
    """Squared distance of two arrays of one shape (batch, ...); torch.nn.functional.mse_loss.

    reduction: "mean" over all elements, "batchmean" (their sum, divided by the batch) or "sum".
    sample_weight: (batch,), multiplies the loss of a row and counts in the divisor.

    Raises `ValueError` for shapes that differ.
    """
    return row_loss("squared_error", input, target, reduction, sample_weight=sample_weight)


def one_hot(tensor: Any, num_classes: int = -1) -> Array:
    """Integers (...) -> int64 (..., num_classes) of 0 and 1; torch.nn.functional.one_hot.

    num_classes: -1 for one more than the largest. Raises `TypeError` for other numbers than
    integers, `ValueError` for one that is not from 0 to num_classes - 1.
    """
    checks.integer("num_classes", num_classes, -1)
    labels = as_array(tensor)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"the labels have dtype {shown(labels.dtype)}, expected integers")
    if num_classes == -1 and not labels.size:
        raise ValueError("there are no labels from which num_classes could be taken: give it")
    count = int(labels.max()) + 1 if num_classes == -1 else num_classes
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        wrong = labels[(labels < 0) | (labels >= count)][0]
        raise ValueError(f"a label is {wrong}, expected 0 to {count - 1}")
    hot: Array = labels[..., None] == np.arange(count)
    return hot.astype(np.int64)


def row_loss(
    kind: str,
    input: Any,
    target: Any,
    reduction: str,
    *,
    sample_weight: Any = None,
    class_weights: Any = None,
    positive_weights: Any = None,
    alpha: float = -1.0,
    gamma: float = 0.0,
    log_target: bool = False,
) -> Loss:
    """A loss that the core knows by name: a sum over the elements of a row against a target of the
    same shape. A mean is one over rows, of a row's mean: so it adds to losses that have one number
    per row."""
    x = _floats(input, "the input").view(np.ndarray)
    dtype = str(x.dtype)
    given = as_floats(target, dtype, "the target")
    if x.ndim < 1 or given.shape != x.shape:
        raise ValueError(f"the target has shape {given.shape}, expected {x.shape}")
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    cols = rows.shape[1]
    value, total, gradient = _vitc.row_loss(
        kind,
        rows,
        given.reshape(rows.shape),
        factor=1.0 / cols if reduction == "mean" and cols else 1.0,
        alpha=alpha,
        gamma=gamma,
        log_target=log_target,
        class_weights=_per_class(class_weights, cols, dtype),
        positive_weights=_per_class(positive_weights, cols, dtype),
        sample_weights=None if sample_weight is None else as_floats(sample_weight, dtype, "weight"),
    )
    weights = {"mean": total, "batchmean": total, "sum": 1.0}
    return _loss(input, value, gradient.reshape(x.shape), weights, reduction)


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


def _per_class(weight: Any, classes: int, dtype: str) -> Array | None:
    """(classes,), from one number per class or one for all."""
    if weight is None:
        return None
    if np.ndim(weight) == 0:
        return np.full(classes, weight, dtype)
    return as_floats(weight, dtype, "the weight")


def _target(target: Any, dtype: str) -> Array:
    """Labels as int64, probabilities in the dtype of the logits."""
    array = as_array(target)
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, dtype=np.int64)
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=dtype)
    raise TypeError(
        f"the target has dtype {shown(array.dtype)}, expected integers or probabilities"
    )


def _loss(
    source: Any, value: float, gradient: Array, weights: dict[str, float], reduction: str
) -> Loss:
    checks.one_of("reduction", reduction, weights)
    edge = _edge(source)
    terms = [] if edge is None else [(edge, gradient)]
    complete = edge is not None or not grad_enabled()
    return Loss(value, weights[reduction], terms, complete=complete)
