"""Callbacks, loggers and `log` against Lightning's own, run on the same numbers."""

import csv
import math
import re
import warnings
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_training_hooks import Lightning, Ours

import vitc
from training_kit import ARGUMENTS, Batches, classifier, trainer
from vitc.callbacks import (
    EMA,
    BackboneFinetuning,
    BasePredictionWriter,
    EarlyStopping,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from vitc.loggers import CSVLogger, TensorBoardLogger
from vitc.tape import clock
from vitc.training import checkpoint
from vitc.training.state import State
from vitc.training.tools.classifier import Classifier

pl = pytest.importorskip("pytorch_lightning", reason="the oracle of these tests")
SCORES = [0.5, 0.4, 0.45, 0.3, 0.31, 0.32, 0.2, math.nan, 0.25, 0.1]


def quiet(engine: Any, path: Path, **options: Any) -> Any:
    switches = ("logger", "enable_progress_bar", "enable_model_summary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return engine.trainer(
            **{**dict.fromkeys(switches, False), "default_root_dir": path}, **options
        )


def scored(engine: Any) -> Any:
    """A module whose validation logs the next of SCORES."""

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("score", SCORES[min(self.current_epoch, 9)], batch_size=2)

    return type("Scored", (engine.Module,), {"validation_step": validation_step})()


def fitted(run: Any, engine: Any, module: Any, batches: int = 4) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.fit(module, engine.loader(batches), engine.loader(1))
    return run


# ------------------------------------------------------------------------------- log


def logging(engine: Any) -> Any:
    """A module that logs in every way and place."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        value = float(batch_idx + 1)
        self.log("plain", value)
        self.log("both", value, on_epoch=True, prog_bar=True)
        self.log("epoch", value, on_step=False, on_epoch=True)
        self.log("largest", value, on_step=False, on_epoch=True, reduce_fx=max)
        self.log("smallest", value, on_epoch=True, reduce_fx="min")
        self.log("weighted", value, on_epoch=True, batch_size=batch_idx + 1)
        self.log_dict({"one": value, "two": 2 * value}, logger=False)
        return engine.Module.training_step(self, batch, batch_idx)

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val", batch_idx + 1.0)
        self.log("val_sum", batch_idx + 1.0, reduce_fx="sum", prog_bar=True)
        self.log("val_both", batch_idx + 1.0, on_step=True, on_epoch=True)

    def hook(name: str) -> Any:
        return lambda self, *args: self.log(name, 3.0)

    methods = {"training_step": training_step, "validation_step": validation_step}
    places = ("on_train_epoch_start", "on_train_epoch_end", "on_validation_epoch_end")
    places += ("on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step")
    return type("Logging", (engine.Module,), methods | {n: hook(n) for n in places})()


def logging_callback(engine: Any) -> Any:
    """Callbacks log, too."""
    names = ("on_train_batch_end", "on_train_epoch_end", "on_validation_batch_end")

    def hook(name: str) -> Any:
        return lambda self, trainer, module, *args: self.log(f"callback_{name}", 2.0)

    return type("Logs", (engine.Callback,), {name: hook(name) for name in names})()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_log_gives_lightnings_names_and_values(tmp_path: Path, accumulate: int) -> None:
    """Of callback_, logged_ and progress_bar_metrics, to 1e-6 (theirs are float32)."""
    found = []
    for engine in (Lightning, Ours):
        options = dict(
            max_epochs=2,
            accumulate_grad_batches=accumulate,
            log_every_n_steps=1,
            enable_checkpointing=False,
            callbacks=[logging_callback(engine)],
        )
        run = quiet(engine, tmp_path, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run.fit(logging(engine), engine.loader(4), engine.loader(3))
        found.append(run)
    for what in ("callback_metrics", "logged_metrics", "progress_bar_metrics"):
        theirs, ours = (
            {k: float(v) for k, v in getattr(run, what).items() if k not in ("v_num", "epoch")}
            for run in found
        )
        assert ours.keys() == theirs.keys(), what
        assert ours == pytest.approx(theirs, rel=1e-6), what
        assert len(ours) >= (3 if what == "progress_bar_metrics" else 10)


# ------------------------------------------------------------------------------- checkpoints

KEEPING = {
    "default": {},
    "the best": dict(monitor="score"),
    "the largest two": dict(monitor="score", mode="max", save_top_k=2),
    "all": dict(save_top_k=-1),
    "none": dict(save_top_k=0),
    "every other epoch": dict(every_n_epochs=2, save_top_k=-1),
    "every third step": dict(every_n_train_steps=3, save_top_k=-1),
    "the best of steps": dict(
        every_n_train_steps=4, monitor="score", save_top_k=3, save_on_train_epoch_end=False
    ),
    "a pattern": dict(filename="m-{epoch:02d}-{score:.1f}", monitor="score", save_top_k=2),
    "a plain pattern": dict(filename="e{epoch}-{step}", auto_insert_metric_name=False),
    "after validation": dict(save_on_train_epoch_end=False, save_top_k=-1),
    "by time": dict(train_time_interval=timedelta(0), save_top_k=-1),
}


@pytest.mark.parametrize("case", KEEPING)
@pytest.mark.parametrize("options", [{}, dict(val_check_interval=0.5)], ids=["", "twice"])
def test_checkpoints_are_called_and_kept_as_lightning_does(tmp_path, case, options) -> None:
    names, best, scores = [], [], []
    for engine, kind in ((Lightning, pl.callbacks.ModelCheckpoint), (Ours, ModelCheckpoint)):
        folder = tmp_path / engine.__name__
        keeper = kind(folder, **KEEPING[case])
        run = quiet(engine, tmp_path, max_epochs=6, callbacks=[keeper], **options)
        fitted(run, engine, scored(engine))
        names.append(sorted(p.name for p in folder.glob("*")))
        best.append(Path(keeper.best_model_path).name)
        scores.append(keeper.best_model_score)
    assert names[1] == names[0] and best[1] == best[0]
    assert (scores[1] is None) == (scores[0] is None)
    if scores[0] is not None:
        assert scores[1] == pytest.approx(float(scores[0]), rel=1e-6)
    assert names[0] or case == "none"


def test_a_checkpoint_is_scored_by_the_validation_that_follows_it(tmp_path: Path) -> None:
    """Lightning's has the score of the validation before, of another state of the model."""
    keeper = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=2, monitor="score", save_top_k=-1
    )
    run = quiet(Ours, tmp_path, max_epochs=2, callbacks=[keeper], val_check_interval=0.5)
    fitted(run, Ours, scored(Ours))
    found = {Path(path).stem: score for path, score in keeper.best_k_models.items()}
    assert found == {"step=2": 0.5, "step=4": 0.5, "step=6": 0.4, "step=8": 0.4}


