"""What a run is set to: devices, limits, intervals, precision, loops of one's own; and what happens
to infinite and NaN numbers."""

import math
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training_hooks import Lightning, Ours

import vitc
import vitc.functional as F
from training_kit import ARGUMENTS, SIZE, Batches, classifier, digest, trainer
from vitc import _vitc
from vitc.data import DataLoader
from vitc.optim import AdamW, dispatch_clip_grad, set_lr
from vitc.tape import clock
from vitc.training.callbacks import Callback, LambdaCallback
from vitc.training.tools.classifier import Classifier
from vitc.training.tools.profiler import SimpleProfiler


@pytest.fixture(autouse=True)
def _fresh():
    clock.restart(0)
    yield
    clock.restart(0)


# ------------------------------------------------------------------------------- devices


def test_four_devices_are_four_accumulated_batches_to_the_bit(tmp_path: Path) -> None:
    """With dropout and drop path; the hooks of the four have the batch_idx that each would see."""
    one, four, indices = classifier(), classifier(), []
    trainer(tmp_path, max_epochs=2, accumulate_grad_batches=4).fit(one, Batches(10))
    with pytest.warns(UserWarning, match="4 devices: this process runs their 4 shards"):
        run = trainer(
            tmp_path,
            max_epochs=2,
            devices=4,
            strategy="ddp",
            callbacks=LambdaCallback(
                on_train_batch_end=lambda t, m, o, b, batch_idx: indices.append(batch_idx)
            ),
        )
    run.fit(four, Batches(10))
    assert digest(one) == digest(four)
    assert indices == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2] * 2
    assert (run.world_size, run.num_training_batches, run.global_step) == (4, 3, 6)
    assert run.estimated_stepping_batches == 6


def test_limits_and_intervals_are_a_devices(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Note(Callback):
        def on_validation_start(self, trainer, module) -> None:
            seen.append((trainer.current_epoch, trainer.state.batch))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = trainer(
            tmp_path,
            max_epochs=2,
            devices=2,
            limit_train_batches=3,
            val_check_interval=2,
            num_sanity_val_steps=0,
            callbacks=Note(),
        )
    run.fit(classifier(), Batches(9), Batches(1))
    assert seen == [(0, 4), (1, 4)]  # batches of the loader, of which a device has the half
    assert run.global_step == 6


class Unsized:
    """A loader that does not say how many batches it has: none."""

    def __iter__(self):
        return iter([])


def test_limits_that_leave_nothing_are_named(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=0.1)
    with pytest.raises(ValueError, match=r"0\.1 for the train batches leaves none of 5"):
        run.fit(classifier(), Batches(5))
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=0.5)
    with pytest.raises(ValueError, match=r"share of a loader that has no len\(\)"):
        run.fit(classifier(), Batches(5), Unsized())
    with pytest.raises(TypeError, match="list_iterator, which can be read only once"):
        trainer(tmp_path, max_epochs=2).fit(classifier(), iter([]))
    for stage in ("validate", "test", "predict"):
        with pytest.raises(ValueError, match="loader gave no batch: it is empty, or shorter"):
            getattr(trainer(tmp_path), stage)(Ours.Module(), [])
    with pytest.raises(ValueError, match="the val loader gave no batch"):
        trainer(tmp_path).validate(classifier(), Unsized())
    with pytest.raises(TypeError, match="the train loader is a int, expected batches"):
        trainer(tmp_path, max_epochs=1).fit(classifier(), 3)
    with pytest.raises(ValueError, match="fit needs a loader: give it one, or define train_data"):
        trainer(tmp_path, max_epochs=1).fit(classifier())


def test_a_loader_may_stand_in_a_list(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1)
    run.fit(classifier(), [Batches(2)], [Batches(1)])
    assert run.global_step == 2 and "val_loss" in run.callback_metrics
    with pytest.raises(ValueError, match="2 train loaders: training reads one"):
        run.fit(classifier(), [Batches(1), Batches(1)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("optimizer_step", r"Odd\.optimizer_step\(\) would not be called: a loop of your own"),
        ("training_epoch_end", "Lightning 2 calls it on_train_epoch_end"),
    ],
)
def test_methods_that_would_not_be_called_are_refused(tmp_path: Path, name: str, words) -> None:
    odd = type("Odd", (Ours.Module,), {name: lambda self, *args: None})()
    with pytest.raises(TypeError, match=words):
        trainer(tmp_path, max_epochs=1).fit(odd, Ours.loader(1))
    manual = type("Manual", (Ours.Module,), {"automatic_optimization": False})()
    with pytest.raises(TypeError, match=r"automatic_optimization is False: .* vitc\.Run"):
        trainer(tmp_path, max_epochs=1).fit(manual, Ours.loader(1))


