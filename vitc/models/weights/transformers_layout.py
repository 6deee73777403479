"""The names that Hugging Face's transformers gives to the parameters of Vision Transformers, for
reading and for writing.

In its files queries, keys and values are apart, and blocks are called layers. Versions 4 and 5
differ in some names; files have those of version 4, which both write.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array

Names = Mapping[str, tuple[str, ...]]


class Layout(NamedTuple):
    """What layers outside of the blocks and in a block are called, by their names here: the first
    name is written, all are read. blocks: what comes before the number of a block."""

    outer: Names
    block: Names
    blocks: str


_QKV = {
    "attn.q": ("attention.attention.query", "attention.q_proj"),
    "attn.k": ("attention.attention.key", "attention.k_proj"),
    "attn.v": ("attention.attention.value", "attention.v_proj"),
    "attn.proj": ("attention.output.dense", "attention.o_proj"),
}
_OUTER = {
    "cls_token": ("embeddings.cls_token",),
    "dist_token": ("embeddings.distillation_token",),
    "mask_token": ("embeddings.mask_token",),
    "register_tokens": ("embeddings.register_tokens",),
    "pos_embed": ("embeddings.position_embeddings",),
    "patch_embed.proj": ("embeddings.patch_embeddings.projection",),
    "norm": ("layernorm",),
}
VIT = Layout(
    _OUTER,
    {
        **_QKV,
        "norm1": ("layernorm_before",),
        "norm2": ("layernorm_after",),
        "mlp.fc1": ("intermediate.dense", "mlp.fc1"),
        "mlp.fc2": ("output.dense", "mlp.fc2"),
    },
    "encoder.layer",
)
DINOV2 = Layout(
    _OUTER,
    {
        **_QKV,
        "norm1": ("norm1",),
        "norm2": ("norm2",),
        "ls1.gamma": ("layer_scale1.lambda1",),
        "ls2.gamma": ("layer_scale2.lambda1",),
        "mlp.fc1": ("mlp.fc1", "mlp.weights_in"),
        "mlp.fc2": ("mlp.fc2", "mlp.weights_out", "mlp.down_proj"),
        "mlp.gate": ("mlp.gate_proj",),
        "mlp.up": ("mlp.up_proj",),
    },
    "encoder.layer",
)
CLIP = Layout(
    {
        "cls_token": ("embeddings.class_embedding",),
        "pos_embed": ("embeddings.position_embedding.weight",),
        "patch_embed.proj": ("embeddings.patch_embedding",),
        "norm_pre": ("pre_layrnorm",),  # sic
        "norm": ("post_layernorm",),
        "attn_pool.latent": ("head.probe",),
        "attn_pool.in_proj_weight": ("head.attention.in_proj_weight",),
        "attn_pool.in_proj_bias": ("head.attention.in_proj_bias",),
        "attn_pool.proj": ("head.attention.out_proj",),
        "attn_pool.norm": ("head.layernorm",),
        "attn_pool.mlp.fc1": ("head.mlp.fc1",),
        "attn_pool.mlp.fc2": ("head.mlp.fc2",),
    },
    {
        "attn.q": ("self_attn.q_proj",),
        "attn.k": ("self_attn.k_proj",),
        "attn.v": ("self_attn.v_proj",),
        "attn.proj": ("self_attn.out_proj",),
        "norm1": ("layer_norm1",),
        "norm2": ("layer_norm2",),
        "mlp.fc1": ("mlp.fc1",),
        "mlp.fc2": ("mlp.fc2",),
    },
    "encoder.layers",
)
_TABLE = "relative_position_bias.relative_position_bias_table"
BEIT = Layout(
    {
        **_OUTER,
        "fc_norm": ("pooler.layernorm",),
        "rel_pos_bias.relative_position_bias_table": (
            f"encoder.{_TABLE}",
            "shared_position_bias.relative_position_bias_table",
        ),
    },
    {
        **VIT.block,
        "gamma_1": ("lambda_1",),
        "gamma_2": ("lambda_2",),
        "attn.relative_position_bias_table": (f"attention.attention.{_TABLE}", _TABLE),
    },
    "encoder.layer",
)
# What the parts of a joined layer are called, in their order.
_JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.fc1": ("mlp.gate", "mlp.up")}
_HEADS = {
    "classifier": "head",
    "cls_classifier": "head",
    "visual_projection": "head",
    "distillation_classifier": "head_dist",
}
_UNUSED = (
    r"pooler\.dense\..*|embeddings\.position_ids|(.*\.)?(text_model|text_projection)\..*|logit_\w+"
)
SIGNS = {
    r"(.*\.)?embeddings\.patch_embeddings\.projection\.weight": (VIT, DINOV2, BEIT),
    r"(.*\.)?embeddings\.patch_embedding\.weight": (CLIP,),
}

# ------------------------------------------------------------------------------- reading


def from_transformers(state: Mapping[str, Array]) -> dict[str, Array]:
    """The state dict under timm's names; those that are not known stay as they are.

    Raises `KeyError` for a joined layer of which a part is missing.
    """
    prefix, layouts = _prefix(state)
    outer = {name: ours for lay in layouts for ours, names in lay.outer.items() for name in names}
    inner = {name: ours for lay in layouts for ours, names in lay.block.items() for name in names}
    out: dict[str, Array] = {}
    for key, value in state.items():
        own = key.removeprefix(prefix)
        if not re.fullmatch(_UNUSED, own):
            out[_named(own, outer, inner)] = value
    classifies = any(key.split(".")[-2:-1] == ["classifier"] for key in state)
    if "cls_token" in out and layouts == (CLIP,):
        out["cls_token"] = out["cls_token"].reshape(1, 1, -1)
        if classifies:  # its tokens are averaged without a norm
            out = {k: v for k, v in out.items() if not k.startswith("norm.")}
    if layouts == (CLIP,) and "pos_embed" in out:
        out["pos_embed"] = out["pos_embed"][None]
    return _with_bias(_split_pool(_joined(out)))


def _prefix(state: Mapping[str, Array]) -> tuple[str, tuple[Layout, ...]]:
    for sign, layouts in SIGNS.items():
        for key in state:
            if match := re.fullmatch(sign, key):
                return match[1] or "", layouts
    raise KeyError("embeddings")


def _named(key: str, outer: Mapping[str, str], inner: Mapping[str, str]) -> str:
    match = re.fullmatch(r"(?:encoder\.layers?|layers)\.(\d+)\.(.*)", key)
    table, start, rest = (inner, f"blocks.{match[1]}.", match[2]) if match else (outer, "", key)
    if rest in table:
        return start + table[rest]
    layer, _, kind = rest.rpartition(".")
    head = _HEADS.get(layer.rpartition(".")[2])
    return f"{start}{table.get(layer) or head or layer}.{kind}"


def _joined(state: dict[str, Array]) -> dict[str, Array]:
    """With q, k and v in one layer, and the gate before what it gates. Of BEiT k has no bias."""
    out = dict(state)
    for key in [k for k in state if k.endswith(".attn.q.bias")]:
        if key.replace("attn.q", "attn.k") not in state:
            start = key.removesuffix("q.bias")
            out |= {f"{start}{part}_bias": out.pop(f"{start}{part}.bias") for part in "qv"}
    for joined, parts in _JOINED.items():
        for key in [k for k in out if f".{parts[0]}." in k]:
            values = [out.pop(key.replace(parts[0], part)) for part in parts]
            out[key.replace(parts[0], joined)] = np.concatenate(values)
    return out


def _split_pool(state: dict[str, Array]) -> dict[str, Array]:
    """The attention pool's projections: of the query, and of keys and values."""
    out = dict(state)
    for kind in ("weight", "bias"):
        if (joined := out.pop(f"attn_pool.in_proj_{kind}", None)) is not None:
            dim = len(joined) // 3
            out[f"attn_pool.q.{kind}"], out[f"attn_pool.kv.{kind}"] = joined[:dim], joined[dim:]
    return out


