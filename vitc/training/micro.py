"""Micro-batches: a batch of the loader goes through the model in parts, to save memory only.

Gradients are sums over images in order, losses add undivided, and draws are keyed by the row in the
batch; so no bit of a step depends on the cut, if each model is called once in it and the loss is a
sum over samples. Where that is not so, the batch is cut only if the user says how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.tape import Loss

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer


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


@contextmanager
def one_batch(trainer: Trainer, batch: Any) -> Iterator[Iterator[tuple[int, Any]]]:
    """The parts of a batch, which is one when they are done: in what is logged, and in the count of
    batches that are left out."""
    state, count = trainer.state, trainer.batch_size
    size, left_out, skipped = trainer.micro_batch or count, state.left_out, state.skipped

    def taken() -> Iterator[tuple[int, Any]]:
        for row, part in parts(batch, count, size):
            state.skipped = skipped
            state.results.next_part()
            trainer.measure(part)
            yield row, part

    if size >= count:
        yield iter([(0, batch)])
        return
    with state.results.merged():
        yield taken()
    trainer.measure(batch)
    bad = state.left_out > left_out
    state.left_out, state.skipped = left_out + bad, skipped + bad


def merged(outputs: list[Any]) -> Any:
    """What a training step returned, as callbacks get it: a dict with "loss", or None; of several
    parts the last one's, with the loss of all."""
    dicts = [{"loss": part} if isinstance(part, Loss) else part for part in outputs]
    losses = [part.get("loss") for part in dicts if part is not None]
    known = [loss for loss in losses if loss is not None]
    if len(dicts) == 1 or not known:
        return dicts[-1]
    whole = Loss(sum(loss.value for loss in known), sum(loss.weight for loss in known))
    return {**(dicts[-1] or {}), "loss": whole}


def check_cut(trainer: Trainer, loss: Loss) -> None:
    """Raises `ValueError` for a batch that was cut because memory is short, where that may change
    the result: the cut must not depend on the machine then."""
    if not trainer.cuts_by_memory or (loss.passes() <= 1 and not loss.own):
        return
    why = (
        "its loss is a function of your own, which may look at several samples at once"
        if loss.own
        else "a model is called several times in a step, and the parts change the order of sums"
    )
    raise ValueError(
        f"a batch does not fit into the free memory at once, and {why}: say how many samples go "
        f"through the models at a time, such as Trainer(micro_batch={trainer.micro_batch})"
    )
