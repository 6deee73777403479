"""What happens when a loss or a gradient is infinite or NaN: a sentence says where it began."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array
from vitc.errors import VitcError, listed
from vitc.tape import Loss, no_grad
from vitc.training.settings import notice

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer

PATIENCE = 3
"""So many steps in a row are left out before "skip" raises, too."""


def passes(trainer: Trainer, fault: Callable[..., str | None], *args: Any) -> bool:
    """Whether the step may continue: True without a fault, else it is skipped with a warning.

    Raises `VitcError` if `on_nonfinite` is "raise", and at the fourth fault in a row.
    """
    found = fault(trainer, *args)
    if found is None:
        return True
    trainer.state.skipped += 1
    place = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
    raises = trainer.on_nonfinite == "raise" or trainer.detect_anomaly
    if raises or trainer.state.skipped > PATIENCE:
        raise VitcError(f"{place}: {found}")
    notice(f"{place}: {found}; this is left out")
    return False


def loss_fault(trainer: Trainer, loss: Loss, batch: Any) -> str | None:
    """None, or which loss it is, of which samples, and where it began."""
    value = float(loss)
    if math.isfinite(value):
        return None
    told = [f"the loss is {value}"]
    rows = loss.nonfinite_rows()
    if rows:
        told.append(f"samples {listed(rows)} of the batch are not finite")
    told.append(_origin(trainer.module, batch))
    return "; ".join(filter(None, told))


def gradient_fault(trainer: Trainer) -> str | None:
    """None, or the parameter nearest to the loss whose gradient is not finite."""
    tables = {id(p.owner): p.owner for p in trainer.module.parameters()}.values()
    if all(math.isfinite(table.gradient_norm()) for table in tables):
        return None
    parameters = list(trainer.module.named_parameters())
    bad = [name for name, p in parameters if p.requires_grad and _bad(p.owner.gradient(p.index))]
    if not bad:
        return "the norm of all gradients overflows"
    return f"the gradient of {bad[-1]} and of {len(bad) - 1} others is infinite or NaN"


def _origin(module: Module, batch: Any) -> str:
    """The first of these that is not finite: a parameter, an image, a layer's output."""
    for name, parameter in module.named_parameters():
        if _bad(parameter.data):
            return f"the parameter {name} is not finite"
    images = as_array(batch[0]) if isinstance(batch, tuple | list) and batch else None
    if images is None or images.dtype.kind != "f" or images.ndim < 2:
        return ""
    rows = [i for i, image in enumerate(images) if not np.isfinite(image).all()]
    if rows:
        return f"the images {listed(rows)} of the batch are not finite"
    layers = (_layer(name, model, images) for name, model in module.named_models())
    return next(filter(None, layers), "")


def _layer(name: str, model: Any, images: Array) -> str:
    """The first block of a model that gives infinite numbers or NaN for these images."""
    if not hasattr(type(model), "forward_intermediates"):
        return ""
    try:
        with no_grad():
            found = model.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
    except (TypeError, ValueError):
        return ""  # these were not this model's images
    bad = [i for i, tokens in enumerate(found) if _bad(tokens)]
    return f"{name}.blocks.{bad[0]} is the first layer whose output is not finite" if bad else ""


def _bad(values: Array | None) -> bool:
    return values is not None and _vitc.count_nonfinite(np.ascontiguousarray(values)) > 0
