"""Models as Hugging Face's transformers keeps them: config.json with a `model_type`, and
model.safetensors, in a folder or on the hub."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.errors import listed, shown
from vitc.files import replacing
from vitc.models.architectures import ARCHITECTURES
from vitc.models.rel_pos_config import BeitConfig
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import save_file
from vitc.models.weights.local_dir import CONFIG, WEIGHT_FILES
from vitc.models.weights.transformers_layout import (
    BEIT,
    CLIP,
    DINOV2,
    VIT,
    Layout,
    to_transformers,
)

PREPROCESSOR = "preprocessor_config.json"
_ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new", "gelu_fast"), "gelu_tanh"),
    "quick_gelu": "quick_gelu",
    **dict.fromkeys(("silu", "swish"), "silu"),
}
_NAMED = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu",
          "silu": "silu"}  # fmt: skip
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # of Pillow
_VIT = dict(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    hidden_act="gelu", layer_norm_eps=1e-12, image_size=224, patch_size=16, num_channels=3,
    qkv_bias=True,
)  # fmt: skip
_DINOV2 = {**_VIT, "layer_norm_eps": 1e-6, "mlp_ratio": 4, "layerscale_value": 1.0,
           "use_swiglu_ffn": False, "num_register_tokens": 0}  # fmt: skip


class Kind(NamedTuple):
    """architecture: timm's, whose arguments all are replaced. defaults: of config.json."""

    architecture: str
    defaults: dict[str, Any]
    arguments: Callable[[Mapping[str, Any], str], dict[str, Any]]


# ------------------------------------------------------------------------------- reading


