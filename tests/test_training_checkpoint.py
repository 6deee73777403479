"""Checkpoints: what they hold, that a run goes on from them to the same bits, and that nothing that
happens to a process, a disk or a file goes unnoticed."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from oracle import relative, timm
from training_kit import ARGUMENTS, SIZE, Batches, classifier, digest, trainer
from vitc.runtime import machine
from vitc.tape import clock
from vitc.training import checkpoint, folders, snapshot
from vitc.training.callbacks import EMA, Callback, EarlyStopping, ModelCheckpoint, Timer
from vitc.training.tools.classifier import Classifier

pytestmark = pytest.mark.usefixtures("fresh_clock")


# ------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("stop", [3, 5, 8], ids=["in an epoch", "between epochs", "in the second"])
def test_a_run_goes_on_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            if trainer.global_step == stop:
                os.kill(os.getpid(), signal.SIGINT)

    clock.seed = 3
    whole = classifier()
    run = trainer(tmp_path / "a", max_epochs=2, log_every_n_steps=1)
    run.fit(whole, Batches(), Batches(2))
    clock.begin(0)
    first = classifier()
    cut = trainer(tmp_path / "b", max_epochs=2, callbacks=Stop(), log_every_n_steps=1)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(first, Batches(), Batches(2))
    assert cut.interrupted and cut.global_step == stop
    clock.seed = 99  # the checkpoint knows better
    rest = classifier()
    resumed = trainer(tmp_path / "c", max_epochs=2, log_every_n_steps=1)
    resumed.fit(rest, Batches(), Batches(2), ckpt_path=cut.checkpoint_callback.last_model_path)
    assert resumed.global_step == 10
    assert digest(rest) == digest(whole)
    assert resumed.callback_metrics == run.callback_metrics


def test_a_run_that_goes_on_elsewhere_says_that_bits_differ(tmp_path: Path, monkeypatch) -> None:
    run = trainer(tmp_path, max_epochs=1)
    run.fit(classifier(), Batches())
    path = run.checkpoint_callback.best_model_path
    assert checkpoint.read(path).state["machine"] == machine()
    monkeypatch.setattr(snapshot, "machine", lambda: machine() | {"isa": "another", "libc": ""})
    with pytest.warns(UserWarning, match="written with another isa, libc: the run continues, with"):
        trainer(tmp_path, max_epochs=2).fit(classifier(), Batches(), ckpt_path=path)


def test_a_run_that_is_stopped_within_a_window_begins_the_window_again(tmp_path: Path) -> None:
    """Also in a validation within the epoch, and with the sums of what was logged."""

    class Stop(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            if trainer.state.batch == 5:
                os.kill(os.getpid(), signal.SIGINT)

    class Pause(Callback):
        def on_validation_batch_start(self, trainer, module, batch, batch_idx) -> None:
            if trainer.state.batch == 6:
                os.kill(os.getpid(), signal.SIGTERM)

    options = dict(
        max_epochs=1, accumulate_grad_batches=3, val_check_interval=0.5, num_sanity_val_steps=0
    )
    whole = classifier()
    run = trainer(tmp_path / "a", **options)
    run.fit(whole, Batches(7), Batches(2))
    for stop, border, due in ((Stop(), 3, 0), (Pause(), 6, 1)):
        clock.begin(0)
        cut = trainer(tmp_path / "b", callbacks=stop, **options)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            cut.fit(classifier(), Batches(7), Batches(2))
        path = cut.checkpoint_callback.last_model_path
        progress = checkpoint.read(path).state["progress"]
        assert (progress["batch"], progress["validating"]) == (border, due)
        rest = classifier()
        resumed = trainer(tmp_path / "c", **options)
        resumed.fit(rest, Batches(7), Batches(2), ckpt_path=path)
        assert digest(rest) == digest(whole)
        assert resumed.callback_metrics == run.callback_metrics


def test_a_checkpoint_makes_the_module_again(tmp_path: Path) -> None:
    module = classifier()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, Batches(2))
    path = run.checkpoint_callback.best_model_path
    other = Classifier.load_from_checkpoint(path)
    assert other.class_names == ["a", "b", "c"]
    assert other.hparams == module.hparams  # tuples as well
    for name, value in module.state_dict().items():
        assert np.array_equal(other.state_dict()[name], value)
    assert Classifier.load_from_checkpoint(path, lr=7.0).hparams.lr == 7.0


def test_timm_opens_a_checkpoint_as_it_is(tmp_path: Path) -> None:
    module = classifier(in_chans=1)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    x = np.random.default_rng(0).standard_normal((2, 1, SIZE, SIZE)).astype(np.float32)
    run.fit(module, [(x, np.array([0, 1]))])
    path = Path(run.checkpoint_callback.best_model_path)
    theirs = timm.create_model(f"local-dir:{path}", pretrained=True).eval().double()
    import torch

    expected = theirs(torch.tensor(x, dtype=torch.float64)).detach()
    assert relative(module.eval().model(x), expected) <= 1e-5
    assert theirs.pretrained_cfg["label_names"] == ["a", "b", "c"]
    assert tuple(theirs.pretrained_cfg["mean"]) == module.model.default_cfg["mean"]


def test_every_damage_to_a_checkpoint_is_seen(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    run.fit(classifier(), Batches())
    path = Path(run.checkpoint_callback.best_model_path)
    assert checkpoint.read(path).state["progress"]["step"] == 1
    for file in path.iterdir():
        content = file.read_bytes()
        for place in (0, len(content) // 2, len(content) - 2):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(ValueError, match=r"damaged|schema"):
                checkpoint.read(path)
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="damaged"):
            checkpoint.read(path)
        file.write_bytes(content)
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        checkpoint.read(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        checkpoint.read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"is not a checkpoint: it holds no state\.json"):
        checkpoint.read(tmp_path)


def test_a_hyperparameter_that_json_lacks_is_named(tmp_path: Path) -> None:
    class Odd(Classifier):
        def __init__(self, thing) -> None:
            super().__init__("test_vit", 3, **ARGUMENTS)

    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    with pytest.raises(TypeError, match=r"hyperparameter 'thing', a object.*ignore=\['thing'\]"):
        run.fit(Odd(object()), Batches())


def test_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.8])

    class Scored(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("score", self.scores[self.current_epoch])

    keeper = ModelCheckpoint(
        tmp_path, "{epoch}-{score:.2f}", monitor="score", mode="max", save_top_k=2, save_last=True
    )
    module = Scored("test_vit", 3, **ARGUMENTS)
    module.scores = list(scores)
    run = trainer(tmp_path, max_epochs=4, callbacks=keeper, limit_train_batches=1, logger=False)
    run.fit(module, Batches(), Batches(1))
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == ["epoch=1-score=0.90.ckpt", "epoch=3-score=0.80.ckpt", "last.ckpt"]
    assert keeper.best_model_path == str(tmp_path / "epoch=1-score=0.90.ckpt")
    assert keeper.best_model_score == pytest.approx(0.9)
    keeper = ModelCheckpoint(tmp_path, monitor="val_los")
    with pytest.raises(ValueError, match=r"'val_los', not logged; did you mean 'val_loss'"):
        trainer(tmp_path, max_epochs=1, callbacks=keeper).fit(classifier(), Batches(1), Batches(1))


# ------------------------------------------------------------------------------- kills


def test_a_run_that_is_killed_50_times_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Oracle: the run that was left alone; equal SHA-256 of weights, moments, log, best model."""
    command = [sys.executable, str(Path(__file__).with_name("kill.py")), str(tmp_path), "50", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["killed"] == 50 and told["finished"] >= 1
    assert told["while writing"] >= 5, "too few kills within the write: the clock ran away"
    assert told["different"] == 0


# ------------------------------------------------------------------------------- failing disks

CALLS = [
    (os, "open"),
    (os, "fsync"),
    (os, "rename"),
    (Path, "mkdir"),
    (Path, "write_text"),
    (Path, "open"),
    (shutil, "disk_usage"),
    (checkpoint, "write_safetensors"),
    (folders, "move"),
    (folders, "exchange"),
]


@pytest.mark.filterwarnings("ignore:.*what was there before could not be removed")
def test_a_write_that_fails_at_any_call_leaves_a_whole_checkpoint(tmp_path, monkeypatch) -> None:
    """Every call that touches the disk fails once; what is there is the old one, or the new."""
    run = trainer(tmp_path / "run", max_epochs=1, limit_train_batches=1)
    module = classifier()
    run.fit(module, Batches())
    path = tmp_path / "kept" / "a.ckpt"
    run.save_checkpoint(path)
    before = checkpoint.read(path).state
    content = snapshot.snapshot(run, weights_only=True)
    counter = [0]

    def failing(call):
        def wrapped(*args, **options):
            counter[0] -= 1
            if counter[0] == 0:
                raise OSError(28, "No space left on device")
            return call(*args, **options)

        return wrapped

    kept = 0
    for nth in range(1, 100):
        with monkeypatch.context() as patch:
            for owner, name in CALLS:
                patch.setattr(owner, name, failing(getattr(owner, name)))
            counter[0] = nth
            try:
                with folders.claim(path) as place:
                    checkpoint.write([place], content)
            except OSError as error:
                assert "No space left" in str(error)
            else:
                break
        folders.settle(path.parent)
        assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]
        kept += checkpoint.read(path).state == before
    assert nth > 20 and kept >= nth - 4
    assert checkpoint.read(path).state != before


