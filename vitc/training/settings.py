"""What a run is set to: the arguments of `Trainer` and `Run` that need more than a look."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from vitc.errors import nearest, shown

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
    "on_after_batch_transfer": "change the batch in training_step",
    "on_before_batch_transfer": "change the batch in training_step",
    "optimizer_step": _OWN_LOOP,
    "optimizer_zero_grad": _OWN_LOOP,
    "test_epoch_end": "Lightning 2 calls it on_test_epoch_end",
    "training_epoch_end": "Lightning 2 calls it on_train_epoch_end",
    "transfer_batch_to_device": "there is one memory",
    "validation_epoch_end": "Lightning 2 calls it on_validation_epoch_end",
}
_REFUSED = {
    "plugins": "there is one way to do each thing",
    "model_registry": "checkpoints are folders; copy them where you want them",
    "barebones": "switch off logger, enable_checkpointing and enable_progress_bar instead",
    "reload_dataloaders_every_n_epochs": "a loader is asked for an epoch, not rebuilt",
}


def check_unknown(unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Notices what has no meaning here. Raises `TypeError` for what is refused or unknown."""
    for name in unknown:
        if name in _REFUSED:
            raise TypeError(f"{name} is not supported: {_REFUSED[name]}")
        if name not in _WITHOUT_MEANING:
            raise TypeError(f"Trainer has no argument {shown(name)}; {nearest(name, known)}")
        if unknown[name] is not None:
            notice(f"{name} has no effect: {_WITHOUT_MEANING[name]}")


def check_module(module: Any) -> None:
    """Raises `TypeError` for a module that counts on methods which are not called here."""
    for name, instead in _NOT_CALLED.items():
        if hasattr(module, name):
            raise TypeError(f"{type(module).__name__}.{name}() would not be called: {instead}")
    if not getattr(module, "automatic_optimization", True):
        raise TypeError(f"automatic_optimization is False: {_OWN_LOOP}")


def notice(text: str) -> None:
    """Warns at the user's line: the first outside of vitc."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("vitc."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def count_devices(devices: int | str | Sequence[int]) -> int:
    """How many shards `devices` makes of a step: -1 and "auto" are one."""
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(len(devices), 1)
    text = str(devices)
    if text in ("auto", "-1"):
        return 1
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"devices is {shown(devices)}, expected a number of 1 or more, or 'auto'")
    return int(text)


def check_place(accelerator: Any, strategy: Any, shards: int) -> None:
    """Notices what runs elsewhere than it says. Raises `ValueError` for what cannot run here."""
    if not isinstance(strategy, str) or not strategy.startswith(_STRATEGIES):
        raise ValueError(
            f"strategy is {shown(strategy)}: every process holds the whole model, which is 'auto', "
            "'ddp' or 'mpi'"
        )
    if accelerator not in _ACCELERATORS:
        notice(f"accelerator={shown(accelerator)}: vitc computes on the CPU")
    if shards > 1:
        notice(
            f"{shards} devices: this process runs their {shards} shards of a step in turn, with "
            "all its threads; the result is the same"
        )


def compute_precision(precision: Any) -> str:
    """ "float32", "bf16" or "float64" for Lightning's name of a precision."""
    if precision in ("bf16-true", "16-true"):
        raise ValueError(
            f"precision is {shown(precision)}: weights are kept in float32, which is 'bf16-mixed'"
        )
    if not isinstance(precision, str | int | None) or precision not in _PRECISIONS:
        known = [str(name) for name in _PRECISIONS if name is not None]
        raise ValueError(f"precision is {shown(precision)}; {nearest(precision, known)}")
    if precision in _HALF:
        notice(f"precision={shown(precision)}: CPUs compute in bfloat16, this is 'bf16-mixed'")
    return _PRECISIONS[precision]


def as_seconds(duration: str | timedelta | Mapping[str, int]) -> float:
    """Seconds of a timedelta, its arguments, or "DD:HH:MM:SS".

    Raises `ValueError` for other strings.
    """
    if isinstance(duration, Mapping):
        duration = timedelta(**duration)
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    parts = duration.split(":")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        raise ValueError(f"the time is {shown(duration)}, expected 'DD:HH:MM:SS'")
    days, hours, minutes, seconds = map(int, parts)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
