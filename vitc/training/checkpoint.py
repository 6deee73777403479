"""Checkpoints: a directory that holds a run between two optimizer steps.

    model.safetensors   the first model under timm's names; other models `<attribute>.safetensors`:
                        the weights that were validated
    config.json         as timm's `local-dir:` reads it: timm.create_model("local-dir:<directory>")
    trained-*.safetensors  of a model whose averages are validated: those are its weights, and
                        this file holds the trained ones, from which the run is resumed
    state.safetensors   what the optimizer keeps of each parameter, such as its moments
    state.json          progress, seed, hyperparameters, settings, callbacks, SHA-256 of each file

It is written beside its place, flushed to the disk, and takes its name whole; see `folders`. A
reader sees one checkpoint or the other. Reading never executes anything, and looks at nothing but
the files in the directory.
"""

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from io import BufferedReader
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import __version__
from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.timm_folder import timm_config
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import parse_safetensors, write_safetensors
from vitc.runtime import machine
from vitc.tape import clock
from vitc.training.estimate import size
from vitc.training.folders import Claim, settle, steadily
from vitc.training.foreign import Foreign
from vitc.training.settings import notice
from vitc.training.state_file import SCHEMA, STATE, read_state, step_of, write_json, write_state


class Checkpoint(NamedTuple):
    """A checkpoint that was read, its files verified.

    state: the content of state.json. files: the others, as they were then, whatever becomes of
    the directory.
    """

    path: Path
    state: dict[str, Any]
    files: dict[str, memoryview]

    def weights(self, attribute: str) -> dict[str, Array]:
        """The state dict of one model of the module."""
        files = self.state["models"]
        if attribute not in files:
            raise ValueError(
                f"{self.path} holds no model {shown(attribute)}, only {', '.join(files) or 'none'}"
            )
        return self.arrays(files[attribute])

    def tensors(self, name: str) -> dict[str, Array]:
        """The arrays of `<name>.safetensors`; none if it does not hold it."""
        file = f"{name}.safetensors"
        return self.arrays(file) if file in self.files else {}

    def arrays(self, file: str) -> dict[str, Array]:
        """The same of a file by its name. Raises `ValueError` if the checkpoint has none."""
        if file not in self.files:
            raise ValueError(f"{self.path} holds no {file}")
        return parse_safetensors(self.files[file], self.path / file)

    @property
    def hparams(self) -> dict[str, Any]:
        return dict(self.state["hparams"])

    def load_models(self, module: Any) -> None:
        """Gives the models of module their weights. Raises `ValueError` for one that does not
        fit."""
        for attribute, model in module.named_models():
            weights = self.weights(attribute)
            try:
                model.load_state_dict(weights)
            except ValueError as error:
                raise ValueError(f"{self.path}, model {shown(attribute)}: {error}") from None

    def load_run(self, trainer: Any, module: Any) -> None:
        """Sets models, optimizer, callbacks and counters to the state of the checkpoint.

        Raises `ValueError` for one that holds weights only or is of another number of devices.
        """
        state = self.state
        self._check_run(trainer)
        self._notice_machine()
        self.load_models(module)
        self._load_trained(trainer, module)
        trainer.optimizer.load_state_dict(self._optimizer())
        trainer.run_id = state["run"]
        try:
            self._load_listeners(trainer)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        trainer.load_schedule_state(state["schedule"])
        if trainer.datamodule is not None:
            trainer.datamodule.load_state_dict(state["datamodule"])
        trainer.progress.load_state_dict(state["progress"])
        trainer.results.load_state_dict(state["results"])
        trainer.callback_metrics.update(state["callback_metrics"])
        clock.seed = state["seed"]
        for callback in trainer.callbacks:
            callback.on_load_checkpoint(trainer, module, state)
        module.on_load_checkpoint(state)

    def _load_trained(self, trainer: Any, module: Any) -> None:
        """The weights that training continues with, where others were validated."""
        files = {name: _trained(file) for name, file in self.state["models"].items()}
        apart = {name: file for name, file in files.items() if file in self.files}
        validated = {name: self.weights(name) for name in apart}
        for callback in trainer.callbacks:
            callback.load_validated_weights(validated)
        for name, model in module.named_models():
            if name in apart:
                model.load_state_dict(self.arrays(apart[name]), allow_nonfinite=True)

    def _load_listeners(self, trainer: Any) -> None:
        """The loggers come first: they know the folder of the run."""
        for logger, kept in zip(trainer.loggers, self.state["loggers"], strict=False):
            if kept and hasattr(logger, "load_state_dict"):
                logger.load_state_dict(kept)
        for callback in trainer.callbacks:
            if callback.state_key in self.state["callbacks"]:
                callback.load_state_dict(self.state["callbacks"][callback.state_key])

    def _check_run(self, trainer: Any) -> None:
        if "progress" not in self.state:
            raise ValueError(
                f"{self.path} holds weights only and cannot be resumed: load it with "
                "load_from_checkpoint()"
            )
        if self.state["shards"] != trainer.world_size:
            raise ValueError(
                f"{self.path} was trained with {self.state['shards']} devices, this run has "
                f"{trainer.world_size}: a step would be another one"
            )

    def _notice_machine(self) -> None:
        """Says so if the bits from here on may not be those that the run would have had there."""
        here, there = machine(), self.state.get("machine")
        known = there if isinstance(there, dict) else {}
        differing = [name for name in here if known.get(name) != here[name]]
        if differing:
            notice(
                f"the checkpoint was written with another {', '.join(differing)}: the run "
                "continues, with other bits than it would have had there"
            )

    def _optimizer(self) -> dict[str, Any]:
        """An optimizer's state in torch's layout."""
        kept = self.state["optimizer"]
        rows: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in kept["state"].items()}
        for key, value in self.tensors("state").items():
            number, name = key.split(".", 1)
            rows[int(number)][name] = value
        return {"state": rows, "param_groups": kept["param_groups"]}


