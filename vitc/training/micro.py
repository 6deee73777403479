"""Micro-batches: a batch of the loader goes through the model in parts, to save memory only.

Gradients are sums over images in order, losses add undivided, and draws are keyed by the row in the
batch; so no bit of a step depends on the cut.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vitc.tape import Loss


def parts(batch: Any, count: int, size: int) -> Iterator[tuple[int, Any]]:
    """(first row, part) for parts of at most `size` of the `count` samples of a batch.

    Whatever has `count` rows is cut: arrays, tensors and lists in tuples, lists and mappings. All
    else goes into every part.
    """
    for start in range(0, count, size):
        yield start, _cut(batch, count, slice(start, min(start + size, count)))


def _cut(x: Any, count: int, rows: slice) -> Any:
    if isinstance(x, Mapping):
        return {key: _cut(value, count, rows) for key, value in x.items()}
    if isinstance(x, tuple) or (isinstance(x, list) and any(map(_is_array, x))):
        cut = [_cut(value, count, rows) for value in x]
        return type(x)(*cut) if hasattr(x, "_fields") else type(x)(cut)
    return x[rows] if (isinstance(x, list) or _is_array(x)) and len(x) == count else x


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and np.ndim(x) > 0


def merged(outputs: list[Any]) -> Any:
    """What a training step returned for the whole batch: the last part's, with the loss of all."""
    losses = [o.get("loss") if isinstance(o, dict) else o for o in outputs]
    known = [loss for loss in losses if isinstance(loss, Loss)]
    if len(outputs) == 1 or not known:
        return outputs[-1]
    whole = Loss(sum(loss.value for loss in known), sum(loss.weight for loss in known))
    return {**outputs[-1], "loss": whole} if isinstance(outputs[-1], dict) else whole
