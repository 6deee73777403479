"""Loggers that hand the numbers of a run to the clients of MLflow and of Weights & Biases.

They add nothing of their own: `experiment` is the client, for all else that it can do.
"""

import os
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.errors import shown
from vitc.training.loggers.parameters import Parameters, as_dict
from vitc.training.state_file import name_is_plain

_LONGEST = 500  # characters of a parameter that every version of MLflow takes


class _Service:
    """A logger of runs that have an id: what both have in common."""

    def __init__(self, save_dir: str | PathLike[str], given: str | None, log_model: Any) -> None:
        if log_model:
            raise ValueError(
                f"log_model is {shown(log_model)}: checkpoints, which are folders, are not "
                "uploaded; log them as an artifact of logger.experiment"
            )
        self.save_dir, self._given, self._id = Path(save_dir).expanduser(), given, given

    @property
    def name(self) -> str:
        """What the run is one of."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The id of the run, which is started if there is none yet."""
        raise NotImplementedError

    @property
    def root_dir(self) -> Path:
        return self.save_dir / self.name

    @property
    def log_dir(self) -> Path:
        """Where checkpoints are written."""
        return self.root_dir / self.version

    def save(self) -> None:
        """The client sends what it has by itself."""

    def renew(self) -> None:
        """Before a run that is not the first of its Trainer: another one, unless it is given."""
        if self._given is None:
            self._close()
            self._id = None

    def _close(self) -> None:
        """Before another run is logged."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.version}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on in the run that is resumed, unless another one is given. What was logged after
        the checkpoint is logged again: the services do not forget."""
        if not isinstance(state.get("id"), str) or not name_is_plain(state["id"]):
            raise ValueError("what it keeps of a logger is damaged")
        if self._given is None and state["id"] != self._id:
            self._close()
            self._id = state["id"]


class MLFlowLogger(_Service):
    """Logs to MLflow, by `mlflow.MlflowClient`; Lightning's `MLFlowLogger`.

    tracking_uri: by default that of the variable MLFLOW_TRACKING_URI, else the folder save_dir.
    run_id: a run to go on with. Checkpoints are below save_dir. Raises `ImportError` where mlflow
    is not installed.
    """

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | PathLike[str] = "./mlruns",
        log_model: bool = False,
        *,
        run_id: str | None = None,
    ) -> None:
        super().__init__(save_dir, run_id, log_model)
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise ImportError("MLFlowLogger needs mlflow: pip install mlflow") from None
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"file:{save_dir}"
        self.experiment_name, self.run_name, self.tags = experiment_name, run_name, tags
        self.experiment: Any = MlflowClient(uri)
        self._experiment_id: str | None = None
        self._empty = False  # whether the run was made here, and nothing was logged yet

    @property
    def experiment_id(self) -> str:
        """That of the experiment of this name, which is made if there is none."""
        if self._experiment_id is None:
            found = self.experiment.get_experiment_by_name(self.experiment_name)
            there = found is not None and found.lifecycle_stage != "deleted"
            made = None if there else self.experiment.create_experiment(self.experiment_name)
            self._experiment_id = str(found.experiment_id if there else made)
        return self._experiment_id

    @property
    def run_id(self) -> str:
        if self._id is None:
            tags = dict(self.tags or {})
            run = self.experiment.create_run(self.experiment_id, tags=tags, run_name=self.run_name)
            self._id, self._empty = str(run.info.run_id), True
        return self._id

    name, version = experiment_id, run_id

    def _close(self) -> None:
        """A run that was made for the folder of checkpoints only is given back."""
        if self._empty:
            self.experiment.delete_run(self._id)
        self._empty = False

    def log_hyperparams(self, params: Parameters) -> None:
        self._empty = False
        for name, value in as_dict(params).items():
            self.experiment.log_param(self.run_id, name, str(value)[:_LONGEST])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        self._empty = False
        now = time.time_ns() // 1_000_000
        rows = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        self.experiment.log_batch(self.run_id, metrics=rows)

    def finalize(self, status: str = "success") -> None:
        if self._id is not None:
            names = {"success": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
            self.experiment.set_terminated(self._id, names[status])


class WandbLogger(_Service):
    """Logs to Weights & Biases, by the run of `wandb.init`; Lightning's `WandbLogger`.

    name: of the run. version, id: of a run to go on with. offline: nothing is sent. project: by
    default that of the variable WANDB_PROJECT, else "lightning_logs". experiment: a run that is
    there already, by default that of a `wandb.init` before. init: further arguments of wandb.init.
    Checkpoints are below save_dir.

    The run stays open after `fit`, so that `test` logs to it: `wandb.finish()` ends it. Raises
    `ImportError` where wandb is not installed.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | PathLike[str] = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | PathLike[str] | None = None,
        id: str | None = None,
        *,
        project: str | None = None,
        log_model: bool | str = False,
        experiment: Any = None,
        **init: Any,
    ) -> None:
        super().__init__(dir or save_dir, version or id, log_model)
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise ImportError("WandbLogger needs wandb: pip install wandb") from None
        self._project = project or os.environ.get("WANDB_PROJECT") or "lightning_logs"
        mode = {"mode": "offline"} if offline else {}
        self._init = {"name": name, "project": self._project, "resume": "allow", **mode, **init}
        self._run, self._own = experiment, False  # whether it is this logger's to finish

    @property
    def experiment(self) -> Any:
        """The run, which is started if there is none yet."""
        if self._run is None:
            import wandb

            self._run, self._own = wandb.run, wandb.run is None
            if self._own:
                self._run = wandb.init(dir=str(self.save_dir), id=self._id, **self._init)
            self._run.define_metric("trainer/global_step")
            self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._run

    @property
    def name(self) -> str:
        return self._project

    @property
    def version(self) -> str:
        return str(self.experiment.id)

    def _close(self) -> None:
        if self._own:
            self._run.finish()
            self._run, self._own = None, False

    def log_hyperparams(self, params: Parameters) -> None:
        self.experiment.config.update(as_dict(params), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        place = {} if step is None else {"trainer/global_step": step}
        self.experiment.log({**metrics, **place})

    def finalize(self, status: str = "success") -> None:
        """It stays open; see above."""