def _plain(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {}


def _deit(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Without the teacher's head the token for distillation is one more that nobody reads."""
    return {} if task.endswith("WithTeacher") else dict(reg_tokens=1)


def _dinov2(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    registers = checks.integer("num_register_tokens", c["num_register_tokens"], 0)
    dim = c["hidden_size"]
    hidden = int(dim * checks.finite("mlp_ratio", c["mlp_ratio"], 0))
    given: dict[str, Any] = dict(
        init_values=c["layerscale_value"] or 1.0,
        reg_tokens=registers,
        no_embed_class=registers > 0,
        mlp_ratio=_ratio(hidden, dim),
    )
    if c["use_swiglu_ffn"]:
        hidden = 2 * ((int(hidden * 2 / 3) + 7) // 8 * 8)
        given |= dict(mlp_layer="SwiGLUPacked", act_layer="silu", mlp_ratio=_ratio(hidden, dim))
    if task.endswith("ForImageClassification"):
        given["global_pool"] = "token_avg"
    return given


def _mean(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    return dict(class_token=False, global_pool="avg", fc_norm=False)


def _clip(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    if task.endswith("ForImageClassification"):
        return dict(pre_norm=True, global_pool="avg", fc_norm=False, final_norm=False)
    projection = task.endswith("WithProjection") or task == "CLIPModel"
    return dict(pre_norm=True, **(dict(num_classes=c["projection_dim"]) if projection else {}))


def _siglip(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    if task.endswith("ForImageClassification") or c["vision_use_head"] is False:
        return _mean(c, task)
    return dict(class_token=False, global_pool="map")


def _beit(c: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Before its pre-training is over it has its norm before the head for masked patches."""
    if _ACTIVATIONS[c["hidden_act"]] != "gelu":
        raise ValueError(f"hidden_act is {shown(c['hidden_act'])}, BEiT has 'gelu' in this version")
    flags = ("use_relative_position_bias", "use_shared_relative_position_bias")
    biased = any(c[name] for name in flags)
    sides = checks.pair("image_size", _side(c["image_size"]))
    if biased and sides[0] != sides[1]:
        raise ValueError(
            f"image_size is {shown(c['image_size'])}: transformers resamples the biases by distance"
            " of images that are not square with their sides exchanged, which is not done here"
        )
    mean = checks.flag("use_mean_pooling", c["use_mean_pooling"])
    return dict(
        use_abs_pos_emb=c["use_absolute_position_embeddings"],
        use_rel_pos_bias=c[flags[0]],
        use_shared_rel_pos_bias=c[flags[1]],
        init_values=c["layer_scale_init_value"],
        global_pool="avg" if mean and not task.endswith("MaskedImageModeling") else "token",
    )


_BEIT = {**_VIT, "use_absolute_position_embeddings": False, "use_relative_position_bias": False,
         "use_shared_relative_position_bias": False, "layer_scale_init_value": 0.1,
         "use_mean_pooling": True}  # fmt: skip
_CLIP = {**_VIT, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "patch_size": 32,
         "projection_dim": 512}  # fmt: skip
_SIGLIP = {**_VIT, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
           "vision_use_head": True}  # fmt: skip
KINDS = {
    "vit": Kind("vit_base_patch16_224", _VIT, _plain),
    "vit_mae": Kind("vit_base_patch16_224", _VIT, _plain),
    "ijepa": Kind("vit_huge_patch14_gap_224", _VIT, _mean),
    "deit": Kind("deit_base_patch16_224", _VIT, _deit),
    "beit": Kind("beit_base_patch16_224", _BEIT, _beit),
    "dinov2": Kind("vit_base_patch14_dinov2", _DINOV2, _dinov2),
    "dinov2_with_registers": Kind(
        "vit_base_patch14_reg4_dinov2", {**_DINOV2, "num_register_tokens": 4}, _dinov2
    ),
    **dict.fromkeys(("clip", "clip_vision_model"), Kind("vit_base_patch32_clip_224", _CLIP, _clip)),
    **dict.fromkeys(
        ("siglip", "siglip_vision_model"), Kind("vit_base_patch16_siglip_224", _SIGLIP, _siglip)
    ),
}


def described(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What a config.json of transformers says: timm's architecture, the changes of its
    `pretrained_cfg`, and the arguments. preprocessor: preprocessor_config.json, or nothing.

    Raises `ValueError` or `TypeError` for a model that is none of `KINDS`.
    """
    kind = KINDS[checks.one_of("model_type", config["model_type"], KINDS)]
    tasks = config.get("architectures") or [""]
    if not isinstance(tasks, list) or not isinstance(tasks[0], str):
        raise TypeError(f"architectures is {shown(tasks)}, expected names of classes")
    task = tasks[0]
    vision = config.get("vision_config") or {}
    if not isinstance(vision, Mapping):
        raise TypeError(f"vision_config is {shown(vision)}, expected a table")
    both = {name: config[name] for name in ("projection_dim",) if name in config}
    c = {**kind.defaults, **config, **vision, **both}
    if c["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(f"hidden_act is {shown(c['hidden_act'])}, expected {listed(list(_NAMED))}")
    names = _labels(config) if "ForImageClassification" in task else []
    arguments = dict(
        img_size=_side(c["image_size"]), patch_size=_side(c["patch_size"]),
        in_chans=c["num_channels"], num_classes=len(names), embed_dim=c["hidden_size"],
        depth=c["num_hidden_layers"], num_heads=c["num_attention_heads"],
        mlp_ratio=_ratio(c["intermediate_size"], c["hidden_size"]), qkv_bias=c["qkv_bias"],
        norm_layer="layernorm", norm_eps=c["layer_norm_eps"],
        act_layer=_ACTIVATIONS[c["hidden_act"]], mlp_layer="Mlp", block_fn="Block",
        global_pool="token", class_token=True, fc_norm=None, final_norm=True, init_values=None,
        reg_tokens=0, no_embed_class=False, pre_norm=False,
    )  # fmt: skip
    known = ARCHITECTURES[kind.architecture].model.config_type.arguments()
    arguments = {k: v for k, v in arguments.items() if v is not None and k in known}
    arguments |= kind.arguments(c, task)
    name = kind.architecture
    if task.endswith("WithTeacher"):
        name = "deit_base_distilled_patch16_224"
    side = checks.pair("image_size", arguments["img_size"])
    cfg = dict(
        input_size=(arguments["in_chans"], *side),
        num_classes=arguments["num_classes"],
        **_statistics(preprocessor),
    )
    return name, {**cfg, **({"label_names": names} if names else {})}, arguments


def _side(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ratio(hidden: Any, dim: Any) -> float:
    """A ratio that gives this width exactly."""
    hidden = checks.integer("intermediate_size", hidden, 1)
    ratio = hidden / checks.integer("hidden_size", dim, 1)
    return ratio if int(dim * ratio) == hidden else float(np.nextafter(ratio, np.inf))


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The names of the classes, of which there are two if nothing is said."""
    table = config.get("id2label")
    if table is None:
        count = checks.integer("num_labels", config.get("num_labels", 2), 1)
        return [f"LABEL_{i}" for i in range(count)]
    if not isinstance(table, Mapping) or not all(isinstance(v, str) for v in table.values()):
        raise TypeError(f"id2label is {shown(table)}, expected names by numbers")
    return [table[key] for key in sorted(table, key=int)]


def _statistics(preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """How images are prepared, in the words of `pretrained_cfg`."""
    cfg: dict[str, Any] = {}
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if preprocessor.get("do_normalize", True) and preprocessor.get(theirs):
            cfg[ours] = preprocessor[theirs]
    resample = preprocessor.get("resample")
    if type(resample) is int and resample in _RESAMPLE:
        cfg["interpolation"] = _RESAMPLE[resample]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in cfg.items()}


# ------------------------------------------------------------------------------- writing


def save_for_transformers(
    model: VisionTransformer,
    directory: str | PathLike[str],
    label_names: Sequence[str] | None = None,
) -> Path:
    """Writes config.json, preprocessor_config.json and model.safetensors, from which
    `transformers.AutoModel...from_pretrained(directory)` makes the same model.

    label_names: of the classes, by default those of the model's `pretrained_cfg`. The folder is
    made if it is not there; files of these names in it are an error (`FileExistsError`). Raises
    `ValueError` for a model that transformers has no class for, `OSError` if it cannot write.
    """
    directory = Path(directory)
    if model.quantized:
        raise ValueError("transformers has no such 8-bit weights: save the model before quantize")
    for name in (CONFIG, PREPROCESSOR, WEIGHT_FILES[0]):
        if (directory / name).exists():
            raise FileExistsError(f"{directory / name} is there already: give another folder")
    config, state = written(model, label_names or model.pretrained_cfg.get("label_names"))
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in ((CONFIG, config), (PREPROCESSOR, _preprocessor(model))):
        with replacing(directory / name) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n")
    save_file(directory / WEIGHT_FILES[0], state, {"format": "pt"})
    return directory


class Target(NamedTuple):
    """A family of classes of transformers. prefix: of the trunk in a classifier."""

    model_type: str
    name: str
    layout: Layout
    prefix: str


def _target(model: VisionTransformer) -> Target:
    """Where such a model has a place. Raises `ValueError` saying what has none."""
    c = model.config
    usual = dict(
        norm_layer="layernorm", block_fn="Block", differential=False, qk_norm=False,
        scale_attn_norm=False, scale_mlp_norm=False, proj_bias=True, embed_norm_layer=None,
        pos_embed="learn", final_norm=True, norm_after_pooling=False, pool_include_prefix=False,
    )  # fmt: skip
    if isinstance(c, BeitConfig):  # whose mean has a norm, and whose positions are biases as a rule
        mean = c.global_pool == "avg"
        usual |= dict(
            block_fn="BeitBlock", pos_embed=c.pos_embed, norm_after_pooling=mean, qkv_bias=True
        )
    for name, value in usual.items():
        if (own := getattr(c, name)) != value:
            raise ValueError(f"transformers has no Vision Transformer with {name} {shown(own)}")
    for fits, target in _targets(model):
        if fits:
            return target
    raise ValueError(
        f"transformers has no Vision Transformer like {model!r}, with pool {shown(c.global_pool)}, "
        f"{c.mlp_layer}, {c.reg_tokens} registers"
    )


def _targets(model: VisionTransformer) -> Iterator[tuple[bool, Target]]:
    """The families in turn, and whether the model is of one."""
    c = model.config
    if isinstance(c, BeitConfig):
        square = c.image[0] == c.image[1] and c.patch[0] == c.patch[1]
        pooled = c.global_pool in ("token", "avg")
        yield square and pooled and not c.swiglu_mlp, Target("beit", "Beit", BEIT, "beit.")
        return
    bare = not (c.pre_norm or c.init_values or c.no_embed_class) and c.mlp_layer == "Mlp"
    plain = bare and not c.reg_tokens
    token = c.class_token and c.global_pool == "token" and not model.distilled
    pool = "" if c.class_token else c.global_pool
    teacher = model.distilled and c.num_classes > 0
    deit = Target("deit", "DeiT", VIT, "deit.")
    registers, name = ("_with_registers", "WithRegisters") if c.reg_tokens else ("", "")
    yield teacher and plain, deit
    yield token and plain, Target("vit", "ViT", VIT, "vit.")
    yield token and bare and c.reg_tokens == 1, deit
    yield pool == "avg" and plain, Target("ijepa", "IJepa", VIT, "ijepa.")
    siglip = pool == "map" and plain and c.qkv_bias and not c.num_classes
    yield siglip, Target("siglip_vision_model", "Siglip", CLIP, "")
    yield token and _is_clip(model), Target("clip_vision_model", "CLIP", CLIP, "vision_model.")
    yield (
        not model.distilled and _is_dinov2(model),
        Target(f"dinov2{registers}", f"Dinov2{name}", DINOV2, f"dinov2{registers}."),
    )


def _is_clip(model: VisionTransformer) -> bool:
    """Whether it has what CLIP has, whose projection is without bias."""
    c = model.config
    plain = not (c.init_values or c.reg_tokens or c.no_embed_class) and c.mlp_layer == "Mlp"
    biased = c.num_classes and model.head.bias.data.any()
    return plain and c.pre_norm and c.qkv_bias and not biased


def _is_dinov2(model: VisionTransformer) -> bool:
    """Whether it has what DINOv2 has, whose mlp is a whole number of times as wide."""
    c = model.config
    gated = c.mlp_layer == "SwiGLUPacked" and c.act_layer == "silu"
    tokens = c.class_token and c.no_embed_class == (c.reg_tokens > 0) and not c.pre_norm
    pooled = c.global_pool in ("token", "token_avg")
    mlp = (c.mlp_layer == "Mlp" or gated) and _dino_ratio(model) is not None
    return tokens and pooled and mlp and bool(c.init_values)


def _dino_ratio(model: VisionTransformer) -> int | None:
    """The mlp_ratio in config.json."""
    c = model.config
    for ratio in range(1, 65):
        hidden = c.embed_dim * ratio
        if c.mlp_layer == "SwiGLUPacked":
            hidden = 2 * ((int(hidden * 2 / 3) + 7) // 8 * 8)
        if hidden == c.hidden:
            return ratio
    return None


def written(
    model: VisionTransformer, label_names: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """config.json and the state dict as transformers has them."""
    target, c = _target(model), model.config
    state = dict(model.state_dict())
    heads = {k: state.pop(k) for k in list(state) if k.split(".")[0] in model.heads}
    dino = target.layout is DINOV2
    if "reg_token" in state:
        state = _without_registers(state, dino)
    if dino:
        state["mask_token"] = np.zeros((1, c.embed_dim), np.float32)
        if c.mlp_layer == "SwiGLUPacked":
            swiglu = {"mlp.fc1": ("mlp.weights_in",), "mlp.fc2": ("mlp.weights_out",)}
            target = target._replace(layout=DINOV2._replace(block={**DINOV2.block, **swiglu}))
    prefix = target.prefix if c.num_classes else ""
    out = to_transformers(state, target.layout, prefix) | _heads(heads, target, c.embed_dim)
    return _config(model, target, label_names), out


def _without_registers(state: dict[str, Array], dino: bool) -> dict[str, Array]:
    """The other token of DeiT; or DINOv2's registers, where the class token has a position."""
    state = dict(state)
    registers = state.pop("reg_token")
    if not dino:
        return {**state, "dist_token": registers}
    table = state["pos_embed"]
    first = np.zeros((1, 1, table.shape[2]), table.dtype)
    return {
        **state,
        "pos_embed": np.concatenate([first, table], axis=1),
        "register_tokens": registers,
    }


def _heads(heads: dict[str, Array], target: Target, dim: int) -> dict[str, Array]:
    if target.name == "CLIP":
        return {"visual_projection.weight": heads["head.weight"]} if heads else {}
    if target.name == "DeiT" and "head_dist.weight" in heads:
        names = {"head": "cls_classifier", "head_dist": "distillation_classifier"}
        return {f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in heads.items()}
    out = {k.replace("head.", "classifier."): v for k, v in heads.items()}
    weight = out.get("classifier.weight")
    if target.layout.block.get("ls1.gamma") and weight is not None and weight.shape[1] == dim:
        out["classifier.weight"] = np.concatenate([weight, np.zeros_like(weight)], axis=1)
    return out


def _config(
    model: VisionTransformer, target: Target, label_names: Sequence[str] | None
) -> dict[str, Any]:
    c = model.config
    height, width = c.image
    config: dict[str, Any] = dict(
        model_type=target.model_type,
        hidden_size=c.embed_dim, num_hidden_layers=c.depth, num_attention_heads=c.num_heads,
        intermediate_size=c.hidden, hidden_act=_NAMED[c.act_layer], layer_norm_eps=c.norm_eps,
        image_size=height if height == width else [height, width],
        patch_size=c.patch[0] if c.patch[0] == c.patch[1] else list(c.patch),
        num_channels=c.in_chans, qkv_bias=c.qkv_bias,
    )  # fmt: skip
    if isinstance(c, BeitConfig):
        del config["qkv_bias"]  # of q and v it always has one
        config |= dict(
            use_absolute_position_embeddings=c.use_abs_pos_emb,
            use_relative_position_bias=c.use_rel_pos_bias,
            use_shared_relative_position_bias=c.use_shared_rel_pos_bias,
            use_mean_pooling=c.global_pool == "avg",
            layer_scale_init_value=c.init_values or 0.0,
        )
    if target.name.startswith("Dinov2"):
        config |= dict(mlp_ratio=_dino_ratio(model), use_swiglu_ffn=c.mlp_layer != "Mlp")
        config |= dict(num_register_tokens=c.reg_tokens) if c.reg_tokens else {}
    task = "Model"
    if target.name in ("CLIP", "Siglip"):
        task = "VisionModelWithProjection" if c.num_classes else "VisionModel"
        config["projection_dim"] = c.num_classes or 512
    elif c.num_classes:
        task = "ForImageClassification" + ("WithTeacher" if model.distilled else "")
        names = list(label_names or (f"LABEL_{i}" for i in range(c.num_classes)))
        if len(names) != c.num_classes:
            raise ValueError(f"label_names has {len(names)} names, the model {c.num_classes}")
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    return {"architectures": [target.name + task], **config}


def _preprocessor(model: VisionTransformer) -> dict[str, Any]:
    cfg = model.default_cfg
    height, width = model.config.image
    codes = {name: code for code, name in _RESAMPLE.items()}
    return dict(
        image_processor_type="ViTImageProcessor", do_resize=True, do_rescale=True,
        rescale_factor=1 / 255, do_normalize=True, image_mean=list(cfg["mean"]),
        image_std=list(cfg["std"]), size=dict(height=height, width=width),
        resample=codes.get(cfg.get("interpolation", "bicubic"), 3),
    )  # fmt: skip
