"""vitc.models.weights.writers: files in the layouts of other writers, made from seeded weights.

The oracle is timm's checkpoint_filter_fn on the same file, within 1e-5 where it resamples and to
the bit elsewhere.
"""

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oracle import redrawn, timm
from vitc.models import create_model

State = dict[str, torch.Tensor]
deit = timm.models.deit


def renamed(state: State, *rules: tuple[str, str], prefix: str = "") -> State:
    out = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        out[prefix + key] = value
    return out


def clip(state: State, prefix: str) -> State:
    """Of the head a projection is left, and there is a tower for text."""
    own = dict(state)
    projection = own.pop("head.weight").T
    own.pop("head.bias")
    out = renamed(own, (r"^blocks\.(\d+)\.", r"transformer.resblocks.\1."),
                  ("norm_pre", "ln_pre"), (r"^norm\.", "ln_post."), (r"\.norm", ".ln_"),
                  (r"patch_embed\.proj", "conv1"), (r"qkv\.", "in_proj_"),
                  (r"attn\.proj", "attn.out_proj"), ("fc1", "c_fc"), ("fc2", "c_proj"),
                  ("cls_token", "class_embedding"),
                  ("pos_embed", "positional_embedding"), prefix=prefix)  # fmt: skip
    out[f"{prefix}class_embedding"] = state["cls_token"][0, 0]
    out[f"{prefix}positional_embedding"] = state["pos_embed"][0]
    return out | {f"{prefix}proj": projection, "token_embedding.weight": torch.ones(3, 4)}


def clip_trunk(state: State) -> State:
    own = {k: v for k, v in state.items() if not k.startswith("head.")}
    out = renamed(own, prefix="visual.trunk.")
    text = {"text.transformer.resblocks.0.ln_1.weight": torch.ones(3), "logit_scale": torch.ones(1)}
    return out | text | {"visual.head.proj.weight": state["head.weight"]}


def dinov2(state: State) -> State:
    out = renamed(state, (r"mlp\.fc1", "mlp.w12"), (r"mlp\.fc2", "mlp.w3"))
    return out | {"mask_token": torch.ones(1, 8)}


def registers(state: State) -> State:
    own = dict(state)
    row = torch.linspace(-1, 1, own["cls_token"].shape[-1])
    own["register_tokens"] = own.pop("reg_token")
    own["pos_embed"] = torch.cat([row.expand(1, 1, -1), own["pos_embed"]], 1)
    return own | {"mask_token": torch.ones(1, 8)}


def aimv2(state: State) -> State:
    out = renamed(state, (r"^norm\.", "trunk.post_trunk_norm."), (r"^blocks", "trunk.blocks"),
                  (r"\.norm([12])", r".norm_\1"), ("fc1_g", "fc1"), ("fc1_x", "fc3"),
                  (r"^patch_embed\.", "preprocessor.patchifier."),
                  ("^pos_embed", "preprocessor.pos_embed"))  # fmt: skip
    return {k: v for k, v in out.items() if not k.startswith("head.")}


def beit3(state: State) -> State:
    out = {}
    for key, value in state.items():
        key = re.sub(r"^blocks\.", "encoder.layers.", key)
        if ".qkv." in key:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                out[key.replace("attn.qkv.", f"self_attn.{part}_proj.A.")] = third
            continue
        for pattern, replacement in (
            (r"mlp\.norm\.", "ffn.A.ffn_layernorm."), (r"mlp\.", "ffn.A."),
            (r"attn\.norm\.", "self_attn.inner_attn_ln.A."),
            (r"attn\.proj", "self_attn.out_proj.A"), (r"norm1\.", "self_attn_layer_norm.A."),
            (r"norm2\.", "final_layer_norm.A."), ("cls_token", "vision_embed.cls_token"),
            (r"patch_embed\.", "vision_embed."),
        ):  # fmt: skip
            key = re.sub(pattern, replacement, key)
        out[key] = value
    place = out.pop("pos_embed")[0]
    out["encoder.embed_positions.A.weight"] = torch.cat([torch.zeros(2, place.shape[1]), place])
    out["vision_embed.mask_token"] = out["text_embed.weight"] = torch.ones(1, 8)
    out |= {k.replace(".A.", ".B."): v + 1 for k, v in out.items() if ".A." in k}
    outside = ("head.", "fc_norm.", "norm.")
    return {k if k.startswith(outside) else f"beit3.{k}": v for k, v in out.items()}


def radio(state: State) -> State:
    """Its table is for 128 x 128 patches."""
    inner = "radio_model.model."
    dim = state["cls_token"].shape[-1]
    table = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 128**2, dim), "f4"))
    out = {f"{inner}{k}": v for k, v in state.items() if k.startswith("blocks.")}
    out = renamed(out, (r"\.gamma$", ".grandma"))
    return out | {
        f"{inner}patch_generator.embedder.weight": state["patch_embed.proj.weight"].flatten(1),
        f"{inner}patch_generator.pos_embed": table,
        f"{inner}patch_generator.cls_token.token": torch.cat(
            [state["cls_token"][0], state["reg_token"][0]]
        ),
        "radio_model.input_conditioner.norm_mean": torch.zeros(3),
    }


