"""Loggers: where the numbers of a run go.

A logger is any object with `log_metrics(metrics, step)`; `log_hyperparams(hparams)`, `log_dir`,
`renew()` before a second run, `finalize(status)`, `state_dict()` and `load_state_dict(state)` are
called if it has them.
"""

from vitc.training.loggers.csv_logs import CSVLogger
from vitc.training.loggers.services import MLFlowLogger, WandbLogger
from vitc.training.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"]