def test_the_memory_of_copies_and_averages_is_known(tmp_path: Path) -> None:
    """Against the bytes that are there after two checkpoints."""
    held: list[int] = []

    def note(trainer, module) -> None:
        trainer.writer.wait()
        held.append(sum(copy.nbytes for copy in trainer.writer.buffers.values()))

    averaging = EMA(decay=0.9)
    callbacks = [averaging, ModelCheckpoint(tmp_path), LambdaCallback(on_train_end=note)]
    run = trainer(tmp_path, max_epochs=2, callbacks=callbacks)
    run.fit(classifier(), Batches(1))
    memory = run.memory_estimate().parts
    averages = averaging.averages["model"].module.state_dict().values()
    assert memory["averages"] == sum(value.nbytes for value in averages)
    assert held[0] <= memory["checkpoint"] <= held[0] + 64 * 4 * 60  # rows of a buffer are aligned


def test_an_exception_leaves_a_checkpoint_if_asked(tmp_path: Path) -> None:
    def explode(trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 2:
            raise RuntimeError("boom")

    callbacks = [
        LambdaCallback(on_train_batch_end=explode),
        ModelCheckpoint(tmp_path, save_on_exception=True),
    ]
    run = trainer(tmp_path, max_epochs=1, callbacks=callbacks, logger=False)
    with pytest.raises(RuntimeError, match="boom"):
        run.fit(classifier(), Batches(5))
    assert [p.name for p in tmp_path.iterdir()] == ["exception-epoch=0-step=2.ckpt"]
    rest = trainer(tmp_path, max_epochs=1, callbacks=ModelCheckpoint(tmp_path), logger=False)
    rest.fit(classifier(), Batches(5), ckpt_path="last")
    assert rest.global_step == 5


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
@pytest.mark.parametrize("at", [0, 1])
def test_an_exception_is_the_users_and_leaves_a_checkpoint(
    tmp_path: Path, hook: str, at: int, averages: bool
) -> None:
    """Also before the monitor was logged, and when it is not among the best."""

    def explode(trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.current_epoch == at and not trainer.sanity_checking:
            raise RuntimeError("boom")

    def fail(trainer, module, exception) -> None:
        raise ValueError("no space")

    keep = ModelCheckpoint(tmp_path, monitor="val_loss", save_on_exception=True)
    callbacks = [LambdaCallback(**{hook: explode}), LambdaCallback(on_exception=fail), keep]
    callbacks += [EMA(decay=0.5)] if averages else []
    run = trainer(tmp_path, max_epochs=2, callbacks=callbacks, logger=False)
    with pytest.raises(RuntimeError, match="boom") as caught:
        run.fit(classifier(), Batches(3), Batches(2))
    assert caught.value.__notes__ == ["LambdaCallback.on_exception() failed: no space"]
    (path,) = tmp_path.glob("exception-*.ckpt")
    rest = trainer(tmp_path / "rest", max_epochs=2, logger=False)
    rest.fit(classifier(), Batches(3), Batches(2), ckpt_path=path)
    assert rest.global_step == 6


def test_bad_arguments_of_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no monitor says which are best"):
        ModelCheckpoint(save_top_k=2)
    with pytest.raises(ValueError, match="exclude each other"):
        ModelCheckpoint(every_n_epochs=1, every_n_train_steps=1)
    with pytest.raises(ValueError, match="mode is 'least', expected one of min, max"):
        ModelCheckpoint(mode="least")
    with pytest.raises(ValueError, match="names 'los', which was not logged; known: "):
        keeper = ModelCheckpoint(tmp_path, filename="{los:.2f}")
        trainer(tmp_path, max_epochs=1, callbacks=keeper).fit(classifier(), Batches(1))


# ------------------------------------------------------------------------------- early stopping

STOPPING: list[dict[str, Any]] = [
    {},
    dict(patience=1),
    dict(patience=2, min_delta=0.05),
    dict(patience=2, mode="max"),
    dict(patience=3, mode="max", min_delta=0.15),
    dict(patience=2, min_delta=-0.07),
    dict(patience=2, mode="max", min_delta=-0.07),
    dict(check_finite=False),
    dict(stopping_threshold=0.3),
    dict(stopping_threshold=0.29),
    dict(divergence_threshold=0.49),
    dict(divergence_threshold=0.44, mode="max"),
]


@pytest.mark.parametrize("options", STOPPING, ids=str)
def test_early_stopping_stops_where_lightnings_does(options: dict[str, Any]) -> None:
    """Fed with the same scores: the same epoch, count of waits and best score."""
    import torch

    always = SimpleNamespace(reduce_boolean_decision=lambda decision, all=True: decision)
    theirs, ours = pl.callbacks.EarlyStopping("score", **options), EarlyStopping("score", **options)
    for epoch, score in enumerate(SCORES):
        run = dict(current_epoch=epoch, fast_dev_run=False, fitting=True)
        metrics = {"score": torch.tensor(score)}
        a = SimpleNamespace(**run, strategy=always, should_stop=False, callback_metrics=metrics)
        b = SimpleNamespace(**run, state=State(), callback_metrics={"score": score})
        theirs._run_early_stopping_check(a)
        ours._check(b)
        assert bool(b.state.stop) == a.should_stop
        assert (ours.wait_count, ours.stopped_epoch) == (theirs.wait_count, theirs.stopped_epoch)
        assert ours.best_score == pytest.approx(float(theirs.best_score))
        if a.should_stop:
            break


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("monitor", None),
        ("min_delta", "0"),
        ("min_delta", np.nan),
        ("patience", 1.5),
        ("patience", -1),
        ("verbose", "no"),
        ("mode", "max "),
        ("strict", None),
        ("check_finite", 1),
        ("stopping_threshold", "0.9"),
        ("divergence_threshold", [1]),
        ("check_on_train_epoch_end", "yes"),
    ],
)
def test_early_stopping_checks_its_arguments(name: str, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name} is "):
        EarlyStopping(**{"monitor": "score", name: wrong})


