"""The learning-rate finder and the batch sizes, against their definitions."""

import builtins
import inspect
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle  # noqa: F401  torchvision, which Lightning imports, imports after this
import vitc
from vitc import functional as F
from vitc.tape import clock
from vitc.training.tools import estimate as memory
from vitc.training.tools.tuner import LRFinder

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


def test_a_plot_shows_the_losses_and_the_suggestion(tmp_path: Path) -> None:
    _, finder = find(tmp_path, early_stop_threshold=None)
    figure = finder.plot(suggest=True)
    (axes,) = figure.axes
    curve, point = axes.lines
    assert np.array_equal(curve.get_xdata(), finder.results["lr"])
    assert np.array_equal(curve.get_ydata(), finder.results["loss"])
    assert point.get_xdata()[0] == finder.suggestion() and axes.get_xscale() == "log"
    figure.savefig(tmp_path / "plot.png")
    assert finder.plot(ax=axes) is figure and len(axes.lines) == 3
    assert len(LRFinder("linear").plot(suggest=True).axes[0].lines) == 1


def test_a_plot_needs_matplotlib(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r'plot\(\) needs matplotlib: pip install "vitc\[train\]"'
    ):
        LRFinder().plot()


# ------------------------------------------------------------------------------- no trace


def trace(module: Any) -> list[Any]:
    """All that a trial may change."""
    return [
        *(value.tobytes() for value in module.model.state_dict().values()),
        (clock.step, clock.row, clock.forward),
        (module.training, module.model.training, module.trainer),
        [p.grad is None for p in module.parameters()],
        module.seen.compute().tolist(),
        (random.getstate(), np.random.get_state()[1].tobytes()),
        sorted(vars(module)),
    ]


