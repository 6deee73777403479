"""Runs that something has told to stop, and that are started again: who was killed on the way to
the end is at the end at once, who was paused or extended goes on."""

import csv
from pathlib import Path
from typing import Any

import pytest
from test_training_extended import Net

import vitc
from training_kit import Batches, digest, trainer
from vitc.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, Timer
from vitc.tape import clock
from vitc.training import finished

BATCHES = 5


class Killed(BaseException):
    pass


class Kill(vitc.Callback):
    """The last hook of a run, where the process ends before the run does."""

    def on_fit_end(self, trainer, module) -> None:
        raise Killed


class Stop(vitc.Callback):
    """One's own code, which has enough after an epoch or a step."""

    def __init__(self, epoch: int = -1, step: int = -1) -> None:
        self.epoch, self.step = epoch, step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        trainer.should_stop |= trainer.global_step == self.step

    def on_train_epoch_end(self, trainer, module) -> None:
        trainer.should_stop |= trainer.current_epoch == self.epoch


def early(patience: int = 1, **options: Any) -> EarlyStopping:
    """The loss never gets that much better."""
    return EarlyStopping("val_loss", min_delta=9.0, patience=patience, **options)


def fit(folder: Path, *callbacks: Any, path: Any = None, place: Path | None = None, **options: Any):
    clock.restart(3)
    module = Net()
    keeper = ModelCheckpoint(place, monitor="val_loss", save_top_k=2, save_last=True)
    options = {"max_epochs": 6, "log_every_n_steps": 1, "num_sanity_val_steps": 0, **options}
    run = trainer(folder, callbacks=[*callbacks, keeper], **options)
    begun: list[int] = []
    run.callbacks.insert(
        0, LambdaCallback(on_train_batch_start=lambda t, *_: begun.append(t.global_step))
    )
    try:
        run.fit(module, Batches(BATCHES), Batches(2), ckpt_path=path)
    except Killed:
        finished._here.clear()  # which another process does not know
    return module, run, begun


def ends(module: Any, run: Any, begun: Any) -> dict[str, Any]:
    rows = list(csv.DictReader((run.log_dir / "metrics.csv").open()))
    stopping = run.early_stopping_callback
    return {
        "weights": digest(module),
        "rows": [{k: v for k, v in row.items() if v} for row in rows],
        "metrics": dict(run.callback_metrics),
        "waited": stopping and (stopping.wait_count, float(stopping.best_score)),
        "rate": run.optimizer.param_groups[0]["lr"],
        "place": (run.current_epoch, run.global_step, run.state.batch, run.should_stop),
    }


ENDS: dict[str, Any] = {
    "early stopping": (early, {}),
    "within the epoch": (early, dict(val_check_interval=2)),
    "after the least epochs": (early, dict(min_epochs=4)),
    "its own code": (lambda: Stop(epoch=1), {}),
    "its own code, later": (lambda: Stop(step=2), dict(min_epochs=3)),
    "steps within the epoch": (lambda: Stop(), dict(max_steps=7)),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_killed_at_its_end_ends_as_the_one_left_alone(tmp_path: Path, name: str) -> None:
    """It once trained an epoch more."""
    end, options = ENDS[name]
    whole = ends(*fit(tmp_path / "whole", end(), **options))
    _, killed, _ = fit(tmp_path / "cut", Kill(), end(), **options)
    assert killed.state.status == "interrupted"
    module, run, begun = fit(tmp_path / "cut", end(), path="last", **options)
    assert run.state.finished and len(begun) <= (2 if name == "steps within the epoch" else 0)
    assert ends(module, run, begun) == whole


@pytest.mark.parametrize("place", ["", "own"])
def test_a_stop_that_waits_for_the_least_epochs_is_kept(tmp_path: Path, place: str) -> None:
    """Its own code says so once, in the first epoch."""
    options = dict(min_epochs=3, place=tmp_path / place if place else None)
    whole = ends(*fit(tmp_path / "whole", Stop(step=2), min_epochs=3))
    kill = LambdaCallback(on_train_epoch_start=lambda t, _: _raise(t.current_epoch == 2))
    fit(tmp_path / "cut", kill, Stop(step=2), **options)
    assert whole["place"] == (3, 15, 0, True)
    assert ends(*fit(tmp_path / "cut", path="last", **options)) == whole


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}, {"accumulate_grad_batches": 3}])
def test_a_validation_is_due_when_the_batch_is_saved(tmp_path: Path, options: Any) -> None:
    """A run that is killed in it once went on without it: its checkpoint is of the batch before."""
    options = {**options, "max_epochs": 2}

    def some(name: str, *callbacks: Any, path: Any = None) -> Any:
        steps = ModelCheckpoint(every_n_train_steps=1)
        return fit(tmp_path / name, *callbacks, early(100), steps, path=path, **options)

    whole = ends(*some("whole"))
    count = sum("val_loss" in row for row in whole["rows"])
    assert count >= 2
    for number in range(count):
        left = iter(range(number, -1, -1))
        kill = LambdaCallback(on_validation_start=lambda *_, left=left: _raise(next(left) == 0))
        some(str(number), kill)
        assert ends(*some(str(number), path="last")) == whole, number


