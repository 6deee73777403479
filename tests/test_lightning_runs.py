"""More of them: schedules, hyperparameters, checkpoints, data modules, callbacks and attributes."""

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from engines import loader, refusal, rows, scripts, small, state, trainer

script, test_both_engines_show_the_same = scripts()


# ------------------------------------------------------------------------------------ schedules


def configurations(e: Any) -> dict[str, Any]:
    """What configure_optimizers returns, of an optimizer."""
    s = e.schedulers
    plateau = dict(factor=0.5, patience=0, threshold=10.0)
    return {
        "optimizer": lambda o: o,
        "list of one": lambda o: [o],
        "tuple": lambda o: ([o], [s.StepLR(o, 1, 0.5)]),
        "dict": lambda o: {"optimizer": o, "lr_scheduler": s.ExponentialLR(o, 0.5)},
        "list of one dict": lambda o: [{"optimizer": o, "lr_scheduler": s.StepLR(o, 1, 0.5)}],
        "steps": lambda o: {
            "optimizer": o,
            "lr_scheduler": {"scheduler": s.StepLR(o, 2, 0.5), "interval": "step"},
        },
        "every fifth step": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.ExponentialLR(o, 0.9),
                "interval": "step",
                "frequency": 5,
                "name": "mine",
            },
        },
        "every other epoch": lambda o: (
            [o],
            [{"scheduler": s.StepLR(o, 1, 0.5), "interval": "epoch", "frequency": 2}],
        ),
        "monitor beside": lambda o: {
            "optimizer": o,
            "lr_scheduler": s.ReduceLROnPlateau(o, **plateau),
            "monitor": "val_loss",
        },
        "reduce_on_plateau": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.ReduceLROnPlateau(o, **plateau),
                "reduce_on_plateau": True,
                "monitor": "val_loss",
                "strict": True,
            },
        },
        "plateau by steps": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.ReduceLROnPlateau(o, **plateau),
                "interval": "step",
                "monitor": "train_loss",
            },
        },
        "two": lambda o: (
            [o],
            [
                {"scheduler": s.ExponentialLR(o, 0.9), "interval": "step"},
                s.StepLR(o, 1, 0.5),
            ],
        ),
        "two with plateau": lambda o: (
            [o],
            [
                {"scheduler": s.ReduceLROnPlateau(o, **plateau), "monitor": "val_loss"},
                {"scheduler": s.LambdaLR(o, lambda n: 0.9**n, -1), "interval": "step"},
            ],
        ),
        "warm-up": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.SequentialLR(
                    o, [s.LinearLR(o, 0.1, total_iters=3), s.CosineAnnealingLR(o, 7)], [3]
                ),
                "interval": "step",
            },
        },
        "one cycle": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.OneCycleLR(o, max_lr=[0.2], total_steps=11),
                "interval": "step",
            },
        },
        "plateau without a metric": lambda o: {
            "optimizer": o,
            "lr_scheduler": s.ReduceLROnPlateau(o),
        },
        "a metric that is not there": lambda o: {
            "optimizer": o,
            "lr_scheduler": {"scheduler": s.ReduceLROnPlateau(o), "monitor": "nothing"},
        },
        "not there, but not strict": lambda o: {
            "optimizer": o,
            "lr_scheduler": {
                "scheduler": s.ReduceLROnPlateau(o),
                "monitor": "nothing",
                "strict": False,
            },
        },
        "nothing": lambda o: None,
        "two optimizers": lambda o: [o, o],
        "a number": lambda o: 3,
        "no optimizer": lambda o: {"lr_scheduler": s.StepLR(o, 1)},
    }


@script
def what_configure_optimizers_returns(e: Any, path: Path) -> Any:
    """Rates at every step, rows of LearningRateMonitor, weights; or a refusal."""
    return {name: configured(e, path / name, name) for name in configurations(e)}


def configured(e: Any, path: Path, name: str) -> Any:
    rates: list[Any] = []

    class Module(small(e)):
        def on_train_batch_start(self, batch, batch_idx):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

        def configure_optimizers(self):
            return configurations(e)[name](super().configure_optimizers())

    module = Module()
    monitor = e.callbacks.LearningRateMonitor()
    run = trainer(e, path, callbacks=monitor, enable_checkpointing=False)

    def use() -> Any:
        run.fit(module, loader(e), loader(e, 4, 1))
        schedule = module.lr_schedulers()
        alone = schedule is not None and not isinstance(schedule, list)
        last = schedule.get_last_lr() if alone else None
        return rates, rows(run), state(module), run.callback_metrics, last

    return refusal(use)


