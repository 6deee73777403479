"""Idioms of Lightning's users, each as a script that runs under Lightning and under vitc with the
same weights and batches: what its user sees is the same."""

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engines import loader, plain, refusal, rows, scripts, small, state, torchmetrics, trainer

from vitc.training.hooks import HOOKS

script, test_both_engines_show_the_same = scripts()


# ------------------------------------------------------------------------------------ steps


@script
def fit_validate_predict(e: Any, path: Path) -> Any:
    """The weights, the rows, and what each stage returns."""
    module, run = small(e)(), trainer(e, path)
    run.fit(module, loader(e), loader(e, 4, 1))
    return {
        "weights": state(module),
        "rows": rows(run),
        "metrics": run.callback_metrics,
        "validate": run.validate(module, loader(e, 4, 1), verbose=False),
        "predict": run.predict(module, loader(e, 4, 1)),
        "logged": run.logged_metrics,
    }


@script
def outputs_of_steps(e: Any, path: Path) -> Any:
    """What on_*_batch_end gets of a loss, a dict, None, and of evaluation steps."""
    told: list[Any] = []

    class Told(e.pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            loss = outputs["loss"] if outputs else None
            told.append((None if loss is None else loss.item(), sorted(outputs or {}), batch_idx))

        def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx):
            told.append((outputs, len(batch[0]), batch_idx))

    class Module(small(e)):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return [loss, {"loss": loss, "logits": self(batch[0])}, None][batch_idx % 3]

        def validation_step(self, batch, batch_idx):
            return {"score": 2.0, "batch": batch_idx}

    run = trainer(e, path, max_epochs=1, callbacks=Told(), num_sanity_val_steps=0)
    run.fit(Module(), loader(e), loader(e, 4, 1))
    return told


@script
def steps_with_fewer_arguments(e: Any, path: Path) -> Any:
    """The batch alone, *args, or all three."""
    told: list[Any] = []

    class Module(small(e)):
        def training_step(self, batch):
            return e.F.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch):
            told.append(("validation", len(batch[0])))

        def test_step(self, batch, *args):
            told.append(("test", *args))

        def predict_step(self, batch):
            return self(batch[0])

    class Other(Module):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            told.append(("validation", dataloader_idx))

        def test_step(self, batch, batch_idx, dataloader_idx=5):
            told.append(("test", batch_idx, dataloader_idx))

        def predict_step(self, batch, number):
            return number, self(batch[0])

    module, run = Module(), trainer(e, path, max_epochs=1, num_sanity_val_steps=0)
    run.fit(module, loader(e), loader(e, 4, 1))
    run.test(module, loader(e, 4, 1))
    one = run.predict(module, loader(e, 4, 1))
    other = Other()
    run.validate(other, [loader(e, 4, 1), loader(e, 2, 2)])
    run.test(other, [loader(e, 4, 1), loader(e, 2, 2)])
    run.test(other, loader(e, 4, 1))
    return told, one, state(module), run.predict(other, loader(e, 4))


# ------------------------------------------------------------------------------------ loaders


@script
def several_loaders(e: Any, path: Path) -> Any:
    """/dataloader_idx_i, with and without, in callback_metrics, rows and what is returned."""

    class Module(small(e)):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            loss = e.F.cross_entropy(self(batch[0]), batch[1])
            self.log("val_loss", loss)
            self.log("both", loss, on_step=True, on_epoch=True)
            self.log(f"own_{dataloader_idx}", float(batch_idx), add_dataloader_idx=False)

        def on_validation_epoch_end(self):
            self.log("whole", 3.0)

        test_step = validation_step

        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return batch_idx, dataloader_idx

    module, run = Module(), trainer(e, path)
    several = [loader(e, 5, 1), loader(e, 6, 2)]
    run.fit(module, loader(e), several)
    return {
        "weights": state(module),
        "rows": rows(run),
        "metrics": run.callback_metrics,
        "validate": run.validate(module, several, verbose=False),
        "test": run.test(module, several, verbose=False),
        "tested": run.callback_metrics,
        "predict": run.predict(module, several),
        "one": trainer(e, path / "one").test(module, [loader(e, 5, 1)], verbose=False),
        "predict one": run.predict(module, [loader(e, 5, 1)]),
    }