def test_early_stopping_tells_why_and_names_what_is_missing(tmp_path: Path) -> None:
    stopping = EarlyStopping("score", patience=1)
    run = quiet(Ours, tmp_path, max_epochs=9, callbacks=[stopping], enable_checkpointing=False)
    fitted(run, Ours, scored(Ours))
    assert run.current_epoch == 3 and stopping.stopped_epoch == 2
    assert "score has not improved by more than 0.0 in 1 checks; the best was 0.4" in str(
        stopping.stopping_reason_message
    )
    run = quiet(Ours, tmp_path, max_epochs=1, callbacks=[EarlyStopping("scor")])
    with pytest.raises(RuntimeError, match="'scor', not logged; did you mean 'score'"):
        fitted(run, Ours, scored(Ours))
    lenient = EarlyStopping("scor", strict=False)
    fitted(quiet(Ours, tmp_path, max_epochs=1, callbacks=[lenient]), Ours, scored(Ours))


# ------------------------------------------------------------------------------- the others


def test_the_timer_ends_a_run_and_counts_on(tmp_path: Path) -> None:
    timer = Timer(timedelta(seconds=0.2))
    run = trainer(tmp_path, max_epochs=10_000, callbacks=timer)
    run.fit(classifier(), Batches(3))
    spent = timer.time_elapsed()
    assert 0.2 <= spent < 2 and run.global_step > 0
    assert timer.time_remaining() == pytest.approx(0.2 - spent)
    again = Timer("00:00:00:01")
    again.load_state_dict(timer.state_dict())
    assert again.time_elapsed() == spent
    assert Timer({"minutes": 2}).duration == 120 and Timer("01:02:03:04").duration == 93784