Buffers = dict[tuple[str, str], Array]


class Snapshot(NamedTuple):
    """All that a checkpoint will hold.

    tensors: per file name without its ending. config: of config.json, if there is one.
    """

    tensors: dict[str, dict[str, Array]]
    state: dict[str, Any]
    config: dict[str, Any] | None

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for arrays in self.tensors.values() for a in arrays.values())


# ------------------------------------------------------------------------------------- writing


def snapshot(
    trainer: Any,
    module: Any,
    weights_only: bool = False,
    buffers: Buffers | None = None,
    by: str = "",
) -> Snapshot:
    """The present state. weights_only: the models and hyperparameters, which cannot be resumed. by:
    the key of the callback whose checkpoint it is.

    buffers: where arrays are copied to, so that training continues while they are written; None
    for views of them. Memory that was used before takes the copy of a gigabyte in 0.1 s, new
    memory may take ten times as long.

    Raises `TypeError` for a hyperparameter that JSON lacks.
    """
    models = dict(module.named_models())
    files = {attribute: _file_name(i, attribute) for i, attribute in enumerate(models)}
    tensors = {files[name]: model.state_dict() for name, model in models.items()}
    state = _module_state(module) | {"run": trainer.run_id, "by": by}
    state["models"] = {k: f"{v}.safetensors" for k, v in files.items()}
    for callback in trainer.callbacks:
        for name, weights in callback.validated_weights().items():
            if not weights_only:
                tensors[_trained(files[name])] = tensors[files[name]]
            tensors[files[name]] = weights
    if not weights_only:
        state |= _run_state(trainer)
        tensors["state"], state["optimizer"] = _split(trainer.optimizer.state_dict())
    for hook in [c.on_save_checkpoint for c in trainer.callbacks]:
        hook(trainer, module, state)
    module.on_save_checkpoint(state)
    if buffers is not None:
        tensors = _copied(tensors, buffers)
    first = next(iter(models.values()), None)
    whole = isinstance(first, VisionTransformer)
    labels = state["hparams"].get("class_names")
    config = timm_config(first, labels) if whole else None  # type: ignore[arg-type]
    return Snapshot(tensors, json.loads(json.dumps(state)), config)


def _copied(tensors: dict[str, dict[str, Array]], buffers: Buffers) -> dict[str, dict[str, Array]]:
    for file, part in tensors.items():
        for name, value in part.items():
            place = buffers.get((file, name))
            if place is None or (place.shape, place.dtype) != (value.shape, value.dtype):
                buffers[file, name] = np.array(value)
            else:
                np.copyto(place, value)
    return {file: {name: buffers[file, name] for name in part} for file, part in tensors.items()}


def _module_state(module: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "vitc": __version__,
        "machine": machine(),
        "module": type(module).__name__,
        "hparams": _as_json(module.hparams),
    }


def _run_state(trainer: Any) -> dict[str, Any]:
    return {
        "seed": clock.seed,
        "shards": trainer.world_size,
        "progress": trainer.progress.state_dict(),
        "callbacks": {c.state_key: c.state_dict() for c in trainer.callbacks if c.state_dict()},
        "loggers": trainer.logger_states(),
        "schedule": trainer.schedule_state(),
        "datamodule": trainer.datamodule.state_dict() if trainer.datamodule else {},
        "results": trainer.results.state_dict(),
        "callback_metrics": dict(trainer.callback_metrics),
    }


def _file_name(index: int, attribute: str) -> str:
    return "model" if index == 0 else attribute


def _trained(file: str) -> str:
    """The file of the trained weights beside that of the validated ones."""
    return f"trained-{file}"