def _raise(now: bool) -> None:
    if now:
        raise Killed


@pytest.mark.parametrize("name", ["epochs", "steps", "time", "patience", "no early stopping"])
def test_larger_limits_extend_a_stopped_run(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = dict(max_steps=100, max_time="00:09:00:00")
    _, run, begun = fit(tmp_path, early(), **options)
    assert len(begun) == 2 * BATCHES and run.should_stop
    path = run.checkpoint_callback.last_model_path
    assert fit(tmp_path, early(), path=path, **options)[2] == []
    more = {
        "epochs": dict(max_epochs=7),
        "steps": dict(max_steps=101),
        "time": dict(max_time="00:10:00:00"),
    }
    callbacks = {"patience": [early(2)], "no early stopping": []}.get(name, [early()])
    options = {**options, "max_epochs": 6, **more.get(name, {})}
    _, run, begun = fit(tmp_path, *callbacks, path=path, **options)
    left = 4 if name == "no early stopping" else 1  # of which the stopping knows the scores before
    assert len(begun) == left * BATCHES


def test_more_patience_at_once_or_later_is_the_same(tmp_path: Path) -> None:
    whole = ends(*fit(tmp_path / "whole", early(3)))
    _, run, _ = fit(tmp_path / "parts", early(1))
    path = run.checkpoint_callback.last_model_path
    assert ends(*fit(tmp_path / "parts", early(3), path=path)) == whole


@pytest.mark.parametrize("stop", [Stop(epoch=1), Stop(step=7)], ids=["epoch", "step"])
@pytest.mark.parametrize("place", ["", "own"])
def test_what_its_own_code_has_stopped_goes_on(
    tmp_path: Path, monkeypatch, capsys, stop: Stop, place: str
) -> None:
    """A night after the other, in another process; "last" once began anew."""
    own = tmp_path / place if place else None
    whole = ends(*fit(tmp_path / "whole"))
    _, run, begun = fit(tmp_path / "parts", stop, place=own)
    assert run.state.finished and begun[-1] == run.global_step - 1
    monkeypatch.setattr(finished, "_here", {})
    capsys.readouterr()
    parts = fit(tmp_path / "parts", path="last", place=own)
    assert f"step {run.global_step}\n" in capsys.readouterr().out
    assert parts[2][0] == run.global_step
    assert ends(*parts) == whole


def test_a_timer_ends_a_run(tmp_path: Path) -> None:
    _, run, _ = fit(tmp_path, Timer("00:00:00:00"))
    path = run.checkpoint_callback.last_model_path
    assert run.state.stop == "end" and not run.global_step and not path


def test_a_stop_in_the_first_hook_of_an_epoch_is_heeded(tmp_path: Path) -> None:
    """No batch of it is trained, as in Lightning."""
    stop = LambdaCallback(on_train_epoch_start=lambda t, _: setattr(t, "should_stop", True))
    assert fit(tmp_path, stop)[2] == []
