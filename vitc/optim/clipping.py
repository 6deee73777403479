"""Clipping of gradients, with the names and the arithmetic of torch.nn.utils and timm.utils.

Each divides the gradients by their total weight first, so it sees what the optimizer will.
"""

from collections.abc import Iterable

from vitc import _vitc
from vitc.optim.optimizers import grad_norm, rows_by_table
from vitc.parameters import Parameter
from vitc.tape import close_window

MODES = ("norm", "value", "agc")


def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales the gradients so that their L2 norm together is at most max_norm; returns the norm
    before: torch.nn.utils.clip_grad_norm_."""
    parameters = _closed(parameters)
    norm = grad_norm(parameters)
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # a NaN spreads, as in torch
        for table, rows in rows_by_table(parameters):
            table.scale_gradients(factor, rows)
    return norm


def clip_grad_value_(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Cuts every element to [-clip_value, clip_value]: torch.nn.utils.clip_grad_value_."""
    for table, rows in rows_by_table(_closed(parameters)):
        _vitc.clip_value(table, rows, clip_value)


def adaptive_clip_grad(
    parameters: Iterable[Parameter], clip_factor: float = 0.01, eps: float = 1e-3
) -> None:
    """Cuts the norm of each output unit's gradient to clip_factor * max(norm of its weights, eps)
    (Brock et al. 2021): timm.utils.adaptive_clip_grad. The head is best left out."""
    for table, rows in rows_by_table(_closed(parameters)):
        _vitc.clip_adaptive(table, rows, clip_factor, eps)


def dispatch_clip_grad(parameters: Iterable[Parameter], value: float, mode: str = "norm") -> None:
    """One of the three by its name, "norm", "value" or "agc": timm.utils.dispatch_clip_grad."""
    if mode == "norm":
        clip_grad_norm_(parameters, value)
    elif mode == "value":
        clip_grad_value_(parameters, value)
    elif mode == "agc":
        adaptive_clip_grad(parameters, value)
    else:
        raise ValueError(f"the clipping mode is {mode!r}, expected one of {', '.join(MODES)}")


def _closed(parameters: Iterable[Parameter]) -> list[Parameter]:
    found = list(parameters)
    close_window(found)
    return found
