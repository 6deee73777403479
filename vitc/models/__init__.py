"""Architectures: `create_model`, the table of names, and the classes behind it."""

from vitc.models.config import Config
from vitc.models.factory import create_model
from vitc.models.model import Model
from vitc.models.registry import (
    get_arch_name,
    get_pretrained_cfg,
    is_model,
    list_models,
    list_modules,
    list_pretrained,
)
from vitc.models.timm_folder import save_for_timm
from vitc.models.transformers_folder import save_for_transformers
from vitc.models.vision_transformer import VisionTransformer

__all__ = [
    "Config",
    "Model",
    "VisionTransformer",
    "create_model",
    "get_arch_name",
    "get_pretrained_cfg",
    "is_model",
    "list_models",
    "list_modules",
    "list_pretrained",
    "save_for_timm",
    "save_for_transformers",
]