def test_a_limit_of_file_size_is_an_error_with_the_path(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", max_epochs=1, limit_train_batches=1)
    run.fit(classifier(), Batches())
    path = tmp_path / "a.ckpt"
    run.save_checkpoint(path)
    before = checkpoint.read(path).state
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for size in (0, 5_000, 100_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(OSError, match=r"a\.ckpt"):
                run.save_checkpoint(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.read(path).state == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "run"]


def test_a_full_disk_is_known_before_writing(tmp_path: Path, monkeypatch) -> None:
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    run.fit(classifier(), Batches())
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"a checkpoint needs \d+ kB, 1 kB are free"):
        run.save_checkpoint(tmp_path / "a.ckpt")


def test_an_error_of_the_background_ends_the_run(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(checkpoint, "write_safetensors", fail)
    run = trainer(tmp_path, max_epochs=100)
    with pytest.raises(OSError, match="the disk is gone"):
        run.fit(classifier(), Batches(1))
    assert run.global_step < 100


# ------------------------------------------------------------------------------- falling back


def flip(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, save_top_k=-1)
    run = trainer(tmp_path, max_epochs=2, callbacks=keeper)
    run.fit(classifier(), Batches(2))
    names = sorted(p.name for p in tmp_path.glob("*.ckpt"))
    assert names == ["epoch=0-step=2.ckpt", "epoch=1-step=4.ckpt"]
    flip(tmp_path / names[1] / "model.safetensors")
    for path in ("last", tmp_path / names[1]):
        keeper = ModelCheckpoint(tmp_path, save_top_k=-1)
        again = trainer(tmp_path, max_epochs=3, max_steps=4, callbacks=keeper)
        with pytest.warns(UserWarning, match=r"epoch=1-step=4.*damaged.*going on from.*epoch=0"):
            again.fit(classifier(), Batches(2), ckpt_path=path)
        assert again.global_step == 4 and again.resumed
        assert checkpoint.read(tmp_path / names[1])  # it was written anew
        flip(tmp_path / names[1] / "model.safetensors")
    flip(tmp_path / names[0] / "state.safetensors")
    with pytest.raises(ValueError, match="damaged"):
        again.fit(classifier(), Batches(2), ckpt_path=tmp_path / names[1])


def test_last_without_a_checkpoint_starts_anew_and_says_so(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1)
    words = '"last", but there is no checkpoint: starting from the beginning'
    with pytest.warns(UserWarning, match=words):
        run.fit(classifier(), Batches(1), ckpt_path="last")
    assert run.global_step == 1
    with pytest.raises(ValueError, match='"best", but this trainer has written no checkpoint'):
        trainer(tmp_path, max_epochs=1).fit(classifier(), Batches(1), ckpt_path="best")


def test_last_is_the_same_bytes_and_outlives_the_best(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, max_epochs=1, callbacks=keeper).fit(classifier(), Batches(2))
    best, last = Path(keeper.best_model_path), tmp_path / "last.ckpt"
    assert keeper.last_model_path == str(last)
    assert {p.name: p.read_bytes() for p in best.iterdir()} == {
        p.name: p.read_bytes() for p in last.iterdir()
    }
    shutil.rmtree(best)
    assert checkpoint.read(last)
    module = classifier()
    run = trainer(tmp_path, max_epochs=2, callbacks=ModelCheckpoint(tmp_path))
    run.fit(module, Batches(2), ckpt_path="last")
    assert run.global_step == 4


def weight_sum(module) -> float:
    return sum(float(np.sum(v, dtype=np.float64)) for v in module.state_dict().values())


def test_best_is_loaded_for_validation(tmp_path: Path) -> None:
    class Fixed(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("score", [3.0, 1.0, 2.0, 4.0][self.current_epoch])

        def test_step(self, batch, batch_idx) -> None:
            self.log("sum", weight_sum(self))

    module = Fixed("test_vit", 3, **ARGUMENTS)
    keeper = ModelCheckpoint(tmp_path, monitor="score", filename="{epoch}")
    run = trainer(tmp_path, max_epochs=3, callbacks=keeper, logger=False)
    run.fit(module, Batches(2), Batches(1))
    assert Path(keeper.best_model_path).name == "epoch=1.ckpt"
    now = run.test(module, Batches(1), verbose=False)
    best = run.test(module, Batches(1), ckpt_path="best", verbose=False)
    assert best == [{"sum": weight_sum(Fixed.load_from_checkpoint(keeper.best_model_path))}]
    assert now != best


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_without_a_model_the_best_weights_are_evaluated(tmp_path: Path, stage, capsys) -> None:
    """And named, as in Lightning; with a model its own."""

    class Fixed(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("score", [3.0, 1.0, 2.0, 4.0][self.current_epoch])

        def test_step(self, batch, batch_idx) -> None:
            self.log("score", 0.0)

    module = Fixed("test_vit", 3, **ARGUMENTS)
    keeper = ModelCheckpoint(tmp_path, monitor="score", filename="{epoch}")
    run = trainer(tmp_path, max_epochs=3, callbacks=keeper, logger=False)
    run.fit(module, Batches(2), Batches(1))
    last = weight_sum(module)
    capsys.readouterr()
    getattr(run, stage)(module, Batches(1))
    assert weight_sum(module) == last and "weights of" not in capsys.readouterr().out
    getattr(run, stage)(dataloaders=Batches(1))
    assert f"weights of {tmp_path / 'epoch=1.ckpt'}" in capsys.readouterr().out
    assert weight_sum(module) == weight_sum(Fixed.load_from_checkpoint(tmp_path / "epoch=1.ckpt"))
    assert weight_sum(module) != last


def test_a_second_fit_of_a_trainer_is_that_of_a_new_one(tmp_path: Path) -> None:
    """Once the second fold stopped after one epoch, and its best checkpoint was the first's."""

    class Fixed(Classifier):
        scores: tuple[float, ...] = ()

        def validation_step(self, batch, batch_idx) -> None:
            self.log("score", self.scores[self.current_epoch])

    def fold(run, scores: tuple[float, ...]) -> None:
        clock.seed = 3
        clock.begin(0)
        module = Fixed("test_vit", 3, **ARGUMENTS)
        module.scores = scores
        run.fit(module, Batches(2), Batches(1))

    def made(folder: Path):
        keeper = ModelCheckpoint(monitor="score", filename="{epoch}")
        stopping = EarlyStopping("score", patience=2)
        options = dict(max_epochs=5, callbacks=[keeper, stopping, Timer(timedelta(hours=1))])
        return trainer(folder, **options), keeper, stopping

    first, second = (1.0, 2.0, 3.0), (9.0, 8.0, 7.0, 8.0, 9.0)
    run, keeper, stopping = made(tmp_path / "both")
    fold(run, first)
    assert run.current_epoch == 3 and keeper.best_model_score == 1
    fold(run, second)
    new, its_keeper, its_stopping = made(tmp_path / "new")
    fold(new, second)
    assert run.global_step == new.global_step == 10 and keeper.best_model_score == 7
    assert stopping.state_dict() == its_stopping.state_dict()
    path = Path(keeper.best_model_path)
    assert path.relative_to(tmp_path / "both/lightning_logs") == Path(
        "version_1/checkpoints/epoch=2.ckpt"
    )
    logs = [f / "metrics.csv" for f in (run.log_dir, new.log_dir)]
    assert logs[0].read_bytes() == logs[1].read_bytes() and run.log_dir.name == "version_1"
    kept = [p.name for p in (tmp_path / "both").rglob("*.ckpt")]
    assert kept == ["epoch=0.ckpt", "epoch=2.ckpt"] or kept == ["epoch=2.ckpt", "epoch=0.ckpt"]


def test_callbacks_with_one_name_for_their_state_are_refused(tmp_path: Path) -> None:
    """A resume once gave the second the first one's list, and removed what it had kept."""

    class Counting(Callback):
        def state_dict(self) -> dict[str, int]:
            return {"count": 1}

    for pair in (
        [ModelCheckpoint("a", monitor="x"), ModelCheckpoint("b", monitor="x", save_top_k=3)],
        [EarlyStopping("x", patience=1), EarlyStopping("x", patience=2)],
        [Counting(), Counting()],
    ):
        with pytest.raises(ValueError, match="two callbacks keep their state as"):
            trainer(tmp_path, callbacks=pair)
    trainer(tmp_path, callbacks=[ModelCheckpoint(monitor="x"), ModelCheckpoint(monitor="y")])
    trainer(tmp_path, callbacks=[Callback(), Callback()])

    class Own(Classifier):
        def configure_callbacks(self):
            return [EarlyStopping("x"), EarlyStopping("x")]

    run = trainer(tmp_path)
    with pytest.raises(ValueError, match="two callbacks keep their state as"):
        run.fit(Own("test_vit", 3, **ARGUMENTS), Batches(1))


def test_weights_alone_make_the_module_but_do_not_go_on(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, save_weights_only=True)
    module = classifier()
    trainer(tmp_path, max_epochs=1, callbacks=keeper).fit(module, Batches(1))
    path = Path(keeper.best_model_path)
    names = sorted(p.name for p in path.iterdir())
    assert names == ["config.json", "model.safetensors", "state.json"]
    assert Classifier.load_from_checkpoint(path).class_names == ["a", "b", "c"]
    with pytest.raises(ValueError, match="holds weights only and cannot be resumed"):
        trainer(tmp_path, max_epochs=2).fit(classifier(), Batches(1), ckpt_path=path)


def test_callbacks_and_modules_keep_what_they_like(tmp_path: Path) -> None:
    class Counting(Callback):
        count = 0

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state) -> None:
            self.count = state["count"]

        def on_save_checkpoint(self, trainer, module, checkpoint) -> None:
            checkpoint["mine"] = [1, 2]

        def on_load_checkpoint(self, trainer, module, checkpoint) -> None:
            self.got = checkpoint["mine"]

    class Keeping(Classifier):
        def on_save_checkpoint(self, checkpoint) -> None:
            checkpoint["note"] = "x"

        def on_load_checkpoint(self, checkpoint) -> None:
            self.note = checkpoint["note"]

    arguments = dict(architecture="test_vit", num_classes=3, **ARGUMENTS)
    first = trainer(tmp_path, max_epochs=1, callbacks=[Counting()])
    first.fit(Keeping(**arguments), Batches(3))
    counting, module = Counting(), Keeping(**arguments)
    second = trainer(tmp_path, max_epochs=2, callbacks=[counting])
    second.fit(module, Batches(3), ckpt_path="last")
    assert (counting.count, counting.got, module.note) == (6, [1, 2], "x")


def test_a_trainer_fits_twice(tmp_path: Path) -> None:
    """The second run writes its own checkpoints, beside those of the first."""
    keeper = ModelCheckpoint(tmp_path, save_top_k=-1)
    run = trainer(tmp_path, max_epochs=1, callbacks=keeper, logger=False)
    for _ in range(2):
        run.fit(classifier(), Batches(2))
    names = sorted(path.name for path in tmp_path.glob("*.ckpt"))
    assert names == ["epoch=0-step=2-v1.ckpt", "epoch=0-step=2.ckpt"]


def test_another_number_of_devices_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_epochs=1).fit(classifier(), Batches(2))
    with pytest.warns(UserWarning, match="this process runs their 2 shards"):
        run = trainer(tmp_path, max_epochs=2, devices=2)
    with pytest.raises(ValueError, match="trained with 1 devices, this run has 2"):
        run.fit(classifier(), Batches(2), ckpt_path="last")


@pytest.mark.parametrize("averages", [False, True])
def test_the_best_weights_are_back_at_the_end(tmp_path: Path, averages: bool, capsys) -> None:
    """Of three epochs the second is the best; with averages these, which were validated."""

    class Scored(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            self.log("score", [3.0, 1.0, 2.0][self.current_epoch])

    for restore in (True, False):
        keeper = ModelCheckpoint(tmp_path / str(restore), "best", "score")
        keeper.restore_best_weights = restore
        module = Scored("test_vit", 3, **ARGUMENTS)
        callbacks = [keeper, *([EMA(0.9)] if averages else [])]
        run = trainer(tmp_path, max_epochs=3, callbacks=callbacks, logger=False)
        run.fit(module, Batches(2), Batches(1))
        best = weight_sum(Scored.load_from_checkpoint(keeper.best_model_path))
        assert (weight_sum(module) == best) == restore
        assert (f"weights of {keeper.best_model_path}" in capsys.readouterr().out) == restore
    for odd in ({}, {"monitor": "score", "save_top_k": 0}):
        with pytest.raises(ValueError, match="restore_best_weights needs a monitor"):
            ModelCheckpoint(restore_best_weights=True, **odd)


def test_rows_of_validation_steps_go_on_counting(tmp_path: Path) -> None:
    """A run that is resumed after its first epoch writes what it would have written."""

    class Net(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("seen", float(batch_idx), on_step=True, on_epoch=True)

    def rows(path: Path, ckpt_path: Path | None = None) -> list[str]:
        vitc.seed_everything(0)
        module = Net("test_vit", class_names=["a", "b", "c"], **ARGUMENTS)
        every = ModelCheckpoint(tmp_path / "kept", "{epoch}", save_top_k=-1)
        run = trainer(path, max_epochs=2, callbacks=every)
        run.fit(module, Batches(2), [Batches(3), Batches(2)], ckpt_path=ckpt_path)
        return (run.log_dir / "metrics.csv").read_text().splitlines()

    whole = rows(tmp_path)
    assert rows(tmp_path, tmp_path / "kept" / "epoch=0.ckpt") == whole
    column = whole[0].split(",").index("step")
    assert {row.split(",")[column] for row in whole[1:]} == set("012345")