def gammas(state: State) -> State:
    return renamed(state, (r"ls([12])\.gamma", r"gamma_\1"))


def perception(state: State, prefix: str) -> State:
    """CLIP's names, layer scales, and an attention pool with one matrix for q, k and v."""
    own = {k: v for k, v in state.items() if not k.startswith("head.")}
    for kind in ("weight", "bias"):
        if f"attn_pool.q.{kind}" in own:
            parts = [own.pop(f"attn_pool.{part}.{kind}") for part in ("q", "kv")]
            own[f"attn_pool.attn.in_proj_{kind}"] = torch.cat(parts)
    out = renamed(own, (r"^blocks\.(\d+)\.", r"transformer.resblocks.\1."),
                  ("norm_pre", "ln_pre"), (r"^norm\.", "ln_post."), (r"(\d)\.norm", r"\1.ln_"),
                  (r"patch_embed\.proj", "conv1"), (r"\.qkv\.", ".in_proj_"),
                  (r"blocks(.*)attn\.proj", r"blocks\1attn.out_proj"), ("fc1", "c_fc"),
                  ("fc2", "c_proj"), (r"gamma_(\d)", r"ls_\1.gamma"),
                  (r"attn_pool\.proj", "attn_pool.attn.out_proj"),
                  (r"attn_pool\.norm", "attn_pool.layernorm"),
                  (r"attn_pool\.latent", "attn_pool.probe"),
                  ("cls_token", "class_embedding"),
                  ("pos_embed", "positional_embedding"), prefix=prefix)  # fmt: skip
    if "cls_token" in state:
        out[f"{prefix}class_embedding"] = state["cls_token"][0, 0]
    out[f"{prefix}positional_embedding"] = state["pos_embed"][0]
    if "head.weight" in state:
        out[f"{prefix}proj"] = state["head.weight"].T
    return out | ({"token_embedding.weight": torch.ones(3, 4)} if prefix else {})


def dinov3(state: State, bias: float) -> State:
    """q, k and v have one bias, in the model too if that is not 0."""
    own = {k: v for k, v in state.items() if not k.endswith("_bias")}
    out = renamed(own, ("reg_token", "storage_tokens"), (r"gamma_(\d)", r"ls\1.gamma"),
                  ("fc1_g", "w1"), ("fc1_x", "w2"), (r"fc2(?=.*)", "w3" if "blocks.0.mlp.fc1_g.bias"
                   in own else "fc2"))  # fmt: skip
    for i in range(2):
        name, dim = f"blocks.{i}.attn.qkv", state["cls_token"].shape[-1]
        parts = [state.get(f"blocks.{i}.attn.{part}_bias", torch.zeros(dim)) for part in "qv"]
        out[f"{name}.bias"] = torch.cat([parts[0], torch.full((dim,), 7.0), parts[1]])
        out[f"{name}.bias_mask"] = torch.ones(3 * dim)
    return out | {
        "rope_embed.periods": torch.ones(4),
        "mask_token": torch.zeros(1, 8),
        "projectors.0.weight": torch.ones(1),
        "local_cls_norm.weight": torch.ones(1),
    }


def sapiens2(state: State) -> State:
    out = renamed(state, ("reg_token", "storage_tokens"), (r"patch_embed\.proj",
                  "patch_embed.projection"), (r"([qkv])_proj", r"w\1"), ("gamma_1",
                  "attn.gamma.weight"), ("mlp.fc1", "ffn.w12"), ("mlp.fc2", "ffn.w3"),
                  (r"\.norm(\d)", r".ln\1"), (r"^norm", "ln1"))  # fmt: skip
    return out | {"mask_token": torch.zeros(1, 8), "rope_embed.periods": torch.ones(4)}


def eva02(state: State) -> State:
    out = renamed(state, ("mlp.norm", "mlp.ffn_ln"), ("attn.norm", "attn.inner_attn_ln"),
                  ("fc1_g", "w1"), ("fc1_x", "w2"), ("fc2", "w3"),
                  (r"([qv])_proj\.bias", r"\1_bias"), prefix="visual.")  # fmt: skip
    return out | {"visual.rope.freqs_cos": torch.ones(4), "visual.blocks.0.attn.rope.freqs_sin":
                  torch.ones(4), "text.token_embedding.weight": torch.ones(3)}  # fmt: skip


def eva02_pretrained(state: State) -> State:
    """By masked patches: without a head, and the last norm in front of the mean."""
    own = {k: v for k, v in state.items() if not k.startswith("head.")}
    out = renamed(own, (r"^fc_norm", "norm"), ("fc1_g", "w1"), ("fc1_x", "w2"),
                  (r"([qv])_proj\.bias", r"\1_bias"), ("mlp.norm", "mlp.ffn_ln"),
                  ("fc2", "w3"))  # fmt: skip
    heads = {"lm_head.weight": torch.ones(4, 8), "lm_head.bias": torch.ones(4)}
    return {"model": out | heads | {"mask_token": torch.ones(1, 1, 8)}}