def test_rates_are_logged_per_group(tmp_path: Path) -> None:
    """Against the schedule's own formula."""
    module = classifier()
    run = trainer(tmp_path, max_epochs=2, callbacks=LearningRateMonitor(), log_every_n_steps=2)
    run.fit(module, Batches(4))
    rows = list(csv.DictReader((run.log_dir / "metrics.csv").open()))
    found = {int(r["step"]): float(r["lr-AdamW/pg1"]) for r in rows if r["lr-AdamW/pg1"]}
    optimizer, schedule = classifier().configure_optimizers()
    expected = {}
    for step in (1, 3, 5, 7):  # counted from 0, every second
        vitc.optim.set_lr(optimizer, schedule, step, 8)
        expected[step] = optimizer.param_groups[0]["lr"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_resumed_log_keeps_the_rows_up_to_its_checkpoint(tmp_path: Path) -> None:
    logger = vitc.loggers.CSVLogger(tmp_path)
    for step in range(3):
        logger.log_metrics({"epoch": 0, "loss": step / 2}, step)
    state = logger.state_dict()
    for step in (3, 4):
        logger.log_metrics({"epoch": 0, "loss": 9.0, "late": 1.0}, step)
    again = vitc.loggers.CSVLogger(tmp_path)
    again.load_state_dict(state)
    again.log_metrics({"epoch": 0, "loss": 1.5}, 3)
    rows = list(csv.DictReader((logger.log_dir / "metrics.csv").open()))
    assert [(row["step"], row["loss"]) for row in rows] == [
        ("0", "0.0"),
        ("1", "0.5"),
        ("2", "1.0"),
        ("3", "1.5"),
    ]


def test_averages_follow_the_weights_and_are_what_is_validated(tmp_path: Path) -> None:
    """Against the formula of timm's ModelEmaV3 in float64 over the weights of each step, 1e-6."""
    steps: list[dict[str, Any]] = []
    validated: list[float] = []

    class Watched(Classifier):
        def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
            steps.append({k: np.array(v, np.float64) for k, v in self.state_dict().items()})

        def validation_step(self, batch, batch_idx) -> None:
            validated.append(float(np.sum(self.state_dict()["model.pos_embed"], dtype=float)))

    module = Watched("test_vit", 3, lr=1e-2, **ARGUMENTS)
    averaging = EMA(decay=0.7, use_warmup=True)
    start = {k: np.array(v, np.float64) for k, v in module.state_dict().items()}
    run = trainer(tmp_path, max_epochs=2, callbacks=averaging, num_sanity_val_steps=0)
    run.fit(module, Batches(3), Batches(1))
    expected, sums = start, []
    for s, weights in enumerate(steps, 1):
        decay = 0.0 if s <= 1 else min(1 - (1 + (s - 1)) ** (-2 / 3), 0.7)
        expected = {k: decay * e + (1 - decay) * weights[k] for k, e in expected.items()}
        sums.append(float(np.sum(expected["model.pos_embed"])))
    assert validated == pytest.approx([sums[2], sums[5]], rel=1e-5)
    for name, value in module.state_dict().items():  # the end: the module holds the averages
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)
        assert np.any(value != steps[-1][name].astype(np.float32))
    path = Path(run.checkpoint_callback.best_model_path)
    saved = checkpoint.read(path)
    trained = saved.arrays("trained-model.safetensors")
    assert all(np.array_equal(v, steps[-1][f"model.{k}"].astype("f")) for k, v in trained.items())
    loaded = Watched.load_from_checkpoint(path).state_dict()
    assert all(np.array_equal(loaded[k], v) for k, v in module.state_dict().items())
    opened = vitc.create_model("test_vit", num_classes=3, checkpoint_path=path, **ARGUMENTS)
    for name, value in opened.state_dict().items():
        assert np.array_equal(value, module.model.state_dict()[name])


