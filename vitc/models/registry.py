"""Models by name."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from fnmatch import fnmatchcase
from os import PathLike
from typing import Any

from vitc.errors import nearest
from vitc.models.architectures import ARCHITECTURES, DEPRECATED, Architecture
from vitc.models.config import Config
from vitc.models.vision_transformer import VisionTransformer

_ARGUMENTS = tuple(field.name for field in fields(Config))


def list_models(
    filter: str | Sequence[str] = "",
    *,
    exclude_filters: str | Sequence[str] = "",
    pretrained: bool = False,
    include_tags: bool | None = None,
) -> list[str]:
    """The known names in natural order.

    filter, exclude_filters: patterns with `*` and `?`, such as "*tiny*": names that fit one of the
    first and none of the second. pretrained: only those with published weights. include_tags: each
    as "name.tag"; by default if pretrained.
    """
    tags = pretrained if include_tags is None else include_tags
    names = []
    for name, architecture in ARCHITECTURES.items():
        cfgs = architecture.pretrained_cfgs
        found = [tag for tag, cfg in cfgs.items() if not pretrained or has_weights(cfg)]
        names += [f"{name}.{tag}" for tag in found] if tags else [name] * bool(found)
    wanted = _matching(names, filter, everything=True)
    return sorted(wanted - _matching(names, exclude_filters, everything=False), key=_natural)


def list_pretrained(filter: str | Sequence[str] = "", exclude_filters: str = "") -> list[str]:
    """The names, with tags, for which weights are published."""
    return list_models(filter, exclude_filters=exclude_filters, pretrained=True)


def _matching(names: Sequence[str], patterns: str | Sequence[str], everything: bool) -> set[str]:
    """The names that fit a pattern; a pattern without a dot also fits a name before its tag."""
    if not patterns:
        return set(names) if everything else set()
    given = [patterns] if isinstance(patterns, str) else patterns
    return {
        name
        for name in names
        for pattern in given
        if fnmatchcase(name, pattern) or fnmatchcase(get_arch_name(name), pattern)
    }


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def has_weights(cfg: Mapping[str, Any]) -> bool:
    return bool(cfg.get("url") or cfg.get("hf_hub_id"))


def get_arch_name(model_name: str) -> str:
    """The name before the dot of "name.tag"."""
    return model_name.partition(".")[0]


def is_model(model_name: str) -> bool:
    """Whether there is such an architecture, with or without a tag behind the name."""
    return get_arch_name(model_name) in ARCHITECTURES


def get_pretrained_cfg(model_name: str) -> dict[str, Any]:
    """What timm publishes with "name.tag", or with "name" and its default tag.

    Raises `ValueError` for an unknown name or tag.
    """
    name, _, tag = model_name.partition(".")
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no model {name!r}; {nearest(name, ARCHITECTURES)}")
    cfgs = ARCHITECTURES[name].pretrained_cfgs
    if tag and tag not in cfgs:
        raise ValueError(f"{name} has no tag {tag!r}; its tags are {', '.join(cfgs)}")
    return dict(cfgs[tag] if tag else ARCHITECTURES[name].pretrained_cfg)


def current_name(model_name: str) -> str:
    """The name itself, or with a warning the one that an earlier name stands for."""
    if model_name not in DEPRECATED:
        return model_name
    warnings.warn(
        f"{model_name} is an earlier name of {DEPRECATED[model_name]}",
        DeprecationWarning,
        stacklevel=3,
    )
    return DEPRECATED[model_name]


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

    model_name: "name" or "name.tag"; of the tag are the image size and the number of classes.
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
    cfg = get_pretrained_cfg(current_name(model_name))
    architecture = ARCHITECTURES[cfg["architecture"]]
    config = architecture_config(architecture, arguments, cfg)
    model = architecture.model(config, cfg["architecture"], cfg, dtype)
    if checkpoint_path:
        model.load(checkpoint_path)
    if precision != "float32":
        model.precision = precision
    return model


def architecture_config(
    architecture: Architecture, arguments: dict[str, Any], cfg: Mapping[str, Any] | None = None
) -> Config:
    """The architecture's arguments with the user's in their place.

    cfg: that of a tag, from which the size of the images and the number of classes come.
    """
    for name in arguments:
        if name not in _ARGUMENTS:
            hint = nearest(name, _ARGUMENTS)
            raise TypeError(f"create_model has no argument {name!r} in this version; {hint}")
    cfg = cfg or architecture.pretrained_cfg
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
