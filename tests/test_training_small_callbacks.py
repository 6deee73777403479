"""Accumulation by epoch, checkpoints at exceptions, rates by trial and summaries; Lightning's where
it has a figure."""

import sys
from pathlib import Path
from typing import Any

import pytest
from test_training_averaging import BATCHES, fitted, pl, same
from test_training_hooks import Lightning, Ours

import vitc
from training_kit import ARGUMENTS, Batches, classifier, digest, trainer
from vitc import callbacks
from vitc.callbacks import GradientAccumulationScheduler, LearningRateFinder, OnExceptionCheckpoint
from vitc.tape import clock
from vitc.training import checkpoint
from vitc.training.tools.classifier import Classifier

# ------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("TQDMProgressBar", {"refresh_rate": "1"}, "refresh_rate is '1', expected an integer"),
        ("TQDMProgressBar", {"refresh_rate": -1}, "refresh_rate is -1, expected 0 or more"),
        ("LearningRateMonitor", {"log_momentum": "no"}, "log_momentum is 'no', expected True"),
        ("LearningRateMonitor", {"log_weight_decay": 1}, "log_weight_decay is 1, expected True"),
        ("EMA", {"decay": "automatic"}, "decay is 'automatic', expected a number"),
        ("EMA", {"decay": 2}, "decay is 2, expected a probability"),
        ("LambdaCallback", {"on_fit_start": 3}, "on_fit_start is 3, expected a function"),
        ("Timer", {"duration": 3}, "the time is 3, expected 'DD:HH:MM:SS' or a timedelta"),
    ],
)
def test_a_wrong_argument_is_named(kind: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        getattr(callbacks, kind)(**arguments)


# ------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize("scheduling", [{0: 3, 2: 1}, {1: 2}, {0: 6, 1: 2, 3: 3}])
def test_gradients_are_accumulated_as_lightning_does(tmp_path: Path, scheduling) -> None:
    theirs = pl.callbacks.GradientAccumulationScheduler(dict(scheduling))
    a = fitted(Lightning, tmp_path, theirs, max_epochs=4)
    b = fitted(Ours, tmp_path, GradientAccumulationScheduler(scheduling), max_epochs=4)
    factors = [max([e for e in scheduling if e <= epoch], default=None) for epoch in range(4)]
    steps = sum(BATCHES // scheduling.get(first, 1) for first in factors)
    assert len(b.rates) == len(a.rates) == steps
    same(b.weights(), a.weights())
    assert b.trainer.accumulate_grad_batches == 1


def adam(self: Any) -> Any:
    return vitc.optim.AdamW(self.parameters(), lr=1e-2)


class Steady(Classifier):
    configure_optimizers = adam


def test_a_run_that_accumulates_by_epoch_is_resumed_within_one(tmp_path: Path) -> None:
    def run(folder: str, resume: Any = None, *more: vitc.Callback) -> tuple[str, Any]:
        clock.seed = 3
        clock.begin(0)
        module = Steady("test_vit", 3, **ARGUMENTS)
        schedule = GradientAccumulationScheduler({0: 1, 1: 2})
        keep = callbacks.ModelCheckpoint(every_n_train_steps=1)
        fit = trainer(tmp_path / folder, max_epochs=2, callbacks=[schedule, keep, *more])
        fit.fit(module, Batches(4), ckpt_path=resume)
        assert fit.accumulate_grad_batches == 1
        return digest(module), keep

    def stop(trainer, *_) -> None:
        trainer.should_stop |= trainer.global_step == 5

    whole, _ = run("whole")
    cut, keep = run("cut", None, callbacks.LambdaCallback(on_train_batch_end=stop))
    place = checkpoint.read(keep.best_model_path).state["progress"]
    assert (place["epoch"], place["batch"]) == (1, 2) and cut != whole
    assert run("again", keep.best_model_path)[0] == whole


def test_the_trainers_own_accumulation_comes_back_after_an_exception(tmp_path: Path) -> None:
    class Broken(Steady):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    run = trainer(tmp_path, max_epochs=2, callbacks=GradientAccumulationScheduler({0: 4}))
    with pytest.raises(RuntimeError, match="broken"):
        run.fit(Broken("test_vit", 3, **ARGUMENTS), Batches(4))
    assert run.accumulate_grad_batches == 1


def test_accumulation_that_cannot_be_is_named(tmp_path: Path) -> None:
    for given, error, words in (
        ({}, TypeError, r"scheduling is \{\}, expected \{epoch: batches\}"),
        (4, TypeError, "scheduling is 4"),
        ({-1: 2}, ValueError, "an epoch of scheduling is -1"),
        ({0: 0}, ValueError, "scheduling of epoch 0 is 0, expected 1 or more"),
        ({0: 1.5}, TypeError, "scheduling of epoch 0 is 1.5"),
    ):
        with pytest.raises(error, match=words):
            GradientAccumulationScheduler(given)
    schedule = GradientAccumulationScheduler({1: 4})
    with pytest.raises(ValueError, match="accumulate_grad_batches is 2, beside a Gradient"):
        twice = trainer(tmp_path, max_epochs=2, callbacks=schedule, accumulate_grad_batches=2)
        twice.fit(Steady("test_vit", 3, **ARGUMENTS), Batches(4))
    assert twice.accumulate_grad_batches == 2
    with pytest.raises(ValueError, match="a function of the step needs the number of steps"):
        trainer(tmp_path, max_epochs=2, callbacks=schedule).fit(classifier(), Batches(4))


# ------------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("hook", ["training_step", "on_validation_epoch_start"])
def test_a_run_is_resumed_from_where_an_exception_ended_it(tmp_path, hook, averages) -> None:
    def run(folder: str, breaks: bool, resume: Any = None) -> Any:
        clock.seed = 3
        clock.begin(0)

        def broken(self: Any, *args: Any) -> Any:
            if self.global_step == 6 and breaks:
                raise RuntimeError("broken")
            return getattr(Classifier, hook)(self, *args)

        module = type("Breaking", (Classifier,), {hook: broken})("test_vit", 3, **ARGUMENTS)
        own = [OnExceptionCheckpoint(tmp_path / folder)]
        own += [callbacks.EMA(0.8)] if averages else []
        fit = trainer(tmp_path / folder, max_epochs=3, callbacks=own, enable_checkpointing=False)
        if breaks:
            with pytest.raises(RuntimeError, match="broken") as told:
                fit.fit(module, Batches(3), Batches(1), ckpt_path=resume)
            assert getattr(told.value, "__notes__", []) == []
        else:
            fit.fit(module, Batches(3), Batches(1), ckpt_path=resume)
        return module, own[0].ckpt_path

    whole, path = run("whole", False)
    assert not Path(path).exists()
    _, path = run("cut", True)
    assert path == str(tmp_path / "cut" / "on_exception.ckpt")
    assert checkpoint.read(path).state["progress"]["step"] == 6
    again, _ = run("again", False, path)
    assert digest(again) == digest(whole)
    assert Path(path).exists(), "it stays"


def test_the_name_of_a_checkpoint_is_checked(tmp_path: Path) -> None:
    for name, error in (("", ValueError), ("a/b", ValueError), (3, TypeError)):
        with pytest.raises(error, match="filename is"):
            OnExceptionCheckpoint(tmp_path, name)
    with pytest.raises(TypeError, match="dirpath is None, expected a path"):
        OnExceptionCheckpoint(None)


# ------------------------------------------------------------------------------- rates


def test_a_run_starts_with_the_rate_that_was_found(tmp_path: Path) -> None:
    """The trial finds what `Tuner.lr_find` finds; the run has the bits of one with that rate."""

    def module(lr: float = 1e-3) -> Any:
        clock.seed = 3
        clock.begin(0)
        return classifier(lr=lr)

    alone = module()
    expected = vitc.Tuner(trainer(tmp_path, max_epochs=2)).lr_find(
        alone, Batches(4), num_training=30
    )
    finder = LearningRateFinder(num_training_steps=30)
    found = module()
    trainer(tmp_path, max_epochs=2, callbacks=finder).fit(found, Batches(4), Batches(1))
    assert finder.optimal_lr.results == expected.results
    assert found.hparams.lr == expected.suggestion() != 1e-3
    fresh = module(expected.suggestion())
    trainer(tmp_path, max_epochs=2).fit(fresh, Batches(4), Batches(1))
    assert digest(found) == digest(fresh)


def test_a_resumed_run_keeps_its_rate(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1)
    run.fit(classifier(), Batches(4))
    finder = LearningRateFinder(num_training_steps=30)
    path = run.checkpoint_callback.best_model_path
    trainer(tmp_path, max_epochs=2, callbacks=finder).fit(classifier(), Batches(4), ckpt_path=path)
    assert finder.optimal_lr is None


def test_a_rate_is_looked_for_in_other_epochs_too(tmp_path: Path) -> None:
    """The recipe of Lightning's documentation."""

    class Again(LearningRateFinder):
        found: list[Any] = []  # noqa: RUF012

        def on_fit_start(self, *args: Any) -> None: ...

        def on_train_epoch_start(self, trainer, module) -> None:
            if trainer.current_epoch == 1:
                self.lr_find(trainer, module)
                self.found.append(trainer.optimizer.param_groups[0]["lr"])

    module = Steady("test_vit", 3, lr=0.5, **ARGUMENTS)
    run = trainer(tmp_path, max_epochs=2, callbacks=Again(num_training_steps=20))
    run.fit(module, Batches(4))
    assert Again.found == [module.hparams.lr] and module.hparams.lr != 0.5
    assert run.global_step == 8 and module.trainer is run


def test_bad_arguments_of_the_finder_are_named() -> None:
    with pytest.raises(ValueError, match="mode is 'cubic', expected one of exponential, linear"):
        LearningRateFinder(mode="cubic")
    with pytest.raises(ValueError, match="num_training_steps is 1"):
        LearningRateFinder(num_training_steps=1)


# ------------------------------------------------------------------------------- summaries


def summary(tmp_path: Path, capsys: Any, callback: Any) -> list[list[str]]:
    """The words of each row."""
    module = classifier()
    module.model.blocks.requires_grad_(False)
    trainer(tmp_path, fast_dev_run=True, callbacks=callback).fit(module, Batches(2))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    return [line.replace("│", " ").replace("┃", " ").split() for line in lines]


def test_a_summary_counts_parameters(tmp_path: Path, capsys) -> None:
    model = classifier().model
    counts = {name: p.numel() for name, p in model.named_parameters()}
    total = sum(counts.values())
    blocks = sum(n for name, n in counts.items() if name.startswith("blocks."))
    left = f"{total - blocks:,}"
    rows = summary(tmp_path, capsys, callbacks.ModelSummary())
    assert rows == [
        ["parameters", "trained", "mode"],
        ["model", f"{total:,}", left, "train"],
        ["total", f"{total:,}", left],
    ]
    rows = summary(tmp_path, capsys, callbacks.ModelSummary(max_depth=2))
    assert ["model.blocks", f"{blocks:,}", "0", "train"] in rows
    assert [row[0] for row in rows[1:]] == [
        *dict.fromkeys(f"model.{n.split('.')[0]}" if n.count(".") else "model" for n in counts),
        "total",
    ]
    rows = summary(tmp_path, capsys, callbacks.ModelSummary(max_depth=-1))
    weight = counts["blocks.1.attn.qkv.weight"] + counts["blocks.1.attn.qkv.bias"]
    assert ["model.blocks.1.attn.qkv", f"{weight:,}", "0", "train"] in rows
    assert summary(tmp_path, capsys, callbacks.ModelSummary(max_depth=0)) == []
    rich = summary(tmp_path, capsys, callbacks.RichModelSummary())
    assert ["model", f"{total:,}", left, "train"] in rich and ["total", f"{total:,}", left] in rich


def test_bad_arguments_of_summaries_are_named(monkeypatch) -> None:
    with pytest.raises(ValueError, match="max_depth is -2"):
        callbacks.ModelSummary(-2)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    with pytest.raises(ImportError, match=r'needs rich: pip install "vitc\[train\]"'):
        callbacks.RichModelSummary()
