"""Folders that hold one model: config.json and a weight file, as timm's `local-dir:` has them."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from vitc.errors import shown

CONFIG = "config.json"

# The weight file of a folder: the first of these that is there, else an index of several files,
# else the first that fits a pattern.
WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")  # of several files
PATTERNS = ("*.safetensors", "*.pth", "*.pth.tar", "*.bin", "*.npz")


class ModelConfig(NamedTuple):
    """config.json. cfg: as `pretrained_cfg`. arguments: of `create_model`."""

    architecture: str
    cfg: dict[str, Any]
    arguments: dict[str, Any]


def read_table(path: str | PathLike[str]) -> dict[str, Any]:
    """The object in a file of JSON. Raises `FileNotFoundError` if there is none, `ValueError`,
    naming the path, for another content."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return parsed_table(path.read_bytes(), path)


def parsed_table(text: str | bytes, path: Path) -> dict[str, Any]:
    """The same of what was read; path: where it was, for the errors."""
    try:
        content = json.loads(text)
    except (RecursionError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it is not the JSON of a model")
    return content


def read_config(path: str | PathLike[str]) -> ModelConfig:
    """A config.json as timm and vitc write it, also in timm's old form without `pretrained_cfg`.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the path, for another content.
    """
    return config_of(read_table(path), path)


def config_of(content: Mapping[str, Any], path: str | PathLike[str]) -> ModelConfig:
    """The same of what was read; path: where it was, for the errors."""
    try:
        cfg = dict(content.get("pretrained_cfg", content))
        arguments = dict(content.get("model_args") or {})
        architecture = content["architecture"]
        if not isinstance(architecture, str):
            raise TypeError
    except KeyError as error:
        raise ValueError(f"{path} describes no model: it has no {error}") from None
    except (TypeError, ValueError):
        raise ValueError(f"{path} is damaged: it is not the JSON of a model") from None
    for name in ("num_classes", "label_names", "label_descriptions"):
        if name in content:
            cfg[name] = content[name]
    cfg["split"] = _split(content.get("split"))
    return ModelConfig(architecture, _plain(cfg), _plain(arguments))


def _split(found: Any) -> dict[str, list[str]] | None:
    """What a model was trained on (see `split_of`), None for anything else."""
    fits = isinstance(found, dict) and all(
        isinstance(own, list) and all(isinstance(digest, str) for digest in own)
        for own in found.values()
    )
    return found if fits else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and with tuples where JSON has lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None and name not in ("architecture", "model_args", "file", "source")
    }


def parts_of(index: Path) -> dict[str, list[str]]:
    """The files that an index names, which are to lie beside it, and the keys of each.

    Raises `ValueError` for another content.
    """
    content = json.loads(index.read_bytes())
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not all(isinstance(n, str) for n in table.values()):
        raise ValueError("it has no weight_map of the names of files")
    parts: dict[str, list[str]] = {}
    for key, name in table.items():
        if Path(name).name != name:
            raise ValueError(f"it names {shown(name)}, which is not a file beside it")
        parts.setdefault(name, []).append(key)
    return parts


def weight_file(path: str | PathLike[str]) -> Path:
    """The weights: path itself, or the weight file of the folder. `OSError` if there is none."""
    path = Path(path)
    if not path.is_dir():
        return path
    for name in (*WEIGHT_FILES, *INDICES):
        if (path / name).is_file():
            return path / name
    for pattern in PATTERNS:
        found = sorted(path.glob(pattern))
        if found:
            return found[0]
    raise FileNotFoundError(f"{path} holds no weights, expected {', '.join(WEIGHT_FILES)}")
