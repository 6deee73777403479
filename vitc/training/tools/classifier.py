"""A ready module: an image classifier, what `vitc fit` trains."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

import vitc.functional as F
from vitc import checks
from vitc.arrays import Array
from vitc.metrics import AUROC, BalancedAccuracy, Metric
from vitc.models.factory import create_model
from vitc.models.sources import load_adapted
from vitc.optim import AdamW, Schedule, cosine, param_groups_weight_decay
from vitc.tape import Loss
from vitc.training.module import Module
from vitc.training.tools.metrics import auroc, ranked

# What more can be logged, by name: a metric for a number of classes.
_FIGURES: dict[str, Callable[[int], Metric]] = {
    "balanced_accuracy": lambda classes: BalancedAccuracy("multiclass", num_classes=classes),
    "auroc": auroc,
}


class Classifier(Module):
    """Cross entropy on (images, labels) batches, AdamW, and a cosine with warm-up.

    architecture and further arguments: as `create_model` takes them. checkpoint_path: of the
    weights that training starts from; a head of another number of classes starts fresh.
    num_classes: by default as many as class_names. lr: at the peak. warmup: share of all steps in
    which it rises. class_weights: one per class, for unbalanced data. data_config: how images are
    prepared where it is not as the architecture says (mean, std, crop_pct, interpolation). Labels
    are whole numbers (batch,) or probabilities (batch, classes). figures: what else is logged of
    validation images, of "balanced_accuracy" and "auroc".

    Logs train_loss, val_loss, val_acc and the figures as val_NAME, and all of these as test_ in
    `Trainer.test`; `predict_step` gives probabilities (batch, classes).
    """

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        num_classes: int | None = None,
        *,
        class_names: Sequence[str] | None = None,
        lr: float = 5e-4,
        weight_decay: float = 0.05,
        betas: Sequence[float] = (0.9, 0.999),
        warmup: float = 0.05,
        label_smoothing: float = 0.1,
        class_weights: Sequence[float] | None = None,
        data_config: Mapping[str, Any] | None = None,
        checkpoint_path: str | PathLike[str] = "",
        figures: Sequence[str] = (),
        **model_arguments: Any,
    ) -> None:
        super().__init__()
        # The weights of checkpoint_path are where training starts; a checkpoint has its own.
        self.save_hyperparameters(ignore="checkpoint_path")
        if num_classes is None and not class_names:
            raise ValueError("a classifier needs num_classes or class_names")
        classes = len(class_names or ()) if num_classes is None else num_classes
        if class_names and classes != len(class_names):
            raise ValueError(f"num_classes is {classes}, and class_names has {len(class_names)}")
        self.model = create_model(architecture, num_classes=classes, **model_arguments)
        if checkpoint_path:
            load_adapted(self.model, checkpoint_path)
        self.model.pretrained_cfg |= data_config or {}
        for name in figures:
            checks.one_of("figures", name, tuple(_FIGURES))
        self._figures = {
            stage: {f"{stage}_{name}": _FIGURES[name](classes) for name in figures}
            for stage in ("val", "test")
        }
        if class_names:
            self.model.pretrained_cfg["label_names"] = list(class_names)

    @property
    def class_names(self) -> list[str]:
        """The given names, or the numbers of the classes."""
        given = self.hparams["class_names"]
        return list(given) if given else [str(i) for i in range(self.model.num_classes)]

    def forward(self, images: Any) -> Any:
        """Images (batch, C, H, W) -> logits (batch, classes)."""
        return self.model(images)

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        images, labels = batch
        loss = self._loss(self(images), labels, self.hparams.label_smoothing)
        self.log("train_loss", loss, prog_bar=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", *batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", *batch)

    def _evaluate(self, stage: str, images: Any, labels: Any) -> None:
        logits = self(images)
        self.log(f"{stage}_loss", self._loss(logits, labels, 0.0), prog_bar=True)
        hard = labels if np.ndim(labels) == 1 else np.argmax(labels, axis=1)
        self.log(f"{stage}_acc", float(np.mean(logits.argmax(dim=1) == hard)), prog_bar=True)
        probabilities = F.softmax(logits)
        for name, metric in self._figures[stage].items():
            ranks = isinstance(metric, AUROC)
            metric.update(ranked(probabilities) if ranks else probabilities, hard)
            self.log(name, metric, prog_bar=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Array:
        images = batch[0] if isinstance(batch, tuple | list) else batch
        return F.softmax(self(images))

    def configure_optimizers(self) -> tuple[AdamW, Schedule]:
        hparams = self.hparams
        groups = param_groups_weight_decay(self.model, hparams.weight_decay)
        optimizer = AdamW(groups, lr=hparams.lr, betas=tuple(hparams.betas))
        return optimizer, cosine(warmup_t=hparams.warmup, warmup_prefix=True)

    def _loss(self, logits: Any, labels: Any, smoothing: float) -> Loss:
        given = self.hparams.class_weights
        weight = None if given is None else np.asarray(given, np.float32)
        return F.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)
