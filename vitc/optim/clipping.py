"""Clipping of gradients, with the names and the arithmetic of torch.nn.utils and timm.utils.

Each divides the gradients by their total weight first, so it sees what the optimizer will.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vitc import _vitc, checks
from vitc.optim.optimizers import entries_by_table, grad_norm
from vitc.parameters import Parameter
from vitc.tape import alone, close_window

MODES = ("norm", "value", "agc")


def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales the gradients so that their L2 norm together is at most max_norm; returns the norm
    before: torch.nn.utils.clip_grad_norm_."""
    with _closed(parameters) as found:
        norm = grad_norm(found)
        factor = max_norm / (norm + 1e-6)
        if not factor >= 1:  # a NaN spreads, as in torch
            for table, entries in entries_by_table(found):
                table.scale_gradients(factor, entries)
    return norm


def clip_grad_value_(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Cuts every element to [-clip_value, clip_value]: torch.nn.utils.clip_grad_value_."""
    with _closed(parameters) as found:
        for table, entries in entries_by_table(found):
            _vitc.clip_value(table, entries, clip_value)


def adaptive_clip_grad(
    parameters: Iterable[Parameter], clip_factor: float = 0.01, eps: float = 1e-3
) -> None:
    """Cuts the norm of each output unit's gradient to clip_factor * max(norm of its weights, eps)
    (Brock et al. 2021): timm.utils.adaptive_clip_grad. The head is best left out."""
    with _closed(parameters) as found:
        for table, entries in entries_by_table(found):
            _vitc.clip_adaptive(table, entries, clip_factor, eps)


def dispatch_clip_grad(parameters: Iterable[Parameter], value: float, mode: str = "norm") -> None:
    """One of the three by its name, "norm", "value" or "agc": timm.utils.dispatch_clip_grad."""
    checks.one_of("mode", mode, MODES)
    if mode == "norm":
        clip_grad_norm_(parameters, value)
    elif mode == "value":
        clip_grad_value_(parameters, value)
    else:
        adaptive_clip_grad(parameters, value)


@contextmanager
def _closed(parameters: Iterable[Parameter]) -> Iterator[list[Parameter]]:
    """The parameters, whose gradients are divided and this thread's alone within it."""
    found = list(parameters)
    with alone(p.window for p in found):
        close_window(found)
        yield found