def _with_bias(state: dict[str, Array]) -> dict[str, Array]:
    """A projection has no bias; that of the head is zero."""
    if "head.weight" in state and "head.bias" not in state:
        weight = state["head.weight"]
        state["head.bias"] = np.zeros(len(weight), weight.dtype)
    return state


# ------------------------------------------------------------------------------- writing


def to_transformers(state: Mapping[str, Array], layout: Layout, prefix: str) -> dict[str, Array]:
    """The state dict of a model under the names of a layout. prefix: of all but the heads.

    Raises `KeyError` for a parameter that has no name there.
    """
    out: dict[str, Array] = {}
    for key, value in _apart(state, layout).items():
        match = re.fullmatch(r"blocks\.(\d+)\.(.*)", key)
        table = layout.block if match else layout.outer
        start = f"{prefix}{layout.blocks}.{match[1]}." if match else prefix
        rest = match[2] if match else key
        if rest in table:
            out[start + table[rest][0]] = value
        else:
            layer, _, kind = rest.rpartition(".")
            out[f"{start}{table[layer][0]}.{kind}"] = value
    return out


def _apart(state: Mapping[str, Array], layout: Layout) -> dict[str, Array]:
    """With q, k and v apart, the projections of the pool together, and shapes without ones."""
    out: dict[str, Array] = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            for part, rows in zip(_JOINED["attn.qkv"], np.split(value, 3), strict=True):
                out[key.replace("attn.qkv", part)] = rows
        elif key.startswith("attn_pool.q."):
            kind = key.rpartition(".")[2]
            both = [value, state[f"attn_pool.kv.{kind}"]]
            out[f"attn_pool.in_proj_{kind}"] = np.concatenate(both)
        elif match := re.fullmatch(r"(.*\.attn\.[qv])_bias", key):
            out[f"{match[1]}.bias"] = value
        elif not key.startswith("attn_pool.kv."):
            out[key] = value
    if layout is CLIP:
        for name in ("cls_token", "pos_embed"):
            if name in out:
                out[name] = out[name].reshape(-1, out[name].shape[-1]).squeeze()
    return out
