"""Folders that hold one model, as timm's `local-dir:` reads them: config.json and weights.

A checkpoint is such a folder.
"""

from os import PathLike
from pathlib import Path
from typing import NamedTuple

from vitc.models.factory import create_model
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import Weights, read_weights
from vitc.models.weights.local_dir import CONFIG, WEIGHT_FILES


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
    weights = _weights(path)
    try:
        model = create_model(f"local-dir:{path}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / CONFIG} describes no model of this version: {error}") from None
    model._load(path / WEIGHT_FILES[0], weights)
    return Folder(model.eval(), model.pretrained_cfg.pop("label_names", None))


def _weights(path: Path) -> Weights:
    """Of a checkpoint, those that were compared with their hash, whatever takes its place since."""
    if not (path / "state.json").exists():
        return read_weights(path / WEIGHT_FILES[0])
    from vitc.training.checkpoint import read

    return Weights(read(path).arrays(WEIGHT_FILES[0]), {})
