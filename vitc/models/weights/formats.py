"""Weight files of every format, recognised by their content and not by their names."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vitc.arrays import Array
from vitc.models.weights.mapped import DAMAGE


class Weights(NamedTuple):
    """What a file holds.

    state: name -> array, mostly views of the mapped file, read-only. metadata: of `save_file`.
    interpolation: how its writer resizes its arrays for another image size.
    """

    state: dict[str, Array]
    metadata: dict[str, str]
    interpolation: str = "bicubic"


def _safetensors(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import safetensors_file

    return Weights(*safetensors_file.read(path))


def _torch(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import torch_file
    from vitc.models.weights.keys import weights_of

    content, array = torch_file.read(path)
    tensors = weights_of(content, torch_file.Tensor, use_ema)
    return Weights({name: array(tensor) for name, tensor in tensors.items()}, {})


def _npz(path: Path, use_ema: bool) -> Weights:
    from vitc.models.weights import npz

    return Weights(npz.read(path), {}, "bilinear")


def _zip(path: Path, use_ema: bool) -> Weights:
    """Of torch or of NumPy, by what is in it."""
    from vitc.models.weights.archive import Archive

    numpy = any(name.endswith(".npy") for name in Archive(path).names)
    return _npz(path, use_ema) if numpy else _torch(path, use_ema)


class Format(NamedTuple):
    """begins: the first bytes, from `offset` on. read: None for anything but a weight file."""

    name: str
    begins: bytes
    read: Callable[[Path, bool], Weights] | None
    offset: int = 0


FORMATS = (
    # First: it begins with the length of its header, which may look like any of the others.
    Format(".safetensors file", b"{", _safetensors, 8),
    Format("zip file of torch or NumPy", b"PK\x03\x04", _zip),
    Format("file of torch.save", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20", _torch),
    Format("pickle that torch.save did not write", b"\x80", None),
    Format("pointer of Git LFS in place of the file itself", b"version https://git-lfs", None),
    Format("web page", b"<", None),
    Format("single array of NumPy", b"\x93NUMPY", None),
)


def read_weights(path: str | os.PathLike[str], *, use_ema: bool = True) -> Weights:
    """What a weight file holds: `.safetensors`, of torch.save, or Google's `.npz`.

    use_ema: of a checkpoint that also holds averaged weights, those. Nothing in a file is executed.

    Raises `OSError` if it cannot be opened and `ValueError`, naming the path, if it is of another
    format, truncated, damaged, or asks for what is refused.
    """
    path = Path(path)
    with path.open("rb") as file:  # the usual OSError, with the path in it
        start = file.read(64)
    for known in FORMATS:
        if start[known.offset :].startswith(known.begins):
            break
    else:
        raise ValueError(f"{path} is not a readable weight file: {_EXPECTED}")
    if known.read is None:
        raise ValueError(f"{path} is a {known.name}, {_EXPECTED}")
    try:
        return known.read(path, use_ema)
    except DAMAGE as error:
        told = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a readable {known.name}: {told}") from error


_EXPECTED = "expected .safetensors, .pth of torch.save, or .npz of Google"


def load_file(path: str | os.PathLike[str], *, use_ema: bool = True) -> dict[str, Array]:
    """The arrays of a weight file by name; see `read_weights`."""
    return read_weights(path, use_ema=use_ema).state


def parse_safetensors(data: memoryview, path: Path) -> dict[str, Array]:
    """The arrays of what a `.safetensors` file holds; path: where it was, for the errors."""
    from vitc.models.weights import safetensors_file

    try:
        return safetensors_file.parse(data)[0]
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `save_file` wrote beside the arrays; empty for other formats."""
    return read_weights(path).metadata
