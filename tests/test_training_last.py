"""`ckpt_path="last"` goes on from a run of its own that was cut short, and from no other."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from training_kit import ARGUMENTS, SIZE, Batches, trainer
from vitc.callbacks import EarlyStopping, ModelCheckpoint
from vitc.training import finished
from vitc.training.tools.classifier import Classifier

ANEW = r'ckpt_path is "last", but .*: starting from the beginning'


class Counting(Classifier):
    """Counts the batches that it has trained."""

    def __init__(self, lr: float = 5e-4) -> None:
        super().__init__("test_vit", 3, lr=lr, **ARGUMENTS)
        self.save_hyperparameters()
        self.trained = 0

    def training_step(self, batch, batch_idx):
        self.trained += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx) -> None:
        self.log("val_loss", 1.0)


class CtrlC(vitc.Callback):
    """After so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def run(folder: Path, loader: Any = None, lr: float = 5e-4, **options: Any) -> Counting:
    module = Counting(lr)
    options = {"max_epochs": 2, **options}
    fit = trainer(folder, **options).fit
    try:
        fit(module, Batches(3) if loader is None else loader, ckpt_path="last")
    except KeyboardInterrupt:
        assert module.trainer.interrupted
    return module


def interrupted(folder: Path, batches: int = 4, **options: Any) -> None:
    with pytest.warns(UserWarning, match=ANEW):
        assert run(folder, callbacks=CtrlC(batches), **options).trained == batches


@pytest.mark.parametrize("checkpoints", [None, "ck"])
def test_folds_in_one_folder_train_each(tmp_path: Path, checkpoints) -> None:
    """The second and third fold once went on from the first, and trained nothing."""
    for fold in range(3):
        callbacks = []
        if checkpoints:
            callbacks = [ModelCheckpoint(tmp_path / checkpoints, filename=f"{fold}-{{epoch}}")]
        with pytest.warns(UserWarning, match=ANEW):
            assert run(tmp_path, callbacks=callbacks).trained == 6
    assert bool(checkpoints) or len(list(tmp_path.glob("lightning_logs/version_*"))) == 3


def test_an_interrupted_run_is_named_and_goes_on(tmp_path: Path, capsys) -> None:
    interrupted(tmp_path)
    capsys.readouterr()
    assert run(tmp_path).trained == 2
    told = capsys.readouterr().out
    assert "resuming" in told and "last.ckpt: epoch 1, step 4" in told


def test_a_run_with_other_hyperparameters_is_another(tmp_path: Path) -> None:
    interrupted(tmp_path, lr=1e-3)
    with pytest.warns(UserWarning, match="of a run with other hyperparameters: starting"):
        assert run(tmp_path, lr=2e-3).trained == 6


def arrays(seed: int, count: int = 6) -> vitc.data.DataLoader:
    random = np.random.default_rng(seed)
    images = random.integers(0, 255, (count, SIZE, SIZE, 3)).astype(np.uint8)
    labels = np.arange(count) % 3 if seed < 2 else random.permutation(np.arange(count) % 3)
    transform = vitc.data.create_transform(SIZE, is_training=False)
    dataset = vitc.data.ArrayDataset(images, labels, transform=transform)
    return vitc.data.DataLoader(dataset, batch_size=2)


def test_a_run_on_other_data_is_another(tmp_path: Path) -> None:
    interrupted(tmp_path, loader=arrays(0))
    with pytest.warns(UserWarning, match="of a run with other training data: starting"):
        assert run(tmp_path, arrays(0, 8)).trained == 8
    with pytest.warns(UserWarning, match="of a run with other training data|is finished"):
        assert run(tmp_path, arrays(2)).trained == 6
    data = arrays(0).dataset
    halves = [vitc.data.Subset(data, part) for part in ([0, 1, 2, 3], [2, 3, 4, 5])]
    loaders = [vitc.data.DataLoader(half, batch_size=2) for half in halves]
    with pytest.warns(UserWarning, match=ANEW):
        assert run(tmp_path / "halves", loaders[0], callbacks=CtrlC(1)).trained == 1
    with pytest.warns(UserWarning, match="of a run with other training data: starting"):
        assert run(tmp_path / "halves", loaders[1]).trained == 4
    assert run(tmp_path / "halves", loaders[0]).trained == 3  # the run that was cut short


