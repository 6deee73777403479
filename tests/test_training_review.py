"""What a checkpoint, a log or a second look must not lose: each fault was seen once."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from training_kit import ARGUMENTS, Batches, digest, trainer
from vitc.callbacks import LambdaCallback, ModelCheckpoint, OnExceptionCheckpoint
from vitc.tape import clock
from vitc.training import checkpoint
from vitc.training.tools.classifier import Classifier


def net(kind: type = Classifier) -> Any:
    clock.restart(4)
    return kind("test_vit", 3, **ARGUMENTS, drop_path_rate=0.2)


class Logging(Classifier):
    def training_step(self, batch, batch_idx):
        self.log("sum", 1.0, on_step=True, on_epoch=True, reduce_fx="sum")
        self.log("share", 0.1, on_step=True, on_epoch=False)
        for value in (1.0, 3.0):
            self.log("twice", value, on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)


def test_a_resume_that_fails_leaves_the_checkpoint_it_began_with(tmp_path: Path) -> None:
    class Broken(vitc.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            if batch_idx == 2:
                raise RuntimeError("mine")

    class Other(Classifier):
        def configure_optimizers(self):
            return vitc.optim.SGD(self.parameters(), lr=1e-3)

    keeper = OnExceptionCheckpoint(tmp_path, "e")
    with pytest.raises(RuntimeError, match="mine"):
        trainer(tmp_path, max_epochs=1, callbacks=[keeper, Broken()]).fit(net(), Batches(3))
    before = checkpoint.read(keeper.ckpt_path).state["progress"]
    assert before["step"] == 2
    also = ModelCheckpoint(tmp_path / "more", save_on_exception=True)
    run = trainer(tmp_path, max_epochs=1, callbacks=[OnExceptionCheckpoint(tmp_path, "e"), also])
    with pytest.raises(ValueError, match="was trained with 'AdamW', this run has SGD"):
        run.fit(net(Other), Batches(3), ckpt_path=keeper.ckpt_path)
    assert checkpoint.read(keeper.ckpt_path).state["progress"] == before
    assert not list((tmp_path / "more").glob("*"))


@pytest.mark.parametrize("size", [None, 3])
def test_a_step_logs_what_its_calls_gave(tmp_path: Path, size: int | None) -> None:
    """Of two calls with one name the last is the step's value, and both count for the epoch; in
    whole batches and in parts."""
    run = trainer(tmp_path, max_epochs=1, micro_batch=size)
    run.fit(net(Logging), Batches(2))
    assert run.callback_metrics["share"] == pytest.approx(0.1, rel=1e-15)
    assert run.callback_metrics["twice_step"] == 3 and run.callback_metrics["twice_epoch"] == 2
    if size is None:
        assert run.callback_metrics["share"] == 0.1 and run.callback_metrics["sum_epoch"] == 2


@pytest.mark.parametrize("window", [1, 2])
def test_a_checkpoint_saved_in_a_hook_has_the_logs_of_its_batch(tmp_path: Path, window) -> None:
    path = tmp_path / "mine.ckpt"

    def save(run: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (run.current_epoch, batch_idx) == (0, 1):
            run.save_checkpoint(path)
            module.log("after", 1.0)

    def fit(folder: str, *callbacks: Any, start: Any = None) -> tuple[str, dict[str, Any], str]:
        options = dict(max_epochs=2, log_every_n_steps=1, accumulate_grad_batches=window)
        run = trainer(tmp_path / folder, callbacks=list(callbacks), **options)
        module = net(Logging)
        run.fit(module, Batches(4), Batches(1), ckpt_path=start)
        metrics = {name: float(x) for name, x in run.callback_metrics.items() if name != "after"}
        return digest(module), metrics, (run.log_dir / "metrics.csv").read_text()

    whole = fit("whole")
    fit("cut", LambdaCallback(on_train_batch_end=save))
    assert fit("cut", start=path)[:2] == whole[:2]
    rows = [row for row in fit("cut", start=path)[2].splitlines() if row]
    assert len(rows) == len(whole[2].splitlines())


def test_a_look_between_does_not_move_the_place(tmp_path: Path) -> None:
    """Neither validate nor predict: what is saved afterwards goes on where fit stopped."""
    run = trainer(tmp_path, max_epochs=2, max_steps=3)
    run.fit(net(), Batches(5), Batches(1))
    kept, run_id = run.state.place(), run.run_id
    run.validate(run.module, Batches(1), verbose=False)
    run.predict(run.module, Batches(1))
    assert (run.state.place(), run.run_id, run.state.fn) == (kept, run_id, "predict")
    run.save_checkpoint(tmp_path / "later.ckpt")
    assert checkpoint.read(tmp_path / "later.ckpt").state["progress"] == kept
    assert kept["batch"] == 3


def test_an_epoch_left_within_a_window_begins_the_next_without_it(tmp_path: Path) -> None:
    class Leaving(Classifier):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 2 and self.current_epoch == 0 else None

    run = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=3, callbacks=ModelCheckpoint())
    places: list[Any] = []
    note = LambdaCallback(on_train_batch_end=lambda t, m, *_: places.append(t.state.place()))
    run.callbacks.insert(0, note)
    run.fit(net(Leaving), Batches(3))
    assert all(place["batch"] >= 0 for place in places) and run.global_step == 1


def test_hooks_do_not_overwrite_what_resuming_needs(tmp_path: Path) -> None:
    for name, value in (("seed", 9), ("run", "me"), ("models", {}), ("metric_states", {})):

        class Odd(Classifier):
            def on_save_checkpoint(self, content) -> None:
                assert content["state_dict"].keys() == self.state_dict().keys()
                content["mine"] = {"acc": 0.9}
                content[name] = value  # noqa: B023

        with pytest.raises(ValueError, match=rf"on_save_checkpoint\(\) changed '{name}'"):
            trainer(tmp_path / name, max_epochs=1).fit(net(Odd), Batches(1))

    class Cutting(Classifier):
        def on_save_checkpoint(self, content) -> None:
            del content["state_dict"]["model.head.bias"]

    with pytest.raises(ValueError, match="changed the state_dict"):
        trainer(tmp_path, max_epochs=1).fit(net(Cutting), Batches(1))


def test_a_checkpoint_in_a_hook_does_not_hide_the_hook(tmp_path: Path) -> None:
    def both(run: Any, module: Any, *_: Any) -> None:
        run.save_checkpoint(tmp_path / "x.ckpt")
        module.log("here", 2.0)

    run = trainer(tmp_path, max_epochs=1, callbacks=LambdaCallback(on_train_batch_end=both))
    run.fit(net(), Batches(2))
    assert run.callback_metrics["here"] == 2


def test_a_run_cannot_be_resumed_to_fewer_epochs(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=3)
    run.fit(net(), Batches(1))
    path = run.checkpoint_callback.best_model_path
    with pytest.raises(ValueError, match="is at epoch 3, but max_epochs is 2"):
        trainer(tmp_path, max_epochs=2).fit(net(), Batches(1), ckpt_path=path)
    with pytest.warns(UserWarning, match="is finished: starting"):
        trainer(tmp_path, max_epochs=2).fit(net(), Batches(1), ckpt_path="last")


def test_figures_of_an_interrupted_look_are_not_given(tmp_path: Path, monkeypatch, capsys) -> None:
    """In a notebook, where it returns."""
    monkeypatch.setattr("vitc.training.interrupt._in_notebook", lambda: True)

    class CtrlC(vitc.Callback):
        def on_validation_batch_start(self, trainer, module, batch, batch_idx) -> None:
            os.kill(os.getpid(), signal.SIGINT)

        on_predict_batch_start = on_validation_batch_start

    run = trainer(tmp_path, callbacks=CtrlC())
    assert run.validate(net(), Batches(3)) == [] and run.predict(net(), Batches(3)) == []
    told = capsys.readouterr().out
    assert "validate was interrupted: there are no figures" in told and "val_loss" not in told


def test_metrics_in_lists_and_dicts_are_resumed(tmp_path: Path) -> None:
    class Many(Classifier):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            kinds = dict(task="multiclass", num_classes=3)
            self.several = [vitc.metrics.Accuracy(**kinds)]
            self.named = {"f1": vitc.metrics.F1(**kinds, average="macro")}

        def training_step(self, batch, batch_idx):
            logits = self(batch[0])
            for metric in (*self.several, *self.named.values()):
                metric.update(logits, batch[1])
            self.log("acc", self.several[0], on_step=False, on_epoch=True)
            self.log("f1", self.named["f1"], on_step=False, on_epoch=True)
            return vitc.functional.cross_entropy(logits, batch[1])

    whole = trainer(tmp_path / "whole", max_epochs=1)
    whole.fit(net(Many), Batches(5))
    stop = LambdaCallback(
        on_train_batch_end=lambda t, *_: setattr(t, "should_stop", t.global_step == 2)
    )
    cut = trainer(tmp_path / "cut", max_epochs=1, callbacks=stop)
    cut.fit(net(Many), Batches(5))
    path = max((cut.log_dir / "checkpoints").glob("*.ckpt"), key=lambda p: p.stat().st_mtime_ns)
    rest = trainer(tmp_path / "cut", max_epochs=1)
    rest.fit(net(Many), Batches(5), ckpt_path=path)
    for name in ("acc", "f1"):
        assert rest.callback_metrics[name] == whole.callback_metrics[name]
    assert np.isfinite(rest.callback_metrics["f1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dirpath", 5),
        ("filename", 5),
        ("monitor", 5),
        ("save_last", "yes"),
        ("save_weights_only", "no"),
        ("train_time_interval", 60),
        ("save_on_train_epoch_end", 3),
    ],
)
def test_arguments_of_a_checkpoint_callback_are_checked(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name} is .*, expected "):
        ModelCheckpoint(**{name: value})


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = trainer(Path("~/runs"), max_epochs=1, callbacks=ModelCheckpoint("~/ck"))
    run.fit(net(), Batches(1))
    assert list((tmp_path / "ck").glob("*.ckpt")) and (tmp_path / "runs").is_dir()


def test_a_checkpoint_after_fit_has_the_trained_weights_beside_the_averages(tmp_path) -> None:
    """The module holds the averages by then; what is resumed from it ends as one run."""

    def fit(epochs: int, start: Any = None) -> Any:
        run = trainer(tmp_path, max_epochs=epochs, callbacks=vitc.callbacks.EMA(0.5))
        module = net(Steady)
        run.fit(module, Batches(3), ckpt_path=start)
        return run

    class Steady(Classifier):
        def configure_optimizers(self):
            return vitc.optim.SGD(self.parameters(), lr=1e-2)

    run = fit(1)
    run.save_checkpoint(tmp_path / "after.ckpt")
    found = checkpoint.read(tmp_path / "after.ckpt")
    for name, value in run.module.model.state_dict().items():
        assert np.array_equal(found.weights("model")[name], value)
    own, kept = (checkpoint.read(p) for p in (found.path, run.checkpoint_callback.best_model_path))
    for name, value in own.arrays("trained-model.safetensors").items():
        assert np.array_equal(value, kept.arrays("trained-model.safetensors")[name])
    whole = fit(2).module.state_dict()
    for name, value in fit(2, tmp_path / "after.ckpt").module.state_dict().items():
        assert np.array_equal(value, whole[name])


def test_rows_of_two_runs_in_one_file_are_told_apart(tmp_path: Path) -> None:
    """A second run with the same version= says so; one that is resumed does not."""

    def fit(epochs: int, start: Any = None) -> Any:
        logger = vitc.loggers.CSVLogger(tmp_path, version="x")
        run = trainer(tmp_path, max_epochs=epochs, logger=logger, log_every_n_steps=1)
        run.fit(net(), Batches(1), ckpt_path=start)
        return run

    path = fit(1).checkpoint_callback.best_model_path
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(2, path)
    with pytest.warns(UserWarning, match=r"metrics\.csv has 4 rows of another run"):
        fit(1)
