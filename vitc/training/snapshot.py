"""What a checkpoint holds of a run, and how a run gets it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc import __version__
from vitc.errors import said, shown
from vitc.models.timm_folder import timm_config
from vitc.models.vision_transformer import VisionTransformer
from vitc.runtime import machine
from vitc.tape import clock
from vitc.training.checkpoint import Buffers, Checkpoint, Snapshot, trained_file
from vitc.training.finished import is_told_to_stop, limits
from vitc.training.optimizer_state import check_kind, load, split
from vitc.training.plain import as_json
from vitc.training.results import named_metrics
from vitc.training.rows import logger_states
from vitc.training.settings import notice
from vitc.training.state import State
from vitc.training.state_file import SCHEMA

if TYPE_CHECKING:
    from vitc.arrays import Array
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


def snapshot(
    trainer: Trainer,
    weights_only: bool = False,
    buffers: Buffers | None = None,
    by: str = "",
) -> Snapshot:
    """The present state. weights_only: the models and hyperparameters, which cannot be resumed. by:
    the key of the callback whose checkpoint it is.

    buffers: where arrays are copied to, so that training continues while they are written; None
    for views of them. Memory that was used before takes the copy of a gigabyte in 0.1 s, new
    memory may take ten times as long.

    Raises `TypeError` for what `plain.as_json` does not know.
    """
    module = trainer.module
    _check_hparams(module)
    if not weights_only:
        trainer.end_batch()
    models = dict(module.named_models())
    files = {name: "model" if i == 0 else name for i, name in enumerate(models)}
    tensors = {files[name]: model.state_dict() for name, model in models.items()}
    state = _module_state(module) | {"run": trainer.run_id, "by": by}
    state["models"] = {name: f"{file}.safetensors" for name, file in files.items()}
    for callback in trainer.callbacks:
        trained = callback.trained_weights()
        for name, weights in callback.validated_weights().items():
            if not weights_only:
                own = trained.get(name, tensors[files[name]])
                tensors[trained_file(files[name])] = own
            tensors[files[name]] = weights
    if not weights_only:
        state |= _run_state(trainer)
        tensors["state"], state["optimizer"] = split(trainer.optimizer)
    weights = {f"{n}.{key}": x for n in models for key, x in tensors[files[n]].items()}
    _ask_hooks(trainer, state, weights)
    if buffers is not None:
        tensors = _copied(tensors, buffers)
    first = next(iter(models.values()), None)
    labels = module.hparams.get("class_names")
    config = timm_config(first, labels) if isinstance(first, VisionTransformer) else None
    stored = {
        files[name]: model.stored_as(trainer.run.own_precision(model))
        for name, model in models.items()
    }
    return Snapshot(tensors, as_json(state), config, stored)


def _ask_hooks(trainer: Trainer, state: dict[str, Any], weights: dict[str, Array]) -> None:
    """on_save_checkpoint may add entries, and read the weights as "state_dict"; what a run is
    resumed from stays. Raises `ValueError`, naming it, for another entry that was changed."""
    own = {**state, "state_dict": weights}
    state["state_dict"] = dict(weights)
    trainer.call("on_save_checkpoint", state)
    given = state.pop("state_dict", None)
    same = isinstance(given, dict) and given.keys() == weights.keys()
    if not same or any(given[name] is not weights[name] for name in weights):
        raise ValueError("on_save_checkpoint() changed the state_dict, which is kept as it is")
    for name in own.keys() - {"state_dict"}:
        if state.get(name) is not own[name]:
            raise ValueError(
                f"on_save_checkpoint() changed {shown(name)}, from which the run is resumed: give "
                "your entry another name"
            )


def check(trainer: Trainer) -> None:
    """Raises `TypeError` now for what a checkpoint could not keep at the end of an epoch."""
    _check_hparams(trainer.module)
    for callback in trainer.callbacks:
        as_json(callback.state_dict(), f"the state of {type(callback).__name__}")


def _check_hparams(module: Module) -> None:
    for name, value in module.hparams.items():
        try:
            as_json(value)
        except TypeError as error:
            raise TypeError(
                f"a checkpoint cannot keep the hyperparameter {shown(name)}, {error}: leave it out "
                f"with save_hyperparameters(ignore=[{shown(name)}])"
            ) from None


def _copied(tensors: dict[str, dict[str, Array]], buffers: Buffers) -> dict[str, dict[str, Array]]:
    for file, part in tensors.items():
        for name, value in part.items():
            place = buffers.get((file, name))
            if place is None or (place.shape, place.dtype) != (value.shape, value.dtype):
                buffers[file, name] = np.array(value)
            else:
                np.copyto(place, value)
    return {file: {name: buffers[file, name] for name in part} for file, part in tensors.items()}


def _module_state(module: Module) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "vitc": __version__,
        "machine": machine(),
        "module": type(module).__name__,
        "hparams": dict(module.hparams),
        "hparams_name": module.hparams_name,
        "epoch": module.current_epoch,
        "global_step": module.global_step,
    }


def _run_state(trainer: Trainer) -> dict[str, Any]:
    state, callbacks = trainer.state, trainer.callbacks
    metrics = state.results.marked_metrics()
    return {
        "seed": clock.seed,
        "shards": trainer.world_size,
        "identity": trainer.identity,
        "limits": limits(trainer),
        "callbacks": {c.state_key: kept for c in callbacks if (kept := c.state_dict())},
        "schedule": trainer.schedules.state_dict(),
        "datamodule": trainer.datamodule.state_dict() if trainer.datamodule else {},
        "metric_states": trainer.metric_states() if metrics is None else metrics,
        **state.state_dict(logger_states(trainer)),
    }


# ------------------------------------------------------------------------------------- resuming


def load_run(found: Checkpoint, trainer: Trainer) -> None:
    """Sets models, optimizer, callbacks and counters to the state of a checkpoint.

    Raises `ValueError` for one that holds weights only, or is of a run with other settings.
    """
    _check_run(found, trainer)
    notice_machine(found)
    state = found.state
    run = _read_state(found, trainer)
    trainer.run_id = state["run"]
    try:
        _load_listeners(state, trainer)
        trainer.call("on_load_checkpoint", state, of_module=False)
        trainer.schedules.load_state_dict(state["schedule"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{found.path}: {said(error)}") from error
    found.load_models(trainer.module)
    _load_trained(found, trainer)
    load(trainer.optimizer, state["optimizer"], found.tensors("state"))
    if trainer.datamodule is not None:
        trainer.datamodule.load_state_dict(state["datamodule"])
    trainer.load_metric_states(state["metric_states"])
    if not is_told_to_stop(found.path, state, trainer):
        run.stop = ""
    trainer.state = run
    clock.seed = state["seed"]


def _read_state(found: Checkpoint, trainer: Trainer) -> State:
    """The state of the run, before anything is changed. Raises `ValueError`, naming the checkpoint,
    if it is damaged or names metrics that the module does not have."""
    run = State(trainer.state.fn, trainer.state.stage, trainer.state.status)
    try:
        run.load_state_dict(found.state)
        run.results.attach(trainer.module)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{found.path} is damaged: {said(error)}") from None
    if 0 <= trainer.max_epochs < run.epoch:
        raise ValueError(
            f"{found.path} is at epoch {run.epoch}, but max_epochs is {trainer.max_epochs}"
        )
    known = named_metrics(trainer.module)
    for name, kept in found.state["metric_states"].items():
        if not hasattr(known.get(name), "load_state_dict") or not isinstance(kept, dict):
            raise ValueError(f"{found.path} keeps the metric {shown(name)}, which is not there")
    return run


def _load_trained(found: Checkpoint, trainer: Trainer) -> None:
    """The weights that training continues with, where others were validated."""
    files = {name: trained_file(file) for name, file in found.state["models"].items()}
    apart = {name: file for name, file in files.items() if file in found.files}
    validated = {name: found.weights(name) for name in apart}
    for callback in trainer.callbacks:
        callback.load_validated_weights(validated)
    for name, model in trainer.module.named_models():
        if name in apart:
            model.load_state_dict(found.arrays(apart[name]), allow_nonfinite=True)


def _load_listeners(state: Mapping[str, Any], trainer: Trainer) -> None:
    """The loggers come first: they know the folder of the run."""
    for logger, kept in zip(trainer.loggers, state["loggers"], strict=False):
        if kept and hasattr(logger, "load_state_dict"):
            logger.load_state_dict(kept)
    for callback in trainer.callbacks:
        if callback.state_key in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][callback.state_key])


def _check_run(found: Checkpoint, trainer: Trainer) -> None:
    state = found.state
    if "progress" not in state:
        raise ValueError(
            f"{found.path} holds weights only and cannot be resumed: load it with "
            "load_from_checkpoint()"
        )
    if state["shards"] != trainer.world_size:
        raise ValueError(
            f"{found.path} was trained with {state['shards']} devices, this run has "
            f"{trainer.world_size}: a step would be another one"
        )
    check_kind(trainer.optimizer, state["optimizer"], found.path)


def notice_machine(found: Checkpoint) -> None:
    """Says so if the bits from here on may not be those that the run would have had there."""
    here, there = machine(), found.state.get("machine")
    known = there if isinstance(there, dict) else {}
    differing = [name for name in here if known.get(name) != here[name]]
    if differing:
        notice(
            f"the checkpoint was written with another {', '.join(differing)}: the run "
            "continues, with other bits than it would have had there"
        )
