"""Loggers under Lightning's path: `from vitc.loggers import CSVLogger`."""

from vitc.training.loggers import *  # noqa: F403
from vitc.training.loggers import __all__ as __all__
