"""Models of Hugging Face's transformers, read and written. The oracle is transformers in float64
with redrawn parameters: outputs within 1e-5."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import vitc
import vitc.functional as F
from oracle import double, images, redrawn, relative, timm
from vitc.models import create_model

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

OUTPUTS, GRADIENTS = 1e-5, 5e-5
SIZE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
MLP = dict(**SIZE, intermediate_size=72)
BIASED = dict(use_relative_position_bias=True)
SHARED = dict(use_shared_relative_position_bias=True, use_absolute_position_embeddings=True)
TEXT = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)

# A class, its config, and the architecture that it is of here.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ViTForImageClassification": ("ViTForImageClassification", "ViTConfig", MLP),
    "ViTModel": ("ViTModel", "ViTConfig", {**MLP, "qkv_bias": False}),
    "not square": ("ViTModel", "ViTConfig", {**MLP, "image_size": [16, 40], "num_channels": 1}),
    "DeiT": ("DeiTForImageClassification", "DeiTConfig", MLP),
    "DeiTModel": ("DeiTModel", "DeiTConfig", MLP),
    "DeiT with teacher": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", MLP),
    "BEiT": ("BeitForImageClassification", "BeitConfig", {**MLP, **BIASED}),
    "BEiT, shared, of the token": (
        "BeitForImageClassification",
        "BeitConfig",
        {**MLP, "use_shared_relative_position_bias": True, "use_mean_pooling": False},
    ),
    "BEiT, both, and positions": (
        "BeitForImageClassification",
        "BeitConfig",
        {**MLP, **BIASED, **SHARED, "layer_scale_init_value": 0.0, "use_mask_token": True},
    ),
    "BeitModel": ("BeitModel", "BeitConfig", {**MLP, **BIASED, "num_channels": 1}),
    "BEiT, masked": (
        "BeitForMaskedImageModeling",
        "BeitConfig",
        {**MLP, **BIASED, "use_mask_token": True, "vocab_size": 11},
    ),
    "BEiT, not square": ("BeitModel", "BeitConfig", {**MLP, "image_size": [16, 40]}),
    "Dinov2": ("Dinov2ForImageClassification", "Dinov2Config", SIZE),
    "Dinov2Model": ("Dinov2Model", "Dinov2Config", {**SIZE, "use_swiglu_ffn": True}),
    "Dinov2 with registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {**SIZE, "mlp_ratio": 3},
    ),
    "registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**SIZE, "use_swiglu_ffn": True, "num_register_tokens": 2},
    ),
    "IJepa": ("IJepaForImageClassification", "IJepaConfig", MLP),
    "IJepaModel": ("IJepaModel", "IJepaConfig", MLP),
    "MAE": ("ViTMAEModel", "ViTMAEConfig", {**MLP, "mask_ratio": 0.0}),
    "CLIPVisionModel": ("CLIPVisionModel", "CLIPVisionConfig", MLP),
    "CLIP with projection": (
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        {**MLP, "projection_dim": 24, "hidden_act": "gelu"},
    ),
    "CLIPForImageClassification": (
        "CLIPForImageClassification",
        "CLIPConfig",
        dict(vision_config=MLP, text_config=TEXT, projection_dim=20),
    ),
    "CLIPModel": (
        "CLIPModel",
        "CLIPConfig",
        dict(vision_config=MLP, text_config=TEXT, projection_dim=20),
    ),
    "SiglipVisionModel": ("SiglipVisionModel", "SiglipVisionConfig", MLP),
    "SiglipForImageClassification": (
        "SiglipForImageClassification",
        "SiglipConfig",
        dict(vision_config=MLP, text_config=TEXT),
    ),
}  # fmt: skip


# Whose pooled output is what a head would read.
POOLED = ("BeitModel", "CLIPVisionModel", "SiglipVisionModel", "Dinov2Model",
          "Dinov2WithRegistersModel")  # fmt: skip


def theirs_of(case: str) -> Any:
    """A model of transformers with redrawn parameters."""
    name, config, options = MODELS[case]
    labels = dict(num_labels=5) if "ForImageClassification" in name else {}
    config = getattr(transformers, config)(**options, **labels)
    config._attn_implementation = "eager"
    model = getattr(transformers, name)(config)
    shapes = {k: tuple(v.shape) for k, v in model.named_parameters()}
    state = {k: torch.tensor(v) for k, v in redrawn(shapes, "float32").items()}
    for key in ("decoder.", "text_model."):
        state = {k: v for k, v in state.items() if not k.startswith(key)}
    model.load_state_dict(state, strict=False)
    return model.eval()


def expected(model: Any, x: np.ndarray) -> torch.Tensor:
    """Logits, projections, or the features that a head would read."""
    name = type(model).__name__
    model = model.double()
    with torch.no_grad():
        if name == "CLIPModel":
            out = model.get_image_features(pixel_values=double(x))
            return getattr(out, "pooler_output", out)
        out = model(pixel_values=double(x))
    if "ForImageClassification" in name:
        return out.logits
    if "Projection" in name:
        return out.image_embeds
    if name == "BeitForMaskedImageModeling":  # what its head for masked patches would read
        with torch.no_grad():
            return model.layernorm(model.beit(double(x)).last_hidden_state)[:, 0]
    if name in POOLED:
        return out.pooler_output
    tokens = out.last_hidden_state
    return tokens.mean(1) if name == "IJepaModel" else tokens[:, 0]


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("layout", ["as saved", "as in memory"])
def test_models_of_transformers_are_read(tmp_path: Path, case: str, layout: str) -> None:
    theirs = theirs_of(case)
    theirs.save_pretrained(tmp_path)
    if layout == "as in memory":
        state = {k: v.contiguous() for k, v in theirs.state_dict().items()}
        safetensors.torch.save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    ours = create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = images(2, ours)
    if case == "MAE":  # which shuffles its tokens, even if it leaves none out
        tokens = theirs.double()(double(x), noise=torch.arange(16.0).repeat(2, 1).double())
        assert relative(ours(x), tokens.last_hidden_state[:, 0].detach()) <= OUTPUTS
        return
    assert relative(ours(x), expected(theirs, x)) <= OUTPUTS


def test_gradients_of_the_wide_head_are_transformers(tmp_path: Path) -> None:
    theirs = theirs_of("Dinov2")
    theirs.save_pretrained(tmp_path)
    theirs = theirs.double()
    ours = create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x, labels = images(2, ours), [1, 3]
    F.cross_entropy(ours(x), labels).backward()
    logits = theirs(pixel_values=double(x)).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    found = {"classifier.weight": ours.head.weight, "classifier.bias": ours.head.bias}
    found["dinov2.embeddings.cls_token"] = ours.cls_token
    found["dinov2.embeddings.position_embeddings"] = ours.pos_embed
    found["dinov2.layernorm.weight"] = ours.norm.weight
    for name, parameter in theirs.named_parameters():
        if name in found:
            assert relative(found[name].grad, parameter.grad.numpy()) <= GRADIENTS, name


WRITTEN = {
    "ViT": ("vit_tiny_patch16_224", dict(num_classes=5)),
    "ViT features": ("vit_tiny_patch16_224", dict(num_classes=0, act_layer="gelu_tanh")),
    "one channel": ("vit_tiny_patch16_224", dict(num_classes=5, in_chans=1, img_size=(32, 64))),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", dict(num_classes=5)),
    "one more token": ("vit_tiny_patch16_224", dict(num_classes=5, reg_tokens=1)),
    "BEiT": ("beit_base_patch16_224", dict(num_classes=5)),
    "BEiT of the token": (
        "beitv2_base_patch16_224",
        dict(num_classes=5, global_pool="token", use_shared_rel_pos_bias=True, init_values=None),
    ),
    "BEiT features": (
        "beit_base_patch16_224",
        dict(num_classes=0, use_rel_pos_bias=False, use_abs_pos_emb=True, in_chans=1),
    ),
    "DINOv2": ("vit_small_patch14_dinov2", dict(num_classes=0)),
    "DINOv2 head": ("vit_small_patch14_dinov2", dict(num_classes=5)),
    "DINOv2 wide head": ("vit_small_patch14_dinov2", dict(num_classes=5, global_pool="token_avg")),
    "DINOv2 registers": ("vit_small_patch14_reg4_dinov2", dict(num_classes=5)),
    "DINOv2 gated": ("vit_giant_patch14_reg4_dinov2", dict(num_classes=0, mlp_ratio=2.75 * 2)),
    "I-JEPA": ("vit_huge_patch14_gap_224", dict(num_classes=5)),
    "CLIP": ("vit_base_patch32_clip_quickgelu_224", dict(num_classes=24)),
    "CLIP features": ("vit_base_patch16_clip_224", dict(num_classes=0)),
    "SigLIP": ("vit_base_patch16_siglip_224", dict(num_classes=0)),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_folders_are_such_as_transformers_opens(tmp_path: Path, case: str) -> None:
    name, arguments = WRITTEN[case]
    patch = 14 if "14" in name else 32 if "32" in name else 16
    small = dict(depth=2, embed_dim=32, num_heads=2, img_size=4 * patch)
    ours = create_model(name, **{**small, **arguments}).eval()
    state = redrawn(ours.shapes, "float32")
    if case == "CLIP":
        state["head.bias"][:] = 0
    ours.load_state_dict(state)
    folder = vitc.save_for_transformers(ours, tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    theirs, told = kind.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    unread = {k for k in told["missing_keys"] if "pooler" not in k}
    assert not unread and not told["unexpected_keys"], told
    x = images(2, ours)
    assert relative(ours(x), expected(theirs.eval(), x)) <= OUTPUTS
    again = create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert relative(ours(x), again(x)) <= OUTPUTS
    assert again.default_cfg["mean"] == pytest.approx(ours.default_cfg["mean"])
    with pytest.raises(FileExistsError, match=r"config\.json is there already"):
        vitc.save_for_transformers(ours, folder)


REFUSED = {
    "rms": (dict(norm_layer="rmsnorm"), "norm_layer 'rmsnorm'"),
    "post norm": (dict(block_fn="ResPostBlock"), "block_fn 'ResPostBlock'"),
    "max": (dict(global_pool="max", fc_norm=False), "pool 'max'"),
    "fc_norm": (dict(global_pool="avg"), "norm_after_pooling True"),
    "gated": (dict(mlp_layer="SwiGLU"), "SwiGLU"),
    "BEiT without biases": (dict(qkv_bias=False), "qkv_bias False"),
    "BEiT, norm before the mean": (dict(use_fc_norm=False), "norm_after_pooling False"),
    "BEiT, norm behind the token": (
        dict(use_fc_norm=True, global_pool="token"),
        "norm_after_pooling True",
    ),
    "BEiT, all tokens": (dict(global_pool="", num_classes=0), "pool ''"),
    "BEiT, not square": (dict(img_size=(32, 64)), "beit_base"),
    "BEiT, gated": (dict(swiglu_mlp=True), "SwiGLU"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_has_no_class_for_is_not_written(tmp_path: Path, case: str) -> None:
    arguments, words = REFUSED[case]
    name = "beit_base_patch16_224" if "BEiT" in case else "vit_tiny_patch16_224"
    model = create_model(name, **{**dict(depth=1, embed_dim=24, num_heads=3), **arguments})
    with pytest.raises(ValueError, match=f"transformers has no Vision Transformer.*{words}"):
        vitc.save_for_transformers(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


WRONG: list[tuple[str, Any]] = [
    ("model_type", "bert"),
    ("model_type", 3),
    ("hidden_size", "32"),
    ("hidden_size", 0),
    ("image_size", {}),
    ("image_size", [1, 2, 3]),
    ("num_attention_heads", 5),
    ("hidden_act", "relu"),
    ("hidden_act", []),
    ("layer_norm_eps", "x"),
    ("id2label", [1]),
    ("id2label", {"0": 1}),
    ("id2label", {"a": "b"}),
    ("architectures", 3),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_configs_that_cannot_be_are_named_with_their_path(
    tmp_path: Path, key: str, value: Any
) -> None:
    theirs_of("ViTForImageClassification").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=r"config\.json|model\.safetensors"):
        create_model(
            f"local-dir:{tmp_path}", pretrained=True, num_classes=7 if value == 3 else None
        )
        raise ValueError("config.json" if key == "architectures" else "nothing was said")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("image_size", [16, 40], "sides exchanged"),
        ("use_mean_pooling", "yes", "use_mean_pooling is 'yes'"),
        ("hidden_act", "silu", "BEiT has 'gelu'"),
    ],
)
def test_a_beit_that_is_not_made_here_is_refused(
    tmp_path: Path, key: str, value: Any, words: str
) -> None:
    theirs_of("BEiT").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=rf"config\.json.*{words}"):
        create_model(f"local-dir:{tmp_path}")


def test_a_fine_tuned_model_of_the_hub_is_adapted(tmp_path: Path) -> None:
    """Labels, statistics, other classes and sizes, as of any folder."""
    theirs = theirs_of("ViTForImageClassification")
    theirs.config.id2label = dict(enumerate("abcde"))
    theirs.save_pretrained(tmp_path)
    processor = dict(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=2)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    model = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == list("abcde")
    config = vitc.data.resolve_model_data_config(model)
    assert config["mean"] == (0.1, 0.2, 0.3) and config["interpolation"] == "bilinear"
    with pytest.warns(UserWarning, match="for 5 classes, the model has 2"):
        other = create_model(
            f"local-dir:{tmp_path}", pretrained=True, num_classes=2, img_size=48, in_chans=1
        )
    assert other(np.zeros((1, 1, 48, 48))).shape == (1, 2)
    by_name = create_model(
        "vit_base_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2,
        mlp_ratio=72 / 32, num_classes=5, checkpoint_path=tmp_path, norm_eps=1e-12,
    )  # fmt: skip
    assert all(np.array_equal(v, by_name.state_dict()[k]) for k, v in model.state_dict().items())


def test_timm_has_the_same_in_its_own_names(tmp_path: Path) -> None:
    """A fine-tuned model goes from transformers to timm through vitc."""
    theirs = theirs_of("CLIP with projection")
    theirs.save_pretrained(tmp_path / "transformers")
    model = create_model(f"local-dir:{tmp_path / 'transformers'}", pretrained=True).eval()
    vitc.save_for_timm(model, tmp_path / "timm")
    of_timm = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).double().eval()
    x = images(2, model)
    assert relative(of_timm(double(x)).detach().numpy(), expected(theirs, x)) <= OUTPUTS
