"""Architectures: `create_model`, the table of names, and the classes behind it."""

from vitc.models.model import Model
from vitc.models.registry import create_model, list_models
from vitc.models.vision_transformer import Config, VisionTransformer

__all__ = ["Config", "Model", "VisionTransformer", "create_model", "list_models"]
