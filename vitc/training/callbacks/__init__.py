"""Callbacks: what a trainer does besides training."""

from vitc.training.callbacks.accumulation import GradientAccumulationScheduler
from vitc.training.callbacks.averaging import EMAWeightAveraging, WeightAveraging
from vitc.training.callbacks.early_stopping import EarlyStopping
from vitc.training.callbacks.ema import EMA
from vitc.training.callbacks.exception_checkpoint import OnExceptionCheckpoint
from vitc.training.callbacks.finetuning import BackboneFinetuning
from vitc.training.callbacks.lambda_function import LambdaCallback
from vitc.training.callbacks.lr_finder import LearningRateFinder
from vitc.training.callbacks.lr_monitor import LearningRateMonitor
from vitc.training.callbacks.model_checkpoint import ModelCheckpoint
from vitc.training.callbacks.model_summary import ModelSummary, RichModelSummary
from vitc.training.callbacks.prediction_writer import BasePredictionWriter
from vitc.training.callbacks.progress_bar import ProgressBar, RichProgressBar, TQDMProgressBar
from vitc.training.callbacks.stochastic_averaging import StochasticWeightAveraging
from vitc.training.callbacks.timer import Timer
from vitc.training.hooks import Callback

__all__ = [
    "EMA",
    "BackboneFinetuning",
    "BasePredictionWriter",
    "Callback",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "Timer",
    "WeightAveraging",
]
