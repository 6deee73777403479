"""The table of architectures: every name `create_model` knows, and what timm publishes with it.

The table is timm.json: a line for each architecture and for each of its tags, a tag being a set of
weights with what they want of an image. tests/oracle/registry.py writes it from the installed timm.
A new family is also a class with its builder.
"""

import json
from importlib.resources import files
from typing import Any, NamedTuple

from vitc.models.deit import VisionTransformerDistilled
from vitc.models.eva import Eva
from vitc.models.rel_pos import Beit, VisionTransformerRelPos
from vitc.models.vision_transformer import VisionTransformer

_CLASSES = {
    cls.__name__: cls
    for cls in (VisionTransformer, VisionTransformerDistilled, Eva, Beit, VisionTransformerRelPos)
}

# Mean and std per channel.
_STATISTICS = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "satellite": ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
_USUAL = {
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "num_classes": 1000,
    "first_conv": "patch_embed.proj",
    "classifier": "head",
    "license": "apache-2.0",
}


class Architecture(NamedTuple):
    """arguments: of Config. pretrained_cfgs: by tag, the default one first."""

    model: type[VisionTransformer]
    arguments: dict[str, Any]
    pretrained_cfgs: dict[str, dict[str, Any]]

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """That of the default tag."""
        return next(iter(self.pretrained_cfgs.values()))


def _cfg(name: str, tag: str, row: dict[str, Any]) -> dict[str, Any]:
    """What timm publishes with a tag, from its line in the table."""
    row = dict(row)
    mean, std = _STATISTICS[row.pop("statistics", "half")]
    size = row.pop("size")
    if row.get("hf_hub_id") == "timm/":
        row["hf_hub_id"] = f"timm/{name}.{tag}"
    if isinstance(row.get("classifier"), list):
        row["classifier"] = tuple(row["classifier"])
    if trained_with := row.pop("trained_with", None):
        row["notes"] = (f"trained with {trained_with}",)
    own = dict(architecture=name, tag=tag, input_size=(3, *size), mean=mean, std=std)
    return {key: value for key, value in {**own, **_USUAL, **row}.items() if value is not None}


def _architecture(name: str, row: dict[str, Any]) -> Architecture:
    cfgs = {tag: _cfg(name, tag, cfg) for tag, cfg in row["tags"].items()}
    return Architecture(_CLASSES[row["model"]], row["arguments"], cfgs)


_TABLE = json.loads(files("vitc.models").joinpath("timm.json").read_text())

ARCHITECTURES = {name: _architecture(name, row) for name, row in _TABLE["models"].items()}

# Names of earlier versions, each an alias of a name with a tag.
DEPRECATED: dict[str, str] = _TABLE["deprecated"]