def _split(optimizer: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """An optimizer's state in torch's layout as arrays, `<number>.<name>`, and the rest."""
    arrays: dict[str, Array] = {}
    numbers: dict[str, Any] = {}
    for number, row in optimizer["state"].items():
        large = {name: value for name, value in row.items() if np.ndim(value)}
        arrays |= {f"{number}.{name}": value for name, value in large.items()}
        numbers[str(number)] = {n: _number(v) for n, v in row.items() if n not in large}
    return arrays, {"state": numbers, "param_groups": optimizer["param_groups"]}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def write(claims: Sequence[Claim], content: Snapshot) -> None:
    """Writes a snapshot under each of the names, the first of them first.

    Raises `OSError` if it cannot be written; what had a name before stays.
    """
    with ExitStack() as stack:
        for claim in claims:
            stack.enter_context(claim)
        # They are left in the other order.
        *others, folder = [stack.enter_context(claim.filling()) for claim in reversed(claims)]
        _fill(folder, content)
        for other in others:
            _link(folder, other)


def _fill(folder: Path, content: Snapshot) -> None:
    _check_space(folder, content.nbytes)
    for name, arrays in content.tensors.items():
        write_safetensors(folder / f"{name}.safetensors", arrays, {"format": "pt"})
    if content.config is not None:
        write_json(folder / "config.json", content.config)
    hashes = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
    write_state(folder, {**content.state, "files": hashes})


def _link(source: Path, folder: Path) -> None:
    """The same files in a second folder. They are never changed, so links are enough."""
    for file in source.iterdir():
        try:
            os.link(file, folder / file.name)
        except OSError:  # a file system without links
            shutil.copyfile(file, folder / file.name)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{folder.parent}: a checkpoint needs {size(needed)}, {size(free)} are free")


def _as_json(hparams: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in hparams.items():
        value = value.item() if isinstance(value, np.generic) else value
        value = os.fspath(value) if isinstance(value, PathLike) else value
        try:
            plain[name] = json.loads(json.dumps(value))
        except TypeError:
            raise TypeError(
                f"a checkpoint cannot keep the hyperparameter {shown(name)}, a "
                f"{type(value).__name__}: leave it out with "
                f"save_hyperparameters(ignore=[{shown(name)}])"
            ) from None
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------- reading


def read(path: str | PathLike[str]) -> Checkpoint:
    """A checkpoint, after every file of it was compared with its hash.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the file, if it is damaged or
    of another version.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            state, files = steadily(path, lambda: _open(path, stack))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: there is no such checkpoint") from None
        except NotADirectoryError:
            raise ValueError(f"{path} is not a checkpoint: it is not a directory") from None
        return Checkpoint(path, state, {name: _verified(files[name], state) for name in files})


def _open(path: Path, stack: ExitStack) -> tuple[dict[str, Any], dict[str, BufferedReader]]:
    """The state and the other files, open: they stay as they are when the directory goes."""
    if not (path / STATE).is_file():
        raise ValueError(f"{path} is not a checkpoint: it holds no {STATE}")
    state = read_state(path)
    for name in state["files"]:
        if not (path / name).is_file():
            raise ValueError(f"{path} is damaged: {name} is missing")
    return state, {n: stack.enter_context((path / n).open("rb")) for n in state["files"]}


def _verified(file: BufferedReader, state: Mapping[str, Any]) -> memoryview:
    """The content of an open file, mapped."""
    path = Path(file.name)
    if hashlib.file_digest(file, "sha256").hexdigest() != state["files"][path.name]:
        raise ValueError(f"{path.parent} is damaged: {path.name} is not as it was written")
    empty = os.fstat(file.fileno()).st_size == 0
    return memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_any(path: str | PathLike[str]) -> Checkpoint | Foreign:
    """A checkpoint, or the file of another trainer. Raises as they do."""
    return Foreign(path) if Path(path).is_file() else read(path)


def read_or_earlier(path: str | PathLike[str]) -> Checkpoint | Foreign:
    """The same, or if it is damaged the latest whole checkpoint beside it, with a warning."""
    path = Path(path)
    settle(path.parent)
    try:
        return read_any(path)
    except ValueError as error:
        for other in beside(path.parent):
            with suppress(ValueError, OSError):
                found = read(other)
                notice(f"{error}; going on from {other} instead")
                return found
        raise


def beside(folder: Path) -> list[Path]:
    """The checkpoints in a folder that can be resumed, the latest step first."""
    found = []
    for path in folder.glob("*.ckpt"):
        with suppress(OSError):  # another run may remove it meanwhile
            # Of one step, the one that was written last; of one write, always the same.
            found.append((step_of(path), path.stat().st_mtime, path.name, path))
    return [path for step, _, _, path in sorted(found, reverse=True) if step >= 0]
