"""What a run is set to: the arguments of `Trainer` and `Run` that need more than a look."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import nearest, shown
from vitc.optim.clipping import MODES
from vitc.training.hooks import Callback, DataHooks, ModuleHooks, overrides

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

Check = Callable[[str, Any], Any]
PARTS = ("train", "val", "test", "predict")

# Lightning's spellings -> what the models compute in.
_PRECISIONS: dict[Any, str] = {
    **dict.fromkeys((None, 32, "32", "32-true"), "float32"),
    **dict.fromkeys((16, "16", "16-mixed", "bf16", "bf16-mixed"), "bf16"),
    **dict.fromkeys((64, "64", "64-true"), "float64"),
}
_HALF = (16, "16", "16-mixed")
_STRATEGIES = ("auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook", "mpi")
_ACCELERATORS = ("auto", "cpu")
# Lightning's arguments that change nothing here, and why.
_WITHOUT_MEANING = {
    "benchmark": "kernels are chosen once, by measurement",
    "sync_batchnorm": "Vision Transformers have no batch norm",
    "use_distributed_sampler": "shards never share or repeat a sample",
    "enable_autolog_hparams": "hyperparameters are logged when there are any",
}
# Methods of a LightningModule that nothing calls here, and what to do instead.
_OWN_LOOP = "a loop of your own with vitc.Run can do it"
_NOT_CALLED = {
    "backward": _OWN_LOOP,
    "configure_gradient_clipping": "gradient_clip_val and gradient_clip_algorithm say how to clip",
    "lr_scheduler_step": "a schedule is a function of the step",
    "optimizer_step": _OWN_LOOP,
    "optimizer_zero_grad": _OWN_LOOP,
    "test_epoch_end": "Lightning 2 calls it on_test_epoch_end",
    "training_epoch_end": "Lightning 2 calls it on_train_epoch_end",
    "validation_epoch_end": "Lightning 2 calls it on_validation_epoch_end",
}
_REFUSED = {
    "plugins": "there is one way to do each thing",
    "model_registry": "checkpoints are folders; copy them where you want them",
    "barebones": "switch off logger, enable_checkpointing and enable_progress_bar instead",
    "reload_dataloaders_every_n_epochs": "a loader is asked for an epoch, not rebuilt",
}


def _flag(name: str, value: Any) -> bool | None:
    if not isinstance(value, bool | None):
        raise TypeError(f"{name} is {shown(value)}, expected True or False")
    return value


def _batches(least: int) -> Check:
    """A number of batches (int), at least so many, or a share of them (float)."""
    share = "from 0.0 to 1.0" if least == 0 else "above 0.0 and up to 1.0"
    expected = f"a number of batches, {least} or more, or a share {share}"

    def check(name: str, value: Any) -> int | float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, Integral | float):
            raise TypeError(f"{name} is {shown(value)}, expected {expected}")
        if isinstance(value, float) and 0 <= value <= 1 and (value > 0 or least == 0):
            return float(value)
        if isinstance(value, float) or value < least:
            raise ValueError(f"{name} is {shown(value)}, expected {expected}")
        return int(value)

    return check


def _deterministic(name: str, value: Any) -> Any:
    return value if isinstance(value, str) and value == "warn" else _flag(name, value)


def _dev_run(name: str, value: Any) -> int:
    return int(value) if isinstance(value, bool) else checks.integer(name, value, 0)


def callbacks(name: str, value: Any) -> list[Callback]:
    found = [value] if isinstance(value, Callback | None) else _each(name, value, "callbacks")
    for one in found:
        if not isinstance(one, Callback | None):
            raise TypeError(f"{name} holds {shown(one)}, expected a vitc.Callback")
    return [one for one in found if one is not None]


def loggers(name: str, value: Any) -> Any:
    if isinstance(value, bool | None):
        return value
    single = callable(getattr(value, "log_metrics", None))
    found = [value] if single else _each(name, value, "loggers")
    for one in found:
        if not callable(getattr(one, "log_metrics", None)):
            raise TypeError(f"{name} holds {shown(one)}, which has no log_metrics(metrics, step)")
    return found


def _each(name: str, value: Any, what: str) -> list[Any]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise TypeError(f"{name} is {shown(value)}, expected {what}")
    return list(value)


def _folder(name: str, value: Any) -> Path:
    if not isinstance(value, str | PathLike | None):
        raise TypeError(f"{name} is {shown(value)}, expected a path")
    return Path(value or ".").expanduser()


def _duration(name: str, value: Any) -> Any:
    """Given back as it is."""
    if value is not None:
        try:
            as_seconds(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
    return value


def _whole(least: int) -> Check:
    return lambda name, value: checks.optional(checks.integer, name, value, least)


def _among(*words: str | None) -> Check:
    return lambda name, value: checks.one_of(name, value, words)


# Of the arguments of a Trainer, but for those of its Run, what they may be.
_TRAINER: dict[str, Check] = {
    "logger": loggers,
    "callbacks": callbacks,
    "fast_dev_run": _dev_run,
    "max_epochs": _whole(-1),
    "min_epochs": _whole(0),
    "max_steps": lambda name, value: checks.integer(name, value, -1),
    "min_steps": _whole(0),
    "max_time": _duration,
    **dict.fromkeys((f"limit_{part}_batches" for part in PARTS), _batches(0)),
    "overfit_batches": lambda name, value: _batches(0)(name, value) or 0,
    "val_check_interval": _batches(1),
    "check_val_every_n_epoch": _whole(1),
    "num_sanity_val_steps": _whole(-1),
    "log_every_n_steps": _whole(0),
    "enable_checkpointing": _flag,
    "enable_progress_bar": _flag,
    "enable_model_summary": _flag,
    "accumulate_grad_batches": lambda name, value: checks.integer(name, value, 1),
    "gradient_clip_val": lambda name, value: checks.optional(checks.number, name, value, 0),
    "gradient_clip_algorithm": _among(None, *MODES),
    "deterministic": _deterministic,
    "inference_mode": _flag,
    "profiler": _among(None, "simple"),
    "detect_anomaly": _flag,
    "default_root_dir": _folder,
    "on_nonfinite": _among("skip", "raise"),
    "micro_batch": _whole(1),
}


@dataclass
class Settings:
    """The arguments of a `Trainer`, as its loops read them; a `Trainer` has them as attributes.

    max_epochs: -1 for no end. limits: per kind of loader, how many batches are taken.
    """

    fast_dev_run: int = 0
    max_epochs: int = -1
    min_epochs: int = 0
    max_steps: int = -1
    min_steps: int | None = None
    overfit_batches: int | float = 0
    val_check_interval: int | float = 1.0
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int = 2
    log_every_n_steps: int = 50
    enable_model_summary: bool = True
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str = "norm"
    detect_anomaly: bool = False
    on_nonfinite: str = "skip"
    given_micro_batch: int | None = None
    default_root_dir: Path = Path(".")
    limits: dict[str, int | float | None] = field(default_factory=dict)


_IF_NONE = {  # what None stands for
    "min_epochs": 0,
    "val_check_interval": 1.0,
    "num_sanity_val_steps": 2,
    "log_every_n_steps": 50,
    "enable_model_summary": True,
    "gradient_clip_algorithm": "norm",
    "detect_anomaly": False,
}


def checked(arguments: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """The arguments of a `Trainer`: its settings, and the others, of which it makes parts.

    Raises `TypeError` or `ValueError`, beginning with the name of the argument.
    """
    given = {name: check(name, arguments[name]) for name, check in _TRAINER.items()}
    limits = {part: given.pop(f"limit_{part}_batches") for part in PARTS}
    if given["overfit_batches"]:
        limits |= dict.fromkeys(("train", "val"), given["overfit_batches"])
    if given["fast_dev_run"]:
        given |= dict(max_epochs=1, max_steps=given["fast_dev_run"], num_sanity_val_steps=0)
        given |= dict(val_check_interval=None, check_val_every_n_epoch=1, logger=False)
        limits = dict.fromkeys(PARTS, given["fast_dev_run"])
    if given["max_epochs"] is None:
        given["max_epochs"] = 1000 if given["max_steps"] < 0 and given["max_time"] is None else -1
    given |= {name: value for name, value in _IF_NONE.items() if given[name] is None}
    given["given_micro_batch"] = given.pop("micro_batch")
    own = {f.name for f in fields(Settings)} - {"limits"}
    settings = Settings(**{name: given.pop(name) for name in own}, limits=limits)
    return settings, given


def check_lengths(trainer: Trainer) -> None:
    """Raises `ValueError` for validations that would never come; warns where no row would."""
    batches, interval = trainer.num_training_batches, trainer.val_check_interval
    per_epoch = trainer.val_feeds and trainer.check_val_every_n_epoch is not None
    if per_epoch and isinstance(interval, int) and batches is not None and interval > batches:
        raise ValueError(
            f"val_check_interval is {interval}, but an epoch has {batches} batches: nothing would "
            "be validated; check_val_every_n_epoch=None counts batches over epochs"
        )
    if batches == 0:
        raise ValueError("limit_train_batches is 0: there is nothing to train")
    steps, every = trainer.estimated_stepping_batches, trainer.log_every_n_steps
    if trainer.loggers and steps is not None and 0 < steps < every:
        notice(
            f"log_every_n_steps is {every}, but the run has {steps} steps: no step's values are "
            "written; Trainer(log_every_n_steps=1) writes all"
        )


def check_unknown(unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Notices what has no meaning here. Raises `TypeError` for what is refused or unknown."""
    for name in unknown:
        if name in _REFUSED:
            raise TypeError(f"{name} is not supported: {_REFUSED[name]}")
        if name not in _WITHOUT_MEANING:
            raise TypeError(f"Trainer has no argument {shown(name)}; {nearest(name, known)}")
        if unknown[name] is not None:
            notice(f"{name} has no effect: {_WITHOUT_MEANING[name]}")


