"""Checkpoints: a directory that holds a run between two optimizer steps.

    model.safetensors   the first model under timm's names; other models `<attribute>.safetensors`
    config.json         as timm's `local-dir:` reads it: timm.create_model("local-dir:<directory>")
    state.safetensors   the moments of the optimizer
    state.json          progress, seed, hyperparameters, settings, callbacks, SHA-256 of each file

It is written beside its place, flushed to the disk, and then renamed: at any moment a name stands
for a whole checkpoint. Reading never executes anything.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import __version__
from vitc.arrays import Array
from vitc.models.model import Model
from vitc.models.timm_folder import timm_config
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import load_file, save_file
from vitc.tape import clock

SCHEMA = 1
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Checkpoint(NamedTuple):
    """A checkpoint that was read, its files verified. state: the content of state.json."""

    path: Path
    state: dict[str, Any]

    def weights(self, attribute: str) -> dict[str, Array]:
        """The state dict of one model of the module."""
        files = self.state["models"]
        if attribute not in files:
            raise ValueError(
                f"{self.path} holds no model {attribute!r}, only {', '.join(files) or 'none'}"
            )
        return load_file(self.path / files[attribute])


# ------------------------------------------------------------------------------------- writing


def write(path: str | PathLike[str], trainer: Any, module: Any) -> None:
    """Writes where the run stands. What was at path before stays whole until the new one is.

    Raises `OSError` if it cannot be written, `TypeError` for a hyperparameter that JSON lacks.
    """
    path = Path(path)
    state = _run_state(trainer, module)
    models = dict(module.named_models())
    files = {attribute: _file_name(i, attribute) for i, attribute in enumerate(models)}
    with _replacing(path) as folder:
        for attribute, model in models.items():
            save_file(folder / files[attribute], model.state_dict(), {"format": "pt"})
        first = next(iter(models.values()), None)
        if isinstance(first, VisionTransformer):
            labels = state["hparams"].get("class_names")
            _write_json(folder / "config.json", timm_config(first, labels))
        if trainer.optimizer is not None:
            optimizer = trainer.optimizer.state_dict()
            save_file(folder / "state.safetensors", _moments(optimizer), {"format": "pt"})
            state["optimizer"] = _settings(optimizer)
        hashes = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
        state |= {"models": files, "files": hashes}
        _write_json(folder / "state.json", {**state, "sha256": _digest(state)})


def _run_state(trainer: Any, module: Any) -> dict[str, Any]:
    state = {
        "schema": SCHEMA,
        "vitc": __version__,
        "module": type(module).__name__,
        "hparams": _as_json(module.hparams),
        "seed": clock.seed,
        "progress": trainer.progress.state_dict(),
        "callbacks": {c.state_key: c.state_dict() for c in trainer.callbacks if c.state_dict()},
        "results": trainer.results.state_dict(),
        "callback_metrics": trainer.callback_metrics,
    }
    module.on_save_checkpoint(state)
    return state


def _file_name(index: int, attribute: str) -> str:
    return "model.safetensors" if index == 0 else f"{attribute}.safetensors"


def _as_json(hparams: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in hparams.items():
        value = value.item() if isinstance(value, np.generic) else value
        value = os.fspath(value) if isinstance(value, PathLike) else value
        try:
            plain[name] = json.loads(json.dumps(value))
        except TypeError:
            raise TypeError(
                f"a checkpoint cannot keep the hyperparameter {name!r}, a {type(value).__name__}: "
                f"leave it out with save_hyperparameters(ignore=[{name!r}])"
            ) from None
    return plain


def _moments(optimizer: Mapping[str, Any]) -> dict[str, Array]:
    state = optimizer["state"].items()
    return {f"{number}.{name}": row[name] for number, row in state for name in _MOMENTS}


def _settings(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimizer's state holds besides the moments."""
    steps = {str(number): row["step"] for number, row in optimizer["state"].items()}
    return {"steps": steps, "param_groups": optimizer["param_groups"]}


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of `path` if the block does not raise."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    before = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in unfinished.iterdir():
            _flush(file)
        _flush(unfinished)
        if path.exists():
            os.rename(path, before)
        os.rename(unfinished, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _flush(path: Path) -> None:
    """Waits until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------------- reading


def read(path: str | PathLike[str]) -> Checkpoint:
    """A checkpoint, after every file of it was compared with its hash.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the file, if it is damaged or
    of a later version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    if not (path / "state.json").is_file():
        raise ValueError(f"{path} is not a checkpoint: it holds no state.json")
    state = _read_state(path / "state.json")
    for name, expected in state["files"].items():
        if not (path / name).is_file():
            raise ValueError(f"{path} is damaged: {name} is missing")
        if _sha256(path / name) != expected:
            raise ValueError(f"{path} is damaged: {name} is not as it was written")
    return Checkpoint(path, state)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
        digest = state.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path} is damaged: it is not the JSON that was written") from None
    if state.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {state.get('schema')!r}, this version of vitc reads {SCHEMA}"
        )
    if _digest(state) != digest:
        raise ValueError(f"{path} is damaged: it is not as it was written")
    return dict(state)


def load_models(checkpoint: Checkpoint, module: Any) -> None:
    """Gives the models of module their weights. Raises `ValueError` for one that does not fit."""
    for attribute, model in module.named_models():
        _load(checkpoint, attribute, model)


def _load(checkpoint: Checkpoint, attribute: str, model: Model) -> None:
    weights = checkpoint.weights(attribute)
    try:
        model.load_state_dict(weights)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}, model {attribute!r}: {error}") from None


def load_run(checkpoint: Checkpoint, trainer: Any, module: Any) -> None:
    """Sets models, optimizer, callbacks and counters to where the checkpoint stands."""
    state = checkpoint.state
    load_models(checkpoint, module)
    if "optimizer" in state:
        trainer.optimizer.load_state_dict(_optimizer_state(checkpoint))
    for callback in trainer.callbacks:
        if callback.state_key in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][callback.state_key])
    for name, value in state["progress"].items():
        setattr(trainer.progress, name, value)
    trainer.results.load_state_dict(state["results"])
    trainer.callback_metrics.update(state["callback_metrics"])
    clock.seed = state["seed"]
    module.on_load_checkpoint(state)


def _optimizer_state(checkpoint: Checkpoint) -> dict[str, Any]:
    settings = checkpoint.state["optimizer"]
    moments = load_file(checkpoint.path / "state.safetensors") if settings["steps"] else {}
    rows = {
        number: {"step": step, **{name: moments[f"{number}.{name}"] for name in _MOMENTS}}
        for number, step in settings["steps"].items()
    }
    return {"state": rows, "param_groups": settings["param_groups"]}


# ------------------------------------------------------------------------------------- names


def filled(pattern: str, values: Mapping[str, Any]) -> str:
    """A file name from a pattern: "{epoch}-{val_loss:.2f}" gives epoch=3-val_loss=0.41.

    Raises `ValueError` naming a field that has no value.
    """

    def fill(match: re.Match[str]) -> str:
        name, spec = match.group(1), match.group(2) or ""
        if name not in values:
            raise ValueError(
                f"filename {pattern!r} names {name!r}, which was not logged; known: "
                + ", ".join(values)
            )
        return f"{name}={values[name]:{spec[1:]}}"

    return re.sub(r"\{([^{}:]+)(:[^{}]*)?\}", fill, pattern)
