"""Layouts of other writers: their names and shapes of a Vision Transformer, turned into timm's.

Each is recognised by a key that only its files have. What is done to it is what timm's
checkpoint_filter_fn does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.models.weights.eva_writers import dinov3, perception_encoder, sapiens2
from vitc.models.weights.transformers_layout import SIGNS, from_transformers

State = Mapping[str, Array]
Rules = Sequence[tuple[str, str]]


class Writer(NamedTuple):
    """sign: a pattern that fits a key of its files. convert: to a state dict under timm's names."""

    name: str
    sign: str
    convert: Callable[[State], dict[str, Array]]


def converted(state: State) -> State:
    """The state dict under timm's names, if a layout is known by its keys, else as it is."""
    for writer in WRITERS:
        if any(re.fullmatch(writer.sign, key) for key in state):
            return writer.convert(state)
    return state


def is_sign(key: str) -> bool:
    """Whether a key is one that only files of a known layout have."""
    return any(re.fullmatch(writer.sign, key) for writer in WRITERS)


def _renamed(state: State, prefix: str, rules: Rules) -> dict[str, Array]:
    """The keys that begin so, without it, after all rules have been applied in their order."""
    out = {}
    for key, value in state.items():
        if match := re.match(prefix, key):
            key = key[match.end() :]
            for pattern, replacement in rules:
                key = re.sub(pattern, replacement, key)
            out[key] = value
    return out


def _with_head(state: dict[str, Array], weight: Array) -> dict[str, Array]:
    """A projection has no bias; that of the head is zero."""
    return {**state, "head.weight": weight, "head.bias": np.zeros(len(weight), weight.dtype)}


# ------------------------------------------------------------------------------------- CLIP

_CLIP: Rules = (
    ("conv1", "patch_embed.proj"),
    ("positional_embedding", "pos_embed"),
    (r"transformer\.resblocks\.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    (r"mlp\.c_fc", "mlp.fc1"),
    (r"mlp\.c_proj", "mlp.fc2"),
    ("class_embedding", "cls_token"),
)


def _clip(state: State) -> dict[str, Array]:
    """OpenAI's names, which OpenCLIP keeps; the image tower is `visual`."""
    out = _renamed(state, r"(?:module\.)?visual\.", _CLIP)
    out["cls_token"] = out["cls_token"].reshape(1, 1, -1)
    out["pos_embed"] = out["pos_embed"][None]
    projection = out.pop("proj", None)
    return out if projection is None else _with_head(out, projection.T)


def _clip_trunk(state: State) -> dict[str, Array]:
    """OpenCLIP around a model of timm."""
    out = _renamed(state, r"(?:module\.)?visual\.trunk\.", ())
    heads = _renamed(state, r"(?:module\.)?visual\.head\.proj\.(?=weight$)", ())
    return _with_head(out, heads["weight"]) if heads else out


# ------------------------------------------------------------------------------------- AIMv2

_AIMV2: Rules = (
    ("norm_([12])", r"norm\1"),
    (r"preprocessor\.patchifier\.", "patch_embed."),
    (r"preprocessor\.pos_embed", "pos_embed"),
    (r"trunk\.", ""),
    (r"post_trunk_norm\.", "norm."),
    (r"mlp\.fc1", "mlp.fc1_g"),
    (r"mlp\.fc3", "mlp.fc1_x"),
)


def _aimv2(state: State) -> dict[str, Array]:
    return _renamed(state, "", _AIMV2)


# ------------------------------------------------------------------------------------- BEiT-3

_BEIT3: Rules = (
    (r"vision_embed\.cls_token", "cls_token"),
    (r"vision_embed\.", "patch_embed."),
    (r"encoder\.", ""),
    (r"embed_positions\.A\.weight", "pos_embed"),
    (r"layers\.", "blocks."),
    (r"ffn_layernorm\.", "norm."),
    (r"ffn\.", "mlp."),
    (r"self_attn_layer_norm\.", "norm1."),
    (r"self_attn\.", "attn."),
    (r"final_layer_norm\.", "norm2."),
    ("inner_attn_ln", "norm"),
    ("out_proj", "proj"),
    (r"\.A\.", "."),
)
_UNUSED = r"beit3\.(text_embed\.weight|vision_embed\.mask_token)|.*\.B\..*"


def _beit3(state: State) -> dict[str, Array]:
    """Of its two branches A is the one for images; the positions count from 2."""
    own = {key: value for key, value in state.items() if not re.fullmatch(_UNUSED, key)}
    out = _renamed(own, r"(?:beit3\.)?", _BEIT3)
    if "pos_embed" in out:
        out["pos_embed"] = out["pos_embed"][None, 2:]
    for key in [key for key in out if ".q_proj." in key]:
        parts = [out.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        out[key.replace(".q_proj.", ".qkv.")] = np.concatenate(parts)
    return out


# ------------------------------------------------------------------------------------- RADIO

_RADIO: Rules = ((r"\.grandma$", ".gamma"),)


def _radio(state: State) -> dict[str, Array]:
    """Its patches are embedded without bias; the first of its class tokens is the class token."""
    out = _renamed(state, r"radio_model\.model\.", _RADIO)
    kernel, tokens = (
        out["patch_generator.embedder.weight"],
        out["patch_generator.cls_token.token"],
    )
    side = isqrt(kernel.shape[1] // 3)
    return {
        "cls_token": tokens[None, :1],
        "reg_token": tokens[None, 1:],
        "pos_embed": out["patch_generator.pos_embed"],
        "patch_embed.proj.weight": kernel.reshape(len(kernel), 3, side, side),
        "patch_embed.proj.bias": np.zeros(len(kernel), kernel.dtype),
        **{key: value for key, value in out.items() if key.startswith("blocks.")},
    }


WRITERS = (
    Writer(
        "the Perception Encoder",
        r"(module\.)?(visual\.attn_pool\.probe|conv1\.weight)",
        perception_encoder,
    ),
    Writer("Sapiens2", r"(.*\.)?blocks\.0\.attn\.wq\.weight", sapiens2),
    Writer("DINOv3", r"(.*\.)?storage_tokens", dinov3),
    Writer("OpenAI's CLIP and OpenCLIP", r"(module\.)?visual\.class_embedding", _clip),
    Writer("OpenCLIP", r"(module\.)?visual\.trunk\.patch_embed\.proj\.weight", _clip_trunk),
    Writer("AIMv2", r"preprocessor\.patchifier\.proj\.weight", _aimv2),
    Writer("BEiT-3", r"beit3\..*", _beit3),
    *(Writer("transformers", sign, from_transformers) for sign in SIGNS),
    Writer("RADIO", r"radio_model\.model\.patch_generator\.embedder\.weight", _radio),
)