SMALL = dict(embed_dim=32, depth=2, num_heads=2, img_size=64)
CASES: dict[str, tuple[str, Callable[[State], Any]]] = {
    "OpenAI": ("vit_base_patch32_clip_224", lambda s: clip(s, "visual.")),
    "OpenCLIP": ("vit_base_patch16_clip_224", lambda s: clip(s, "module.visual.")),
    "OpenCLIP with a trunk of timm": ("vit_base_patch16_siglip_224", clip_trunk),
    "DINOv2": ("vit_giant_patch14_dinov2", dinov2),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", registers),
    "TIPSv2": (
        "vit_base_patch14_reg1_tipsv2",
        lambda s: renamed(registers(s), prefix="vision_encoder."),
    ),
    "I-JEPA": (
        "vit_huge_patch14_gap_224",
        lambda s: {"encoder": renamed(s, prefix="module."), "epoch": 3},
    ),
    "AIMv2": ("aimv2_large_patch14_224", aimv2),
    "BEiT-3": ("beit3_base_patch16_224", beit3),
    "RADIO": ("vit_base_patch16_radio_v3", radio),
    "RADIO v4": ("vit_so400m_patch16_radio_v4", radio),
    "DeiT-3": ("deit3_small_patch16_224", gammas),
    "FlexiViT": ("flexivit_small", dict),
    "Perception Encoder": (
        "vit_pe_core_base_patch16_224",
        lambda s: perception(s, "visual."),
    ),
    "Perception Encoder without class token": (
        "vit_pe_core_gigantic_patch14_448",
        lambda s: perception(s, "visual."),
    ),
    "Perception Encoder, spatial": (
        "vit_pe_spatial_gigantic_patch14_448",
        lambda s: perception(s, ""),
    ),
    "DINOv3": ("vit_small_patch16_dinov3", lambda s: dinov3(s, 0)),
    "DINOv3 with biases": ("vit_small_patch16_dinov3_qkvb", lambda s: dinov3(s, 1)),
    "DINOv3, gated": ("vit_small_plus_patch16_dinov3_qkvb", lambda s: dinov3(s, 1)),
    "Sapiens2": ("vit_large_patch16_sapiens2", sapiens2),
    "EVA-02": ("eva02_base_patch16_clip_224", eva02),
    "EVA-02, pretrained": ("eva02_base_patch14_224", eva02_pretrained),
}
HEADS = {"OpenAI", "OpenCLIP", "OpenCLIP with a trunk of timm", "BEiT-3", "DeiT-3", "FlexiViT"}
HEADS |= {"Perception Encoder", "Perception Encoder without class token", "EVA-02"}
SIZES: dict[str, dict[str, Any]] = {
    "same": {},
    "larger": dict(img_size=96),
    "not square": dict(img_size=(64, 128)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_a_file_is_read_as_timm_reads_it(tmp_path: Path, case: str, size: str) -> None:
    name, write = CASES[case]
    classes = dict(num_classes=7 if case in HEADS else 0)
    small = {**SMALL, **(dict(num_kv_heads=(2, 1)) if case == "Sapiens2" else {})}
    arguments = {**small, **SIZES[size]}
    state = redrawn(create_model(name, **small, **classes).shapes, "float32")
    foreign = write({k: torch.tensor(v) for k, v in state.items()})
    torch.save(foreign, tmp_path / "m.pth")
    overlay = dict(input_size=(3, 64, 64), **classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if case == "EVA-02, pretrained":
            warnings.filterwarnings("ignore", "the weights have norm, the model has fc_norm")
        ours = create_model(
            name, True, pretrained_cfg_overlay={**overlay, "file": tmp_path / "m.pth"},
            **arguments, **classes,
        )  # fmt: skip
    if "Perception" in case and arguments["img_size"] != small["img_size"]:
        assert ours.pos_embed.shape[1] == ours.num_positions  # timm takes the size it has
        return
    expected = filtered(name, arguments | classes, overlay, torch.load(tmp_path / "m.pth"))
    assert sorted(ours.shapes) == sorted(expected)
    for key, value in ours.state_dict().items():
        distance = np.abs(value - expected[key].numpy()).max()
        exact = key not in ("pos_embed", "patch_embed.proj.weight")
        assert distance <= (0 if exact else 1e-5 * max(1, np.abs(value).max())), key


def filtered(name: str, arguments: Any, overlay: Any, foreign: Any) -> State:
    """What timm's filter makes of a file for this model."""
    model = timm.create_model(name, pretrained_cfg_overlay=overlay, **arguments)
    options: dict[str, Any] = {"adapt_layer_scale": True} if name.startswith("deit3") else {}
    if "flexi" in name or "radio" in name:
        options = dict(interpolation="bilinear", antialias=False)
    if name == "vit_base_patch16_radio_v3":
        options["align_corners"] = True
    module = sys.modules[type(model).__module__]
    if name.startswith("deit"):
        module = deit
    out: State = module.checkpoint_filter_fn(foreign, model, **options)
    return out