@script
def rates_of_groups(e: Any, path: Path) -> Any:
    """LearningRateMonitor by step, by epoch, with weight decay, momentum and named groups."""
    found = []
    for number, options in enumerate(
        (
            dict(logging_interval="epoch"),
            dict(logging_interval="step", log_weight_decay=True),
            dict(log_momentum=True),
        )
    ):

        class Module(small(e)):
            def configure_optimizers(self):
                weight, bias = self.model.parameters()
                groups = [{"params": [weight], "lr": 0.05}, {"params": [bias], "weight_decay": 0.1}]
                optimizer = e.optim.SGD(groups, lr=0.1, momentum=0.9)
                return [optimizer], [e.schedulers.StepLR(optimizer, 1, 0.5)]

        monitor = e.callbacks.LearningRateMonitor(**options)
        run = trainer(e, path / str(number), callbacks=monitor, log_every_n_steps=2)
        run.fit(Module(), loader(e, 8))
        found.append((rows(run), run.callback_metrics, state(run.lightning_module)))
    return found


# ------------------------------------------------------------------------------- hyperparameters


def modules(e: Any) -> dict[str, Any]:
    """Ways to call save_hyperparameters, each with arguments to call the class with."""

    class base(e.pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = e.linear()

        def forward(self, x):
            return self.model(x)

        def training_step(self, batch, batch_idx):
            return e.F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return e.optim.SGD(self.parameters(), lr=0.1)

    class All(base):
        def __init__(self, a=1, *, b="x", **more):
            super().__init__()
            self.save_hyperparameters()

    class Named(base):
        def __init__(self, a=1, b=2, c=3):
            super().__init__()
            self.save_hyperparameters("a", "c")

    class Ignoring(base):
        def __init__(self, a=1, b=2, model=None):
            super().__init__()
            self.save_hyperparameters(ignore=["model", "b"])

    class IgnoringOne(base):
        def __init__(self, a=1, b=2):
            super().__init__()
            self.save_hyperparameters(ignore="b")

    class Dict(base):
        def __init__(self, config):
            super().__init__()
            self.save_hyperparameters(config)

    class Twice(base):
        def __init__(self, a=1, b=2):
            super().__init__()
            self.save_hyperparameters("a")
            self.save_hyperparameters({"c": 4})

    class Below(All):
        def __init__(self, z=9, **more):
            super().__init__(**more)

    class List(base):
        def __init__(self, a=1, b=2):
            super().__init__()
            self.save_hyperparameters(["a"])

    class Changed(base):
        def __init__(self, a=1):
            super().__init__()
            a = a + 1
            self.save_hyperparameters()
            self.hparams.extra = 5
            self.hparams["other"] = 6

    return {
        "all": (All, (), dict(a=2, b="y", c=(1, 2), d={0: "a", 1: "b"})),
        "named": (Named, (5,), {}),
        "ignoring": (Ignoring, (7,), dict(model=object())),
        "ignoring one": (IgnoringOne, (), {}),
        "dict": (Dict, ({"lr": 0.1, "sizes": [1, 2]},), {}),
        "namespace": (Dict, (Namespace(lr=0.1, name="x"),), {}),
        "twice": (Twice, (), {}),
        "below": (Below, (), dict(z=3, a=4)),
        "numpy": (All, (), dict(a=np.float32(0.5), b=np.int64(3), c=[np.float64(1.5)])),
        "kinds": (All, (), dict(a=None, b=True, c=[1, [2, (3,)]], d={"x": {1: 2.5}, "y": ()})),
        "list": (List, (), {}),
        "changed": (Changed, (), {}),
    }


@script
def saved_hyperparameters(e: Any, path: Path) -> Any:
    """hparams, hparams_initial, and what load_from_checkpoint brings back."""
    return {
        name: refusal(partial(kept, e, path / name, *case)) for name, case in modules(e).items()
    }


def kept(e: Any, path: Path, kind: Any, args: Any, options: Any) -> Any:
    module, run = kind(*args, **options), trainer(e, path, max_epochs=1)
    run.fit(module, loader(e, 4))
    file = run.checkpoint_callback.best_model_path
    again = refusal(lambda: kind.load_from_checkpoint(file, weights_only=False).hparams)
    return tagged(dict(module.hparams)), tagged(dict(module.hparams_initial)), tagged(again)


def tagged(value: Any) -> Any:
    """With its type, so that a list is not a tuple, nor 1 a True or "1"."""
    if isinstance(value, dict):
        return [[tagged(k), tagged(v)] for k, v in sorted(value.items(), key=str)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(tagged, value)]
    value = value.item() if isinstance(value, np.generic) else value
    return [type(value).__name__, value]


# ------------------------------------------------------------------------------------ checkpoints


@script
def arguments_of_load_from_checkpoint(e: Any, path: Path) -> Any:
    """map_location, hparams_file, strict, weights_only, changed hyperparameters, another head."""
    found: dict[str, Any] = {}

    class Module(small(e)):
        def __init__(self, lr=0.1, classes=3, extra=False):
            super().__init__()
            self.save_hyperparameters()
            self.model = e.linear(classes=classes)
            if extra:
                self.more = e.linear(seed=5)

    run = trainer(e, path, max_epochs=1)
    run.fit(Module(lr=0.2), loader(e))
    file = run.checkpoint_callback.best_model_path
    assert run.checkpoint_callbacks[0].best_model_path == file
    (path / "hparams.yaml").write_text("lr: 0.7\n")
    for name, options in {
        "plain": {},
        "map_location": dict(map_location="cpu"),
        "by function": dict(map_location=lambda storage, location: storage),
        "weights_only": dict(weights_only=True),
        "not weights_only": dict(weights_only=False, strict=True),
        "hparams_file": dict(hparams_file=str(path / "hparams.yaml")),
        "changed": dict(lr=0.9),
        "not strict": dict(extra=True, strict=False),
        "strict": dict(extra=True),
    }.items():
        found[name] = refusal(partial(loaded, Module, file, options))
    found["positional"] = Module.load_from_checkpoint(file, "cpu").hparams["lr"]
    found["no file"] = refusal(lambda: Module.load_from_checkpoint(path / "nothing.ckpt"))
    return found


def loaded(kind: Any, file: Any, options: Any) -> Any:
    module = kind.load_from_checkpoint(file, **options)
    return tagged(dict(module.hparams)), state(module), module.training


@script
def checkpoints_that_are_edited(e: Any, path: Path) -> Any:
    """on_save_checkpoint adds an entry; on_load_checkpoint reads it, and edits "state_dict"."""
    told: list[Any] = []

    class Module(small(e)):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["mine"] = {"classes": ["a", "b"], "epoch": self.current_epoch}
            told.append(("save", checkpoint["epoch"], checkpoint["global_step"]))

        def on_load_checkpoint(self, checkpoint):
            told.append(("load", checkpoint["mine"], sorted(checkpoint["state_dict"])))
            weights = checkpoint["state_dict"]
            weights["model.bias"] = weights["model.bias"] * 0 + 1

    class Renamed(small(e)):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net = self.model
            del self.model

        def on_load_checkpoint(self, checkpoint):
            weights = checkpoint["state_dict"]
            for name in list(weights):
                weights[name.replace("model.", "net.")] = weights.pop(name)

    class Told(e.pl.Callback):
        def on_save_checkpoint(self, trainer, module, checkpoint):
            checkpoint["of_callback"] = 3

        def on_load_checkpoint(self, trainer, module, checkpoint):
            told.append(("callback", checkpoint["of_callback"]))

        def state_dict(self):
            return {"count": 5}

        def load_state_dict(self, state):
            told.append(("state", state))

    run = trainer(e, path, max_epochs=1, callbacks=Told())
    run.fit(Module(), loader(e), loader(e, 4, 1))
    file = run.checkpoint_callback.best_model_path
    again = state(Module.load_from_checkpoint(file))
    renamed = state(Renamed.load_from_checkpoint(file))
    module, more = Module(), trainer(e, path / "more", max_epochs=2, callbacks=Told())
    more.fit(module, loader(e), loader(e, 4, 1), ckpt_path=file)
    told.sort(key=str)  # of module and callbacks, who comes first is not promised
    calls = list(told)
    run.save_checkpoint(path / "own.ckpt")
    validated = more.validate(Module(), loader(e, 4, 1), ckpt_path=path / "own.ckpt", verbose=False)
    return calls, again, renamed, state(module), rows(more), validated


@script
def the_best_checkpoint(e: Any, path: Path) -> Any:
    """Its score, its epoch, and the stages that take it."""

    class Module(small(e)):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", e.F.cross_entropy(self(batch[0]), batch[1]))
            self.log("score", float([3, 1, 2, 4][self.current_epoch]))

        test_step = small(e).validation_step

    keep = e.callbacks.ModelCheckpoint(
        path / "kept", "{epoch}-{score:.1f}", monitor="score", save_last=True, save_top_k=2
    )
    run = trainer(e, path, max_epochs=3, num_sanity_val_steps=0, callbacks=[keep])
    module = Module()
    run.fit(module, loader(e), loader(e, 4, 1))
    return {
        "best": Path(keep.best_model_path).name,
        "score": keep.best_model_score.item(),
        "last": Path(keep.last_model_path).name,
        "kept": sorted(Path(x).name for x in keep.best_k_models),
        "scores": sorted(float(x) for x in keep.best_k_models.values()),
        "monitor": (
            keep.monitor,
            keep.mode,
            keep.save_top_k,
            str(keep.dirpath) == str(path / "kept"),
        ),
        "test": run.test(dataloaders=loader(e, 4, 1), verbose=False),
        "of the best": run.test(module, loader(e, 4, 1), ckpt_path="best", verbose=False),
        "validate": run.validate(dataloaders=loader(e, 4, 2), verbose=False)[0]["val_loss"],
        "predict": run.predict(dataloaders=loader(e, 4, 2)),
        "of the last": run.test(module, loader(e, 4, 1), ckpt_path="last", verbose=False),
    }
