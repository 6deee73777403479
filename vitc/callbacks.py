"""Callbacks under Lightning's path: `from vitc.callbacks import ModelCheckpoint`."""

from vitc.training.callbacks import *  # noqa: F403
from vitc.training.callbacks import __all__ as __all__
