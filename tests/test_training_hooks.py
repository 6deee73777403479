"""The order of hooks against pytorch-lightning itself: one recording module and callback, written
for both, run under both; the lists are equal."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import oracle  # noqa: F401  torchvision, which torchmetrics imports, imports after this
import vitc
import vitc.functional as F
from vitc.training.callbacks import EarlyStopping
from vitc.training.hooks import Callback, ModuleHooks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl


def hooks_of(owner: type) -> list[str]:
    others = ("setup", "teardown", "prepare_data", "configure_model")
    return [n for n in vars(owner) if n.startswith("on_") or n in others]


STEPS = ["training_step", "validation_step", "test_step", "predict_step"]
OF_MODULE = [*hooks_of(ModuleHooks), *STEPS, "configure_optimizers"]
OF_DATA = ["prepare_data", "setup", "teardown"]


def recording(base: type, names: list[str], label: str) -> type:
    """A subclass that writes down which of its methods are called, in `calls` of the class."""

    def recorder(name: str) -> Any:
        def method(self: Any, *args: Any, **options: Any) -> Any:
            self.calls.append(f"{label}.{name}")
            return getattr(base, name)(self, *args, **options)

        return method

    return type(f"Recording{label}", (base,), {name: recorder(name) for name in names})


class Lightning:
    """The original."""

    Callback, EarlyStopping = pl.Callback, pl.callbacks.EarlyStopping

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("score", 1.0, batch_size=2)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("score", 1.0, batch_size=2)

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.model(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters())

    Data = pl.LightningDataModule

    @staticmethod
    def loader(batches: int) -> Any:
        data = torch.utils.data.TensorDataset(
            torch.randn(2 * batches, 4), torch.zeros(2 * batches, dtype=torch.long)
        )
        return torch.utils.data.DataLoader(data, batch_size=2)

    @staticmethod
    def trainer(**options: Any) -> Any:
        return pl.Trainer(accelerator="cpu", **options)


class Ours:
    """The same on vitc."""

    Callback, EarlyStopping = Callback, EarlyStopping

    class Module(vitc.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = vitc.nn.Linear(4, 2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        validation_step = Lightning.Module.validation_step
        test_step = Lightning.Module.test_step
        predict_step = Lightning.Module.predict_step

        def configure_optimizers(self) -> Any:
            return vitc.optim.AdamW(self.parameters())

    Data = vitc.LightningDataModule

    @staticmethod
    def loader(batches: int) -> Any:
        return [(np.zeros((2, 4), np.float32), np.zeros(2, int))] * batches

    trainer = staticmethod(vitc.Trainer)


def recorded(engine: Any, path: Path, use: Any, **options: Any) -> list[str]:
    """The calls that `use(parts)` makes: parts has trainer, module, loader, and data."""
    calls: list[str] = []
    module = recording(engine.Module, OF_MODULE, "module")
    callback = recording(engine.Callback, hooks_of(Callback), "callback")
    data = recording(engine.Data, OF_DATA, "data")
    for owner in (module, callback, data):
        owner.calls = calls
    switches = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    quiet: dict[str, Any] = dict.fromkeys(switches, False)
    callbacks = [callback(), *options.pop("more", lambda engine: [])(engine)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = engine.trainer(
            **{**quiet, "callbacks": callbacks, "default_root_dir": path, **options}
        )
        parts = SimpleNamespace(
            trainer=trainer, module=module(), loader=engine.loader, data=data(), engine=engine
        )
        use(parts)
    return calls


def fit(parts: Any) -> None:
    parts.trainer.fit(parts.module, parts.loader(3), parts.loader(2))


def fit_alone(parts: Any) -> None:
    parts.trainer.fit(parts.module, parts.loader(3))


def with_data(parts: Any) -> None:
    parts.data.train_dataloader = lambda: parts.loader(2)
    parts.data.val_dataloader = lambda: parts.loader(1)
    parts.trainer.fit(parts.module, datamodule=parts.data)


def leave_epoch(parts: Any) -> None:
    parts.module.on_train_batch_start = lambda batch, batch_idx: -1 if batch_idx == 1 else None
    fit(parts)


def skip_batch(parts: Any) -> None:
    step = parts.module.training_step
    parts.module.training_step = lambda batch, batch_idx: (
        step(batch, batch_idx) if batch_idx else None
    )
    fit(parts)


def stopping(engine: Any) -> list[Any]:
    return [engine.EarlyStopping("score", patience=1)]


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "one epoch": (fit, dict(max_epochs=1)),
    "two epochs without validation": (fit_alone, dict(max_epochs=2)),
    "accumulation": (fit, dict(max_epochs=2, accumulate_grad_batches=2)),
    "steps": (fit, dict(max_steps=4)),
    "minutes": (fit, dict(max_epochs=1, max_time="00:01:00:00")),
    "fast_dev_run": (fit, dict(fast_dev_run=True)),
    "limits": (fit, dict(max_epochs=1, limit_train_batches=0.67, limit_val_batches=1)),
    "no validation batches": (fit, dict(max_epochs=1, limit_val_batches=0)),
    "overfit": (fit, dict(max_epochs=2, overfit_batches=1)),
    "early stop": (fit, dict(max_epochs=9, more=stopping)),
    "early stop within an epoch": (fit, dict(max_epochs=9, val_check_interval=1, more=stopping)),
    "early stop not before": (fit, dict(max_epochs=9, min_epochs=4, more=stopping)),
    "validation within the epoch": (fit, dict(max_epochs=2, val_check_interval=0.5)),
    "validation in a window": (
        fit,
        dict(max_epochs=1, val_check_interval=1, accumulate_grad_batches=2),
    ),
    "validation over epochs": (
        fit,
        dict(max_epochs=3, val_check_interval=2, check_val_every_n_epoch=None),
    ),
    "validation every other epoch": (fit, dict(max_epochs=3, check_val_every_n_epoch=2)),
    "no sanity check": (fit, dict(max_epochs=1, num_sanity_val_steps=0)),
    "sanity check of everything": (fit, dict(max_epochs=1, num_sanity_val_steps=-1)),
    "checkpoints": (fit, dict(max_epochs=2, enable_checkpointing=True)),
    "data module": (with_data, dict(max_epochs=1)),
    "an epoch left": (leave_epoch, dict(max_epochs=2)),
    "a batch left out": (skip_batch, dict(max_epochs=1)),
    "validate": (lambda p: p.trainer.validate(p.module, p.loader(2), verbose=False), {}),
    "test": (lambda p: p.trainer.test(p.module, p.loader(2), verbose=False), {}),
    "predict": (lambda p: p.trainer.predict(p.module, p.loader(2)), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_hooks_come_in_lightnings_order(tmp_path: Path, case: str) -> None:
    use, options = CASES[case]
    theirs = recorded(Lightning, tmp_path / "theirs", use, **options)
    ours = recorded(Ours, tmp_path / "ours", use, **options)
    assert len(theirs) > 10
    assert ours == theirs


def test_every_hook_is_one_of_lightnings() -> None:
    """But for those that carry a callback's arrays, which Lightning pickles."""
    assert all(hasattr(pl.Callback, name) for name in hooks_of(Callback))
    assert all(hasattr(pl.LightningModule, name) for name in OF_MODULE)
