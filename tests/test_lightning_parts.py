"""More of them: callbacks, data modules, predictions, and what users read of trainer and module."""

from pathlib import Path
from typing import Any

from engines import loader, plain, refusal, rows, scripts, small, state, trainer

from vitc.training.hooks import HOOKS

script, test_both_engines_show_the_same = scripts()


# ------------------------------------------------------------------------------------ parts


@script
def callbacks_of_the_module(e: Any, path: Path) -> Any:
    """configure_callbacks replaces callbacks of the same type."""

    class Module(small(e)):
        def validation_step(self, batch, batch_idx):
            self.log("score", 1.0)

        def configure_callbacks(self):
            return [e.callbacks.EarlyStopping("score", patience=3)]

    found = []
    for number, own in enumerate(([], [e.callbacks.EarlyStopping("score", patience=1)])):
        run = trainer(e, path / str(number), max_epochs=9, callbacks=own)
        run.fit(Module(), loader(e, 4), loader(e, 4, 1))
        stopping = run.early_stopping_callback
        found.append((run.current_epoch, run.should_stop, len(run.early_stopping_callbacks)))
        found.append(stopping and (stopping.wait_count, stopping.stopped_epoch, stopping.patience))
    return found


@script
def one_callback_alone(e: Any, path: Path) -> Any:
    class Module(small(e)):
        def configure_callbacks(self):
            return e.callbacks.Timer("00:01:00:00")

    run = trainer(e, path, max_epochs=1)
    run.fit(Module(), loader(e, 4))
    return run.global_step


@script
def batches_moved_by_a_data_module(e: Any, path: Path) -> Any:
    """The hooks of a batch's way to the step, of data module and module, with their arguments."""
    told: list[Any] = []

    class Data(e.pl.LightningDataModule):
        def __init__(self, size=2):
            super().__init__()
            self.save_hyperparameters()

        def setup(self, stage):
            told.append(("setup", "".join(stage), self.hparams.size))

        def train_dataloader(self):
            return loader(e, 6, batch_size=self.hparams.size)

        def val_dataloader(self):
            return [loader(e, 4, 1), loader(e, 2, 2)]

        test_dataloader = train_dataloader

        def predict_dataloader(self):
            return loader(e, 4, 3)

        def on_before_batch_transfer(self, batch, dataloader_idx):
            told.append(("before", dataloader_idx, self.trainer.training))
            return batch

        def on_after_batch_transfer(self, batch, dataloader_idx):
            told.append(("after", dataloader_idx))
            x, y = batch
            return x * 2, y

        def teardown(self, stage):
            told.append(("teardown", "".join(stage)))

    class Module(small(e)):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", e.F.cross_entropy(self(batch[0]), batch[1]))

        def test_step(self, batch, batch_idx):
            self.log("test", float(plain(batch[0])[0][0]))

    module, data, run = Module(), Data(), trainer(e, path, max_epochs=1)
    run.fit(module, datamodule=data)
    tested = run.test(module, data, verbose=False)
    predicted = run.predict(module, datamodule=data)

    class Own(Module):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            told.append(("module", dataloader_idx))
            return batch

    own, again = Own(), trainer(e, path / "own", max_epochs=1)
    again.fit(own, loader(e, 6))
    return told, state(module), state(own), tested, predicted, run.callback_metrics, rows(run)