def test_overfitting_sees_the_same_augmented_batch_in_every_epoch(tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Noise:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Any:
            from vitc.data import random

            noise = random.generator().standard_normal((3, SIZE, SIZE)).astype(np.float32)
            return noise, index % 3

    note = LambdaCallback(on_train_batch_start=lambda t, m, b, i: seen.append(b[0].tobytes()))
    run = trainer(tmp_path, max_epochs=3, overfit_batches=1, callbacks=note)
    run.fit(classifier(), DataLoader(Noise(), 4, shuffle=True))
    assert len(seen) == 3 and len(set(seen)) == 1


def test_eight_images_are_learnt_by_heart(tmp_path: Path) -> None:
    """Random labels: a cross entropy below 1e-3 within 200 steps."""

    class Net(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = vitc.create_model(
                "test_vit", num_classes=4, img_size=SIZE, patch_size=8, embed_dim=64, depth=4
            )

        def training_step(self, batch, batch_idx):
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return AdamW(self.parameters(), lr=3e-3)

    generator = np.random.default_rng(0)
    x = generator.standard_normal((8, 3, SIZE, SIZE)).astype(np.float32)
    batch = (x, generator.integers(0, 4, 8))
    run = trainer(tmp_path, max_steps=200, enable_checkpointing=False, logger=False)
    run.fit(Net(), [batch])
    assert run.callback_metrics["loss"] < 1e-3


def test_durations_are_read() -> None:
    for given in ("00:00:01:30", timedelta(seconds=90), {"minutes": 1, "seconds": 30}):
        run = vitc.Trainer(max_time=given)
        assert run.callbacks[0].duration == 90 and run.max_epochs == -1


def test_none_is_the_default_of_lightnings_arguments(tmp_path: Path) -> None:
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "num_sanity_val_steps")
    names += ("log_every_n_steps", "gradient_clip_algorithm", "limit_val_batches")
    given = vitc.Trainer(default_root_dir=tmp_path, **dict.fromkeys(names))
    plain = vitc.Trainer(default_root_dir=tmp_path)
    for name in ("num_sanity_val_steps", "log_every_n_steps", "gradient_clip_algorithm"):
        assert getattr(given, name) == getattr(plain, name) is not None
    for name in ("loggers", "callbacks"):
        assert list(map(type, getattr(given, name))) == list(map(type, getattr(plain, name)))


def test_arguments_without_meaning_are_noticed_once() -> None:
    with pytest.warns(UserWarning, match="benchmark has no effect: kernels are chosen") as told:
        vitc.Trainer(benchmark=True, deterministic=True)
    assert len(told) == 1
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="accelerator='gpu': vitc computes on the CPU") as told:
        vitc.Trainer(accelerator="gpu", devices=1)
    assert len(told) == 1 and told[0].filename == __file__


def test_float64_is_for_models_of_float64(tmp_path: Path) -> None:
    x = np.zeros((2, 3, SIZE, SIZE))
    run = trainer(tmp_path, max_epochs=1, precision="64-true")
    run.fit(classifier(dtype="float64"), [(x, np.array([0, 1]))])
    assert run.global_step == 1
    with pytest.raises(ValueError, match="the model computes in float32, the run in float64"):
        trainer(tmp_path, max_epochs=1, precision=64).fit(classifier(), Batches(1))


def test_the_profiler_tells_where_the_time_went(tmp_path: Path, capsys) -> None:
    """A validation that sleeps 50 ms comes first; the objects are left as they were."""

    class Slow(Classifier):
        def validation_step(self, batch, batch_idx) -> None:
            time.sleep(0.05)

    module = Slow("test_vit", 3, **ARGUMENTS)
    run = trainer(tmp_path, max_epochs=2, profiler="simple", num_sanity_val_steps=0)
    run.fit(module, Batches(3), Batches(2))
    lines = capsys.readouterr().out.splitlines()
    table = {line[:22].strip(): line[22:].split() for line in lines if line[22:].split()[-1:] != []}
    assert list(table)[1] == "validation_step" and int(table["validation_step"][1]) == 4
    assert 0.2 <= float(table["validation_step"][0]) < 1
    for action in ("training_step", "backward", "optimizer_step", "waiting for a batch", "hooks"):
        assert int(table[action][1]) >= 6, action
    assert any(line.startswith("matrix products: float32 by ") for line in lines)
    assert "training_step" not in vars(module) and "call" not in vars(run)