@script
def hooks_of_several_loaders(e: Any, path: Path) -> Any:
    told: list[Any] = []

    class Told(e.pl.Callback):
        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
            told.append(("start", batch_idx, dataloader_idx, trainer.num_val_batches))

        def on_validation_batch_end(
            self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0
        ):
            told.append(("end", outputs, batch_idx, dataloader_idx))

        def on_predict_batch_end(
            self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0
        ):
            told.append(("predict", batch_idx, dataloader_idx, trainer.num_predict_batches))

        def on_test_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
            told.append(("test", batch_idx, dataloader_idx, trainer.num_test_batches))

    class Module(small(e)):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return batch_idx * 10.0

        test_step = validation_step

        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return self(batch[0])

    module, several = Module(), [loader(e, 5, 1), loader(e, 6, 2)]
    run = trainer(e, path, callbacks=Told(), limit_val_batches=2, max_epochs=1)
    run.fit(module, loader(e), several)
    run.test(module, several, verbose=False)
    run.predict(module, several)
    return told


# ------------------------------------------------------------------------------------ log


@script
def all_arguments_of_log(e: Any, path: Path) -> Any:
    """Everything that log takes, with arrays of shape (1,), and log_dict."""

    class Module(small(e)):
        def training_step(self, batch, batch_idx):
            loss = e.F.cross_entropy(self(batch[0]), batch[1])
            rest = dict(
                enable_graph=False,
                sync_dist=True,
                sync_dist_group=None,
                add_dataloader_idx=True,
                metric_attribute=None,
                rank_zero_only=False,
            )
            self.log("a", loss, True, True, True, True, "mean", **rest)
            self.log("b", e.tensor([float(batch_idx)]), reduce_fx="max", on_epoch=True)
            self.log("c", batch_idx, reduce_fx="sum", on_step=False, on_epoch=True)
            self.log("d", np.float32(batch_idx), reduce_fx=min, on_step=False, on_epoch=True)
            self.log("hidden", 1.0, logger=False)
            self.log_dict({"e": 1, "f": 2.5}, on_epoch=True, on_step=False, batch_size=7)
            self.log("g", float(batch_idx), on_step=False, on_epoch=True, batch_size=batch_idx + 1)
            return loss

    run = trainer(e, path)
    run.fit(Module(), loader(e, 9))
    return rows(run), run.callback_metrics, run.progress_bar_metrics, run.logged_metrics


OPTIONS_OF_LOG: list[dict[str, Any]] = [
    {},
    {"on_step": True},
    {"on_epoch": True},
    {"on_step": False},
    {"on_epoch": True, "reduce_fx": "sum", "batch_size": 3},
]
NOT_LOGGING = ("training_step", "validation_step", "test_step", "forward")


def logging_hook(name: str, base: Any, told: dict[str, list[Any]]) -> Any:
    """A hook that logs a new number under every option, and notes what was refused."""
    original, count = getattr(base, name), [0]

    def hook(self: Any, *args: Any, **options: Any) -> Any:
        for i, given in enumerate(OPTIONS_OF_LOG):
            count[0] += 1
            value, log = float(count[0]), partial(self.log, f"{name}_{i}")
            told[f"{name}_{i}"].append(refusal(partial(log, value, **given)))
        return original(self, *args, **options)

    return hook


@script
def log_in_every_hook(e: Any, path: Path) -> Any:
    """The values that every hook of callback and module logs, or their refusals."""
    found = []
    for base in (e.pl.Callback, small(e)):
        told: dict[str, list[Any]] = defaultdict(list)
        names = [*HOOKS, "configure_optimizers", "configure_callbacks", "train_dataloader"]
        here = [n for n in names if hasattr(base, n) and n not in NOT_LOGGING]
        hooks = {n: logging_hook(n, base, told) for n in here}
        logs = type("Logs", (base,), hooks)()
        module, own = (logs, []) if base is not e.pl.Callback else (small(e)(), [logs])
        module.test_step = module.validation_step
        run = trainer(e, path / base.__name__, callbacks=own)
        run.fit(module, loader(e, 5), loader(e, 4, 1))
        fitted = dict(run.callback_metrics)
        tested = run.test(module, loader(e, 3, 1), verbose=False)
        run.predict(module, loader(e, 3, 1))
        found.append((dict(told), fitted, tested, rows(run)))
    return found


@script
def rows_of_some_steps(e: Any, path: Path) -> Any:
    """log_every_n_steps, accumulation, names logged now and then, a step of one's own."""
    found = []
    for number, options in enumerate(
        (
            dict(log_every_n_steps=3),
            dict(log_every_n_steps=2, accumulate_grad_batches=2, limit_train_batches=4),
            dict(val_check_interval=2, log_every_n_steps=2),
            dict(limit_train_batches=0.5, limit_val_batches=1, limit_test_batches=1, max_epochs=3),
            dict(limit_train_batches=1, limit_predict_batches=1, check_val_every_n_epoch=2),
            dict(overfit_batches=2, max_epochs=3),
            dict(max_steps=10, max_epochs=-1),
            dict(val_check_interval=3, check_val_every_n_epoch=None, max_epochs=3),
            dict(fast_dev_run=2, logger=False),
        )
    ):

        class Module(small(e)):
            def training_step(self, batch, batch_idx):
                if batch_idx == 1:
                    self.log("now_and_then", float(self.global_step), on_epoch=True)
                return super().training_step(batch, batch_idx)

            def on_train_epoch_end(self):
                self.log("of_epoch", float(self.current_epoch))

            def test_step(self, batch, batch_idx):
                self.log("test", float(batch_idx))

        module, run = Module(), trainer(e, path / str(number), **options)
        run.fit(module, loader(e), loader(e, 6, 1))
        found.append(
            (
                rows(run) if run.logger else None,
                run.callback_metrics,
                run.logged_metrics,
                run.test(module, loader(e, 6, 1), verbose=False),
                len(run.predict(module, loader(e, 6, 1))),
                run.global_step,
                run.current_epoch,
                state(module),
            )
        )
    return found


