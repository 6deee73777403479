"""A run that stops within an epoch and is extended ends as the run that had all its steps at once:
weights, moments, rows of metrics.csv, metrics, the rate and the state of early stopping."""

import csv
from pathlib import Path
from typing import Any

import pytest

import vitc
from training_kit import ARGUMENTS, Batches, digest, trainer
from vitc.callbacks import EMA, EarlyStopping, ModelCheckpoint
from vitc.tape import clock
from vitc.training.tools.classifier import Classifier

STEPS = 8
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": dict(accumulate_grad_batches=2),
    "within the epoch": dict(val_check_interval=2),
    "over epochs": dict(val_check_interval=3, check_val_every_n_epoch=None),
    "parts": dict(micro_batch=3),
    "two devices": dict(devices=2),
}


class Net(Classifier):
    """With a schedule by steps and one by the validation's loss, and averages."""

    def __init__(self) -> None:
        super().__init__("test_vit", 3, **ARGUMENTS, drop_path_rate=0.2)

    def configure_optimizers(self):
        optimizer = vitc.optim.AdamW(self.parameters(), lr=1e-3)
        schedulers = vitc.optim.lr_scheduler
        plateau = schedulers.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        steps = schedulers.StepLR(optimizer, step_size=3, gamma=0.9)
        return [optimizer], [
            {"scheduler": plateau, "monitor": "val_loss", "strict": False},
            {"scheduler": steps, "interval": "step"},
        ]


def fit(folder: Path, steps: int, options: dict[str, Any], path: Path | None = None, *more: Any):
    clock.restart(3)
    module = Net()
    stopping = EarlyStopping("val_loss", patience=100, strict=False)
    keeper = ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)
    run = trainer(
        folder,
        max_steps=steps,
        max_epochs=20,
        callbacks=[*more, keeper, stopping, EMA(0.9)],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        **options,
    )
    run.fit(module, Batches(5), Batches(2), ckpt_path=path)
    return module, run, stopping


def ends(module, run, stopping) -> dict[str, Any]:
    rows = list(csv.DictReader((run.log_dir / "metrics.csv").open()))
    return {
        "weights": digest(module),
        "rows": [{k: v for k, v in row.items() if v} for row in rows],
        "metrics": dict(run.callback_metrics),
        "stopping": (stopping.wait_count, float(stopping.best_score)),
        "rate": run.optimizer.param_groups[0]["lr"],
        "place": (run.current_epoch, run.global_step, run.state.batch),
    }


@pytest.mark.parametrize("name", CASES)
def test_steps_one_after_the_other_are_steps_at_once(tmp_path: Path, name: str) -> None:
    options = CASES[name]
    whole = ends(*fit(tmp_path / "whole", STEPS, options))
    for first in range(1, STEPS) if name == "plain" else (2, 3, 6):
        folder = tmp_path / str(first)
        _, cut, _ = fit(folder, first, options)
        assert cut.global_step == first
        files = (cut.log_dir / "checkpoints").glob("*.ckpt")
        path = max(files, key=lambda file: file.stat().st_mtime_ns)
        assert ends(*fit(folder, STEPS, options, path)) == whole, first


def test_a_night_after_the_other(tmp_path: Path) -> None:
    """Runs that their time ends, wherever that is, each with a validation of its own at the end."""

    class Stop(vitc.Callback):
        """As a `Timer` whose time is up."""

        def __init__(self, at: int) -> None:
            self.at = at

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            trainer.should_stop |= trainer.global_step == self.at

    whole = ends(*fit(tmp_path / "whole", STEPS, {}))
    path = None
    for night in (2, 3, 6):
        _, run, _ = fit(tmp_path / "nights", STEPS, {}, path, Stop(night))
        assert run.global_step == night and not run.interrupted
        path = Path(run.checkpoint_callback.last_model_path)
    assert ends(*fit(tmp_path / "nights", STEPS, {}, path)) == whole


def test_the_last_hooks_of_an_epoch_run_where_it_is_cut(tmp_path: Path) -> None:
    """As in Lightning; the row of the part is there until the epoch goes on."""
    module, run, _ = fit(tmp_path, 3, {})
    rows = list(csv.DictReader((run.log_dir / "metrics.csv").open()))
    assert [r["step"] for r in rows if r["train_loss_epoch"]] == ["2"]
    assert (run.current_epoch, run.state.batch, run.state.cut) == (0, 3, True)
