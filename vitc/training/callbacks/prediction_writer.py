"""What `Trainer.predict` finds, written as it comes."""

from collections.abc import Sequence
from typing import Any

from vitc import checks
from vitc.training.hooks import Callback


class BasePredictionWriter(Callback):
    """Override `write_on_batch_end` or `write_on_epoch_end`, or both, and say when to call them.

    write_interval: "batch", "epoch" or "batch_and_epoch". With "batch" alone, call
    `predict(return_predictions=False)` and nothing is kept in memory.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        checks.one_of("write_interval", write_interval, ("batch", "epoch", "batch_and_epoch"))
        self.interval = write_interval
        self._found: list[Any] = []
        self._indices: list[int] = []

    def write_on_batch_end(
        self,
        trainer: Any,
        module: Any,
        prediction: Any,
        batch_indices: Sequence[int],
        batch: Any,
        batch_idx: int,
    ) -> None:
        """batch_indices: the places of the samples in the loader's order."""
        raise NotImplementedError(f"{type(self).__name__} has no write_on_batch_end()")

    def write_on_epoch_end(
        self, trainer: Any, module: Any, predictions: list[Any], batch_indices: list[int]
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no write_on_epoch_end()")

    def on_predict_start(self, trainer: Any, module: Any) -> None:
        self._found, self._indices = [], []

    def on_predict_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        first = len(self._indices)
        places = list(range(first, first + trainer.batch_size))
        self._indices += places
        if self.interval != "epoch":
            self.write_on_batch_end(trainer, module, outputs, places, batch, batch_idx)
        if self.interval != "batch":
            self._found.append(outputs)

    def on_predict_epoch_end(self, trainer: Any, module: Any) -> None:
        if self.interval != "batch":
            self.write_on_epoch_end(trainer, module, self._found, self._indices)
