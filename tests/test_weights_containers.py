"""Where scripts keep weights, what lies beside them, and which head belongs to them.

Files are written by torch from seeded numbers; the oracle is what went in, to the bit, and for
DINOv2's registers and SigLIP's pools timm.
"""

import argparse
import json
import pathlib
import random
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from test_weights_formats import holds, saved, tensors

from oracle import double, images, redrawn, relative, timm
from vitc.models import create_model
from vitc.models.model import Model
from vitc.models.weights import load_file, read_weights

State = dict[str, torch.Tensor]


@pytest.fixture
def model() -> Model:
    return create_model("test_vit", num_classes=4, depth=1).eval()


# ------------------------------------------------------------------------------- containers

PLACES: dict[str, Any] = {
    "tutorial": lambda s: {
        "epoch": 3,
        "model_state_dict": s,
        "optimizer_state_dict": {"state": {}},
    },
    "net": lambda s: {"net": s, "acc": 91.2},
    "DeepSpeed": lambda s: {"module": s, "buffer_names": []},
    "params": lambda s: {"params": s},
    "weights": lambda s: {"weights": s, "best": True},
    "nested": lambda s: {"state_dict": {"model": s}},
    "deep": lambda s: {"a": {"b": {"c": s}}},
    "ema": lambda s: {"model": {k: v + 1 for k, v in s.items()}, "ema": s},
    "namespace": lambda s: {"run": argparse.Namespace(weights=s)},
    "with an optimizer": lambda s: {
        "net": s,
        "optim": {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)}}},
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_one_dictionary_with_a_trunk_is_taken(
    model: Model, tmp_path: Path, place: str, zipped: bool
) -> None:
    state = tensors(model)
    content = PLACES[place](state)
    model.load(saved(tmp_path / "m.pth", content, _use_new_zipfile_serialization=zipped))
    assert holds(model, state)


def test_two_of_them_are_refused_by_name(model: Model, tmp_path: Path) -> None:
    state = tensors(model)
    path = saved(tmp_path / "m.pth", {"left": state, "right": dict(state)})
    with pytest.raises(ValueError, match=r"m\.pth.*several models: left, right"):
        model.load(path)


class Run:
    """A user's class, which is not there when the file is read."""

    def __init__(self) -> None:
        self.notes = {"a": 1}


