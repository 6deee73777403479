"""What users read of loggers; and the adapters of MLflow and W&B, on stand-ins of their clients.

The stand-ins have the names and arguments of mlflow.MlflowClient and of wandb.init and its run, as
Lightning calls them too. The libraries themselves are not installed here.
"""

import csv
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vitc
from training_kit import Batches, classifier, trainer
from vitc.callbacks import LambdaCallback, ModelCheckpoint
from vitc.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

# ------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_what_users_read_of_a_logger(tmp_path: Path, kind: Any) -> None:
    logger = kind(tmp_path, name="mine", version="one")
    assert (logger.name, logger.version) == ("mine", "one")
    assert logger.save_dir == tmp_path and logger.root_dir == tmp_path / "mine"
    assert logger.log_dir == tmp_path / "mine" / "one"
    logger.log_hyperparams(Namespace(lr=0.1))
    logger.log_metrics({"loss": 1.0})
    logger.experiment  # noqa: B018
    logger.save()
    logger.finalize("success")
    logger.finalize()
    bare = kind(tmp_path / "bare", name=None)
    assert bare.name == "" and bare.log_dir == tmp_path / "bare" / "version_0"


def test_a_row_without_a_step_is_counted(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for value in (3.0, 2.0):
        logger.experiment.log_metrics({"loss": value})
    logger.log_metrics({"loss": 1.0}, step=7)
    rows = list(csv.DictReader((logger.log_dir / "metrics.csv").open()))
    assert [(row["loss"], row["step"]) for row in rows] == [
        ("3.0", "0"),
        ("2.0", "1"),
        ("1.0", "7"),
    ]


def test_a_tensorboard_value_without_a_step_has_the_one_before(tmp_path: Path, monkeypatch) -> None:
    logger = TensorBoardLogger(tmp_path)
    seen: list[Any] = []
    writer = SimpleNamespace(
        add_scalar=lambda *a: seen.append(a), flush=lambda: seen.append("saved")
    )
    logger._writer = writer
    logger.log_metrics({"loss": 1.0}, 5)
    logger.log_metrics({"best": 2.0})
    logger.save()
    assert seen == [("loss", 1.0, 5), ("best", 2.0, 5), "saved"]
    assert logger.state_dict()["step"] == 5


# ------------------------------------------------------------------------------- stand-ins


class MlflowClient:
    """A tracking server in memory."""

    experiments: dict[str, str]
    runs: dict[str, dict[str, Any]]

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri

    def get_experiment_by_name(self, name: str) -> Any:
        if name not in self.experiments:
            return None
        return SimpleNamespace(experiment_id=self.experiments[name], lifecycle_stage="active")

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"{len(self.experiments)}"
        return self.experiments[name]

    def create_run(self, experiment_id: str, tags: Any = None, run_name: Any = None) -> Any:
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = dict(
            experiment=experiment_id,
            tags=tags,
            name=run_name,
            params={},
            metrics=[],
            status="RUNNING",
        )
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def delete_run(self, run_id: str) -> None:
        self.runs[run_id]["status"] = "deleted"

    def log_param(self, run_id: str, key: str, value: Any) -> None:
        self.runs[run_id]["params"][key] = value

    def log_batch(self, run_id: str, metrics: Any = ()) -> None:
        self.runs[run_id]["metrics"] += [(m.key, m.value, m.step) for m in metrics]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status


class Metric:
    def __init__(self, key: str, value: float, timestamp: int, step: int) -> None:
        assert isinstance(value, float) and timestamp > 1_600_000_000_000
        self.key, self.value, self.step = key, value, step


@pytest.fixture
def mlflow(monkeypatch) -> dict[str, dict[str, Any]]:
    """Its runs."""
    monkeypatch.setattr(MlflowClient, "experiments", {}, raising=False)
    monkeypatch.setattr(MlflowClient, "runs", {}, raising=False)
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.MlflowClient, entities.Metric = MlflowClient, Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MlflowClient.runs


class WandbRun:
    def __init__(self, init: dict[str, Any], number: int) -> None:
        self.init, self.id = init, init["id"] or f"id{number}"
        self.rows: list[dict[str, Any]] = []
        self.axes: list[Any] = []
        self.finished, self.hparams = False, {}
        self.config = SimpleNamespace(update=self.update)

    def update(self, values: dict[str, Any], allow_val_change: bool) -> None:
        assert allow_val_change
        self.hparams |= values

    def define_metric(self, name: str, **options: Any) -> None:
        self.axes.append((name, options))

    def log(self, row: dict[str, Any]) -> None:
        assert not self.finished
        self.rows.append(row)

    def finish(self) -> None:
        self.finished, sys.modules["wandb"].run = True, None  # type: ignore[attr-defined]


@pytest.fixture
def wandb(monkeypatch) -> list[WandbRun]:
    """Its runs."""
    runs: list[WandbRun] = []

    def init(**options: Any) -> WandbRun:
        runs.append(WandbRun(options, len(runs)))
        module.run = runs[-1]
        return runs[-1]

    module: Any = ModuleType("wandb")
    module.init, module.run = init, None
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return runs


def fit(path: Path, logger: Any, *callbacks: vitc.Callback, epochs: int = 2, **options: Any) -> Any:
    run = trainer(
        path, logger=logger, max_epochs=epochs, log_every_n_steps=1, callbacks=[*callbacks]
    )
    run.fit(classifier(lr=1e-2), Batches(3), Batches(1), **options)
    return run


def stops(trainer: Any, *_: Any) -> None:
    trainer.should_stop |= trainer.current_epoch == 0


# ------------------------------------------------------------------------------- MLflow


def test_a_run_is_logged_to_mlflow(tmp_path: Path, mlflow) -> None:
    logger = MLFlowLogger("cells", "first", tags={"site": "a"}, save_dir=tmp_path / "mlruns")
    run = fit(tmp_path, logger)
    (logged,) = mlflow.values()
    assert logger.experiment.uri == f"file:{tmp_path}/mlruns" and logged["status"] == "FINISHED"
    assert (logged["name"], logged["tags"], logged["experiment"]) == ("first", {"site": "a"}, "0")
    assert logged["params"]["lr"] == "0.01" and logged["params"]["architecture"] == "test_vit"
    steps = [step for key, _, step in logged["metrics"] if key == "train_loss_step"]
    assert len(steps) == 6
    kept = {key: value for key, value, _ in logged["metrics"]}
    assert kept["val_acc"] == run.callback_metrics["val_acc"]
    assert (logger.name, logger.version, logger.run_id) == ("0", "run0", "run0")
    best = Path(run.checkpoint_callback.best_model_path)
    assert best.parent == tmp_path / "mlruns" / "0" / "run0" / "checkpoints" and best.exists()
    logger.log_metrics({"final": 1})
    assert logged["metrics"][-1] == ("final", 1.0, 0)


def test_a_run_that_fails_is_so_in_mlflow(tmp_path: Path, mlflow) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        callback = LambdaCallback(on_train_epoch_end=broken)
        fit(tmp_path, MLFlowLogger(save_dir=tmp_path), callback)
    assert [run["status"] for run in mlflow.values()] == ["FAILED"]


def test_a_resumed_run_goes_on_in_mlflow(tmp_path: Path, mlflow) -> None:
    cut = fit(tmp_path, MLFlowLogger(save_dir=tmp_path), LambdaCallback(on_train_epoch_end=stops))
    path = cut.checkpoint_callback.best_model_path
    on = fit(tmp_path, MLFlowLogger(save_dir=tmp_path), epochs=3, ckpt_path=path)
    assert mlflow["run0"]["status"] == "FINISHED" and mlflow["run0"]["metrics"][-1][2] == 8
    assert mlflow["run1"]["status"] == "deleted", (
        "made for the folder of checkpoints, then not used"
    )
    path = on.checkpoint_callback.best_model_path
    fit(tmp_path, MLFlowLogger(save_dir=tmp_path, run_id="run1"), epochs=4, ckpt_path=path)
    assert mlflow["run1"]["metrics"], "the run that is given"


def test_a_second_fit_is_another_run_in_mlflow(tmp_path: Path, mlflow) -> None:
    run = fit(tmp_path, MLFlowLogger(save_dir=tmp_path))
    run.fit(classifier(), Batches(3), Batches(1))
    assert [bool(run["metrics"]) for run in mlflow.values()] == [True, True]
    assert {run["status"] for run in mlflow.values()} == {"FINISHED"}
    given = fit(tmp_path, MLFlowLogger(save_dir=tmp_path, run_id="run1"))
    given.fit(classifier(), Batches(3), Batches(1))
    assert len(mlflow) == 2, "but for one that is given"


# ------------------------------------------------------------------------------- W&B


def test_a_run_is_logged_to_wandb(tmp_path: Path, wandb) -> None:
    logger = WandbLogger("first", tmp_path, project="cells", offline=True, group="folds")
    run = fit(tmp_path, logger)
    (logged,) = wandb
    assert logged.init == dict(
        name="first", project="cells", dir=str(tmp_path), id=None, resume="allow", mode="offline",
        group="folds",
    )  # fmt: skip
    assert logged.axes[0] == ("trainer/global_step", {}) and logged.hparams["lr"] == 0.01
    steps = [row["trainer/global_step"] for row in logged.rows if "train_loss_step" in row]
    assert len(steps) == 6 and logged.rows[-1]["epoch"] == 1
    assert (logger.name, logger.version) == ("cells", "id0")
    best = Path(run.checkpoint_callback.best_model_path)
    assert best.parent == tmp_path / "cells" / "id0" / "checkpoints" and best.exists()
    assert not logged.finished
    run.validate(classifier(), Batches(1), verbose=False)
    logger.log_metrics({"final": 1.0})
    assert logged.rows[-1] == {"final": 1.0}


def test_runs_of_wandb_are_resumed_renewed_and_left_to_their_owner(tmp_path: Path, wandb) -> None:
    cut = fit(tmp_path, WandbLogger(save_dir=tmp_path), LambdaCallback(on_train_epoch_end=stops))
    path = cut.checkpoint_callback.best_model_path
    wandb[0].finish()
    again = fit(tmp_path, WandbLogger(save_dir=tmp_path), epochs=3, ckpt_path=path)
    assert [run.init["id"] for run in wandb] == [None, None, "id0"]
    assert wandb[1].finished and not wandb[1].rows and wandb[2].rows
    again.fit(classifier(), Batches(3), Batches(1))
    assert wandb[2].finished and len(wandb) == 4 and wandb[3].rows
    mine = fit(tmp_path, WandbLogger(save_dir=tmp_path, experiment=wandb[3]))
    mine.fit(classifier(), Batches(3), Batches(1))
    assert len(wandb) == 4 and not wandb[3].finished
    fit(tmp_path, WandbLogger(save_dir=tmp_path))  # takes the one that is open
    assert len(wandb) == 4


# ------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(("kind", "name"), [(MLFlowLogger, "mlflow"), (WandbLogger, "wandb")])
def test_what_a_service_needs_is_named(kind: Any, name: str, monkeypatch, mlflow, wandb) -> None:
    with pytest.raises(ValueError, match="log_model is 'all': checkpoints, which are folders"):
        kind(log_model="all")
    with pytest.raises(ValueError, match="what it keeps of a logger is damaged"):
        kind().load_state_dict({"id": 3})
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"{kind.__name__} needs {name}: pip install {name}"):
        kind()


def test_checkpoints_of_two_runs_do_not_meet(tmp_path: Path, mlflow) -> None:
    keeps = [ModelCheckpoint(), ModelCheckpoint()]
    for keep in keeps:
        fit(tmp_path, MLFlowLogger(save_dir=tmp_path), keep)
    assert len({Path(keep.best_model_path).parent for keep in keeps}) == 2