class Watched(Net):
    """Comes with a writer of checkpoints, counts in a metric, draws numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = self.hparams.lr
        self.seen = vitc.metrics.ConfusionMatrix("multiclass", num_classes=2)
        self.steps = 0
        self.fails: Any = None

    def configure_callbacks(self):
        return [vitc.callbacks.ModelCheckpoint(every_n_train_steps=1)]

    def training_step(self, batch, index):
        random.random(), np.random.rand()
        self.seen.update(self.model(batch[0]), batch[1])
        self.steps += 1
        if self.fails is not None and self.steps == 3:
            self.fails()
        return super().training_step(batch, index)


def quiet(folder: Path, **options: Any) -> vitc.Trainer:
    switches = dict(enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder)
    return vitc.Trainer(max_epochs=2, **switches, **options)


def interrupts() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def raises() -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("notebook", [False, True])
@pytest.mark.parametrize(
    ("fails", "error"), [(interrupts, KeyboardInterrupt), (raises, RuntimeError)]
)
def test_ctrl_c_and_errors_are_passed_on_when_all_is_put_back(
    tmp_path: Path, fails, error, notebook, monkeypatch
) -> None:
    if notebook:
        shell = type("Shell", (), {"kernel": None})()
        monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    module = Watched().eval()
    module.seen.update([0, 1], [1, 1])
    module.fails, before = fails, trace(module)
    with pytest.raises(error):
        vitc.Tuner(quiet(tmp_path)).lr_find(module, Batches(), Batches(), num_training=20)
    assert module.steps == 3 and trace(module) == before and module.lr == 0.5
    assert list(tmp_path.rglob("*.ckpt")) == []


def test_callbacks_of_the_module_do_not_take_part(tmp_path: Path) -> None:
    module = Watched()
    before = trace(module)
    trainer = quiet(tmp_path)
    finder = vitc.Tuner(trainer).lr_find(module, Batches(), Batches(), num_training=20)
    assert trace(module) == before and list(tmp_path.rglob("*.ckpt")) == []
    assert module.lr == module.hparams.lr == finder.suggestion() != 0.5
    trainer.fit(module, Batches())
    assert list(tmp_path.rglob("*.ckpt"))


def test_it_ends_at_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    class Diverging(Net):
        def training_step(self, batch, index):
            factor = float("nan") if self.global_step == 5 else 1.0
            return super().training_step(batch, index) * factor

    trainer = quiet(tmp_path, logger=False, on_nonfinite="raise")
    with pytest.warns(UserWarning, match="the loss is nan"):
        finder = vitc.Tuner(trainer).lr_find(Diverging(), Batches(), num_training=STEPS)
    assert len(finder.results["lr"]) == 5


# ------------------------------------------------------------------------------- batch sizes


class Sized(Watched):
    """Its loader has as many samples at a time as `batch_size` says."""

    def __init__(self, samples: int = 1000) -> None:
        super().__init__()
        self.batch_size = 7
        generator = np.random.default_rng(0)
        images = generator.standard_normal((samples, 3, 16, 16)).astype(np.float32)
        self.data = list(zip(images, np.arange(samples) % 2, strict=True))
        self.sizes: list[int] = []

    def training_step(self, batch, index):
        self.sizes.append(len(batch[0]))
        return super().training_step(batch, index)

    def train_dataloader(self):
        return vitc.data.DataLoader(self.data, self.batch_size)


def scaled(folder: Path, module: Any, free: Any, monkeypatch, trainer: Any = None, **options: Any):
    monkeypatch.setattr(memory, "_available", lambda: free)
    monkeypatch.setattr(memory, "_group_left", lambda: None)
    return vitc.Tuner(trainer or quiet(folder, logger=False)).scale_batch_size(module, **options)


def needs(module: Any, size: int) -> int:
    return memory.estimate(module, size, 0).growth


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), 32),
        (dict(init_val=3), 48),
        (dict(init_val=400), 50),  # halved till it fits
        (dict(init_val=101, max_trials=1), 50),
        (dict(mode="binsearch", margin=0.0), 50),
        (dict(mode="binsearch"), 47),
        (dict(mode="binsearch", init_val=400, margin=0.0), 50),
        (dict(max_val=20), 20),
        (dict(max_trials=3), 8),
        (dict(mode="binsearch", max_trials=6, margin=0.0), 32),
    ],
)
def test_the_largest_batch_that_fits_is_found(tmp_path, monkeypatch, options, expected) -> None:
    module = Sized()
    free, before = needs(module, 50), trace(module)
    found = scaled(tmp_path, module, free, monkeypatch, steps_per_trial=2, **options)
    assert found == module.batch_size == expected
    assert module.sizes == [expected] * 2, "the trial trains whole batches of that size"
    assert trace(module) == before


def test_a_batch_is_not_larger_than_the_data_set(tmp_path, monkeypatch) -> None:
    assert scaled(tmp_path, Sized(samples=30), 10**12, monkeypatch) == 30


def test_with_micro_batches_a_batch_may_be_larger(tmp_path, monkeypatch) -> None:
    module = Sized()
    trainer = quiet(tmp_path, logger=False, micro_batch=4)
    assert scaled(tmp_path, module, needs(module, 4), monkeypatch, trainer, max_val=64) == 64
    assert set(module.sizes) == {4}


def test_what_does_not_fit_after_all_is_halved(tmp_path, monkeypatch) -> None:
    class Greedy(Sized):
        def training_step(self, batch, index):
            if len(batch[0]) > 10:
                raise MemoryError
            return super().training_step(batch, index)

    module = Greedy()
    assert scaled(tmp_path, module, 10**12, monkeypatch, max_val=64) == 8 == module.batch_size


def test_batch_sizes_that_cannot_be_found_are_named_and_change_nothing(
    tmp_path, monkeypatch
) -> None:
    module = Sized()
    for options, error, words in (
        (
            dict(train_dataloaders=Batches()),
            ValueError,
            "a loader that is given has its batch size",
        ),
        (dict(mode="double"), ValueError, "mode is 'double', expected one of power, binsearch"),
        (dict(method="test"), ValueError, "method is 'test', expected one of fit"),
        (dict(dataloaders=Batches()), ValueError, "dataloaders are for another method"),
        (dict(batch_arg_name="bs"), ValueError, "the module has no bs, nor have its hparams"),
        (dict(steps_per_trial=0), ValueError, "steps_per_trial is 0"),
        (dict(margin=1.0), ValueError, "margin is 1.0"),
    ):
        with pytest.raises(error, match=words):
            scaled(tmp_path, module, 10**12, monkeypatch, **options)
    with pytest.raises(MemoryError, match="a batch of one sample does not fit"):
        scaled(tmp_path, module, 10, monkeypatch)
    module.fails = interrupts
    with pytest.raises(KeyboardInterrupt):
        scaled(tmp_path, module, 10**12, monkeypatch, max_val=8)
    assert module.batch_size == 7
    with pytest.warns(UserWarning, match="does nothing in a fast_dev_run"):
        assert vitc.Tuner(quiet(tmp_path, fast_dev_run=True)).scale_batch_size(module) is None


def test_a_datamodule_holds_the_batch_size(tmp_path, monkeypatch) -> None:
    class Data(vitc.LightningDataModule):
        batch_size = 2
        train_dataloader = Sized.train_dataloader

        def setup(self, stage: str) -> None:
            self.data = Sized().data

    module, data = Watched(), Data()
    found = scaled(tmp_path, module, 10**12, monkeypatch, datamodule=data, max_val=16)
    assert found == data.batch_size == 16 and data.trainer is None


def test_arguments_are_lightnings() -> None:
    from pytorch_lightning.tuner import Tuner

    for name in ("lr_find", "scale_batch_size"):
        ours, theirs = (
            [(p.name, p.default) for p in inspect.signature(getattr(t, name)).parameters.values()]
            for t in (vitc.Tuner, Tuner)
        )
        assert ours == theirs
