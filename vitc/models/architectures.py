"""The table of architectures: every name `create_model` knows, and what timm publishes with it.

A new architecture is a line here; a new family is also a class with its builder.
"""

from typing import Any, NamedTuple

from vitc.models.deit import VisionTransformerDistilled
from vitc.models.vision_transformer import VisionTransformer


class Architecture(NamedTuple):
    model: type[VisionTransformer]
    arguments: dict[str, Any]  # of Config
    pretrained_cfg: dict[str, Any]


_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

_SIZES = {
    "tiny": dict(embed_dim=192, depth=12, num_heads=3),
    "small": dict(embed_dim=384, depth=12, num_heads=6),
    "base": dict(embed_dim=768, depth=12, num_heads=12),
    "large": dict(embed_dim=1024, depth=24, num_heads=16),
}


def _cfg(pixels: int, **changes: Any) -> dict[str, Any]:
    return {
        "input_size": (3, pixels, pixels),
        "interpolation": "bicubic",
        "crop_pct": 0.9 if pixels == 224 else 1.0,
        "crop_mode": "center",
        "num_classes": 1000,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        **changes,
    }


def _vit(size: str, patch: int, pixels: int, **cfg: Any) -> Architecture:
    arguments = dict(patch_size=patch, **_SIZES[size])
    return Architecture(VisionTransformer, arguments, _cfg(pixels, **{**_HALF, **cfg}))


def _deit(size: str, pixels: int) -> Architecture:
    return _vit(size, 16, pixels, **_IMAGENET)


def _deit_distilled(size: str, pixels: int) -> Architecture:
    arguments = dict(patch_size=16, **_SIZES[size])
    cfg = _cfg(pixels, **_IMAGENET, classifier=("head", "head_dist"))
    return Architecture(VisionTransformerDistilled, arguments, cfg)


ARCHITECTURES: dict[str, Architecture] = {
    "vit_tiny_patch16_224": _vit("tiny", 16, 224),
    "vit_tiny_patch16_384": _vit("tiny", 16, 384),
    "vit_small_patch8_224": _vit("small", 8, 224, num_classes=0, **_IMAGENET),
    "vit_small_patch16_224": _vit("small", 16, 224),
    "vit_small_patch16_384": _vit("small", 16, 384),
    "vit_small_patch32_224": _vit("small", 32, 224),
    "vit_small_patch32_384": _vit("small", 32, 384),
    "vit_base_patch8_224": _vit("base", 8, 224),
    "vit_base_patch16_224": _vit("base", 16, 224),
    "vit_base_patch16_384": _vit("base", 16, 384),
    "vit_base_patch32_224": _vit("base", 32, 224),
    "vit_base_patch32_384": _vit("base", 32, 384),
    "vit_large_patch16_224": _vit("large", 16, 224),
    "vit_large_patch16_384": _vit("large", 16, 384),
    "vit_large_patch32_224": _vit("large", 32, 224, num_classes=0),
    "vit_large_patch32_384": _vit("large", 32, 384),
    "deit_tiny_patch16_224": _deit("tiny", 224),
    "deit_small_patch16_224": _deit("small", 224),
    "deit_base_patch16_224": _deit("base", 224),
    "deit_base_patch16_384": _deit("base", 384),
    "deit_tiny_distilled_patch16_224": _deit_distilled("tiny", 224),
    "deit_small_distilled_patch16_224": _deit_distilled("small", 224),
    "deit_base_distilled_patch16_224": _deit_distilled("base", 224),
    "deit_base_distilled_patch16_384": _deit_distilled("base", 384),
    "test_vit": Architecture(
        VisionTransformer,
        dict(patch_size=16, embed_dim=64, depth=6, num_heads=2, mlp_ratio=3),
        _cfg(160, crop_pct=0.95, **_HALF),
    ),
}