@script
def a_step_of_ones_own(e: Any, path: Path) -> Any:
    """What is logged as "step" is the rows' step, what is logged as "epoch" their epoch."""

    class Module(small(e)):
        def on_validation_epoch_end(self):
            self.log("step", float(100 * (self.current_epoch + 1)))

        def on_train_epoch_end(self):
            self.log("epoch", 7.0)

    run = trainer(e, path)
    run.fit(Module(), loader(e, 4), loader(e, 4, 1))
    return rows(run)


# ------------------------------------------------------------------------------------ metrics


class Share:
    """The share of right answers, as people write a metric by hand."""

    def __init__(self) -> None:
        self.reset()

    def update(self, preds: Any, target: Any) -> None:
        self.right += int((plain_array(preds).argmax(1) == plain_array(target)).sum())
        self.seen += len(target)

    def compute(self) -> float:
        return self.right / self.seen

    def reset(self) -> None:
        self.right = self.seen = 0


def plain_array(x: Any) -> Any:
    return np.asarray(plain(x))


@script
def values_of_metrics_by_hand(e: Any, path: Path) -> Any:
    """A metric that is updated in steps, and computed and reset in hooks; .item() and .cpu()."""
    told: list[Any] = []

    class Module(small(e)):
        def __init__(self):
            super().__init__()
            self.share, self.outputs = Share(), []

        def validation_step(self, batch, batch_idx):
            logits = self(batch[0])
            self.share.update(logits, batch[1])
            self.outputs.append(e.F.softmax(logits, dim=1))
            self.log("val_loss", e.F.cross_entropy(logits, batch[1]), prog_bar=True)

        def on_validation_epoch_end(self):
            self.log("val_acc", self.share.compute())
            told.append([plain(x) for x in self.outputs])
            self.outputs.clear()
            self.share.reset()

    run = trainer(e, path)
    run.fit(Module(), loader(e), loader(e, 6, 1))
    value = run.callback_metrics["val_acc"]
    return {
        "told": told,
        "item": value.item(),
        "cpu": value.cpu().item(),
        "numpy": float(value.detach().cpu().numpy()),
        "float": float(value),
        "format": f"{value:.4f}",
        "rounded": round(value.item(), 3),
        "compared": bool(value > 0.1),
        "dict": {name: x.item() for name, x in run.callback_metrics.items()},
        "rows": rows(run),
    }


@script
def metric_objects(e: Any, path: Path) -> Any:
    """torchmetrics' objects: called, updated, logged on step and on epoch, in two stages."""

    class Module(small(e)):
        def __init__(self):
            super().__init__()
            kind = dict(task="multiclass", num_classes=3)
            self.acc = torchmetrics.Accuracy(**kind)
            self.val_acc = torchmetrics.Accuracy(**kind)
            self.val_mean = torchmetrics.MeanMetric()
            self.by_hand = torchmetrics.MaxMetric()

        def training_step(self, batch, batch_idx):
            self.acc(torch.tensor(plain_array(self(batch[0]))), torch.tensor(plain_array(batch[1])))
            self.log("acc", self.acc, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            logits = torch.tensor(plain_array(self(batch[0])))
            self.val_acc.update(logits, torch.tensor(plain_array(batch[1])))
            self.val_mean.update(logits.sum())
            self.by_hand(logits.max())
            self.log("val_acc", self.val_acc, prog_bar=True)
            self.log("val_mean", self.val_mean, on_epoch=True)

        def on_validation_epoch_end(self):
            self.log("max", self.by_hand.compute())
            self.by_hand.reset()

        test_step = validation_step

    module, run = Module(), trainer(e, path, log_every_n_steps=2)
    run.fit(module, loader(e, 9), loader(e, 7, 1))
    tested = run.test(module, loader(e, 5, 2), verbose=False)
    return rows(run), run.callback_metrics, run.progress_bar_metrics, tested, state(module)
