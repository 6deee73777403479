"""The learning-rate finder, against its definition: Lightning's rule of the steepest fall."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from vitc import functional as F
from vitc.tape import clock
from vitc.training.tuner import LRFinder

STEPS = 40


class Batches:
    batch_size = 8

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        random = np.random.default_rng(0)
        for _ in range(3):
            labels = random.integers(0, 2, 8)
            images = random.standard_normal((8, 3, 16, 16)) * 0.3 + labels[:, None, None, None]
            yield images.astype(np.float32), labels


class Net(vitc.LightningModule):
    def __init__(self, lr: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()
        vitc.seed_everything(1)
        self.model = vitc.create_model("test_vit", num_classes=2, img_size=16, depth=1)

    def training_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return vitc.optim.SGD(self.parameters(), lr=self.hparams.lr), vitc.optim.cosine()


def find(folder: Path, **options: Any) -> tuple[Net, LRFinder]:
    module = Net()
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = vitc.Trainer(max_epochs=2, default_root_dir=folder, **quiet)
    finder = vitc.Tuner(trainer).lr_find(module, Batches(), num_training=STEPS, **options)
    return module, finder


def test_rates_rise_the_loss_is_noted_and_all_is_as_before(tmp_path: Path) -> None:
    fresh = {k: v.copy() for k, v in Net().model.state_dict().items()}
    module, finder = find(tmp_path, min_lr=1e-5, max_lr=1.0, early_stop_threshold=None)
    np.testing.assert_allclose(finder.results["lr"], np.geomspace(1e-5, 1.0, STEPS), rtol=1e-12)
    losses = finder.results["loss"]
    assert len(losses) == STEPS and min(losses) < 0.9 * losses[0]
    for name, value in module.model.state_dict().items():
        assert np.array_equal(value, fresh[name])
    assert (clock.step, clock.row, clock.forward) == (0, 0, 0) and module.trainer is None
    assert module.hparams.lr == finder.suggestion() != 0.5
    assert list(tmp_path.iterdir()) == []


def test_it_ends_when_the_loss_runs_away(tmp_path: Path) -> None:
    _, finder = find(
        tmp_path,
        min_lr=1e-3,
        max_lr=1e4,
        mode="linear",
        early_stop_threshold=1.5,
        update_attr=False,
    )
    losses = finder.results["loss"]
    assert 2 < len(losses) < STEPS and losses[-1] > 1.5 * min(losses)
    np.testing.assert_allclose(np.diff(finder.results["lr"]), (1e4 - 1e-3) / (STEPS - 1))


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    finder = LRFinder()
    rates = np.geomspace(1e-6, 1, 50)
    curve = 1 / (1 + np.exp(np.arange(50) - 30.0))  # steepest at 30
    finder.results = {"lr": rates.tolist(), "loss": curve.tolist()}
    assert finder.suggestion() == pytest.approx(rates[30])
    finder.results["loss"][20] = float("nan")
    assert finder.suggestion() == pytest.approx(rates[30])
    assert finder.suggestion(skip_begin=48) is None


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode is 'cubic'"):
        find(tmp_path, mode="cubic")
    with pytest.raises(ValueError, match="no rate, nor have its hparams"):
        find(tmp_path, attr_name="rate")