def besides() -> dict[str, Any]:
    generator = np.random.default_rng(3)
    return {
        "path": pathlib.PurePosixPath("/data/run"),
        "array": generator.standard_normal((3, 4)),
        "legacy": np.random.RandomState(3).get_state(),
        "generator": generator,
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "counts": Counter("abca"),
        "lists": defaultdict(list, a=[1]),
        "when": datetime(2026, 1, 2),
        "complex": 3 + 4j,
        "slice": slice(1, 2),
        "partial": partial(print, end=""),
        "tuples": {(1, 2): "a", frozenset([3]): "b", 2**70: "c"},
        "function": torch.nn.functional.gelu,
        "run": Run(),
        "module": torch.nn.Linear(2, 2),
        "complex tensor": torch.ones(2, dtype=torch.complex64),
        "text": np.array(["a", "b"]),
        "scalar": np.datetime64("2026-01-02"),
        "bytes": b"x" * 300,
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_lies_beside_the_weights_is_left_alone(
    model: Model, tmp_path: Path, protocol: int, zipped: bool
) -> None:
    state = tensors(model)
    beside = besides()
    if not zipped:
        del beside["complex tensor"]  # where its numbers end is not known
    content = {"state_dict": state, **beside}
    how = dict(_use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    model.load(saved(tmp_path / "m.pth", content, **how))
    assert holds(model, state)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_numpy_are_weights_too(model: Model, tmp_path: Path, protocol: int) -> None:
    """torch.save(model.state_dict()) of vitc."""
    model.load_state_dict(redrawn(model.shapes, "float32"))
    state = dict(model.state_dict())
    state["pos_embed"] = np.asfortranarray(state["pos_embed"])
    state["cls_token"] = state["cls_token"].astype(">f4")
    torch.save(state, tmp_path / "m.pth", pickle_protocol=protocol)
    other = create_model("test_vit", num_classes=4, depth=1)
    other.load(tmp_path / "m.pth")
    assert all(np.array_equal(v, state[k]) for k, v in other.state_dict().items())
    np.savez(tmp_path / "m.npz", **model.state_dict())
    other.init_weights()
    other.load(tmp_path / "m.npz")
    assert all(np.array_equal(v, state[k]) for k, v in other.state_dict().items())


def test_arrays_of_numpy_that_lie_are_refused(tmp_path: Path) -> None:
    state = {"patch_embed.proj.weight": np.array(["a"])}
    with pytest.raises(ValueError, match=r"m\.pth.*does not hold numbers"):
        load_file(saved(tmp_path / "m.pth", state))


# ------------------------------------------------------------------------------- odd tensors


def test_odd_tensors_are_ignored_where_they_are_not_needed(model: Model, tmp_path: Path) -> None:
    state = tensors(model)
    odd = {
        "index": torch.ones(2, dtype=torch.complex64),
        "scale": torch.ones(4).to(torch.float8_e4m3fn),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(2, device="meta"),
    }
    path = saved(tmp_path / "m.pth", {**state, **odd})
    assert set(read_weights(path).unread) == set(odd)
    with pytest.raises(ValueError, match=r"unexpected|not read") as told:
        model.load(saved(tmp_path / "n.pth", {**state, "head.bias": odd["scale"]}))
    assert "missing: head.bias" in str(told.value) and "torch.float8_e4m3fn" in str(told.value)
    model.load(path)
    assert holds(model, state)
    with pytest.warns(UserWarning, match=r"not read: index \(torch\.ComplexFloatStorage\)"):
        load_file(path)


def test_fp8_in_safetensors_is_named(model: Model, tmp_path: Path) -> None:
    state = tensors(model)
    fp8 = state["head.weight"].to(torch.float8_e4m3fn)
    safetensors.torch.save_file({**state, "extra": fp8}, tmp_path / "m.safetensors")
    model.load(tmp_path / "m.safetensors")
    assert holds(model, state)
    safetensors.torch.save_file({**state, "head.weight": fp8}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"missing: head\.weight\n.*head\.weight \(F8_E4M3\)"):
        model.load(tmp_path / "m.safetensors")


def test_a_head_that_is_not_read_does_not_start_fresh(model: Model, tmp_path: Path) -> None:
    """The weights of a checkpoint_path, whose model is often evaluated as it is."""
    state = tensors(model)
    fp8 = {f"head.{k}": state[f"head.{k}"].to(torch.float8_e4m3fn) for k in ("weight", "bias")}
    half = {k: v for k, v in state.items() if k != "head.weight"}
    for case, words in (
        ({**state, "head.weight": fp8["head.weight"]}, r"head\.weight is not read"),
        ({**state, **fp8}, r"head\.weight is not read.*\nnot read: head"),
        (half, r"it has head\.bias and no head\.weight"),
    ):
        path = saved(tmp_path / "m.pth", case)
        with pytest.raises(ValueError, match=rf"m\.pth: {words}"):
            create_model("test_vit", num_classes=4, depth=1, checkpoint_path=path)


def shards(state: State, folder: Path) -> None:
    names = list(state)
    table = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        safetensors.torch.save_file({k: state[k] for k in part}, folder / file)
        table |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": {k: table[k] for k in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_the_parts_of_a_model_are_read_by_their_index(model: Model, tmp_path: Path) -> None:
    state = tensors(model)
    shards(state, tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        other = create_model("test_vit", num_classes=4, depth=1, checkpoint_path=path)
        assert holds(other, state)
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(text.replace("model-00001-of", "../model-00001-of"))
    with pytest.raises(ValueError, match=r"index\.json.*not a file beside it"):
        model.load(index)
    index.write_text(text.replace('"head.bias"', '"head.bios"'))
    with pytest.raises(ValueError, match=r"index\.json.*-of-00002\..* does not hold head\.bios"):
        model.load(index)


# ------------------------------------------------------------------------------- heads

HEADS = {
    "beside the trunk": ("backbone.", "head."),
    "in a module": ("model.backbone.", "model.head."),
    "classifier": ("model.backbone.", "model.classifier."),
    "fc": ("encoder.", "fc."),
    "behind dropout": ("backbone.", "head.1."),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_trained_head_beside_the_trunk_is_taken(model: Model, tmp_path: Path, case: str) -> None:
    state = tensors(model)
    trunk, head = HEADS[case]
    moved = {
        head + k.removeprefix("head.") if k.startswith("head.") else trunk + k: v
        for k, v in state.items()
    }
    path = saved(tmp_path / "m.pth", moved)
    other = create_model("test_vit", num_classes=4, depth=1, checkpoint_path=path)
    assert holds(other, state)
    with pytest.raises(ValueError, match=r"m\.pth: head is for 4 classes, the model has 3"):
        create_model("test_vit", num_classes=3, depth=1, checkpoint_path=path)


def test_what_else_lies_beside_the_trunk_is_named(model: Model, tmp_path: Path) -> None:
    state = {f"backbone.{k}": v for k, v in tensors(model).items()}
    extra = {"criterion.weight": torch.ones(4), "head.weight": torch.ones(4, 64)}
    with pytest.warns(UserWarning, match=r"'backbone\.'; left out: criterion\.weight, head\.weig"):
        model.load(saved(tmp_path / "m.pth", {**state, **extra}))
    assert not np.all(model.head.weight.data == 1)  # that of the trunk itself


def test_both_heads_of_a_distilled_model_may_lie_beside_it(tmp_path: Path) -> None:
    name, arguments = "deit_tiny_distilled_patch16_224", dict(depth=1, embed_dim=24, num_classes=5)
    model = create_model(name, **arguments)
    state = tensors(model)
    moved = {k if k.startswith("head") else f"net.{k}": v for k, v in state.items()}
    model.load(saved(tmp_path / "m.pth", moved))
    assert holds(model, state)


def test_moco_and_lora_are_known(model: Model, tmp_path: Path) -> None:
    state = tensors(model)
    trunk = {k: v for k, v in state.items() if not k.startswith("head.")}
    moco = {f"module.base_encoder.{k}": v for k, v in trunk.items()}
    moco |= {f"module.momentum_encoder.{k}": v + 1 for k, v in trunk.items()}
    moco["module.base_encoder.head.0.weight"] = torch.ones(9, 64)
    moco["module.predictor.0.weight"] = torch.ones(9, 9)
    path = saved(tmp_path / "m.pth", {"state_dict": moco})
    with pytest.warns(UserWarning, match=r"module\.base_encoder\. is taken"):
        bare = create_model("test_vit", num_classes=0, depth=1, checkpoint_path=path)
    assert holds(bare, trunk)
    lora = {f"base_model.model.{k}": v for k, v in state.items()}
    lora["base_model.model.blocks.0.attn.qkv.lora_A.default.weight"] = torch.ones(8, 64)
    with pytest.raises(ValueError, match=r"m\.pth: it has layers of LoRA.*merge_and_unload"):
        model.load(saved(tmp_path / "m.pth", lora))


@pytest.mark.parametrize("pool", ["", "avg", "token", "max"])
def test_weights_of_siglip_serve_other_pools(tmp_path: Path, pool: str) -> None:
    """timm loads them without strictness; the norm, which it leaves fresh, is kept here."""
    name, arguments = "vit_base_patch16_siglip_224", dict(depth=1, embed_dim=32, num_heads=2)
    if pool == "token":
        name, pool = "vit_base_patch16_siglip_gap_224", "avg"
    source = create_model("vit_base_patch16_siglip_224", num_classes=0, **arguments)
    state = tensors(source)
    path = saved(tmp_path / "m.pth", state)
    overlay = dict(file=str(path), custom_load=False, num_classes=0)
    given = dict(pretrained_cfg_overlay=overlay, global_pool=pool, num_classes=0, **arguments)
    ours = create_model(name, True, **given).eval()
    theirs = timm.create_model(name, True, **given).double().eval()
    assert not any(k.startswith("attn_pool") for k in ours.shapes)
    x = images(2, ours)
    features = theirs.blocks(theirs.norm_pre(theirs._pos_embed(theirs.patch_embed(double(x)))))
    tokens = ours.forward_intermediates(x, 1, intermediates_only=True, output_fmt="NLC")[0]
    assert relative(tokens, features.detach()) <= 1e-5
    for key in ("norm", "fc_norm"):
        if f"{key}.weight" in ours.shapes:
            assert np.array_equal(ours.state_dict()[f"{key}.weight"], state["norm.weight"])


# ------------------------------------------------------------------------------- incomplete files


def incomplete() -> dict[str, State]:
    """State dicts of other writers without one of the keys that their others need."""
    ones = torch.ones
    kernel = {"patch_embed.proj.weight": ones(8, 3, 4, 4)}
    return {
        "registers": {**kernel, "register_tokens": ones(1, 4, 8)},
        "registers, no positions": {
            **kernel,
            "register_tokens": ones(1, 4, 8),
            "cls_token": ones(1, 1, 8),
        },
        "CLIP": {"visual.class_embedding": ones(8), "visual.conv1.weight": ones(8, 3, 4, 4)},
        "BEiT-3": {"beit3.encoder.layers.0.self_attn.A.q_proj.weight": ones(8, 8)},
        "RADIO": {"radio_model.model.patch_generator.embedder.weight": ones(8, 48)},
        "flat RADIO": {
            "radio_model.model.patch_generator.embedder.weight": ones(8),
            "radio_model.model.patch_generator.cls_token.token": ones(3, 8),
        },
        "no positions": {**kernel, "pos_embed": ones(0)},
        "empty positions": {**kernel, "pos_embed": ones(0, 0, 0)},
        "empty kernel": {"patch_embed.proj.weight": ones(8, 3, 0, 0), "pos_embed": ones(1, 5, 8)},
        "no channels": {"patch_embed.proj.weight": ones(8, 0, 4, 4)},
        "scalar": {"patch_embed.proj.weight": ones(()), "head.weight": ones(())},
        "whole numbers": {"patch_embed.proj.weight": ones(8, 3, 4, 4).long()},
    }


@pytest.mark.parametrize("case", incomplete())
def test_incomplete_files_are_refused_by_name(model: Model, tmp_path: Path, case: str) -> None:
    path = saved(tmp_path / "m.pth", incomplete()[case])
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"m\.pth"):
        model.load(path)
    with pytest.raises(ValueError, match=r"m\.pth"):
        create_model("test_vit", num_classes=4, depth=1, checkpoint_path=path)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before


def test_messages_are_bounded_and_printable(model: Model, tmp_path: Path) -> None:
    deep = create_model("test_vit", num_classes=4, depth=6)
    hostile = {"a\x1b[31m\n" + "b" * 4_000_000: torch.ones(2)}
    path = saved(tmp_path / "m.pth", OrderedDict({**tensors(deep), **hostile}))
    with pytest.raises(ValueError, match="and [0-9]+ more") as told:
        model.load(path)
    assert len(str(told.value)) < 2000 and "\x1b" not in str(told.value)
    saved(path, hostile)
    with pytest.raises(ValueError, match=r"m\.pth") as told:
        model.load(path)
    assert len(str(told.value)) < 2000 and "\x1b" not in str(told.value)
    saved(path, {f"{'k' * 200}\x1b{i}": i for i in range(1000)})
    with pytest.raises(ValueError, match=r"its keys: .* and 992 more") as told:
        load_file(path)
    assert len(str(told.value)) < 2500 and "\x1b" not in str(told.value)
