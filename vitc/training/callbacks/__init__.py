"""Callbacks: what a trainer does besides training."""

from vitc.training.callbacks.model_checkpoint import ModelCheckpoint
from vitc.training.callbacks.progress_bar import ProgressBar
from vitc.training.hooks import Callback

__all__ = ["Callback", "ModelCheckpoint", "ProgressBar"]