def check_stage(
    trainer: Trainer, stage: str, module: Any, loaders: Any, datamodule: Any, ckpt_path: Any
) -> None:
    """Raises before anything of a stage has begun: `RuntimeError` in another stage, `TypeError` and
    `ValueError` for arguments that are not what they should be."""
    if trainer.state.stage is not None:
        raise RuntimeError(
            f"{stage}() was called in {trainer.hook}(), while {trainer.state.fn}() runs: a Trainer "
            "does one thing at a time, use another one"
        )
    if not isinstance(module, ModuleHooks):
        raise TypeError(f"expected a vitc.LightningModule, got {type(module).__name__}")
    check_module(module, stage)
    if not isinstance(datamodule, DataHooks | None):
        raise TypeError(f"datamodule is {shown(datamodule)}, expected a vitc.LightningDataModule")
    if datamodule is not None and loaders is not None:
        raise ValueError(f"{stage}() got loaders and a datamodule: which of them?")
    if not isinstance(ckpt_path, str | PathLike | None):
        raise TypeError(f"ckpt_path is {shown(ckpt_path)}, expected a path, 'last' or 'best'")


_NEEDED = {"fit": "training_step", "validate": "validation_step", "test": "test_step"}


def check_module(module: ModuleHooks, stage: str) -> None:
    """Raises `TypeError` for a module that counts on methods which are not called here, or lacks
    the one that a stage is about."""
    for name, instead in _NOT_CALLED.items():
        if hasattr(module, name):
            raise TypeError(f"{type(module).__name__}.{name}() would not be called: {instead}")
    if not getattr(module, "automatic_optimization", True):
        raise TypeError(f"automatic_optimization is False: {_OWN_LOOP}")
    needed = _NEEDED.get(stage)
    if needed is not None and not overrides(module, needed):
        raise TypeError(f"{type(module).__name__} has no {needed}(), which {stage} calls")


