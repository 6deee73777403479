"""timm's losses by their names, and custom losses."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from vitc import _vitc, checks
from vitc import functional as F
from vitc.arrays import Array, as_array
from vitc.tape import Loss, Output, grad_enabled

__all__ = [
    "BinaryCrossEntropy",
    "JsdCrossEntropy",
    "LabelSmoothingCrossEntropy",
    "SoftTargetCrossEntropy",
    "check_grad",
    "loss",
]

OwnLoss = Callable[..., tuple[float, Array, float]]


# ------------------------------------------------------------------------------------ custom


def loss(function: OwnLoss) -> Callable[..., Loss]:
    """Makes a loss of a function that gives (sum over rows, its gradient, weight to divide by).

        @vitc.loss
        def absolute(x, y):
            return np.abs(x - y).sum(), np.sign(x - y), len(x)

    The function gets the first argument, a model's output, as a plain array and the others as they
    are; the gradient has the shape of the output. `check_grad` compares it with differences.

    Raises `ValueError` if the gradient has another shape, `TypeError` if there are not three parts.
    """

    @wraps(function)
    def wrapped(output: Any, *args: Any, **options: Any) -> Loss:
        x = as_array(output).view(np.ndarray)
        value, gradient, weight = _parts(function, function(x, *args, **options), x)
        edge = output.edge if isinstance(output, Output) and grad_enabled() else None
        terms = [] if edge is None else [(edge, gradient)]
        complete = edge is not None or not grad_enabled()
        return Loss(value, weight, terms, complete=complete, own=True)

    wrapped.function = function  # type: ignore[attr-defined]
    return wrapped


def _parts(function: OwnLoss, result: Any, x: Array) -> tuple[float, Array, float]:
    name = getattr(function, "__name__", "the loss")
    if not isinstance(result, tuple) or len(result) != 3:
        raise TypeError(
            f"{name} returned {type(result).__name__}, expected (sum, gradient, weight)"
        )
    value, gradient, weight = result
    gradient = np.ascontiguousarray(gradient, dtype=x.dtype)
    if gradient.shape != x.shape:
        raise ValueError(
            f"{name} returned a gradient of shape {gradient.shape}, expected {x.shape}"
        )
    return float(value), gradient, float(weight)


def check_grad(
    function: Callable[..., Any],
    shape: tuple[int, ...],
    *args: Any,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> float:
    """Compares the gradient of a custom loss with central differences, in float64.

    function: as for `loss`, decorated or not; it is called with an array of this shape, normally
    distributed, and args. Prints where the two differ most and returns that difference, relative to
    the largest element of the gradient.

    Raises `ValueError` if it is above the tolerance.
    """
    function = getattr(function, "function", function)
    x = np.random.default_rng(seed).standard_normal(shape)
    _, gradient, _ = _parts(function, function(x, *args), x)
    expected = np.empty_like(x)
    for index in np.ndindex(*shape):
        expected[index] = _difference(function, x, index, args)
    distance = np.abs(gradient - expected) / max(float(np.abs(expected).max()), 1e-12)
    worst = np.unravel_index(int(np.argmax(distance)), shape)
    where = tuple(map(int, worst))
    told = (
        f"the gradient at {where} is {gradient[worst]:.9g}, differences give "
        f"{expected[worst]:.9g} ({distance[worst]:.1e} of the largest)"
    )
    print(told)
    if not distance[worst] <= tolerance:
        raise ValueError(told)
    return float(distance[worst])


def _difference(
    function: OwnLoss, x: Array, index: tuple[int, ...], args: tuple[Any, ...], step: float = 1e-6
) -> float:
    values = []
    for sign in (1.0, -1.0):
        moved = x.copy()
        moved[index] += sign * step
        values.append(float(function(moved, *args)[0]))
    return (values[0] - values[1]) / (2 * step)


# ------------------------------------------------------------------------------------ timm's


class LabelSmoothingCrossEntropy:
    """Cross entropy against labels that give `smoothing` to all classes alike; timm.loss."""

    def __init__(self, smoothing: float = 0.1) -> None:
        self.smoothing = smoothing

    def __call__(self, x: Any, target: Any) -> Loss:
        return F.cross_entropy(x, target, label_smoothing=self.smoothing)


class SoftTargetCrossEntropy:
    """Cross entropy against probabilities, as mixup makes them; timm.loss."""

    def __call__(self, x: Any, target: Any) -> Loss:
        return F.cross_entropy(x, as_array(target).astype(as_array(x).dtype))


class BinaryCrossEntropy:
    """Binary cross entropy against labels or (batch, classes); timm.loss.BinaryCrossEntropy.

    smoothing: labels become smoothing / classes, and 1 - smoothing more for the one; targets of
    (batch, classes) are moved towards 0.5 if smooth_dense. target_threshold: targets become 1 above
    it, else 0. sum_classes: a mean over samples of the sum over classes. weight, pos_weight: as in
    torch.
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        target_threshold: float | None = None,
        weight: Any = None,
        reduction: str = "mean",
        sum_classes: bool = False,
        pos_weight: Any = None,
        smooth_dense: bool = False,
    ) -> None:
        self.smoothing = checks.below_one("smoothing", smoothing)
        self.smooth_dense = smooth_dense
        self.target_threshold = target_threshold
        self.weight, self.pos_weight = weight, pos_weight
        self.reduction = "batchmean" if sum_classes else reduction

    def __call__(self, x: Any, target: Any) -> Loss:
        return F.binary_cross_entropy_with_logits(
            x,
            self._targets(as_array(x), as_array(target)),
            self.weight,
            self.reduction,
            self.pos_weight,
        )

    def _targets(self, x: Array, target: Array) -> Array:
        if target.shape != x.shape:
            classes = x.shape[-1]
            if target.size and not 0 <= target.min() <= target.max() < classes:
                raise ValueError(f"a label is out of range: expected 0 to {classes - 1}")
            dense = np.full(x.shape, self.smoothing / classes, x.dtype)
            dense[np.arange(len(x)), target.astype(np.int64).reshape(-1)] += 1 - self.smoothing
        else:
            dense = target.astype(x.dtype)
            if self.smooth_dense:
                dense = dense * (1 - self.smoothing) + 0.5 * self.smoothing
        if self.target_threshold is not None:
            dense = (dense > self.target_threshold).astype(x.dtype)
        return dense


