"""Optimizers whose rules are in NumPy: NAdamW and Muon, as timm has them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.optim.optimizers import Due, Group, Optimizer, Params


class NAdamW(Optimizer):
    """AdamW with Nesterov's momentum (Dozat 2016) as timm.optim.NAdamW: a step is taken along the
    average of the first moment and the gradient."""

    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self, due: Due, group: Group) -> None:
        for index, weight, gradient in _values(due):
            decayed = weight * (1 - group["lr"] * group["weight_decay"])
            due.params.write(
                index, decayed - _adam_step(due, index, gradient, group, nesterov=True)
            )


def _values(due: Due) -> Iterator[tuple[int, Array, Array]]:
    """The entries with their values and gradients."""
    for index in due.entries:
        gradient = due.params.gradient(index)
        if gradient is not None:
            yield index, due.params.view(index), gradient


def _adam_step(due: Due, index: int, gradient: Array, group: Group, nesterov: bool) -> Array:
    """What Adam subtracts from a parameter; its moments are moved on."""
    beta1, beta2 = group["betas"]
    first, second = (buffer.view(index) for buffer in due.buffers[:2])
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient * gradient
    due.buffers[0].write(index, _same(first, gradient))
    due.buffers[1].write(index, _same(second, gradient))
    ahead = beta1 * first + (1 - beta1) * gradient if nesterov else first
    size = np.sqrt(second) / math.sqrt(1 - beta2**due.step) + group["eps"]
    return _same(group["lr"] / (1 - beta1**due.step) * (ahead / size), gradient)


def _same(values: Array, like: Array) -> Array:
    return np.ascontiguousarray(values, dtype=like.dtype)


# ------------------------------------------------------------------------------------ Muon

# Coefficients of the quintic iteration, one row a step and the last for all others ("quintic" of
# timm).
_QUINTIC = (
    (4.0848, -6.8946, 2.927),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
_SCALES = ("match_rms_adamw", "original", "rms_to_rms", None)
_LEAST, _LONGEST = 4, 128  # the shorter side of a matrix, and how many times as long the other is


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) as timm.optim.Muon: the momentum of a matrix is made orthogonal.

    Kernels count as matrices (D, the rest). What is no matrix (vectors, tokens, tables, a side
    below 4 or 128 times as long as the other) and groups with use_fallback=True are updated as by
    AdamW, or NAdamW with nesterov, with betas and the rate lr times fallback_lr_scale. timm
    multiplies matrices in bfloat16, vitc in the dtype of the model. The rate of a matrix (M, N) is
    lr times 0.2 sqrt(max(M, N)) for adjust_lr_fn "match_rms_adamw", sqrt(max(1, M / N)) for
    "original", sqrt(M / N) for "rms_to_rms"; lr itself for None.
    """

    state_names = ("exp_avg", "exp_avg_sq", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: float = 0.02,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = False,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "match_rms_adamw",
        fallback_lr_scale: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-7,
    ) -> None:
        checks.one_of("adjust_lr_fn", adjust_lr_fn, _SCALES)
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=checks.flag("nesterov", nesterov),
            ns_steps=checks.integer("ns_steps", ns_steps, 1),
            adjust_lr_fn=adjust_lr_fn,
            fallback_lr_scale=fallback_lr_scale,
            betas=betas,
            eps=eps,
        )

    def _update(self, due: Due, group: Group) -> None:
        for index, weight, gradient in _values(due):
            if group.get("use_fallback") or not is_matrix(weight.shape):
                own = {**group, "lr": group["lr"] * group["fallback_lr_scale"]}
                decayed = weight * (1 - own["lr"] * own["weight_decay"])
                step = _adam_step(due, index, gradient, own, nesterov=group["nesterov"])
            else:
                decayed = weight * (1 - group["lr"] * group["weight_decay"])
                step = self._orthogonal_step(due, index, gradient, group)
            due.params.write(index, _same(decayed - step, weight))

    def _orthogonal_step(self, due: Due, index: int, gradient: Array, group: Group) -> Array:
        share = 1 - group["momentum"]
        moment = due.buffers[2].view(index)
        moment = _same(moment + share * (gradient - moment), gradient)
        due.buffers[2].write(index, moment)
        ahead = moment * group["momentum"] + share * gradient if group["nesterov"] else moment
        matrix = orthogonal(ahead.reshape(len(ahead), -1), group["ns_steps"], group["eps"])
        rate = group["lr"] * _scale(matrix.shape, group["adjust_lr_fn"])
        return _same(rate * matrix.reshape(gradient.shape), gradient)


def is_matrix(shape: Sequence[int]) -> bool:
    """Whether timm takes an array of this shape for a matrix."""
    if len(shape) < 2 or 1 in shape[:2]:
        return False
    short, long = sorted((shape[0], math.prod(shape[1:])))
    return short >= _LEAST and long <= _LONGEST * short


def orthogonal(matrix: Array, steps: int, eps: float) -> Array:
    """A matrix whose singular values are made nearly 1, by a polynomial of degree 5 in each of the
    steps (Newton and Schulz)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / max(float(np.linalg.norm(x)), eps)
    for step in range(steps):
        a, b, c = _QUINTIC[min(step, len(_QUINTIC) - 1)]
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def _scale(shape: Sequence[int], name: Any) -> float:
    rows, columns = shape
    if name == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    ratio = {"original": max(1.0, rows / columns), "rms_to_rms": rows / columns}
    return math.sqrt(ratio.get(name, 1.0))