@pytest.mark.parametrize("weights_only", [False, True])
def test_the_best_checkpoint_holds_the_weights_that_were_validated(
    tmp_path: Path, weights_only: bool
) -> None:
    keep = ModelCheckpoint(monitor="val_loss", save_top_k=-1, save_weights_only=weights_only)
    module = classifier(lr=1e-2)
    run = trainer(tmp_path, max_epochs=3, callbacks=[EMA(decay=0.9), keep])
    run.fit(module, Batches(4), Batches(2))
    assert len(keep.best_k_models) == 3
    for path, score in keep.best_k_models.items():
        fresh = Classifier.load_from_checkpoint(path)
        found = trainer(tmp_path / "again").validate(fresh, Batches(2), verbose=False)
        assert found[0]["val_loss"] == score
        files = {file.name for file in Path(path).iterdir()}
        assert ("trained-model.safetensors" in files) is not weights_only


def test_a_run_with_averages_is_resumed_with_or_without_them(tmp_path: Path) -> None:
    def run(folder: str, *callbacks: vitc.Callback, resume: Any = None) -> dict[str, Any]:
        clock.seed = 3
        clock.begin(0)
        module = classifier()
        kept = trainer(tmp_path / folder, max_epochs=2, callbacks=[*callbacks])
        kept.fit(module, Batches(4), Batches(1), ckpt_path=resume)
        return module.state_dict()

    def stop(trainer, module) -> None:
        trainer.should_stop = True

    whole, plain = run("whole", EMA(decay=0.8)), run("plain")
    run("cut", EMA(decay=0.8), LambdaCallback(on_train_epoch_end=stop))
    (path,) = (tmp_path / "cut").rglob("*.ckpt")
    again, without = run("again", EMA(decay=0.8), resume=path), run("without", resume=path)
    for name, value in whole.items():
        assert np.array_equal(again[name], value) and np.array_equal(without[name], plain[name])
        assert not np.array_equal(value, plain[name])


def test_averages_are_not_saved_in_place_of_the_weights(tmp_path: Path) -> None:
    save = LambdaCallback(on_validation_batch_end=lambda t, *_: t.save_checkpoint(tmp_path / "a"))
    options = dict(max_epochs=1, callbacks=[EMA(decay=0.5), save], num_sanity_val_steps=0)
    with pytest.raises(vitc.VitcError, match="cannot checkpoint during validation"):
        trainer(tmp_path, **options).fit(classifier(), Batches(2), Batches(1))
    assert not (tmp_path / "a").exists()


