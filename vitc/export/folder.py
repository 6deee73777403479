"""Folders that hold one model, as timm's `local-dir:` reads them: config.json and weights.

A checkpoint is such a folder.
"""

import json
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from vitc.models.registry import create_model
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import save_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Folder(NamedTuple):
    """What a folder holds. labels: the names of the classes, None if it does not say."""

    model: VisionTransformer
    labels: list[str] | None


def read_folder(path: str | PathLike[str]) -> Folder:
    """The model of a folder, in evaluation mode; of a checkpoint, after its files were verified.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the path, if it is damaged or
    of an architecture that this version does not know.
    """
    path = Path(path)
    if (path / "state.json").exists():
        from vitc.training.checkpoint import read

        read(path)
    config = _config(path / CONFIG)
    try:
        prepared = dict(config["pretrained_cfg"])
        labels = prepared.pop("label_names", None)
        model = create_model(
            config["architecture"],
            num_classes=config["num_classes"],
            **config.get("model_args", {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / CONFIG} describes no model of this version: {error}") from None
    model.pretrained_cfg |= prepared
    model.load(path / WEIGHTS)
    return Folder(model.eval(), labels)


def write_folder(
    path: str | PathLike[str], model: VisionTransformer, labels: list[str] | None
) -> None:
    """Writes config.json and model.safetensors into a folder that is there."""
    from vitc.training.checkpoint import timm_config

    path = Path(path)
    config = timm_config(model, {"class_names": labels})
    (path / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    save_file(path / WEIGHTS, model.state_dict(), {"format": "pt"})


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError):
        raise ValueError(f"{path} is damaged: it is not the JSON of a model") from None
