"""Folders that hold one model: config.json and a weight file, as timm's `local-dir:` has them."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

CONFIG = "config.json"

# The weight file of a folder: the first of these that is there, else the first that fits a pattern.
WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
PATTERNS = ("*.safetensors", "*.pth", "*.pth.tar", "*.bin", "*.npz")


class ModelConfig(NamedTuple):
    """config.json. cfg: as `pretrained_cfg`. arguments: of `create_model`."""

    architecture: str
    cfg: dict[str, Any]
    arguments: dict[str, Any]


def read_config(path: str | PathLike[str]) -> ModelConfig:
    """A config.json as timm and vitc write it, also in timm's old form without `pretrained_cfg`.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the path, for another content.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        cfg = dict(content.get("pretrained_cfg", content))
        arguments = dict(content.get("model_args") or {})
        architecture = str(content["architecture"])
    except KeyError as error:
        raise ValueError(f"{path} describes no model: it has no {error}") from None
    except (RecursionError, TypeError, ValueError):
        raise ValueError(f"{path} is damaged: it is not the JSON of a model") from None
    for name in ("num_classes", "label_names", "label_descriptions"):
        if name in content:
            cfg[name] = content[name]
    return ModelConfig(architecture, _plain(cfg), _plain(arguments))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and with tuples where JSON has lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None and name not in ("architecture", "model_args", "file", "source")
    }


def weight_file(path: str | PathLike[str]) -> Path:
    """The weights: path itself, or the weight file of the folder. `OSError` if there is none."""
    path = Path(path)
    if not path.is_dir():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    for pattern in PATTERNS:
        found = sorted(path.glob(pattern))
        if found:
            return found[0]
    raise FileNotFoundError(f"{path} holds no weights, expected {', '.join(WEIGHT_FILES)}")
