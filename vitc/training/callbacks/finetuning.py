"""Training the head first, and the rest later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vitc import checks
from vitc.parameters import Parameter
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer

_HEADS = ("head", "head_dist")  # timm's names of classifiers, and a usual one of a module's own


class BackboneFinetuning(Callback):
    """Trains nothing but the head until an epoch, then everything.

    unfreeze_backbone_at_epoch: counted from 0. The backbone is the module's attribute `backbone` if
    it has one, else every parameter that has no `head` in its path. Parameters that were frozen
    before stay so. Frozen blocks keep no activations, so these epochs cost less time and memory.
    """

    def __init__(self, unfreeze_backbone_at_epoch: int = 10) -> None:
        checks.integer("unfreeze_backbone_at_epoch", unfreeze_backbone_at_epoch, 0)
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self._backbone: list[Parameter] = []

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        self._backbone = [p for p in _backbone(module) if p.requires_grad]
        self._set(trainer)

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        self._set(trainer)

    def teardown(self, trainer: Trainer, module: Module, stage: str) -> None:
        for parameter in self._backbone:
            parameter.requires_grad = True

    def _set(self, trainer: Trainer) -> None:
        for parameter in self._backbone:
            parameter.requires_grad = trainer.current_epoch >= self.unfreeze_backbone_at_epoch


def _backbone(module: Module) -> Iterator[Parameter]:
    if hasattr(module, "backbone"):
        yield from module.backbone.parameters()
        return
    for name, parameter in module.named_parameters():
        if not is_head(name):
            yield parameter


def is_head(name: str) -> bool:
    """Whether a parameter of this name in a module belongs to a classifier."""
    return bool(set(name.split(".")) & set(_HEADS))
