"""Layouts of the writers of timm's Eva models: the Perception Encoder, DINOv3 and Sapiens2.

What is done to them is what timm's checkpoint_filter_fn of that class does.
"""

import re
from collections.abc import Collection, Mapping

import numpy as np

from vitc.arrays import Array

State = Mapping[str, Array]


def substituted(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    """The key after all rules have been applied in their order."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


# ------------------------------------------------------------------------------- Perception Encoder

_PE = (
    (r"^(module\.)?(visual\.)?", ""),
    ("conv1", "patch_embed.proj"),
    ("positional_embedding", "pos_embed"),
    (r"transformer\.resblocks\.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    (r"ls_([12])\.gamma", r"gamma_\1"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    (r"mlp\.c_fc", "mlp.fc1"),
    (r"mlp\.c_proj", "mlp.fc2"),
    (r"^attn_pool\.attn\.", "attn_pool."),
    (r"^attn_pool\.layernorm", "attn_pool.norm"),
    (r"^attn_pool\.probe", "attn_pool.latent"),
    ("class_embedding", "cls_token"),
)


def perception_encoder(state: State) -> dict[str, Array]:
    """The image tower, which is `visual` where there is one for texts too."""
    tower = any(re.match(r"(module\.)?visual\.", key) for key in state)
    own = {k: v for k, v in state.items() if not tower or re.match(r"(module\.)?visual\.", k)}
    out = {substituted(key, _PE): value for key, value in own.items()}
    for kind in ("weight", "bias"):
        if (packed := out.pop(f"attn_pool.qkv.{kind}", None)) is not None:
            dim = len(packed) // 3
            out[f"attn_pool.q.{kind}"], out[f"attn_pool.kv.{kind}"] = packed[:dim], packed[dim:]
    if "cls_token" in out:
        out["cls_token"] = out["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in out:
        out["pos_embed"] = out["pos_embed"][None]
    if (projection := out.pop("proj", None)) is not None:
        out["head.weight"] = projection.T
        out["head.bias"] = np.zeros(projection.shape[1], projection.dtype)
    return out


# ------------------------------------------------------------------------------- DINOv3

_DINOV3 = ((r"storage_tokens$", "reg_token"), (r"\.ls([12])\.gamma$", r".gamma_\1"))
_UNUSED = r"(.*\.)?(periods|bias_mask|mask_token|projectors\..*|local_cls_norm.*)"


def dinov3(state: State) -> dict[str, Array]:
    """Of the bias of q, k and v the part of k is masked there."""
    out = {}
    for key, value in state.items():
        if re.fullmatch(_UNUSED, key):
            continue
        if key.endswith("qkv.bias"):
            q, _, v = np.split(value, 3)
            out[key.replace("qkv.bias", "q_bias")] = q
            out[key.replace("qkv.bias", "v_bias")] = v
        else:
            out[substituted(key, _DINOV3)] = value
    return out


# ------------------------------------------------------------------------------- Sapiens2

_SAPIENS2 = (
    (r"storage_tokens$", "reg_token"),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"\.attn\.w([qkv])\.", r".attn.\1_proj."),
    (r"\.attn\.gamma\.weight$", ".gamma_1"),
    (r"\.ffn\.", ".mlp."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"^ln1\.", "norm."),
)


def sapiens2(state: State) -> dict[str, Array]:
    """It shares names with DINOv3, and has its own for the layers of a block."""
    return {substituted(key, _SAPIENS2): value for key, value in state.items()}


def without_zero_biases(state: dict[str, Array], names: Collection[str]) -> dict[str, Array]:
    """Leaves out a bias of q and of v that the model does not have, if it is zero: the smaller
    DINOv3 ended up with such ones, and timm has models with and without them."""
    return {
        key: value
        for key, value in state.items()
        if key in names or not re.fullmatch(r".*\.attn\.[qv]_(proj\.)?bias", key) or value.any()
    }
