"""Metrics in `self.log`: computed and reset per epoch and per loader, resumed within an epoch."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc
from training_kit import ARGUMENTS, SIZE, Batches, trainer
from vitc.metrics import AUROC, Accuracy
from vitc.tape import clock
from vitc.training.tools.classifier import Classifier


class Own:
    """A metric by its methods only."""

    def __init__(self) -> None:
        self.reset()

    def update(self, value: float) -> None:
        self.seen.append(value)

    def compute(self) -> float:
        return max(self.seen)

    def reset(self) -> None:
        self.seen: list[float] = []


class Net(Classifier):
    def __init__(self) -> None:
        super().__init__("test_vit", 3, **ARGUMENTS)
        self.train_acc = Accuracy(task="multiclass", num_classes=3)
        self.train_auc = AUROC(task="multiclass", num_classes=3)
        self.val_acc = Accuracy(task="multiclass", num_classes=3)
        self.largest = Own()
        self.by_hand: list[tuple[Any, Any]] = []
        self.found: dict[str, list[float]] = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.by_hand.append((logits.argmax(dim=1), labels))
        self.train_acc(logits, labels)
        self.train_auc.update(logits, labels)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        self.log("train_auc", self.train_auc, on_step=False, on_epoch=True)
        return vitc.functional.cross_entropy(logits, labels)

    def on_train_epoch_end(self) -> None:
        self.found["train"].append(self._right())

    def validation_step(self, batch, batch_idx, dataloader_idx=0) -> None:
        images, labels = batch
        self.val_acc.update(self(images), labels)
        self.largest.update(float(labels.max() + batch_idx + 10 * dataloader_idx))
        self.log("val_acc", self.val_acc)
        self.log("largest", self.largest)

    def _right(self) -> float:
        seen, self.by_hand = self.by_hand, []
        return float(np.mean(np.concatenate([p == y for p, y in seen]))) if seen else np.nan


def labelled(*labels: int) -> tuple[Any, Any]:
    return np.zeros((len(labels), 3, SIZE, SIZE), np.float32), np.array(labels)


def test_a_metric_is_of_one_epoch(tmp_path: Path) -> None:
    module = Net()
    seen: list[float] = []
    note = vitc.callbacks.LambdaCallback(
        on_train_batch_end=lambda t, m, *_: seen.append(t.callback_metrics.get("train_acc", -1.0)),
        on_train_epoch_start=lambda t, m: seen.clear(),
    )
    run = trainer(tmp_path, max_epochs=3, log_every_n_steps=1, callbacks=note)
    run.fit(module, Batches(4), [labelled(0, 1, 2), labelled(0)])
    assert run.callback_metrics["train_acc"] == pytest.approx(module.found["train"][-1])
    assert run.callback_metrics["train_acc_epoch"] == run.callback_metrics["train_acc"]
    assert 0 <= run.callback_metrics["train_acc_step"] <= 1
    assert 0 <= run.callback_metrics["train_auc"] <= 1
    assert run.callback_metrics["largest"] == 2
    assert module.largest.seen == []
    assert not any(value.any() for value in module.train_acc.state_dict().values())


def test_a_metric_of_two_loaders_is_one_of_each(tmp_path: Path) -> None:
    run = trainer(tmp_path)

    class Loader(list):
        batch_size = 1

    loaders = [Loader([labelled(2), labelled(0)]), Loader([labelled(0)])]
    found = run.validate(Net(), loaders, verbose=False)
    assert [sorted(metrics) for metrics in found] == [
        [f"largest/dataloader_idx_{i}", f"val_acc/dataloader_idx_{i}"] for i in range(2)
    ]
    assert [metrics[f"largest/dataloader_idx_{i}"] for i, metrics in enumerate(found)] == [2, 10]
    alone = [run.validate(Net(), loader, verbose=False)[0]["val_acc"] for loader in loaders]
    assert len(alone) == 2


class CtrlC(vitc.Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.current_epoch * 4 + batch_idx == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("window", [1, 3])
def test_a_resumed_epoch_keeps_what_its_metrics_have_seen(tmp_path: Path, window: int) -> None:
    def fit(folder: Path, path: Any = None, *callbacks: vitc.Callback) -> vitc.Trainer:
        clock.restart(3)
        run = trainer(
            folder, max_epochs=2, callbacks=list(callbacks), accumulate_grad_batches=window
        )
        run.fit(Net(), Batches(4), Batches(2), ckpt_path=path)
        return run

    whole = fit(tmp_path / "whole").callback_metrics
    for at in range(7):
        folder = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            fit(folder, None, CtrlC(at))
        assert fit(folder, "last").callback_metrics == whole, at


def test_what_cannot_be_logged_is_named(tmp_path: Path) -> None:
    class PerClass(Own):
        def compute(self) -> Any:
            return np.zeros(3)

    class Floaty:
        def __float__(self) -> float:
            return 0.5

    for value, words in (
        (PerClass(), r"log\('x'\): expected a number or a metric, got an array of shape \(3,\)"),
        (Floaty(), r"log\('x'\): expected a number or a metric, got Floaty"),
        (None, "got NoneType"),
        ("1", "got str"),
    ):

        class Odd(Classifier):
            def validation_step(self, batch, batch_idx) -> None:
                self.log("x", value)  # noqa: B023

        with pytest.raises(TypeError, match=words):
            trainer(tmp_path).validate(Odd("test_vit", 3, **ARGUMENTS), Batches(1))
