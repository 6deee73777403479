"""Weight files of other writers: torch.save in its formats, checkpoints of trainers, Google's npz.

Files are written by torch, or by NumPy under the names of Flax, from seeded numbers. The oracle is
what went in, to the bit, and for npz timm's own loader.
"""

import argparse
import io
import json
import mmap
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from oracle import redrawn, timm
from vitc.models import create_model
from vitc.models.model import Model
from vitc.models.weights import load_file, read_weights


@pytest.fixture
def model() -> Model:
    return create_model("test_vit", num_classes=4, depth=1).eval()


def tensors(model: Model, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    state = redrawn(model.shapes, "float32")
    return OrderedDict((name, torch.tensor(value).to(dtype)) for name, value in state.items())


def holds(model: Model, state: dict[str, torch.Tensor]) -> bool:
    return all(
        np.array_equal(value, state[name].detach().float().numpy())
        for name, value in model.state_dict().items()
    )


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


# ------------------------------------------------------------------------------- torch.save


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float64"])
def test_files_of_torch_save_are_read_in_every_precision(
    model, tmp_path: Path, name: str, zipped: bool
) -> None:
    state = tensors(model, getattr(torch, name))
    path = saved(tmp_path / "m.pth", state, _use_new_zipfile_serialization=zipped)
    model.load(path)
    assert holds(model, state)


def test_arrays_are_views_of_the_file_where_numpy_has_the_dtype(model, tmp_path: Path) -> None:
    state = tensors(model)
    torch.save(state, tmp_path / "m.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    for path in tmp_path.iterdir():
        for value in load_file(path).values():
            assert value.flags.owndata and value.flags.writeable
        for value in load_file(path, mapped=True).values():
            assert not value.flags.owndata and not value.flags.writeable
            while isinstance(value, np.ndarray):
                value = value.base
            assert isinstance(value, mmap.mmap)


def test_tensors_that_share_a_storage_or_are_transposed_are_read(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"a": base, "b": base.t(), "c": base[1:3, ::2], "d": base[0, 0], "e": base[:0]}
    for zipped in (True, False):
        path = saved(tmp_path / "m.pth", state, _use_new_zipfile_serialization=zipped)
        for name, value in load_file(path).items():
            assert np.array_equal(value, state[name].numpy()), name


def test_other_dtypes_and_parameters_are_read(tmp_path: Path) -> None:
    state: dict[str, torch.Tensor] = {
        name: torch.arange(5).to(getattr(torch, name))
        for name in ("int64", "int32", "int16", "int8", "uint8", "bool")
    }
    state["parameter"] = torch.nn.Parameter(torch.ones(3))
    for name, value in load_file(saved(tmp_path / "m.pth", state)).items():
        assert np.array_equal(value, state[name].detach().numpy())
        assert value.dtype == state[name].detach().numpy().dtype


# What a trainer may write around the weights; each is to find the right ones.
CONTAINERS = {
    "timm": lambda new, old: {
        "epoch": 3,
        "arch": "test_vit",
        "state_dict": old,
        "state_dict_ema": new,
        "args": argparse.Namespace(lr=0.1, mean=None, sizes=(1, 2)),
        "metric": np.float64(77.5),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
    },
    "deit": lambda new, old: {"model": new, "args": argparse.Namespace(a=1)},
    "lightning": lambda new, old: {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(
            [(f"model.{k}", v) for k, v in new.items()] + [("criterion.weight", torch.ones(2))]
        ),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": torch.tensor(1.5)}},
        "hyper_parameters": {"classes": {1, 2}, "device": torch.device("cpu"), "d": torch.float32},
    },
    "ddp": lambda new, old: {f"module.{k}": v for k, v in new.items()},
    "compiled": lambda new, old: {f"_orig_mod.module.{k}": v for k, v in new.items()},
    "dino": lambda new, old: {
        "student": {f"module.backbone.{k}": v for k, v in old.items()},
        "teacher": {f"backbone.{k}": v for k, v in new.items()},
    },
    "mae": lambda new, old: {
        "model": {
            **new,
            "mask_token": torch.zeros(1, 1, 8),
            "decoder_pos_embed": torch.zeros(1, 5, 8),
            "decoder_embed.weight": torch.zeros(8, 8),
            "decoder_blocks.0.norm1.weight": torch.zeros(8),
            "pre_logits.fc.weight": torch.zeros(8, 8),
        }
    },
}


@pytest.mark.parametrize("writer", CONTAINERS)
def test_the_weights_are_found_in_checkpoints_of_trainers(
    model, tmp_path: Path, writer: str
) -> None:
    new = tensors(model)
    old = OrderedDict((k, v + 1) for k, v in new.items())
    model.load(saved(tmp_path / "m.pth", CONTAINERS[writer](new, old)))
    assert holds(model, new)


def test_averaged_weights_are_a_choice(model, tmp_path: Path) -> None:
    new = tensors(model)
    old = OrderedDict((k, v + 1) for k, v in new.items())
    path = saved(tmp_path / "m.pth", CONTAINERS["timm"](new, old))
    assert np.array_equal(load_file(path, use_ema=False)["norm.bias"], old["norm.bias"].numpy())
    assert np.array_equal(load_file(path)["norm.bias"], new["norm.bias"].numpy())


def test_old_patch_weights_and_swapped_norms_are_turned(model, tmp_path: Path) -> None:
    state = tensors(model)
    other = {k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: v
             for k, v in state.items()}  # fmt: skip
    with pytest.warns(UserWarning, match="fc_norm.*norm.*pools"):
        model.load(saved(tmp_path / "m.pth", other))
    assert holds(model, state)


def test_a_checkpoint_of_two_models_is_refused(model, tmp_path: Path) -> None:
    state = tensors(model)
    both = {f"{side}.{k}": v for side in ("left", "right") for k, v in state.items()}
    with pytest.raises(ValueError, match=r"m\.pth.*several models: left\., right\."):
        model.load(saved(tmp_path / "m.pth", both))
    with pytest.raises(ValueError, match="no state dict; its keys: epoch, lr"):
        model.load(saved(tmp_path / "m.pth", {"epoch": 3, "lr": [0.1]}))
    with pytest.raises(ValueError, match="holds a list"):
        model.load(saved(tmp_path / "m.pth", [torch.ones(2)]))


# ------------------------------------------------------------------------------- what is refused


class Evil:
    """Runs a command if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_a_command_runs_nothing(
    model, tmp_path: Path, zipped: bool
) -> None:
    trace = tmp_path / "ran"
    state = tensors(model)
    old = dict(_use_new_zipfile_serialization=zipped)
    path = saved(tmp_path / "m.pth", {"state_dict": state, "extra": Evil(trace)}, **old)
    model.load(path)
    assert holds(model, state) and not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it would have
    trace.unlink()
    saved(path, {"state_dict": {**state, "head.bias": Evil(trace)}}, **old)
    with pytest.raises(ValueError, match=r"m\.pth.*posix\.system under 'head\.bias'.*refused"):
        model.load(path)
    assert not trace.exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pth", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"m\.pth.*holds a torch\.nn\.modules\.linear\.Linear"):
        load_file(path)


def zipped(path: Path, program: bytes, data: bytes = bytes(16), **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/data/0", data)
    return path


STORAGE = (
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


def tensor_program(offset: bytes, shape: bytes, strides: bytes) -> bytes:
    """{"w": a tensor of a storage of four floats}; each argument pickles a value."""
    arguments = STORAGE + offset + shape + strides + b"\x89N"
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"tRs."


def test_the_hand_written_pickle_is_right(tmp_path: Path) -> None:
    program = tensor_program(b"K\x01", b"K\x03\x85", b"K\x01\x85")
    data = np.arange(4, dtype="f4").tobytes()
    assert load_file(zipped(tmp_path / "m.pt", program, data))["w"].tolist() == [1, 2, 3]


HUGE = b"\x8a\x08" + (1 << 40).to_bytes(8, "little")
PROGRAMS = {
    "outside": (tensor_program(b"K\x02", b"K\x03\x85", b"K\x01\x85"), "is outside"),
    "strides outside": (tensor_program(b"K\x00", b"K\x03\x85", b"K\x02\x85"), "is outside"),
    "huge": (tensor_program(b"K\x00", HUGE + b"\x85", b"K\x01\x85"), "is outside"),
    "repeated": (tensor_program(b"K\x00", HUGE + b"\x85", b"K\x00\x85"), "is outside"),
    "negative": (tensor_program(b"J\xff\xff\xff\xff", b"K\x03\x85", b"K\x01\x85"), "non-negative"),
    "other lengths": (tensor_program(b"K\x00", b"K\x03\x85", b")"), "zip"),
    "tuple as key": (b"\x80\x02}))K\x01s.", "its keys: <tuple, not read>|."),
    "calls text": (b"\x80\x02X\x01\x00\x00\x00a)R.", "not to be called"),
    "state of a function": (b"\x80\x02ccollections\nOrderedDict\n}b.", "state of what has none"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "endless memo": (b"\x80\x02}r\xff\xff\xff\xff0h\x01.", "has no 1"),
    "no stop": (b"\x80\x02}", "STOP"),
    "empty stack": (b"\x80\x020.", "empty list"),
    "place in the memo": (b"\x80\x02}p99999999999\n.", "too large"),
    "old instruction": (b"(ios\nsystem\n.", "instruction INST"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_pickles_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    program, words = PROGRAMS[name]
    with pytest.raises(ValueError, match=r"m\.pt is not a readable.*" + words):
        load_file(zipped(tmp_path / "m.pt", program))


def test_a_storage_that_is_shorter_than_the_pickle_says_is_refused(tmp_path: Path) -> None:
    program = tensor_program(b"K\x00", b"K\x04\x85", b"K\x01\x85")
    with pytest.raises(ValueError, match="16 bytes ends behind"):
        load_file(zipped(tmp_path / "m.pt", program, bytes(12)))


def test_zip_bombs_and_overlapping_entries_are_refused(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "m.pt", b".", bytes(200 << 20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"m\.pt.*expands to 2097"):
        load_file(bomb)
    one = io.BytesIO()
    with zipfile.ZipFile(one, "w") as file:
        file.writestr("a/data.pkl", bytes(1 << 16))
    text = one.getvalue()
    begin = text.index(b"PK\x01\x02")
    end = text.index(b"PK\x05\x06")
    entry = text[begin:end]
    entries = [entry.replace(b"a/data.pkl", f"a/{i:08d}".encode()) for i in range(1000)]
    tail = bytearray(text[end:])
    size = sum(map(len, entries))
    tail[8:12] = (1000).to_bytes(2, "little") * 2
    tail[12:16] = size.to_bytes(4, "little")
    (tmp_path / "o.pt").write_bytes(text[:begin] + b"".join(entries) + bytes(tail))
    with pytest.raises(ValueError, match=r"o\.pt.*overlap"):
        load_file(tmp_path / "o.pt")


def with_header(
    path: Path, header: Any, data: bytes = bytes(16), length: int | None = None
) -> Path:
    text = json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def row(begin: int, end: int, shape: Any = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "right": ({"a": row(0, 8), "b": row(8, 16)}, None),
    "overlapping": ({"a": row(0, 8), "b": row(4, 12)}, "b begins at byte 4"),
    "same bytes": ({"a": row(0, 16, (4,)), "b": row(0, 16, (4,))}, "begins at byte 0"),
    "gap": ({"a": row(0, 8), "b": row(12, 20)}, "begins at byte 12"),
    "too short": ({"a": row(0, 8)}, "its header describes"),
    "behind the end": ({"a": row(0, 800, (200,))}, "ends behind the file"),
    "shape": ({"a": row(0, 16, (5,))}, "has 16 bytes, its shape"),
    "huge": ({"a": row(0, 16, [1 << 40] * 8)}, "has 16 bytes, its shape"),
    "many sides": ({"a": row(0, 16, [9] * 100_000)}, "at most 8 numbers"),
    "negative": ({"a": row(0, 16, [-2, -2])}, "non-negative integer"),
    "float": ({"a": row(0, 16, [4.0])}, "non-negative integer"),
    "dtype": ({"a": row(0, 16, [16], "F9")}, "dtype 'F9', expected F64"),
    "list": ([1], "not a readable|expected"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [4]}}, "has no 'data_offsets'"),
    "metadata": ({"__metadata__": {"a": 1}, "b": row(0, 16, [4])}, "metadata"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_safetensors_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    header, words = HEADERS[name]
    path = with_header(tmp_path / "m.safetensors", header)
    if words is None:
        assert list(load_file(path)) == ["a", "b"]
        return
    with pytest.raises(ValueError, match=r"m\.safetensors.*(" + words + ")"):
        load_file(path)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = with_header(tmp_path / "m.safetensors", {"a": row(0, 16, (4,))}, length=length)
    with pytest.raises(ValueError, match=r"m\.safetensors.*header is said to have"):
        load_file(path)


@pytest.mark.parametrize("first", [b"\x80", b"P", b"\x3c"], ids=["pickle", "zip", "web page"])
def test_a_safetensors_file_may_begin_like_another(tmp_path: Path, first: bytes) -> None:
    """It begins with the length of its header."""
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    length = int.from_bytes(first, "little") + 256
    values = np.array([1.5, -2], np.float32)
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + values.tobytes())
    assert path.read_bytes().startswith(first)
    assert np.array_equal(load_file(path)["a"], values)


def test_the_format_is_read_from_the_content_and_not_from_the_name(model, tmp_path: Path) -> None:
    state = tensors(model)
    torch.save(state, tmp_path / "a.safetensors")
    safetensors.torch.save_file(state, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        model.load_state_dict({k: v * 0 for k, v in state.items()})
        model.load(tmp_path / name)
        assert holds(model, state)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (pickle.dumps({"a": 1}), "pickle that torch.save did not write"),
        (b"", "expected .safetensors"),
        (bytes(100), "expected .safetensors"),
        (b"PK\x03\x04" + bytes(50), "zip"),
    ],
)
def test_what_is_no_weight_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pth is .*" + words):
        load_file(tmp_path / "model.pth")


# ------------------------------------------------------------------------------- Google's npz


def flax(state: dict[str, np.ndarray], heads: int, layout: str) -> dict[str, np.ndarray]:
    """A state dict under the names of Flax: of AugReg ("old"), of big_vision, or with the blocks of
    big_vision stacked."""
    old = layout == "old"
    attention = f"MultiHeadDotProductAttention_{int(old)}"
    mlp = "MlpBlock_3" if old else "MlpBlock_0"
    out = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    if "cls_token" in state:
        out["cls"] = state["cls_token"]
        out |= {"head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]}
    out["Transformer/posembed_input/pos_embedding" if old else "pos_embedding"] = state["pos_embed"]
    depth = max(int(k.split(".")[1]) for k in state if k.startswith("blocks.")) + 1
    dim = len(state["norm.weight"])
    blocks = []
    for i in range(depth):
        own = {
            k[len(f"blocks.{i}.") :]: v for k, v in state.items() if k.startswith(f"blocks.{i}.")
        }
        block = {}
        for norm, name in (("norm1", "LayerNorm_0"), ("norm2", f"LayerNorm_{1 + old}")):
            block[f"{name}/scale"], block[f"{name}/bias"] = (
                own[f"{norm}.weight"],
                own[f"{norm}.bias"],
            )
        for j in range(2):
            block[f"{mlp}/Dense_{j}/kernel"] = own[f"mlp.fc{j + 1}.weight"].T
            block[f"{mlp}/Dense_{j}/bias"] = own[f"mlp.fc{j + 1}.bias"]
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * dim, (j + 1) * dim)
            weight, bias = own["attn.qkv.weight"][rows], own["attn.qkv.bias"][rows]
            block[f"{attention}/{part}/kernel"] = weight.T.reshape(dim, heads, -1)
            block[f"{attention}/{part}/bias"] = bias.reshape(heads, -1)
        block[f"{attention}/out/kernel"] = own["attn.proj.weight"].T.reshape(heads, -1, dim)
        block[f"{attention}/out/bias"] = own["attn.proj.bias"]
        blocks.append(block)
    if layout == "stacked":
        stacked = {k: np.stack([block[k] for block in blocks]) for k in blocks[0]}
        return out | {f"Transformer/encoderblock/{k}": v for k, v in stacked.items()}
    for i, block in enumerate(blocks):
        out |= {f"Transformer/encoderblock_{i}/{k}": v for k, v in block.items()}
    return out


@pytest.mark.parametrize(("layout", "prefix"), [("old", ""), ("old", "opt/target/"),
                         ("big_vision", "params/"), ("stacked", "params/img/")])  # fmt: skip
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_files_of_flax_are_read_as_timm_reads_them(
    tmp_path: Path, layout: str, prefix: str, write: Any
) -> None:
    model = create_model("test_vit", num_classes=4, depth=3).eval()
    state = redrawn(model.shapes, "float32")
    arrays = {prefix + k: v for k, v in flax(state, 2, layout).items()}
    write(tmp_path / "m.npz", **arrays)
    theirs = timm.create_model("test_vit", num_classes=4, depth=3)
    theirs.load_pretrained(str(tmp_path / "m.npz"))
    model.load(tmp_path / "m.npz")
    assert holds(model, theirs.state_dict())
    assert np.array_equal(theirs.state_dict()["blocks.2.attn.qkv.weight"],
                          state["blocks.2.attn.qkv.weight"])  # fmt: skip


def map_head(state: dict[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    """The attention pool under the names of big_vision."""
    own = {k.removeprefix("attn_pool."): v for k, v in state.items() if k.startswith("attn_pool.")}
    dim = own["latent"].shape[-1]
    out = {"probe": own["latent"], "LayerNorm_0/scale": own["norm.weight"]}
    out["LayerNorm_0/bias"] = own["norm.bias"]
    attention = "MultiHeadDotProductAttention_0"
    weights = np.concatenate([own["q.weight"], own["kv.weight"]]).reshape(3, dim, dim)
    biases = np.concatenate([own["q.bias"], own["kv.bias"]]).reshape(3, heads, -1)
    for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        out[f"{attention}/{part}/kernel"] = weight.T.reshape(dim, heads, -1)
        out[f"{attention}/{part}/bias"] = bias
    out[f"{attention}/out/kernel"] = own["proj.weight"].T.reshape(heads, -1, dim)
    out[f"{attention}/out/bias"] = own["proj.bias"]
    for i in range(2):
        out[f"MlpBlock_0/Dense_{i}/kernel"] = own[f"mlp.fc{i + 1}.weight"].T
        out[f"MlpBlock_0/Dense_{i}/bias"] = own[f"mlp.fc{i + 1}.bias"]
    return {f"MAPHead_0/{k}": v for k, v in out.items()}


def test_files_of_siglip_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    name, arguments = "vit_base_patch16_siglip_224", dict(depth=2, embed_dim=32, num_heads=2)
    model = create_model(name, **arguments).eval()
    state = redrawn(model.shapes, "float32")
    arrays = flax(state, 2, "big_vision") | map_head(state, 2)
    np.savez(tmp_path / "m.npz", **{f"params/img/{k}": v for k, v in arrays.items()})
    theirs = timm.create_model(name, **arguments)
    theirs.load_pretrained(str(tmp_path / "m.npz"))
    model.load(tmp_path / "m.npz")
    assert holds(model, theirs.state_dict())
    assert np.array_equal(theirs.state_dict()["attn_pool.kv.bias"], state["attn_pool.kv.bias"])


def test_npz_in_bfloat16_is_read(tmp_path: Path) -> None:
    model = create_model("test_vit", num_classes=4, depth=1).eval()
    state = redrawn(model.shapes, "float32")
    cut = {k: (v.view("u4") >> 16 << 16).view("f4") for k, v in state.items()}
    bits = {k: np.ascontiguousarray(v).view("u4") >> 16 for k, v in flax(cut, 2, "old").items()}
    np.savez(tmp_path / "m.npz", **{k: v.astype("u2").view("V2") for k, v in bits.items()})
    model.load(tmp_path / "m.npz")
    assert holds(model, {k: torch.tensor(v) for k, v in cut.items()})


def test_bad_npz_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, a=np.ones(3))
    with pytest.raises(ValueError, match=r"m\.npz.*no embedding/kernel"):
        load_file(path)
    np.savez(path, a=np.array([Evil(tmp_path / "ran")], dtype=object))
    with pytest.raises(ValueError, match=r"m\.npz.*array of object"):
        load_file(path)
    assert not (tmp_path / "ran").exists()
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("embedding/kernel.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"m\.npz.*ends behind"):
        load_file(path)


def test_metadata_comes_with_safetensors_only(model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    assert read_weights(tmp_path / "m.safetensors").metadata["architecture"] == "test_vit"
    path = saved(tmp_path / "m.pth", tensors(model))
    assert read_weights(path).metadata == {}