class JsdCrossEntropy:
    """Cross entropy of clean images and alpha times the Jensen-Shannon divergence of their
    augmented views from them (AugMix, Hendrycks et al. 2020); timm.loss.JsdCrossEntropy.

    The batch is num_splits views one after another, the clean one first; targets are those of the
    clean images, or of all. Views of a sample belong together, so such a batch is not to be cut.

    Raises `ValueError` for a batch that num_splits does not divide.
    """

    def __init__(self, num_splits: int = 3, alpha: float = 12, smoothing: float = 0.1) -> None:
        self.num_splits, self.alpha, self.smoothing = num_splits, alpha, smoothing

    def __call__(self, output: Any, target: Any) -> Loss:
        return _jsd(output, target, self.num_splits, self.alpha, self.smoothing)


@loss
def _jsd(
    x: Array, target: Any, splits: int, alpha: float, smoothing: float
) -> tuple[float, Array, float]:
    x = np.ascontiguousarray(x)
    divergence, gradient = _vitc.jensen_shannon(x, splits)
    clean = len(x) // splits
    labels = np.ascontiguousarray(as_array(target)[:clean], dtype=np.int64)
    value, weight, own = _vitc.cross_entropy(x[:clean], labels, None, None, smoothing)
    gradient *= x.dtype.type(alpha)
    gradient[:clean] += own
    return value + alpha * divergence, gradient, weight
