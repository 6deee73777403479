"""The names of models and of their weights."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from vitc.errors import nearest, shown
from vitc.models.architectures import ARCHITECTURES, DEPRECATED
from vitc.names import natural

# Functions of users, by name: (pretrained=False, **arguments) -> a model.
USERS: dict[str, Callable[..., Any]] = {}


def list_models(
    filter: str | Sequence[str] = "",
    module: str = "",
    *,
    exclude_filters: str | Sequence[str] = "",
    pretrained: bool = False,
    include_tags: bool | None = None,
    name_matches_cfg: bool = False,
) -> list[str]:
    """The known names in natural order.

    filter, exclude_filters: patterns with `*` and `?`, such as "*tiny*": names that fit one of the
    first and none of the second. module: of timm, such as "deit", that the names are from.
    pretrained: only those with published weights. include_tags: each as "name.tag"; by default if
    pretrained. name_matches_cfg: only those with a cfg of their own name, which all here have.
    """
    tags = pretrained if include_tags is None else include_tags
    names = []
    for name, architecture in ARCHITECTURES.items():
        if module and module_of(name) != module:
            continue
        cfgs = architecture.pretrained_cfgs
        found = [tag for tag, cfg in cfgs.items() if not pretrained or has_weights(cfg)]
        names += [f"{name}.{tag}" for tag in found] if tags else [name] * bool(found)
    if not (pretrained or module):
        names += USERS
    wanted = _matching(names, filter, everything=True)
    return sorted(wanted - _matching(names, exclude_filters, everything=False), key=natural)


def list_pretrained(filter: str | Sequence[str] = "", exclude_filters: str = "") -> list[str]:
    """The names, with tags, for which weights are published."""
    return list_models(filter, exclude_filters=exclude_filters, pretrained=True)


def list_modules() -> list[str]:
    """The modules of timm that models are from."""
    return sorted({module_of(name) for name in ARCHITECTURES})


_MODULES = {
    "VisionTransformer": "vision_transformer",
    "Eva": "eva",
    "Beit": "beit",
    "VisionTransformerRelPos": "vision_transformer_relpos",
}


def module_of(name: str) -> str:
    """The module of timm that defines an architecture."""
    return "deit" if name.startswith("deit") else _MODULES[ARCHITECTURES[name].model.__name__]


def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: `create_model` makes models of the function's name by calling it, with
    pretrained and the other arguments that it was given.

    Raises `ValueError` for the name of an architecture that is there already.
    """
    name = function.__name__
    if name in ARCHITECTURES:
        raise ValueError(f"there is an architecture {shown(name)} already: take another name")
    USERS[name] = function
    return function


def is_model_pretrained(model_name: str) -> bool:
    """Whether there are published weights for a name, with a tag or by default."""
    return (
        is_model(model_name)
        and get_arch_name(model_name) not in USERS
        and has_weights(get_pretrained_cfg(model_name))
    )


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """An item of `get_pretrained_cfg`; None if it has none of this name."""
    return get_pretrained_cfg(model_name).get(cfg_key)


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


def has_weights(cfg: Mapping[str, Any]) -> bool:
    return bool(cfg.get("url") or cfg.get("hf_hub_id"))


def get_arch_name(model_name: str) -> str:
    """The name before the dot of "name.tag"."""
    return model_name.partition(".")[0]


def is_model(model_name: str) -> bool:
    """Whether there is such an architecture, with or without a tag behind the name."""
    name = get_arch_name(model_name)
    return name in ARCHITECTURES or name in USERS


# Fields of timm's cfgs that none of these weights needs, which are None there.
_UNSET = (
    *("url", "file", "hf_hub_id", "hf_hub_filename", "test_input_size", "test_crop_pct"),
    *("min_input_size", "pool_size", "label_names", "origin_url", "paper_ids", "notes"),
)


class PretrainedCfg(dict[str, Any]):
    """What is published with weights, whose items are read as attributes too, as those of timm's
    cfgs are: `cfg["mean"]`, `cfg.mean`."""

    def __getattr__(self, name: str) -> Any:
        if name in self or name in _UNSET:
            return self.get(name)
        raise AttributeError(f"a cfg has no {shown(name)}; {nearest(name, self)}")

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


def get_pretrained_cfg(model_name: str) -> PretrainedCfg:
    """What timm publishes with "name.tag", or with "name" and its default tag.

    Raises `ValueError` for an unknown name or tag.
    """
    name, _, tag = model_name.partition(".")
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no model {shown(name)}; {nearest(name, ARCHITECTURES)}")
    cfgs = ARCHITECTURES[name].pretrained_cfgs
    if tag and tag not in cfgs:
        raise ValueError(f"{name} has no tag {shown(tag)}; its tags are {', '.join(cfgs)}")
    return PretrainedCfg(cfgs[tag] if tag else ARCHITECTURES[name].pretrained_cfg)


def current_name(model_name: str) -> str:
    """The name itself, or with a warning the one that replaced it."""
    if model_name not in DEPRECATED:
        return model_name
    warnings.warn(
        f"{model_name} is an earlier name of {DEPRECATED[model_name]}",
        DeprecationWarning,
        stacklevel=3,
    )
    return DEPRECATED[model_name]
