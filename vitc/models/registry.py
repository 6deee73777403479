"""Models by name."""

import re
from dataclasses import asdict, fields
from fnmatch import fnmatchcase
from os import PathLike
from typing import Any

from vitc.errors import nearest
from vitc.models.architectures import ARCHITECTURES, Architecture
from vitc.models.vision_transformer import Config, VisionTransformer

_ARGUMENTS = tuple(field.name for field in fields(Config))


def list_models(filter: str = "") -> list[str]:
    """The known names, in natural order. filter: a pattern with `*` and `?`, such as "*tiny*"."""
    names = [name for name in ARCHITECTURES if not filter or fnmatchcase(name, filter)]
    return sorted(names, key=_natural)


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    checkpoint_path: str | PathLike[str] = "",
    dtype: str = "float32",
    precision: str = "float32",
    **arguments: Any,
) -> VisionTransformer:
    """A model by timm's name, in training mode, with fresh weights or those of a file.

    checkpoint_path: a `.safetensors` file whose keys and shapes are exactly this model's.
    dtype: "float32", or "float64" for the slow reference. precision: "bf16" for faster inference.
    arguments: of `Config` (num_classes, in_chans, img_size, drop_rate, drop_path_rate, embed_dim,
    depth, ...), in place of the architecture's own; None leaves it as it is.

    Raises `ValueError` for an unknown name or a bad value, `TypeError` for an unknown argument.
    """
    if pretrained:
        raise ValueError(
            "pretrained=True: this version fetches no weights; download the model's .safetensors "
            "file and pass it as checkpoint_path"
        )
    if model_name not in ARCHITECTURES:
        known = nearest(model_name, ARCHITECTURES)
        raise ValueError(f"there is no model {model_name!r}; {known}")
    architecture = ARCHITECTURES[model_name]
    config = architecture_config(architecture, arguments)
    model = architecture.model(config, model_name, architecture.pretrained_cfg, dtype)
    if checkpoint_path:
        model.load(checkpoint_path)
    if precision != "float32":
        model.precision = precision
    return model


def architecture_config(architecture: Architecture, arguments: dict[str, Any]) -> Config:
    """The architecture's arguments with the user's in their place."""
    for name in arguments:
        if name not in _ARGUMENTS:
            hint = nearest(name, _ARGUMENTS)
            raise TypeError(f"create_model has no argument {name!r} in this version; {hint}")
    cfg = architecture.pretrained_cfg
    given = {name: value for name, value in arguments.items() if value is not None}
    own = dict(img_size=cfg["input_size"][1:], num_classes=cfg["num_classes"])
    return Config(**{**own, **architecture.arguments, **given})


def changed_arguments(model: VisionTransformer) -> dict[str, Any]:
    """The arguments, besides num_classes, in which a model differs from its architecture."""
    known = ARCHITECTURES.get(model.name)
    default = architecture_config(known, {}) if known else Config()
    given, own = _plain(model.config), _plain(default)
    return {name: value for name, value in given.items() if value != own[name]}


def _plain(config: Config) -> dict[str, Any]:
    values = {**asdict(config), "img_size": config.image, "patch_size": config.patch}
    del values["num_classes"]
    return values