def test_the_backbone_thaws_at_its_epoch(tmp_path: Path) -> None:
    trained: dict[int, set[str]] = {}

    def note(trainer, module) -> None:
        names = {name for name, p in module.named_parameters() if p.requires_grad}
        trained[trainer.current_epoch] = names

    thaw = BackboneFinetuning(unfreeze_backbone_at_epoch=1)
    module = classifier()
    before = {k: np.array(v) for k, v in module.state_dict().items()}
    callbacks = [thaw, LambdaCallback(on_train_epoch_end=note)]
    trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(module, Batches(2))
    changed = {k for k, v in module.state_dict().items() if np.any(v != before[k])}
    assert changed == trained[0] == {"model.head.weight", "model.head.bias"}
    assert all(p.requires_grad for p in module.parameters())
    rest = classifier()
    run = trainer(tmp_path, max_epochs=2, callbacks=callbacks)
    run.fit(rest, Batches(2), ckpt_path="last")
    assert run.global_step == 4 and trained[1] == set(dict(module.named_parameters()))


def test_predictions_are_written_with_their_places(tmp_path: Path) -> None:
    class Writer(BasePredictionWriter):
        def __init__(self) -> None:
            super().__init__("batch_and_epoch")
            self.seen: list[Any] = []

        def write_on_batch_end(
            self, trainer, module, prediction, indices, batch, batch_idx, dataloader_idx
        ) -> None:
            assert dataloader_idx == 0
            self.seen.append((batch_idx, indices, prediction.shape))

        def write_on_epoch_end(self, trainer, module, predictions, indices) -> None:
            self.seen.append((len(predictions), indices))

    writer = Writer()
    run = trainer(tmp_path, callbacks=writer)
    assert run.predict(classifier(), Batches(2), return_predictions=False) == []
    places = [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert writer.seen == [
        (0, places[0], (4, 3)),
        (1, places[1], (4, 3)),
        (2, [places]),
    ]
    with pytest.raises(NotImplementedError, match="has no write_on_batch_end"):
        trainer(tmp_path, callbacks=BasePredictionWriter()).predict(classifier(), Batches(1))


def test_functions_make_a_callback(tmp_path: Path) -> None:
    seen: list[int] = []
    callback = LambdaCallback(on_train_epoch_end=lambda t, m: seen.append(t.current_epoch))
    trainer(tmp_path, max_epochs=3, callbacks=callback).fit(classifier(), Batches(1))
    assert seen == [0, 1, 2]
    with pytest.raises(TypeError, match="no hook 'on_epoch_end'; did you mean"):
        LambdaCallback(on_epoch_end=print)


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
def test_bars_are_drawn_where_they_can_be(tmp_path: Path, bar, monkeypatch, capsys) -> None:
    import vitc.training.callbacks.progress_bar as module

    monkeypatch.setattr(module, "_interactive", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    run = trainer(tmp_path, max_epochs=2, callbacks=bar(), enable_progress_bar=True)
    run.fit(classifier(), Batches(3), Batches(1))
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "Epoch 2/2" in drawn and "3/3" in drawn
    assert "train_loss_step=" in drawn and "val_acc=" in drawn


# ------------------------------------------------------------------------------- loggers


def test_tensorboard_reads_what_is_logged(tmp_path: Path) -> None:
    """Read back with tensorboardX's own records."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401  the package is whole

    logger = TensorBoardLogger(tmp_path, name="runs")
    run = trainer(tmp_path, max_epochs=1, logger=logger, log_every_n_steps=1)
    run.fit(classifier(), Batches(2), Batches(1))
    assert run.log_dir == tmp_path / "runs" / "version_0"
    found: dict[str, list[int]] = {}
    for path in run.log_dir.glob("events*"):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
            data = data[16 + length :]
    assert found["train_loss_step"] == [0, 1]
    assert found["val_acc"] == [1] and "hparams/text_summary" in found


def test_any_object_logs(tmp_path: Path) -> None:
    class Mine:
        def __init__(self) -> None:
            self.rows: list[Any] = []

        def log_metrics(self, metrics, step) -> None:
            self.rows.append((step, sorted(metrics)))

        def finalize(self, status) -> None:
            self.rows.append(status)

    mine = Mine()
    both = trainer(tmp_path, max_epochs=1, logger=[mine, CSVLogger(tmp_path)], log_every_n_steps=1)
    both.fit(classifier(), Batches(1))
    assert mine.rows == [
        (0, ["epoch", "train_loss_step"]),
        (0, ["epoch", "train_loss_epoch"]),
        "success",
    ]
    assert both.logger is mine and len(both.loggers) == 2
