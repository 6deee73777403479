"""What `Trainer.predict` finds, written as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class BasePredictionWriter(Callback):
    """Override `write_on_batch_end` or `write_on_epoch_end`, or both, and say when to call them.

    write_interval: "batch", "epoch" or "batch_and_epoch". With "batch" alone, call
    `predict(return_predictions=False)` and nothing is kept in memory.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        checks.one_of("write_interval", write_interval, ("batch", "epoch", "batch_and_epoch"))
        self.interval = write_interval
        self._found: list[list[Any]] = []  # by loader and batch
        self._indices: list[list[list[int]]] = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        module: Module,
        prediction: Any,
        batch_indices: Sequence[int],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """batch_indices: of the samples, in the loader's order."""
        raise NotImplementedError(f"{type(self).__name__} has no write_on_batch_end()")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        module: Module,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """predictions: one per batch, in a list per loader if there are several. batch_indices: by
        loader and batch."""
        raise NotImplementedError(f"{type(self).__name__} has no write_on_epoch_end()")

    def on_predict_start(self, trainer: Trainer, module: Module) -> None:
        self._found, self._indices = [], []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: Module,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        while len(self._indices) <= dataloader_idx:
            self._found.append([])
            self._indices.append([])
        first = sum(map(len, self._indices[dataloader_idx]))
        indices = list(range(first, first + trainer.batch_size))
        self._indices[dataloader_idx].append(indices)
        if self.interval != "epoch":
            self.write_on_batch_end(
                trainer, module, outputs, indices, batch, batch_idx, dataloader_idx
            )
        if self.interval != "batch":
            self._found[dataloader_idx].append(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, module: Module) -> None:
        if self.interval != "batch":
            found: list[Any] = self._found[0] if len(self._found) == 1 else self._found
            self.write_on_epoch_end(trainer, module, found, self._indices)
