"""Ctrl-C and SIGTERM at every place of a run, and a resume: everything ends as in the run left
alone.

The oracle is the run that nobody interrupted: weights, moments, the rows of metrics.csv, the best
checkpoints, the state of early stopping and of the learning rate. Here the process signals itself;
`pytest -m long` has it done from outside, and resumes in another process (terminated.py), with the
result in benchmarks/results/terminated.md.
"""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vitc
from training_kit import ARGUMENTS, Batches, digest, trainer
from vitc.callbacks import EarlyStopping, ModelCheckpoint
from vitc.tape import clock
from vitc.training.tools.classifier import Classifier

BATCHES, VALIDATION, EPOCHS = 4, 3, 3
STOPPING = {"patience": 1, "min_delta": 9.0}  # which ends a run after its second validation
INTERVALS: dict[str, dict[str, Any]] = {
    "each epoch": {},
    "each epoch, stopped early": {"stopping": STOPPING},
    "every three batches, stopped early": {"val_check_interval": 3, "stopping": STOPPING},
    "every two batches": dict(val_check_interval=2),
    "every three batches of the run": dict(val_check_interval=3, check_val_every_n_epoch=None),
    "every second epoch": dict(check_val_every_n_epoch=2),
}


class Plateau(Classifier):
    """Logs in validation by step as well, and has a schedule that needs what validation logs."""

    def validation_step(self, batch, batch_idx) -> None:
        super().validation_step(batch, batch_idx)
        self.log("row", float(batch_idx), on_step=True, on_epoch=False)

    def configure_optimizers(self):
        optimizer = vitc.optim.AdamW(self.parameters(), lr=1e-3)
        plateau = vitc.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss", "strict": False},
        }


class Signal(vitc.Callback):
    """At the n-th batch of a kind, counted from 0 over the whole run."""

    def __init__(self, number: int, kind: str, at: int) -> None:
        self.number, self.kind, self.left = number, kind, at

    def _count(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left == -1:
                os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self._count("training")

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self._count("validation")


def fit(folder: Path, name: str, *more: vitc.Callback, resume: bool = False) -> Any:
    """A run of one of `INTERVALS`; what it has logged, kept and learned is read by `ends`."""
    clock.restart(3)
    module = Plateau("test_vit", 3, **ARGUMENTS, drop_path_rate=0.2)
    best = ModelCheckpoint(monitor="val_loss", save_top_k=2, every_n_train_steps=2)
    options = {"stopping": {"patience": 100}, **INTERVALS[name]}
    stopping = EarlyStopping("val_loss", **options.pop("stopping"))
    run = trainer(
        folder,
        max_epochs=EPOCHS,
        callbacks=[*more, best, stopping],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        **options,
    )
    data = Batches(BATCHES), Batches(VALIDATION)
    run.fit(module, *data, ckpt_path="last" if resume else None)
    return run


def ends(run: Any) -> dict[str, Any]:
    with (run.log_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best, stopping = run.checkpoint_callback, run.early_stopping_callback
    return {
        "weights": digest(run.lightning_module),
        "rows": [{k: v for k, v in row.items() if v} for row in rows],
        "best": {Path(path).name: score for path, score in best.best_k_models.items()},
        "waited": (stopping.wait_count, float(stopping.best_score), stopping.stopped_epoch),
        "rate": run.optimizer.param_groups[0]["lr"],
        "metrics": dict(run.callback_metrics),
        "steps": run.global_step,
        "place": (run.current_epoch, run.state.batch, run.should_stop),
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("name", INTERVALS)
def test_an_interrupted_run_ends_as_the_one_left_alone(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    whole = ends(fit(tmp_path / "whole", name))
    validated = sum("row" in row for row in whole["rows"])
    places = [("training", i) for i in range(whole["steps"])]
    places += [("validation", i) for i in range(0, validated, 2)]
    for kind, at in places if number == signal.SIGINT else places[: 2 * BATCHES]:
        folder = tmp_path / f"{kind}{at}"
        with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
            fit(folder, name, Signal(number, kind, at))
        is_term = isinstance(raised.value, SystemExit)
        assert is_term == (number == signal.SIGTERM) and (not is_term or raised.value.code == 143)
        assert ends(fit(folder, name, resume=True)) == whole, (kind, at)


@pytest.mark.long
@pytest.mark.parametrize("name", INTERVALS)
def test_a_terminated_process_goes_on_in_another(tmp_path: Path, name: str) -> None:
    def process(folder: str, at: int) -> subprocess.Popen[str]:
        program = Path(__file__).with_name("terminated.py")
        command = [sys.executable, str(program), str(tmp_path / folder), name, str(at)]
        where = {**os.environ, "PYTHONPATH": str(program.parent)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=where)

    whole, _ = process("whole", -1).communicate(timeout=100)
    steps = int(re.search(r"steps (\d+)", whole)[1])  # type: ignore[index]
    for at in range(min(2 * BATCHES, steps)):
        cut = process(str(at), at)
        assert cut.stdout is not None and cut.stdout.readline() == f"batch {at}\n"
        cut.send_signal(signal.SIGTERM)
        told, _ = cut.communicate(timeout=100)
        assert cut.returncode == 143 and "last.ckpt" in told
        resumed, told = process(str(at), -1).communicate(timeout=100)
        assert resumed.splitlines()[1:] == whole.splitlines(), at


HANGING = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
import numpy as np
import vitc
from training_kit import classifier, trainer
from pathlib import Path

class Hanging:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 4:  # a share that does not answer
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(60)
        return np.zeros((3, 32, 32), np.float32), index % 3

loader = vitc.data.DataLoader(Hanging(), batch_size=2, num_workers=2)
trainer(Path({folder!r}), max_epochs=1).fit(classifier(), loader)
"""


def test_a_read_that_hangs_does_not_hold_the_program(tmp_path: Path) -> None:
    """Two Ctrl-C end it, although a thread of the loader never comes back."""
    code = HANGING.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert "KeyboardInterrupt" in done.stderr and "Ctrl-C again stops at once" in done.stdout
    assert done.returncode in (1, -signal.SIGINT, 130)
