"""The loaders of a run in one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitc.training.hooks import DataHooks
from vitc.training.hparams import WithHyperParameters

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer


class DataModule(WithHyperParameters, DataHooks):
    """Data for `Trainer.fit(model, datamodule=...)`; `vitc.LightningDataModule` is the same class.

    Override `setup`, which makes the datasets of a stage, and the `*_dataloader`s that are needed.
    """

    trainer: Trainer | None = None

    def prepare_data(self) -> None:
        """What is done once on a machine, such as a download."""

    def setup(self, stage: str) -> None:
        """stage: "fit", "validate", "test" or "predict"."""

    def train_dataloader(self) -> Any: ...
    def val_dataloader(self) -> Any: ...
    def test_dataloader(self) -> Any: ...
    def predict_dataloader(self) -> Any: ...
    def teardown(self, stage: str) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, as JSON takes it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