def notice(text: str) -> None:
    """Warns at the user's line: the first outside of vitc."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("vitc."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def count_devices(devices: int | str | Sequence[int]) -> int:
    """How many shards `devices` makes of a step: -1 and "auto" are one."""
    if isinstance(devices, list | tuple | range):
        return max(len(devices), 1)
    text = str(devices) if isinstance(devices, str | int) else ""
    if text in ("auto", "-1"):
        return 1
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"devices is {shown(devices)}, expected an integer >= 1, or 'auto'")
    return int(text)


def check_place(accelerator: Any, strategy: Any, shards: int) -> None:
    """Notices what runs elsewhere than it says. Raises `ValueError` for what cannot run here."""
    if not isinstance(strategy, str) or not strategy.startswith(_STRATEGIES):
        raise ValueError(
            f"strategy is {shown(strategy)}: every process holds the whole model, which is 'auto', "
            "'ddp' or 'mpi'"
        )
    if not isinstance(accelerator, str):
        raise TypeError(f"accelerator is {shown(accelerator)}, expected 'cpu' or 'auto'")
    if accelerator not in _ACCELERATORS:
        notice(f"accelerator={shown(accelerator)}: vitc computes on the CPU")
    if shards > 1:
        notice(
            f"{shards} devices: this process runs their {shards} shards of a step in turn, with "
            "all its threads; the result is the same"
        )


def compute_precision(precision: Any) -> str:
    """ "float32", "bf16" or "float64" for Lightning's name of a precision."""
    if isinstance(precision, str) and precision in ("bf16-true", "16-true"):
        raise ValueError(
            f"precision is {shown(precision)}: weights are kept in float32, which is 'bf16-mixed'"
        )
    if not isinstance(precision, str | int | None) or precision not in _PRECISIONS:
        known = {str(name) for name in _PRECISIONS if name is not None}
        raise ValueError(f"precision is {shown(precision)}; {nearest(precision, known)}")
    if precision in _HALF:
        notice(f"precision={shown(precision)}: CPUs compute in bfloat16, this is 'bf16-mixed'")
    return _PRECISIONS[precision]


def as_seconds(duration: str | timedelta | Mapping[str, int]) -> float:
    """Seconds of a timedelta, its arguments, or "DD:HH:MM:SS".

    Raises `ValueError` for other strings, `TypeError` for anything else.
    """
    if isinstance(duration, Mapping):
        duration = timedelta(**duration)
    if not isinstance(duration, str | timedelta):
        raise TypeError(f"the time is {shown(duration)}, expected 'DD:HH:MM:SS' or a timedelta")
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    parts = duration.split(":")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        raise ValueError(f"the time is {shown(duration)}, expected 'DD:HH:MM:SS'")
    days, hours, minutes, seconds = map(int, parts)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
