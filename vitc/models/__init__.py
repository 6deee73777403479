"""Architectures: `create_model`, the table of names, and the classes behind it."""

from vitc.models.config import Config
from vitc.models.eva import Eva
from vitc.models.eva_config import EvaConfig
from vitc.models.factory import create_model, model_entrypoint
from vitc.models.model import Model
from vitc.models.registry import (
    get_arch_name,
    get_pretrained_cfg,
    get_pretrained_cfg_value,
    is_model,
    is_model_pretrained,
    list_models,
    list_modules,
    list_pretrained,
    register_model,
)
from vitc.models.rel_pos import Beit, VisionTransformerRelPos
from vitc.models.rel_pos_config import BeitConfig, RelPosConfig
from vitc.models.sources import load_checkpoint, load_state_dict
from vitc.models.timm_folder import save_for_timm
from vitc.models.transformers_folder import save_for_transformers
from vitc.models.vision_transformer import VisionTransformer

__all__ = [
    "Beit",
    "BeitConfig",
    "Config",
    "Eva",
    "EvaConfig",
    "Model",
    "RelPosConfig",
    "VisionTransformer",
    "VisionTransformerRelPos",
    "create_model",
    "get_arch_name",
    "get_pretrained_cfg",
    "get_pretrained_cfg_value",
    "is_model",
    "is_model_pretrained",
    "list_models",
    "list_modules",
    "list_pretrained",
    "load_checkpoint",
    "load_state_dict",
    "model_entrypoint",
    "register_model",
    "save_for_timm",
    "save_for_transformers",
]
