"""Google's checkpoints (`.npz`): the names and layouts of Flax, turned into timm's.

Flax keeps a linear layer as kernel (in, out), a convolution as (height, width, in, out), and the
projections of attention with the heads apart: query, key and value (D, heads, size), out (heads,
size, D). There are two layouts: that of the first ViTs and of AugReg, and that of big_vision, where
modules are numbered per kind, and all blocks may be stacked in one array.
"""

import io
import re
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from vitc.arrays import Array
from vitc.models.weights.archive import Archive
from vitc.models.weights.keys import TRUNK
from vitc.models.weights.mapped import array_at, widened

_PREFIXES = ("", "opt/target/", "params/img/", "params/")
_LONGEST_HEADER = 10_000
_HEADERS: dict[int, Any] = {
    1: np.lib.format.read_array_header_1_0,
    2: np.lib.format.read_array_header_2_0,
}

# Flax's name in a block, in the old layout and in big_vision's, and timm's.
_BLOCK = (
    ("LayerNorm_0", "LayerNorm_0", "norm1"),
    ("LayerNorm_2", "LayerNorm_1", "norm2"),
    ("MlpBlock_3/Dense_0", "MlpBlock_0/Dense_0", "mlp.fc1"),
    ("MlpBlock_3/Dense_1", "MlpBlock_0/Dense_1", "mlp.fc2"),
)
_ATTENTION = ("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0")


def read(path: Path) -> tuple[dict[str, Array], dict[str, str], str]:
    """The state dict under timm's names, nothing, and how its writer resizes arrays. A state dict
    that numpy.savez wrote as it is stays so.

    Raises `ValueError` naming what is missing or damaged.
    """
    archive = Archive(path)
    arrays = {
        name.removesuffix(".npy"): npy(archive.view(name))
        for name in archive.names
        if name.endswith(".npy")
    }
    for prefix in _PREFIXES:
        if f"{prefix}embedding/kernel" in arrays:
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            return _state(own), {}, "bilinear"
    if any(name.endswith(TRUNK) for name in arrays):
        return arrays, {}, "bicubic"
    raise ValueError(
        f"it has no embedding/kernel, as a Vision Transformer of Flax has, and no {TRUNK}"
    )


def npy(data: memoryview) -> Array:
    """The array in an entry of NumPy's format `.npy`. Raises `ValueError` for objects."""
    head = io.BytesIO(data[: _LONGEST_HEADER + 16])
    major, minor = np.lib.format.read_magic(head)
    if major not in _HEADERS:
        raise ValueError(f"it holds an array in version {major}.{minor} of .npy, expected 1 or 2")
    try:
        shape, fortran, dtype = _HEADERS[major](head, max_header_size=_LONGEST_HEADER)
    except (TokenError, MemoryError) as error:
        raise ValueError(f"the header of an array is damaged: {error}") from None
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None:  # as JAX saves bfloat16
        dtype, narrow = np.dtype("<u2"), True
    else:
        narrow = False
    if dtype.kind not in "fiub":
        raise ValueError(f"it holds an array of {dtype}, expected numbers")
    array = array_at(data, head.tell(), dtype.str, shape[::-1] if fortran else shape)
    array = array.T if fortran else array
    return widened(array) if narrow else array


def _state(arrays: dict[str, Array]) -> dict[str, Array]:
    old = "Transformer/posembed_input/pos_embedding"
    position = old if old in arrays else "pos_embedding"
    state = {
        "patch_embed.proj.weight": arrays["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": arrays["embedding/bias"],
        "pos_embed": arrays[position],
        **_module(arrays, "Transformer/encoder_norm", "norm"),
    }
    if "cls" in arrays:
        state["cls_token"] = arrays["cls"]
    stacked = "Transformer/encoderblock/LayerNorm_0/scale" in arrays
    layout = 1 if stacked or position != old else 0
    for i, block in enumerate(_blocks(arrays, stacked)):
        state |= {f"blocks.{i}.{k}": v for k, v in _block(block, layout).items()}
    if "head/kernel" in arrays:
        state |= _module(arrays, "head", "head")
    if "MAPHead_0/probe" in arrays:
        head = {k.removeprefix("MAPHead_0/"): v for k, v in arrays.items()}
        state |= {f"attn_pool.{k}": v for k, v in _attention_pool(head).items()}
    return state


def _attention_pool(arrays: dict[str, Array]) -> dict[str, Array]:
    """The head of SigLIP: a learned query, the probe, attends to the tokens."""
    attention = _attention(arrays, _ATTENTION[1], ("query",), "q")
    attention |= _attention(arrays, _ATTENTION[1], ("key", "value"), "kv")
    state = {"latent": arrays["probe"], **attention, **_module(arrays, "LayerNorm_0", "norm")}
    for i, name in enumerate(("mlp.fc1", "mlp.fc2")):
        state |= _module(arrays, f"MlpBlock_0/Dense_{i}", name)
    return state


def _blocks(arrays: dict[str, Array], stacked: bool) -> list[dict[str, Array]]:
    """The arrays of each block, under the names they have within it."""
    pattern = re.compile(r"Transformer/encoderblock(?:_(\d+))?/(.*)")
    found = {name: match for name in arrays if (match := pattern.fullmatch(name))}
    if stacked:
        depth = len(arrays["Transformer/encoderblock/LayerNorm_0/scale"])
        return [{m[2]: arrays[name][i] for name, m in found.items()} for i in range(depth)]
    blocks: dict[int, dict[str, Array]] = {}
    for name, match in found.items():
        blocks.setdefault(int(match[1] or 0), {})[match[2]] = arrays[name]
    return [blocks[i] for i in sorted(blocks)]


def _block(arrays: dict[str, Array], layout: int) -> dict[str, Array]:
    found = _attention(arrays, _ATTENTION[layout], ("query", "key", "value"), "qkv")
    state = {f"attn.{name}": value for name, value in found.items()}
    for row in _BLOCK:
        state |= _module(arrays, row[layout], row[2])
    return state


def _attention(
    arrays: dict[str, Array], flax: str, parts: tuple[str, ...], name: str
) -> dict[str, Array]:
    """The projections of the parts under one name, and that of the result."""
    kernels = [arrays[f"{flax}/{part}/kernel"] for part in parts]
    biases = [arrays[f"{flax}/{part}/bias"].reshape(-1) for part in parts]
    out = arrays[f"{flax}/out/kernel"]
    return {
        f"{name}.weight": np.concatenate([k.reshape(len(k), -1).T for k in kernels]),
        f"{name}.bias": np.concatenate(biases),
        "proj.weight": out.reshape(-1, out.shape[-1]).T,
        "proj.bias": arrays[f"{flax}/out/bias"],
    }


def _module(arrays: dict[str, Array], flax: str, name: str) -> dict[str, Array]:
    """Weight and bias of a linear layer or a norm."""
    norm = f"{flax}/scale" in arrays
    weight = arrays[f"{flax}/scale"] if norm else _linear(arrays[f"{flax}/kernel"])
    return {f"{name}.weight": weight, f"{name}.bias": arrays[f"{flax}/bias"]}


def _linear(kernel: Array) -> Array:
    """(in, out), or (1, 1, in, out) as a 1 x 1 convolution, -> (out, in)."""
    return kernel.reshape(kernel.shape[-2:]).T
