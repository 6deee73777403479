"""Loggers: where the numbers of a run go."""

from vitc.training.loggers.csv_logs import CSVLogger

__all__ = ["CSVLogger"]