def test_the_profiler_passes_on_every_batch_also_none() -> None:
    class Feed:
        def batches(self, *args: int) -> Iterator[int | None]:
            yield from (1, None, *args)

    feed, profiler = Feed(), SimpleProfiler()
    profiler.watch_batches(feed, "waiting")
    assert list(feed.batches(2, 3)) == [1, None, 2, 3]
    assert profiler.spent["waiting"][1] == 5  # the end is waited for, too


# ------------------------------------------------------------------------------- an own loop


def test_a_loop_of_ones_own_is_the_trainer_to_the_bit(tmp_path: Path) -> None:
    """Two devices: the batches that the loader gives are two joined."""

    class Net(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = vitc.create_model("test_vit", num_classes=3, **ARGUMENTS)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return AdamW(self.parameters(), lr=1e-3)

    module, own = Net(), Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = dict(max_epochs=1, devices=2, gradient_clip_val=0.5)
        trainer(tmp_path, **options).fit(module, Batches(5))
        run = vitc.Run(devices=2)
    model, optimizer, loader = run.setup(own.model, own.configure_optimizers(), Batches(5))
    assert len(loader) == 3
    norms = []
    for x, y in loader:
        run.backward(F.cross_entropy(model(x), y))
        norms.append(model.params.gradient_norm() / len(x))
        run.clip_gradients(model, max_norm=0.5)
        optimizer.step()
        optimizer.zero_grad()
    assert max(norms) > 0.5
    for name, value in module.state_dict().items():
        assert np.array_equal(own.state_dict()[name], value), name


def test_half_precision_lasts_as_long_as_the_run(tmp_path: Path) -> None:
    seen: list[str] = []
    note = LambdaCallback(on_train_batch_end=lambda t, m, *_: seen.append(m.model.precision))
    module = classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the processor has none
        run = trainer(tmp_path, max_epochs=1, precision="bf16-mixed", callbacks=note)
        run.fit(module, Batches(2))
    expected = "bf16" if _vitc.config()["bf16"] else "float32"
    assert seen == [expected] * 2 and module.model.precision == "float32"


# ------------------------------------------------------------------------------- infinite and NaN


def poisoned(batches: list[int], count: int = 6, value: float = math.nan) -> list[Any]:
    """Batches of which some hold one bad pixel, in image 2."""
    made = list(Batches(count))
    for i in batches:
        made[i][0][2, 0, 0, 0] = value
    return made


def test_a_bad_image_is_left_out_and_named(tmp_path: Path) -> None:
    module = classifier(drop_path_rate=0.0, drop_rate=0.0)
    run = trainer(tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="loss is nan") as told:
        run.fit(module, poisoned([1, 4]))
    sentences = [str(w.message) for w in told if "nan" in str(w.message)]
    assert len(sentences) == 2 and run.global_step == 4
    assert sentences[0] == (
        "epoch 0, step 1: the loss is nan; samples 2 of the batch are not finite; the images 2 of "
        "the batch are not finite; this is left out"
    )
    assert all(np.isfinite(v).all() for v in module.state_dict().values())


def test_the_fourth_in_a_row_raises(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    with pytest.warns(UserWarning), pytest.raises(vitc.VitcError, match="step 1: the loss is nan"):
        run.fit(classifier(), poisoned([1, 2, 3, 4]))
    assert run.state.batch == 4


def test_parts_of_a_bad_batch_count_once(tmp_path: Path) -> None:
    """All four parts of the first batch are bad: the window still has its second batch, and three
    bad batches in a row are no reason to give up."""
    bad = poisoned([0], 2)
    bad[0][0][:] = math.nan
    run = trainer(tmp_path, max_epochs=1, micro_batch=1, accumulate_grad_batches=2)
    with pytest.warns(UserWarning, match="loss is nan"):
        run.fit(classifier(), bad)
    assert run.global_step == 1
    bad = poisoned([0, 1, 2], 4)
    for x, _ in bad[:3]:
        x[:] = math.nan
    run = trainer(tmp_path, max_epochs=1, micro_batch=1)
    with pytest.warns(UserWarning, match="loss is nan"):
        run.fit(classifier(), bad)
    assert run.global_step == 1


@pytest.mark.parametrize(
    "options", [dict(on_nonfinite="raise"), dict(on_nonfinite="raise", devices=1)]
)
def test_it_raises_at_once_if_asked(tmp_path: Path, options) -> None:
    run = trainer(tmp_path, max_epochs=1, **options)
    with pytest.raises(vitc.VitcError, match="images 2 of the batch are not finite"):
        run.fit(classifier(), poisoned([0]))


def test_a_bad_weight_is_named(tmp_path: Path) -> None:
    module = classifier()
    name = "blocks.1.attn.qkv.weight"
    state = {k: np.array(v) for k, v in module.model.state_dict().items()}
    state[name][0, 0] = np.inf
    module.model.load_state_dict(state, allow_nonfinite=True)
    run = trainer(tmp_path, max_epochs=1, on_nonfinite="raise", enable_checkpointing=False)
    with pytest.raises(vitc.VitcError, match=f"the parameter model.{name} is not finite"):
        run.fit(module, Batches(1))


def test_the_layer_that_overflows_is_named(tmp_path: Path) -> None:
    module = classifier()
    state = {k: np.array(v) for k, v in module.model.state_dict().items()}
    state["blocks.1.mlp.fc1.bias"][:] = 10
    state["blocks.1.mlp.fc2.weight"][:] = 3e38
    module.model.load_state_dict(state)
    run = trainer(tmp_path, max_epochs=1, on_nonfinite="raise", enable_checkpointing=False)
    with pytest.raises(vitc.VitcError, match=r"model\.blocks\.1 is the first layer whose output"):
        run.fit(module, Batches(1))


def test_a_gradient_that_overflows_is_left_out_and_its_parameter_named(tmp_path: Path) -> None:
    """A finite loss times 1e38: the gradients overflow on the way back, the step is not made."""

    class Huge(Classifier):
        def training_step(self, batch, batch_idx):
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            return loss * 1e38 if batch_idx == 1 else loss

    for options, words in (
        ({}, "the gradient of model"),
        (dict(detect_anomaly=True), "the gradient of model"),
    ):
        module = Huge("test_vit", 3, **ARGUMENTS)
        run = trainer(tmp_path, max_epochs=1, **options)
        batches = [(x * 100, y) for x, y in Batches(3)]
        if options:
            with pytest.raises(vitc.VitcError, match=words):
                run.fit(module, batches)
        else:
            with pytest.warns(UserWarning, match=words):
                run.fit(module, batches)
            assert run.global_step == 2
            assert all(np.isfinite(v).all() for v in module.state_dict().values())


def test_a_window_with_a_bad_batch_is_the_mean_of_the_others(tmp_path: Path) -> None:
    plain, cut = (classifier(drop_path_rate=0.0, drop_rate=0.0) for _ in range(2))
    with pytest.warns(UserWarning, match="loss is nan"):
        trainer(tmp_path, max_epochs=1, accumulate_grad_batches=3).fit(plain, poisoned([1], 3))
    batches = poisoned([], 3)
    trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2).fit(cut, [batches[0], batches[2]])
    assert digest(plain) == digest(cut)


# ------------------------------------------------------------------------------- optimizers


def test_every_form_of_configure_optimizers_is_read(tmp_path: Path) -> None:
    def rates(form: Any, **options: Any) -> list[float]:
        found: list[float] = []

        class Net(Ours.Module):
            def configure_optimizers(self) -> Any:
                return form(AdamW(self.parameters(), lr=1.0))

        note = LambdaCallback(
            on_before_optimizer_step=lambda t, m, o: found.append(o.param_groups[0]["lr"])
        )
        quiet = dict(enable_checkpointing=False, logger=False, callbacks=note)
        trainer(tmp_path, max_epochs=2, **quiet, **options).fit(Net(), Ours.loader(2))
        return found

    half = lambda *arguments: 0.5 * (arguments[0] if len(arguments) == 3 else 1.0)  # noqa: E731
    assert (
        rates(lambda o: o) == rates(lambda o: [o]) == rates(lambda o: {"optimizer": o}) == [1.0] * 4
    )
    for form in (
        lambda o: (o, half),
        lambda o: ([o], [half]),
        lambda o: ([o], [{"scheduler": half, "interval": "step"}]),
        lambda o: {"optimizer": o, "lr_scheduler": half},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": half}},
    ):
        assert rates(form) == [0.5] * 4
    with pytest.raises(ValueError, match="one optimizer, got 2"):
        rates(lambda o: [[o, o], []])
    with pytest.raises(ValueError, match="one optimizer, got 2"):
        rates(lambda o: [o, o])  # the second once stepped as a schedule
    with pytest.raises(
        ValueError, match="lr_scheduler has no 'intervall'; did you mean 'interval'"
    ):
        rates(lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": half, "intervall": "step"}})


@pytest.mark.parametrize("algorithm", ["norm", "value", "agc"])
def test_clipping_is_that_of_vitc_optim(tmp_path: Path, algorithm: str) -> None:
    """One step against a loop of one's own; the head is left alone by "agc", as in timm."""
    limit = dict(norm=0.1, value=1e-3, agc=1e-3)[algorithm]
    module, own = (classifier(drop_path_rate=0.0, drop_rate=0.0) for _ in range(2))
    options = dict(gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    trainer(tmp_path, max_steps=1, **options).fit(module, Batches(1))
    x, y = next(iter(Batches(1)))
    optimizer, schedule = own.configure_optimizers()
    set_lr(optimizer, schedule, 0, 1)
    F.cross_entropy(own.model(x), y, label_smoothing=0.1).backward()
    body = [p for n, p in own.named_parameters() if algorithm != "agc" or ".head." not in n]
    before = [np.array(p.grad) for p in body]
    dispatch_clip_grad(body, limit, algorithm)
    assert any(np.any(p.grad != b) for p, b in zip(body, before, strict=True))
    optimizer.step()
    for name, value in module.state_dict().items():
        assert np.array_equal(own.state_dict()[name], value), name


def schedules(library: Any, optimizer: Any) -> dict[str, Any]:
    """What users return as "lr_scheduler", of torch.optim.lr_scheduler or ours of that name."""
    return {
        "per epoch": lambda: library.StepLR(optimizer, 1, gamma=0.5),
        "per step": lambda: {
            "scheduler": library.OneCycleLR(optimizer, max_lr=0.2, total_steps=9),
            "interval": "step",
        },
        "every other step": lambda: {
            "scheduler": library.LinearLR(optimizer, total_iters=3),
            "interval": "step",
            "frequency": 2,
        },
        "every other epoch": lambda: {"scheduler": library.StepLR(optimizer, 1), "frequency": 2},
        "plateau": lambda: {
            "scheduler": library.ReduceLROnPlateau(optimizer, patience=0, factor=0.1),
            "monitor": "score",
        },
    }


@pytest.mark.parametrize("case", schedules(None, None))
def test_torchs_schedules_move_when_lightning_moves_them(tmp_path: Path, case: str) -> None:
    """The learning rate of each of 8 steps in 4 epochs, against Lightning with torch's own."""
    import torch

    rates: dict[str, list[float]] = {}
    for engine, library, adam in (
        (Lightning, torch.optim.lr_scheduler, torch.optim.AdamW),
        (Ours, vitc.optim.lr_scheduler, AdamW),
    ):
        found = rates[engine.__name__] = []

        def configure(self: Any, library: Any = library, adam: Any = adam) -> Any:
            optimizer = adam(self.parameters(), lr=0.1)
            return {"optimizer": optimizer, "lr_scheduler": schedules(library, optimizer)[case]()}

        def validate(self: Any, batch: Any, batch_idx: int) -> None:
            self.log("score", [0.5, 0.4, 0.6, 0.3][self.current_epoch], batch_size=2)

        def note(self: Any, optimizer: Any, found: list[float] = found) -> None:
            found.append(optimizer.param_groups[0]["lr"])

        hooks = dict(
            configure_optimizers=configure,
            validation_step=validate,
            on_before_optimizer_step=note,
        )
        switches = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
        quiet = dict.fromkeys(switches, False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = engine.trainer(max_epochs=4, default_root_dir=tmp_path, **quiet)
            module = type("Net", (engine.Module,), hooks)()
            run.fit(module, engine.loader(2), engine.loader(1))
    assert len(rates["Lightning"]) == 8 and len(set(rates["Lightning"])) > 1
    assert rates["Ours"] == pytest.approx(rates["Lightning"], rel=1e-12)


def test_a_plateau_without_a_metric_is_named(tmp_path: Path) -> None:
    given: dict[str, str] = {}

    class Net(Ours.Module):
        def configure_optimizers(self) -> Any:
            adam = AdamW(self.parameters())
            plateau = vitc.optim.lr_scheduler.ReduceLROnPlateau(adam)
            return {"optimizer": adam, "lr_scheduler": {"scheduler": plateau, **given}}

    with pytest.raises(ValueError, match="ReduceLROnPlateau needs a metric"):
        trainer(tmp_path, max_epochs=1).fit(Net(), Ours.loader(1))
    given["monitor"] = "nothing"
    with pytest.raises(ValueError, match="the schedule monitors 'nothing', not logged"):
        trainer(tmp_path, max_epochs=1).fit(Net(), Ours.loader(1))
