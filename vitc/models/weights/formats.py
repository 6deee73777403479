"""Weight files of every format, recognised by their content and not by their names."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.errors import listed, said
from vitc.models.weights.local_dir import parts_of
from vitc.models.weights.mapped import DAMAGE
from vitc.models.weights.torch_file import LEGACY


class Weights(NamedTuple):
    """What a file holds.

    state: name -> array, mostly views of the mapped file, read-only. metadata: of `save_file`.
    interpolation: how its writer resizes its arrays for another image size. unread: of tensors of
    kinds that are not read, what they are.
    """

    state: dict[str, Array]
    metadata: dict[str, str]
    interpolation: str = "bicubic"
    unread: Mapping[str, str] = MappingProxyType({})

    def told(self, error: ValueError) -> str:
        """Why the weights do not fit, with what was not read of them."""
        words = [f"{name} ({kind})" for name, kind in self.unread.items()]
        return str(error) + (f"\nnot read: {listed(words, 8)}" if words else "")


def _safetensors(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import safetensors_file

    state, metadata, unread = safetensors_file.read(path)
    return Weights(state, metadata, unread=unread)


def _shards(path: Path, use_ema: bool) -> Weights:
    """The files that an index names, which lie beside it."""
    state: dict[str, Array] = {}
    unread: dict[str, str] = {}
    for name, keys in parts_of(path).items():
        part = read_weights(path.parent / name, use_ema=use_ema)
        state |= {key: part.state[key] for key in keys if key in part.state}
        unread |= {key: part.unread[key] for key in keys if key in part.unread}
        absent = [key for key in keys if key not in state and key not in unread]
        if absent:
            raise ValueError(f"{name} does not hold {listed(absent, 8)}")
    return Weights(state, {}, unread=unread)


def _torch(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import torch_file
    from vitc.models.weights.keys import weights_of

    content, array = torch_file.read(path)
    found = weights_of(content, torch_file.TENSORS, use_ema)
    state = {name: array(tensor) for name, tensor in found.state.items()}
    return Weights(state, {}, unread=found.unread)


def _npz(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import npz

    return Weights(*npz.read(path))


def _zip(path: Path, use_ema: bool) -> Weights:
    """Of torch or of NumPy, by what is in it."""
    from vitc.models.weights.archive import Archive

    numpy = any(name.endswith(".npy") for name in Archive(path).names)
    return _npz(path, use_ema) if numpy else _torch(path, use_ema)


class Format(NamedTuple):
    """begins: a pattern of the first bytes, from `offset` on. read: None for anything but a weight
    file."""

    name: str
    begins: bytes
    read: Callable[[Path, bool], Weights] | None
    offset: int = 0


FORMATS = (
    # First: it begins with the length of its header, which may look like any of the others.
    Format(".safetensors file", rb"\{", _safetensors, 8),
    Format("zip file of torch or NumPy", rb"PK\x03\x04", _zip),
    Format("file of torch.save", LEGACY, _torch),
    Format("index of the parts of a model", rb"\s*\{", _shards),
    Format("pickle that torch.save did not write", rb"\x80", None),
    Format("pointer of Git LFS in place of the file itself", b"version https://git-lfs", None),
    Format("web page", b"<", None),
    Format("single array of NumPy", rb"\x93NUMPY", None),
)


def read_weights(path: str | os.PathLike[str], *, use_ema: bool = True) -> Weights:
    """What a weight file holds: `.safetensors` or an index of such, of torch.save, of NumPy, or
    Google's `.npz`. The arrays are views of the file, see `load_file`.

    use_ema: of a checkpoint that also holds averaged weights, those. Nothing in a file is executed.

    Raises `OSError` if it cannot be opened and `ValueError`, naming the path, if it is of another
    format, truncated, damaged, or asks for what is refused.
    """
    path = Path(path)
    with path.open("rb") as file:  # the usual OSError, with the path in it
        start = file.read(64)
    for known in FORMATS:
        if re.match(known.begins, start[known.offset :], re.DOTALL):
            break
    else:
        raise ValueError(f"{path} is not a readable weight file: {_EXPECTED}")
    if known.read is None:
        raise ValueError(f"{path} is a {known.name}, {_EXPECTED}")
    try:
        return known.read(path, use_ema)
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable {known.name}: {said(error)}") from error


_EXPECTED = "expected .safetensors, .pth of torch.save, or .npz of Google"


def load_file(
    path: str | os.PathLike[str], *, use_ema: bool = True, mapped: bool = False
) -> dict[str, Array]:
    """The arrays of a weight file by name; see `read_weights`.

    mapped: read-only views of the file in place of copies, which take no time and no memory. A file
    that another program then changes in place changes the arrays, and one that it shortens ends
    the process (SIGBUS) when they are read. Tensors of kinds that are not read are left out, and a
    warning names them.
    """
    weights = read_weights(path, use_ema=use_ema)
    if weights.unread:
        warnings.warn(weights.told(ValueError(f"{path}")), stacklevel=2)
    if mapped:
        return weights.state
    return {name: np.array(value) for name, value in weights.state.items()}


def parse_safetensors(data: memoryview, path: Path) -> Weights:
    """Of what a `.safetensors` file holds; path: where it was, for the errors."""
    from vitc.models.weights import safetensors_file

    try:
        return Weights(*safetensors_file.parse(data)[:2])
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {said(error)}") from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `save_file` wrote beside the arrays; empty for other formats."""
    return read_weights(path).metadata
