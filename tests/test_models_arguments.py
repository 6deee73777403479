"""Arguments of every kind: NumPy's numbers, classes of torch and timm, wrong kinds; what a
config.json says; and folders that timm opens. The oracle is timm in float64, redrawn."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitc
from oracle import double, images, pair, redrawn, relative, timm
from vitc.models import Config, create_model
from vitc.models.config import FLAGS, LIMITS, RATES

OUTPUTS = 1e-5
layers, blocks = timm.layers, timm.models.vision_transformer
SMALL: dict[str, Any] = dict(depth=2, embed_dim=32, num_heads=2, img_size=64, num_classes=5)

# ------------------------------------------------------------------------------- kinds


def test_numbers_of_numpy_are_numbers() -> None:
    labels = np.array([0, 2, 1])
    model = create_model(
        "test_vit",
        num_classes=labels.max() + 1,
        img_size=np.int64(64),
        patch_size=np.array([16, 8]),
        depth=np.int8(2),
        embed_dim=np.uint16(32),
        num_heads=np.int32(2),
        in_chans=np.int64(1),
        mlp_ratio=np.float32(2.0),
        qkv_bias=np.True_,
        drop_path_rate=np.float64(0.1),
        init_values=np.float32(0.5),
    )
    assert model.num_classes == 3 and model.grid_size == (4, 8)
    assert type(model.config.img_size) is int and type(model.config.qkv_bias) is bool
    json.dumps(vitc.models.timm_folder.timm_config(model))
    model.reset_classifier(np.int64(7))
    model.set_input_size(np.int64(32))
    assert model.prune_intermediate_layers(np.int64(1)) == [1]


KINDS = [
    *((name, value) for name in FLAGS for value in ("False", 0, None.__class__, np.float32(1))),
    *((name, value) for name in LIMITS for value in ("3", 2.5, True, -1, 10**30, float("nan"))),
    *((name, value) for name in RATES for value in ("0.1", -0.1, 1.5, float("nan"), True)),
    *((name, value) for name in ("mlp_ratio", "norm_eps") for value in ("4", float("inf"), -1)),
    ("mlp_ratio", 1e300),
    ("mlp_ratio", 10**400),
    ("depth", 5000),
    ("img_size", 10**30),
    ("patches", dict(img_size=2**31 - 1)),
    ("patch_size", (1, 10**30)),
    ("init_values", float("nan")),
    ("init_values", "0.1"),
    ("fc_norm", "x"),
    ("img_size", "64"),
    ("img_size", (64, 64, 64)),
    ("img_size", 64.0),
    ("patch_size", []),
    ("patch_size", True),
    ("global_pool", None.__class__),
    ("global_pool", ["avg"]),
    ("act_layer", "tanh"),
    ("act_layer", 3),
    ("norm_layer", partial(layers.RmsNorm, affine=False)),
    ("mlp_layer", partial(layers.SwiGLU, align_to=8)),
    ("block_fn", torch.nn.Linear),
]


@pytest.mark.parametrize(("name", "value"), KINDS)
def test_arguments_of_the_wrong_kind_are_named(name: str, value: Any) -> None:
    given = value if name == "patches" else {name: value}
    with pytest.raises((TypeError, ValueError), match=name):
        create_model("test_vit", **{**SMALL, **given})


@pytest.mark.parametrize("name", ["pretrained", "features_only"])
def test_switches_of_create_model_are_checked(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is 'no', expected True or False"):
        create_model("test_vit", **{name: "no"})


# ------------------------------------------------------------------------------- classes

CLASSES: dict[str, dict[str, Any]] = {
    "SiLU": dict(act_layer=torch.nn.SiLU),
    "GELU": dict(act_layer=torch.nn.GELU),
    "tanh": dict(act_layer=layers.GELUTanh),
    "quick": dict(act_layer=layers.QuickGELU),
    "partial tanh": dict(act_layer=partial(torch.nn.GELU, approximate="tanh")),
    "eps": dict(norm_layer=partial(torch.nn.LayerNorm, eps=1e-3)),
    "torch's norm": dict(norm_layer=torch.nn.LayerNorm),
    "rms": dict(norm_layer=layers.RmsNorm),
    "rms, eps": dict(norm_layer=partial(layers.RmsNorm, eps=1e-2)),
    "embedding": dict(embed_norm_layer=layers.RmsNorm),
    "packed": dict(mlp_layer=layers.SwiGLUPacked, act_layer=torch.nn.SiLU),
    "gated": dict(mlp_layer=layers.SwiGLU),
    "post norm": dict(block_fn=blocks.ResPostBlock),
    "parallel": dict(block_fn=blocks.ParallelScalingBlock, qk_norm=True),
    "parallel, ignored attention": dict(
        block_fn=blocks.ParallelScalingBlock, attn_layer="diff", qk_norm=True
    ),
    "differential": dict(attn_layer=layers.DiffAttention),
    "text": dict(norm_layer="LayerNorm", act_layer="swish"),
    "text of rms": dict(norm_layer="rms_norm", act_layer="GELU"),
}


@pytest.mark.parametrize("case", CLASSES)
@pytest.mark.parametrize("name", ["test_vit", "vit_base_patch16_clip_224"])
def test_classes_stand_for_layers_of_their_name(name: str, case: str) -> None:
    given = CLASSES[case]
    if case.startswith("text"):  # timm's own spellings
        spell = {"LayerNorm": "layernorm", "rms_norm": "rmsnorm", "GELU": "gelu"}
        theirs_given = {k: spell.get(v, v) for k, v in given.items()}
    else:
        theirs_given = given
    ours = create_model(name, **SMALL, **given).eval()
    theirs = timm.create_model(name, **SMALL, **theirs_given).double().eval()
    state = redrawn(ours.shapes, "float32")
    ours.load_state_dict(state)
    theirs.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
    x = 0.02 * images(2, ours)  # small: eps counts
    assert relative(ours(x), theirs(double(x)).detach()) <= OUTPUTS


# ------------------------------------------------------------------------------- timm's own


def test_a_cfg_may_be_a_tag_or_a_table(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    tag = create_model(name, pretrained_cfg="augreg_in21k", depth=1)
    assert tag.num_classes == 21843
    cfg = dict(input_size=(1, 96, 96), num_classes=4, mean=0.25, global_pool="avg")
    model = create_model(name, pretrained_cfg=cfg, depth=1)
    assert (model.in_chans, model.config.image, model.num_classes) == (1, (96, 96), 4)
    assert model.global_pool == "avg" and model.default_cfg["mean"] == (0.25,)
    grey = create_model(name, pretrained_cfg_overlay=dict(input_size=(1, 64, 64)), depth=1)
    theirs = timm.create_model(name, pretrained_cfg_overlay=dict(input_size=(1, 64, 64)), depth=1)
    assert grey.shapes["patch_embed.proj.weight"] == tuple(theirs.patch_embed.proj.weight.shape)
    model = create_model(name, pretrained_cfg_overlay=dict(input_size=(1, 64, 64)), in_chans=2)
    assert model.in_chans == 2


def test_channels_of_a_folder_are_read_from_its_input_size(tmp_path: Path) -> None:
    model = create_model("test_vit", in_chans=1, global_pool="avg", **SMALL)
    vitc.save_for_timm(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_args"]["in_chans"], config["model_args"]["global_pool"]
    config["pretrained_cfg"]["global_pool"] = "avg"
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert again.in_chans == 1 and again.global_pool == "avg"
    assert all(np.array_equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_lists_of_models_by_module() -> None:
    assert set(vitc.models.list_modules()) >= {"vision_transformer", "deit"}
    for module in ("vision_transformer", "deit"):
        ours = vitc.list_models(module=module, name_matches_cfg=True)
        theirs = timm.list_models(module=module, name_matches_cfg=True)
        assert set(ours) <= set(theirs) and len(ours) >= 16


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("name", ["test_vit", "vit_base_patch16_siglip_gap_224"])
def test_intermediates_may_be_a_dictionary(name: str, prefix: bool, only: bool) -> None:
    ours, theirs = pair(name, **SMALL)
    x = images(2, ours)
    options = dict(return_prefix_tokens=prefix, intermediates_only=only, output_dict=True)
    found, expected = (
        m.forward_intermediates(y, **options) for m, y in ((ours, x), (theirs, double(x)))
    )
    assert set(found) == set(expected)
    for key in found:
        pairs = zip(found[key], expected[key], strict=True)
        for a, b in [(found[key], expected[key])] if key == "image_features" else pairs:
            assert relative(a, b.detach()) <= OUTPUTS


@pytest.mark.parametrize("patch", [(8, 16), (16, 8), 32])
def test_the_reduction_is_timms(patch: Any) -> None:
    arguments = {**SMALL, "patch_size": patch, "depth": 3}
    ours, theirs = create_model("test_vit", **arguments), timm.create_model("test_vit", **arguments)
    assert [row["reduction"] for row in ours.feature_info] == [
        row["reduction"] for row in theirs.feature_info
    ]
    trunk = create_model("test_vit", features_only=True, **arguments)
    assert trunk.feature_info.get_dicts(["num_chs"])[0] == {"num_chs": 32}
    assert "classifier" not in trunk.pretrained_cfg


# ------------------------------------------------------------------------------- folders

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "UNI2-h": (
        "vit_giant_patch14_224",
        dict(mlp_layer="SwiGLUPacked", act_layer="silu", init_values=1e-5, reg_tokens=8,
             no_embed_class=True, mlp_ratio=4, dynamic_img_size=True),
    ),
    "Virchow2": (
        "vit_huge_patch14_224",
        dict(mlp_layer="SwiGLUPacked", act_layer="silu", reg_tokens=4, init_values=1e-5),
    ),
    "post norm": ("test_vit", dict(block_fn="ResPostBlock")),
    "eps": ("vit_base_patch16_clip_224", dict(norm_eps=1e-6)),
    "other eps": ("test_vit", dict(norm_eps=1e-5)),
    "rms on CLIP": ("vit_base_patch16_clip_224", dict(norm_layer="rmsnorm")),
    "norm of the patches": ("vit_base_patch16_clip_224", dict(embed_norm_layer="rmsnorm")),
    "AIMv2": ("aimv2_large_patch14_224", dict(qkv_bias=True)),
    "plain": ("test_vit", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", RECIPES)
def test_folders_are_such_as_timm_opens(tmp_path: Path, case: str) -> None:
    name, arguments = RECIPES[case]
    patch = 14 if "14" in name else 16
    model = create_model(name, **{**SMALL, "img_size": 4 * patch}, **arguments).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    vitc.save_for_timm(model, tmp_path, label_names=list("abcde"))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).double().eval()
    again = create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = 0.02 * images(2, model)
    assert relative(model(x), theirs(double(x)).detach()) <= OUTPUTS
    assert np.array_equal(model(x), again(x))


def test_what_timm_cannot_open_is_not_written(tmp_path: Path) -> None:
    model = create_model("test_vit", norm_eps=1e-12, **SMALL)
    with pytest.raises(ValueError, match=r"timm has no architecture with .*norm_eps 1e-12"):
        vitc.save_for_timm(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_model_of_no_name_is_saved_under_one(tmp_path: Path) -> None:
    model = vitc.models.VisionTransformer(Config(**SMALL))
    vitc.save_for_timm(model, tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert np.array_equal(theirs.head.weight.detach().numpy(), model.head.weight.data)


# ------------------------------------------------------------------------------- config.json

WRONG: list[tuple[str, Any]] = [
    *(("pretrained_cfg.input_size", v) for v in ([1, 2], [], "3", [3, 0, 64], [3, 64, 64.5], 7)),
    *(("pretrained_cfg.mean", v) for v in ([], "x", [None], [float("nan")], {})),
    ("pretrained_cfg.std", []),
    *(("pretrained_cfg.crop_pct", v) for v in ("x", 0, -1, [], float("inf"))),
    *(("pretrained_cfg.interpolation", v) for v in (3, [], {})),
    *(("num_classes", v) for v in ("5", -1, 2.5, [], {}, float("inf"), True)),
    *(("pretrained_cfg", v) for v in (3, "x", [[1]])),
    *(("model_args", v) for v in (3, "x", [1])),
    *(("model_args.depth", v) for v in ("2", [], {}, 0, 1e308)),
    *(("model_args.img_size", v) for v in ("2", {}, [1, 2, 3], 0)),
    *(("model_args.mlp_ratio", v) for v in ("2", [], float("inf"), float("nan"))),
    *(("model_args.block_fn", v) for v in (3, {}, "Nothing")),
    ("model_args.nothing", 1),
    *(("architecture", v) for v in (3, [], {}, "nothing")),
]


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_what_a_config_json_should_not_say_is_named_with_its_path(
    tmp_path: Path, place: str, value: Any
) -> None:
    vitc.save_for_timm(create_model("test_vit", **SMALL), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    inner = config
    *outer, last = place.split(".")
    for part in outer:
        inner = inner[part]
    inner[last] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json"):
        create_model(f"local-dir:{tmp_path}", pretrained=True)


@pytest.mark.parametrize("cfg", [dict(mean=[]), dict(input_size=(3, 64)), dict(num_classes="5")])
def test_an_overlay_is_checked(cfg: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(cfg))):
        create_model("test_vit", pretrained_cfg_overlay=cfg)
