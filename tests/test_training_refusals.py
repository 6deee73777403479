"""What a trainer does not take or do is named, and nothing is changed by it."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import Vitc, loader, small, trainer

import vitc
import vitc.functional as F

Small = small(Vitc)
SGD, StepLR = vitc.optim.SGD, vitc.optim.lr_scheduler.StepLR


def module(**methods: Any) -> Any:
    return type("Own", (Small,), methods)()


def configured(returned: Any) -> Any:
    return module(configure_optimizers=lambda self: returned(SGD(self.parameters(), lr=0.1)))


def logging(*args: Any, **options: Any) -> Any:
    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log(*args, **options)

    return module(training_step=training_step)


def foreign(optimizer: Any) -> Any:
    return SGD(Small().parameters(), lr=0.1)


BY_STEP = {"scheduler": vitc.optim.cosine(), "interval": "step"}
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (Small, {}, "expected a vitc.LightningModule, got type"),
    (None, dict(train_dataloaders="photos"), "the train loader is a str"),
    (None, dict(val_dataloaders=[loader(Vitc), 7]), "the loaders hold 7"),
    (None, dict(train_dataloaders=[]), "the train loader gave no batch"),
    (None, dict(train_dataloaders=None, datamodule=loader(Vitc)), "datamodule is"),
    (None, dict(datamodule=vitc.LightningDataModule()), "loaders and a datamodule"),
    (None, dict(ckpt_path=5), "ckpt_path is 5"),
    (
        module(training_step=lambda self, batch: {"los": 1}),
        {},
        "without \"loss\"; did you mean 'los'",
    ),
    (configured(foreign), {}, "no parameter of the module"),
    (configured(lambda o: {"optimizer": o, "lr_schedular": None}), {}, "'lr_scheduler'"),
    *[
        (configured(lambda o, x=x: ([o], [{**BY_STEP, **x}])), {}, "asked before every step")
        for x in ({"interval": "epoch"}, {"frequency": 2}, {"reduce_on_plateau": True})
    ],
    (configured(lambda o: ([o], [StepLR(foreign(o), 1)])), {}, "of another optimizer"),
    (logging("a", vitc.metrics.Accuracy), {}, "got type"),
    (logging("a", 1.0, batch_size="4"), {}, "batch_size is '4'"),
    (logging("a", 1.0, batch_size=-4), {}, "batch_size is -4"),
    (logging("a", 1.0, on_step="no"), {}, "on_step is 'no'"),
    (module(training_step=lambda self, batch: self.log_dict([1])), {}, r"log_dict\(\) got \[1\]"),
    (module(__init__=lambda self: None), {}, r"not called super\(\).__init__"),
]


@pytest.mark.parametrize(("given", "options", "words"), REFUSED)
def test_fit_refuses(given: Any, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    run = trainer(Vitc, tmp_path)
    options = {"train_dataloaders": loader(Vitc), **options}
    with pytest.raises((TypeError, ValueError, AttributeError), match=words):
        run.fit(Small() if given is None else given, **options)
    assert not run.training and not run.global_step
    run.fit(Small(), loader(Vitc))  # nothing of it is left
    assert run.global_step == 10


def test_a_function_of_the_step_may_say_that_it_is_one(tmp_path: Path) -> None:
    rates = []
    for given in (BY_STEP, {"scheduler": BY_STEP["scheduler"]}, BY_STEP["scheduler"]):
        run = trainer(Vitc, tmp_path)
        run.fit(configured(lambda o, given=given: ([o], [given])), loader(Vitc))
        (schedule,) = run.lr_scheduler_configs
        rates.append((run.optimizer.param_groups[0]["lr"], schedule.interval))
    assert rates[0] == rates[1] == rates[2] and rates[0][1] == "step"


def test_limit_train_batches_0_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit_train_batches is 0"):
        trainer(Vitc, tmp_path, limit_train_batches=0).fit(Small(), loader(Vitc))


STAGES = ("fit", "validate", "test", "predict")


@pytest.mark.parametrize("hook", ["setup", "on_train_start", "on_validation_batch_end", "teardown"])
def test_a_stage_within_a_stage(hook: str, tmp_path: Path) -> None:
    told = []

    def asking(self: Any, run: Any, module: Any, *args: Any) -> None:
        for stage in STAGES:
            words = rf"{stage}\(\) was called in {hook}\(\), while fit"
            with pytest.raises(RuntimeError, match=words):
                getattr(run, stage)(module, loader(Vitc))
            told.append(stage)

    callback = type("Asking", (vitc.Callback,), {hook: asking})()
    own, alone = Small(), Small()
    run = trainer(Vitc, tmp_path / "a", callbacks=callback)
    run.fit(own, loader(Vitc), loader(Vitc, 4))
    trainer(Vitc, tmp_path / "b").fit(alone, loader(Vitc), loader(Vitc, 4))
    assert told and run.global_step == 10
    for name, value in alone.state_dict().items():
        np.testing.assert_array_equal(own.state_dict()[name], value)


def test_a_fitted_module_is_copied_without_its_trainer(tmp_path: Path) -> None:
    fitted = Small()
    trainer(Vitc, tmp_path).fit(fitted, loader(Vitc))
    twin = copy.deepcopy(fitted)
    assert twin.trainer is None
    fitted.model.load_state_dict({n: x * 0 for n, x in fitted.model.state_dict().items()})
    assert any(np.any(x) for x in twin.state_dict().values())


def test_an_empty_list_of_val_loaders_is_none(tmp_path: Path) -> None:
    run = trainer(Vitc, tmp_path)
    run.fit(Small(), loader(Vitc), [])
    assert run.num_val_batches == [] and list(run.callback_metrics) == ["train_loss"]


def test_two_schedules_of_one_optimizer_change_each_others_rates() -> None:
    """The rate is torch's: each goes on from what the other has left."""
    optimizer = SGD(Small().parameters(), lr=1.0)
    steps = vitc.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    epochs = StepLR(optimizer, 1, 0.1)
    steps.step(), epochs.step(), steps.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 0.1 * 0.5)
    optimizer.param_groups[0]["lr"] = 8.0
    epochs.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.8)


def test_a_plateau_by_steps_needs_no_validation(tmp_path: Path) -> None:
    def configure_optimizers(self: Any) -> Any:
        optimizer = SGD(self.parameters(), lr=1.0)
        plateau = vitc.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        schedule = {"scheduler": plateau, "interval": "step", "monitor": "train_loss"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self: Any, batch: Any) -> Any:
        self.log("train_loss", float(self.global_step))
        return F.cross_entropy(self(batch[0]), batch[1])

    own = module(configure_optimizers=configure_optimizers, training_step=training_step)
    run = trainer(Vitc, tmp_path, max_epochs=1)
    run.fit(own, loader(Vitc))
    assert run.optimizers[0].param_groups[0]["lr"] == 0.5**4
