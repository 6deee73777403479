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

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from io import BufferedReader
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from vitc.arrays import Array
from vitc.errors import listed, shown
from vitc.models.weights import Weights, parse_safetensors, write_safetensors
from vitc.training.folders import Claim, settle, steadily
from vitc.training.settings import notice
from vitc.training.state_file import STATE, read_state, step_of, write_json, write_state
from vitc.training.tools.estimate import size
from vitc.training.tools.foreign import Foreign

if TYPE_CHECKING:
    from vitc.models.model import Model
    from vitc.training.module import Module


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
        return self.stored(attribute).state

    def stored(self, attribute: str) -> Weights:
        """The same, with what the file says of how the model computes."""
        files = self.state["models"]
        if attribute not in files:
            raise ValueError(
                f"{self.path} holds no model {shown(attribute)}, only {', '.join(files) or 'none'}"
            )
        return self.file(files[attribute])

    def tensors(self, name: str) -> dict[str, Array]:
        """The arrays of `<name>.safetensors`; none if it does not hold it."""
        file = f"{name}.safetensors"
        return self.arrays(file) if file in self.files else {}

    def arrays(self, file: str) -> dict[str, Array]:
        """The same of a file by its name. Raises `ValueError` if the checkpoint has none."""
        return self.file(file).state

    def file(self, name: str) -> Weights:
        """Arrays and metadata of a file; it raises the same."""
        if name not in self.files:
            raise ValueError(f"{self.path} holds no {name}")
        return parse_safetensors(self.files[name], self.path / name)

    @property
    def hparams(self) -> dict[str, Any]:
        return dict(self.state["hparams"])

    def load_models(self, module: Module, strict: bool = True) -> None:
        """Gives the models of module their weights. Its on_load_checkpoint may change them first,
        as `checkpoint["state_dict"]`.

        strict: False leaves out what does not fit, with a warning. Raises `ValueError` for a model
        that does not fit.
        """
        models = dict(module.named_models())
        kept = {name: self.stored(name) for name in self.state["models"]}
        weights = {f"{n}.{key}": x for n, held in kept.items() for key, x in held.state.items()}
        content = {**self.state, "state_dict": weights}
        module.on_load_checkpoint(content)  # type: ignore[attr-defined]
        for name, model in models.items():
            own = _of(content["state_dict"], name)
            held = kept[name].metadata if name in kept else {}
            fits = own if strict or held.get("quantization") else _fitting(model, own)
            model._load(f"{self.path}, model {shown(name)}", Weights(fits, held), strict)


def _of(state: Mapping[str, Array], model: str) -> dict[str, Array]:
    """The values of one model of a module's state dict, by the model's names."""
    return {k[len(model) + 1 :]: x for k, x in state.items() if k.startswith(f"{model}.")}


def _fitting(model: Model, state: Mapping[str, Array]) -> dict[str, Array]:
    """What has its place in a model; the names of all else are in a warning."""
    shapes = model.shapes
    fits = {name: x for name, x in state.items() if shapes.get(name) == x.shape}
    left, new = [n for n in state if n not in fits], [n for n in shapes if n not in fits]
    if left or new:
        notice(
            f"left out: {listed(left) or 'nothing'}; not in the file: {listed(new) or 'nothing'}"
        )
    return fits


Buffers = dict[tuple[str, str], Array]


class Snapshot(NamedTuple):
    """All that a checkpoint will hold.

    tensors: per file name without its ending. config: of config.json, if there is one. metadata: of
    the files of models, which say how these compute.
    """

    tensors: dict[str, dict[str, Array]]
    state: dict[str, Any]
    config: dict[str, Any] | None
    metadata: Mapping[str, dict[str, str]] = MappingProxyType({})

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for arrays in self.tensors.values() for a in arrays.values())


# ------------------------------------------------------------------------------------- writing


def trained_file(file: str) -> str:
    """The file of the trained weights beside that of the validated ones."""
    return f"trained-{file}"


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
        metadata = content.metadata.get(name, {"format": "pt"})
        write_safetensors(folder / f"{name}.safetensors", arrays, metadata)
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