def test_a_finished_run_is_extended_by_larger_limits_only(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=ANEW):
        run(tmp_path)
    assert run(tmp_path, max_epochs=3).trained == 3


def test_another_process_knows_a_finished_run(tmp_path: Path, monkeypatch) -> None:
    """Also one that early stopping has ended, whose checkpoint says nothing of it."""
    stop = {"callbacks": EarlyStopping("train_loss", stopping_threshold=1e9), "max_epochs": 9}
    with pytest.warns(UserWarning, match=ANEW):
        assert run(tmp_path, **stop).trained == 3
    monkeypatch.setattr(finished, "_here", {})
    with pytest.warns(
        UserWarning, match=r"the run of .*epoch=0-step=3\.ckpt is finished: starting"
    ):
        assert run(tmp_path, **stop).trained == 3


def test_another_process_knows_it_without_a_logger(tmp_path: Path, monkeypatch) -> None:
    """Folds in one folder, each in a process of its own."""
    for fold in range(3):
        monkeypatch.setattr(finished, "_here", {})
        with pytest.warns(UserWarning, match=ANEW):
            assert run(tmp_path, logger=False).trained == 6, fold


def test_where_the_user_says_it_a_finished_run_stays_finished(tmp_path: Path, monkeypatch) -> None:
    """A job that is started once more trains nothing, as in Lightning."""
    keeper = dict(callbacks=ModelCheckpoint(tmp_path / "ck"), logger=False)
    with pytest.warns(UserWarning, match=ANEW):
        run(tmp_path, **keeper)
    monkeypatch.setattr(finished, "_here", {})
    assert run(tmp_path, **keeper).trained == 0


def test_two_trainers_that_were_made_before_either_wrote_have_a_folder_each(tmp_path: Path) -> None:
    first, second = trainer(tmp_path, max_epochs=1), trainer(tmp_path, max_epochs=1)
    for one in (first, second):
        one.fit(Counting(), Batches(1))
    assert (first.log_dir.name, second.log_dir.name) == ("version_0", "version_1")


def test_a_folder_beside_the_runs_is_not_looked_into(tmp_path: Path) -> None:
    """Without a logger the checkpoints of other projects were once among the candidates."""
    keeper = ModelCheckpoint(tmp_path / "other" / "checkpoints", save_last=True)
    with pytest.warns(UserWarning, match=ANEW):
        run(tmp_path / "other", callbacks=[keeper, CtrlC(2)], logger=False)
    with pytest.warns(UserWarning, match="there is no checkpoint"):
        assert run(tmp_path / "mine", logger=False).trained == 6


def test_a_script_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """Three folds in one script, killed in the second: the first is not trained from it."""
    script = f"""
import os, sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
warnings.simplefilter("ignore")
from test_training_last import Batches, Counting, trainer
from pathlib import Path
import vitc

class Kill(vitc.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if sys.argv[1] == "kill" and fold == 1 and trainer.global_step == 4:
            trainer.writer.wait()
            os._exit(9)

for fold in range(3):
    module = Counting(1e-3 * (fold + 1))
    run = trainer(Path({str(tmp_path)!r}), max_epochs=2, callbacks=Kill())
    run.fit(module, Batches(3), ckpt_path="last")
    print("trained", module.trained)
"""
    told = []
    for how in ("kill", "go on"):
        done = subprocess.run(
            [sys.executable, "-c", script, how], capture_output=True, text=True, check=False
        )
        told.append([line for line in done.stdout.splitlines() if line.startswith("trained")])
    assert told == [["trained 6"], ["trained 6", "trained 3", "trained 6"]]