@script
def what_is_missing(e: Any, path: Path) -> Any:
    """Stages without their step or loader, wrong kinds, and a val loader that is not read."""

    class Bare(e.pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = e.linear()

        def training_step(self, batch, batch_idx):
            return e.F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return e.optim.SGD(self.parameters(), lr=0.1)

    class NoOptimizer(small(e)):
        configure_optimizers = e.pl.LightningModule.configure_optimizers

    module = Bare()
    run = trainer(e, path, max_epochs=1)
    run.fit(module, loader(e), loader(e, 4, 1))
    return {
        "weights": state(module),
        "metrics": run.callback_metrics,
        "test": refusal(lambda: run.test(module, loader(e, 4))),
        "validate": refusal(lambda: run.validate(module, loader(e, 4))),
        "no loader": refusal(lambda: run.test(small(e)())),
        "no train loader": refusal(lambda: trainer(e, path).fit(small(e)())),
        "no model": refusal(lambda: trainer(e, path).test(dataloaders=loader(e, 4))),
        "not a module": refusal(lambda: trainer(e, path).fit(object(), loader(e, 4))),
        "forward": refusal(lambda: e.pl.LightningModule()(1)),
        "both": refusal(
            lambda: trainer(e, path).fit(module, loader(e), datamodule=e.pl.LightningDataModule())
        ),
        "best without one": refusal(
            lambda: trainer(e, path).test(small(e)(), loader(e, 4), ckpt_path="best")
        ),
        "no validation": trainer(e, path / "0", limit_val_batches=0, max_epochs=1).fit(
            small(e)(), loader(e), loader(e, 4)
        ),
    }


@script
def predictions_that_are_written(e: Any, path: Path) -> Any:
    """The writer's arguments, and how they are nested with one loader and with two."""
    told: list[Any] = []

    class Writer(e.callbacks.BasePredictionWriter):
        def write_on_batch_end(
            self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx
        ):
            told.append(
                (plain(prediction), list(batch_indices), len(batch), batch_idx, dataloader_idx)
            )

        def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
            told.append((plain(predictions), plain(batch_indices)))

    class Module(small(e)):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return self(batch[0])

    returned = []
    for interval in ("batch", "epoch", "batch_and_epoch"):
        for several in ([loader(e, 5, 1)], [loader(e, 5, 1), loader(e, 4, 2)]):
            run = trainer(e, path, callbacks=Writer(interval))
            given = several if len(several) > 1 else several[0]
            returned.append(run.predict(Module(), given))
            run.predict(Module(), given, return_predictions=False)
    return told, returned


@script
def epochs_that_are_left(e: Any, path: Path) -> Any:
    """-1 of on_train_batch_start, in the first batch, in a later one, of module and callback."""
    found = []
    for place in (0, 3):

        class Module(small(e)):
            left = place

            def on_train_batch_start(self, batch, batch_idx):
                return -1 if self.current_epoch == 0 and batch_idx == self.left else None

        module, run = Module(), trainer(e, path / str(place), max_epochs=2)
        run.fit(module, loader(e), loader(e, 4, 1))
        found.append((state(module), rows(run), run.global_step, run.current_epoch))
    return found


@script
def stopped_runs(e: Any, path: Path) -> Any:
    """should_stop and EarlyStopping with the least epochs and steps."""
    found = []
    for number, options in enumerate(
        (dict(max_epochs=5), dict(max_epochs=5, min_epochs=3), dict(max_epochs=5, min_steps=8))
    ):

        class Module(small(e)):
            def training_step(self, batch, batch_idx):
                self.trainer.should_stop = self.trainer.should_stop or self.global_step == 2
                return super().training_step(batch, batch_idx)

        module, run = Module(), trainer(e, path / str(number), **options)
        run.fit(module, loader(e), loader(e, 4, 1))
        found.append((run.global_step, state(module), rows(run)))
    return found


# ------------------------------------------------------------------------------------ attributes

VALUES_OF_TRAINER = [
    "global_step",
    "current_epoch",
    "max_epochs",
    "max_steps",
    "min_steps",
    "callback_metrics",
    "logged_metrics",
    "progress_bar_metrics",
    "num_sanity_val_steps",
    "num_sanity_val_batches",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
    "log_every_n_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "is_last_batch",
    "should_stop",
    "training",
    "validating",
    "testing",
    "predicting",
    "sanity_checking",
    "evaluating",
    "world_size",
    "num_devices",
    "num_nodes",
    "precision",
    "device_ids",
    "is_global_zero",
    "global_rank",
    "local_rank",
    "node_rank",
    "num_val_batches",
    "num_test_batches",
    "num_predict_batches",
]
PARTS_OF_TRAINER = [
    "logger",
    "loggers",
    "log_dir",
    "default_root_dir",
    "checkpoint_callback",
    "checkpoint_callbacks",
    "early_stopping_callback",
    "early_stopping_callbacks",
    "progress_bar_callback",
    "callbacks",
    "optimizers",
    "lr_scheduler_configs",
    "lightning_module",
    "model",
    "datamodule",
    "train_dataloader",
    "val_dataloaders",
    "test_dataloaders",
    "predict_dataloaders",
    "ckpt_path",
    "fit",
    "validate",
    "test",
    "predict",
    "save_checkpoint",
    "print",
    "strategy",
    "accelerator",
]
VALUES_OF_MODULE = [
    "current_epoch",
    "global_step",
    "global_rank",
    "local_rank",
    "training",
    "hparams",
    "hparams_initial",
    "automatic_optimization",
    "example_input_array",
]
PARTS_OF_MODULE = [
    "logger",
    "loggers",
    "device",
    "lr_schedulers",
    "optimizers",
    "parameters",
    "children",
    "named_parameters",
    "to",
    "cpu",
    "zero_grad",
    "freeze",
    "unfreeze",
    "eval",
    "train",
    "state_dict",
    "to_onnx",
    "load_state_dict",
    "requires_grad_",
    "log",
    "log_dict",
    "print",
    "save_hyperparameters",
]


def attributes(run: Any, module: Any) -> Any:
    """The values, and of the parts whether they are there, and how many of them."""
    state = run.state
    return (
        {name: plain(getattr(run, name)) for name in VALUES_OF_TRAINER},
        {name: parts(getattr(run, name)) for name in PARTS_OF_TRAINER},
        {name: plain(getattr(module, name)) for name in VALUES_OF_MODULE},
        {name: parts(getattr(module, name)) for name in PARTS_OF_MODULE},
        ("".join(state.fn or ""), "".join(state.stage or ""), "".join(state.status)),
        (state.finished, str(run.strategy.root_device), run.strategy.broadcast([1])),
    )


def parts(value: Any) -> Any:
    if isinstance(value, list):
        return [parts(one) for one in value]
    return value is not None and (callable(value) or "there")


@script
def attributes_that_users_read(e: Any, path: Path) -> Any:
    """Of trainer and module before a run, in all its hooks, after it, and after a test."""
    told: list[Any] = []

    class Module(small(e)):
        def test_step(self, batch, batch_idx):
            told.append(("test", attributes(self.trainer, self)))

        def predict_step(self, batch, batch_idx):
            told.append(("predict", attributes(self.trainer, self)))

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.strategy.barrier("end of a batch")
            told.append(("batch", attributes(self.trainer, self)))
            told.append(
                (self.trainer.num_training_batches, self.trainer.estimated_stepping_batches)
            )

        def validation_step(self, batch, batch_idx):
            told.append(("validation", attributes(self.trainer, self)))
            self.log("score", 1.0)

        def on_train_epoch_end(self):
            told.append(("epoch", attributes(self.trainer, self)))

        def configure_optimizers(self):
            told.append(self.trainer.estimated_stepping_batches)
            optimizer = super().configure_optimizers()
            return [optimizer], [e.schedulers.StepLR(optimizer, 1)]

    module, stop = Module(), e.callbacks.EarlyStopping("train_loss", patience=9)
    run = trainer(e, path, callbacks=stop, gradient_clip_val=0.5, limit_val_batches=1)
    told.append({name: plain(getattr(run, name)) for name in VALUES_OF_TRAINER})
    run.fit(module, loader(e, 4), loader(e, 4, 1))
    told.append(attributes(run, module))
    trainer(e, path / "test").test(module, loader(e, 2, 1), verbose=False)
    trainer(e, path / "predict").predict(module, loader(e, 2, 1))
    return told


@script
def an_end_by_early_stopping_is_extended(e: Any, path: Path) -> Any:
    """By larger limits; the stopping goes on with what it knows."""
    told, checkpoint = [], None
    for epochs in (5, 9, 11):
        stop = e.callbacks.EarlyStopping("val_loss", min_delta=9.0, patience=2)
        keep = e.callbacks.ModelCheckpoint(path, save_last=True)
        run = trainer(e, path, max_epochs=epochs, callbacks=[stop, keep])
        run.fit(small(e)(), loader(e, 4), loader(e, 4, 1), ckpt_path=checkpoint)
        checkpoint = keep.last_model_path
        told.append((run.current_epoch, run.global_step, stop.wait_count, stop.stopped_epoch))
    return told


@script
def a_stop_by_own_code_goes_on(e: Any, path: Path) -> Any:
    """A job at night, which sees at the end of an epoch that the morning comes."""
    told, checkpoint = [], None
    for night in range(3):
        stop = e.callbacks.LambdaCallback(
            on_train_epoch_end=lambda trainer, module: setattr(trainer, "should_stop", True)
        )
        keep = e.callbacks.ModelCheckpoint(path, save_last=True)
        run = trainer(e, path, max_epochs=2, callbacks=[stop, keep])
        run.fit(small(e)(), loader(e, 4), ckpt_path=checkpoint)
        checkpoint = keep.last_model_path
        told.append((night, run.current_epoch, run.global_step))
    return told


@script
def limits_that_users_read(e: Any, path: Path) -> Any:
    """Given or not, once a run has begun."""
    told = []
    for number, options in enumerate(
        (
            dict(max_epochs=-1),
            dict(max_epochs=None),
            dict(max_epochs=None, max_time="00:01:00:00"),
            dict(min_epochs=1, min_steps=2, max_epochs=2),
        )
    ):
        run = trainer(e, path / str(number), **{"max_steps": 3, **options})
        run.fit(small(e)(), loader(e, 4))
        told.append((run.min_epochs, run.max_epochs, run.min_steps, run.max_steps))
    return told


@script
def metrics_read_in_hooks(e: Any, path: Path) -> Any:
    """All three kinds of metrics of the trainer, in every hook of callback and module."""
    told: list[Any] = []

    def reading(name: str, base: Any) -> Any:
        def hook(self: Any, *args: Any, **options: Any) -> Any:
            run = args[0] if base is e.pl.Callback else self.trainer
            kinds = run.callback_metrics, run.logged_metrics, run.progress_bar_metrics
            told.append((name, plain(kinds)))
            return getattr(base, name)(self, *args, **options)

        return hook

    class Module(small(e)):
        def training_step(self, batch, batch_idx):
            self.log("both", float(batch_idx), on_epoch=True, prog_bar=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.log("val", float(batch_idx + self.current_epoch), on_step=True, on_epoch=True)
            super().validation_step(batch, batch_idx)

        test_step = validation_step

    names = [n for n in HOOKS if n.startswith("on_") and "transfer" not in n and "load" not in n]
    of_callback = {n: reading(n, e.pl.Callback) for n in names if hasattr(e.pl.Callback, n)}
    of_module = {n: reading(n, Module) for n in names if hasattr(Module, n)}
    callback = type("Reading", (e.pl.Callback,), of_callback)()
    module = type("ReadingModule", (Module,), of_module)()
    options = dict(log_every_n_steps=2, num_sanity_val_steps=0, enable_checkpointing=False)
    run = trainer(e, path, callbacks=callback, **options)
    run.fit(module, loader(e, 6), loader(e, 4, 1))
    run.test(module, loader(e, 4, 1), verbose=False)
    return told
