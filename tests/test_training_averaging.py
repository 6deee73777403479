"""Averages of weights against Lightning's, on the same weights and batches."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training_hooks import Lightning, Ours

import vitc
import vitc.functional as F
from training_kit import Batches, classifier, trainer
from vitc import callbacks
from vitc.tape import clock
from vitc.training import checkpoint

pl = pytest.importorskip("pytorch_lightning", reason="the oracle of these tests")
GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((12, 4)).astype(np.float32)
Y = GENERATOR.integers(0, 2, 12)
WEIGHTS = {
    "weight": GENERATOR.standard_normal((2, 4)).astype(np.float32),
    "bias": np.array([0.1, -0.2], np.float32),
}
BATCHES = 6
CLOSE = dict(rtol=2e-5, atol=2e-6)


def seen(engine: Any) -> Any:
    """A module that notes its rates per step, and the weights that are validated."""
    ours = engine is Ours
    library, functional = (vitc.optim, F) if ours else (torch.optim, torch.nn.functional)

    def weights(self: Any) -> list[Any]:
        values = [np.asarray(v).copy() for v in self.model.state_dict().values()]
        return sorted(values, key=lambda v: v.ndim)

    class Seen(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            values = {k: v if ours else torch.tensor(v) for k, v in WEIGHTS.items()}
            self.model.load_state_dict(values)
            self.rates: list[list[float]] = []
            self.validated: list[list[Any]] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.rates.append([group["lr"] for group in optimizer.param_groups])

        def on_validation_epoch_start(self) -> None:
            if not self.trainer.sanity_checking:
                self.validated.append(weights(self))

        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> Any:
            groups = [{"params": [p]} for p in self.model.parameters()]
            optimizer = library.SGD(groups, lr=0.5, momentum=0.9)
            return [optimizer], [library.lr_scheduler.ExponentialLR(optimizer, 0.9)]

    Seen.weights = weights
    return Seen()


def loader(engine: Any) -> Any:
    if engine is Ours:
        return [(X[i : i + 2], Y[i : i + 2]) for i in range(0, 2 * BATCHES, 2)]
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(data, batch_size=2)


def fitted(engine: Any, path: Path, callback: Any, **options: Any) -> Any:
    switches = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    module = seen(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = engine.trainer(
            **dict.fromkeys(switches, False), default_root_dir=path, callbacks=callback, **options
        )
        run.fit(module, loader(engine), loader(engine))
    return module


def both(path: Path, name: str, arguments: dict[str, Any], **options: Any) -> list[Any]:
    found = []
    for engine, library in ((Lightning, pl.callbacks), (Ours, callbacks)):
        found.append(fitted(engine, path, getattr(library, name)(**arguments), **options))
    return found


def same(ours: list[Any], theirs: list[Any]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


AVERAGES: list[tuple[str, dict[str, Any]]] = [
    ("WeightAveraging", {}),
    ("EMAWeightAveraging", dict(decay=0.8)),
    ("EMAWeightAveraging", dict(decay=0.8, update_every_n_steps=3)),
    ("EMAWeightAveraging", dict(decay=0.8, update_starting_at_epoch=0, update_every_n_steps=4)),
    ("EMAWeightAveraging", dict(decay=0.5, update_starting_at_step=3)),
]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("name", "arguments"), AVERAGES)
def test_averages_are_lightnings(tmp_path: Path, name, arguments, accumulate) -> None:
    options = dict(max_epochs=3, accumulate_grad_batches=accumulate)
    theirs, ours = both(tmp_path, name, arguments, **options)
    begun = 1 if accumulate == 2 and "update_starting_at_step" in arguments else 0
    assert len(ours.validated) == 3
    for a, b in zip(ours.validated[begun:], theirs.validated[begun:], strict=True):
        same(a, b)
    same(ours.weights(), theirs.weights())


def test_a_subclass_says_when_to_average(tmp_path: Path) -> None:
    def every_other_epoch(library: Any) -> Any:
        class Own(library.WeightAveraging):
            def should_update(self, step_idx=None, epoch_idx=None):
                return epoch_idx is not None and epoch_idx % 2 == 0

        return Own()

    theirs = fitted(Lightning, tmp_path, every_other_epoch(pl.callbacks), max_epochs=5)
    ours = fitted(Ours, tmp_path, every_other_epoch(callbacks), max_epochs=5)
    same(ours.weights(), theirs.weights())
    for a, b in zip(ours.validated[1:], theirs.validated[1:], strict=True):
        same(a, b)


def test_before_the_first_update_the_trained_weights_count(tmp_path: Path) -> None:
    late = callbacks.EMAWeightAveraging(update_starting_at_step=1000)
    averaged, plain = (fitted(Ours, tmp_path, c, max_epochs=2) for c in (late, []))
    for a, b in zip(averaged.validated, plain.validated, strict=True):
        assert all(map(np.array_equal, a, b))
    assert all(map(np.array_equal, averaged.weights(), plain.weights()))
    assert late.validated_weights() == {}


# ------------------------------------------------------------------------------- SWA

STOCHASTIC: list[dict[str, Any]] = [
    dict(swa_lrs=0.05, swa_epoch_start=3),
    dict(swa_lrs=0.05),
    dict(swa_lrs=[0.05, 0.2], swa_epoch_start=0.4, annealing_epochs=2, annealing_strategy="linear"),
    dict(swa_lrs=0.05, swa_epoch_start=1, annealing_epochs=0),
    dict(swa_lrs=0.3, swa_epoch_start=0.5, annealing_epochs=3),
]


@pytest.mark.parametrize("arguments", STOCHASTIC)
def test_stochastic_averaging_ends_with_lightnings_weights(tmp_path: Path, arguments) -> None:
    theirs, ours = both(tmp_path, "StochasticWeightAveraging", arguments, max_epochs=6)
    same(ours.weights(), theirs.weights())
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-12)


def test_stochastic_averages_are_what_is_validated_and_resumed(tmp_path: Path) -> None:
    def run(folder: str, resume: Any = None, *more: vitc.Callback) -> tuple[Any, Any]:
        clock.seed = 3
        clock.begin(0)
        module = classifier(lr=1e-2)
        swa = callbacks.StochasticWeightAveraging(5e-3, 2, annealing_epochs=2)
        keep = callbacks.ModelCheckpoint(
            monitor="val_loss", save_top_k=-1, every_n_train_steps=2, save_last=True
        )
        fit = trainer(
            tmp_path / folder, max_epochs=4, callbacks=[swa, keep, *more], val_check_interval=2
        )
        fit.fit(module, Batches(4), Batches(2), ckpt_path=resume)
        return module, keep

    def stop(trainer, *_) -> None:
        trainer.should_stop |= trainer.global_step == 10

    whole, keep = run("whole")
    assert len(keep.best_k_models) == 8
    for path, score in keep.best_k_models.items():
        fresh = type(whole).load_from_checkpoint(path)
        found = trainer(tmp_path / "again").validate(fresh, Batches(2), verbose=False)
        assert found[0]["val_loss"] == score
        averaged = bool(checkpoint.read(path).tensors("trained-model"))
        assert averaged is (checkpoint.read(path).state["progress"]["step"] > 4)
    _, cut = run("cut", None, callbacks.LambdaCallback(on_train_batch_end=stop))
    again, _ = run("again", cut.last_model_path)
    for name, value in whole.state_dict().items():
        assert np.array_equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weight_averages_are_resumed(tmp_path: Path, accumulate: int) -> None:
    def run(folder: str, resume: Any = None, *more: vitc.Callback) -> tuple[Any, Any]:
        clock.seed = 3
        clock.begin(0)
        module = classifier(lr=1e-2)
        average = callbacks.WeightAveraging()
        keep = callbacks.ModelCheckpoint(every_n_train_steps=1)
        options = dict(max_epochs=2, accumulate_grad_batches=accumulate)
        fit = trainer(tmp_path / folder, callbacks=[average, keep, *more], **options)
        fit.fit(module, Batches(4), Batches(1), ckpt_path=resume)
        assert average.n_averaged == fit.global_step
        return module, keep

    def stop(trainer, *_) -> None:
        trainer.should_stop |= trainer.global_step == 3

    whole, _ = run("whole")
    _, cut = run("cut", None, callbacks.LambdaCallback(on_train_batch_end=stop))
    again, _ = run("again", cut.best_model_path)
    for name, value in whole.state_dict().items():
        assert np.array_equal(again.state_dict()[name], value), name


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("WeightAveraging", dict(device="cuda"), ValueError, "device is 'cuda', expected one of None"),
    ("EMAWeightAveraging", dict(decay=1.5), ValueError, "decay is 1.5"),
    (
        "EMAWeightAveraging",
        dict(update_every_n_steps=0.5),
        TypeError,
        "update_every_n_steps is 0.5",
    ),
    ("StochasticWeightAveraging", dict(swa_lrs=0.0), ValueError, "swa_lrs is 0.0, expected rates"),
    ("StochasticWeightAveraging", dict(swa_lrs="high"), TypeError, "swa_lrs is 'high'"),
    ("StochasticWeightAveraging", dict(swa_lrs=[0.1, -1]), ValueError, "swa_lrs is -1"),
    ("StochasticWeightAveraging", dict(swa_lrs=0.1, swa_epoch_start=0), ValueError, "start is 0"),
    (
        "StochasticWeightAveraging",
        dict(swa_lrs=0.1, swa_epoch_start=1.2),
        ValueError,
        "start is 1.2",
    ),
    (
        "StochasticWeightAveraging",
        dict(swa_lrs=0.1, annealing_strategy="exp"),
        ValueError,
        "annealing_strategy is 'exp', expected one of cos, linear",
    ),
]


@pytest.mark.parametrize(("name", "arguments", "kind", "words"), REFUSED)
def test_bad_arguments_are_named(name, arguments, kind, words) -> None:
    with pytest.raises(kind, match=words):
        getattr(callbacks, name)(**arguments)


def test_what_cannot_be_averaged_is_said_before_the_first_step(tmp_path: Path) -> None:
    swa = callbacks.StochasticWeightAveraging
    for given, options, words in (
        ([swa([0.1] * 3)], dict(max_epochs=2), "swa_lrs has 3 rates, and the optimizer 2 groups"),
        ([swa(0.1)], dict(max_epochs=-1, max_steps=3), "a share of max_epochs, which has no end"),
        ([swa(0.1), callbacks.EMA(0.5)], dict(max_epochs=2), "two callbacks average the weights"),
    ):
        with pytest.raises(ValueError, match=words):
            fitted(Ours, tmp_path, given, **options)
