"""Models written as timm reads them: `timm.create_model("local-dir:<folder>", pretrained=True)`."""

import json
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.files import replacing
from vitc.models.factory import changed_arguments
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import save_file
from vitc.models.weights.local_dir import CONFIG, WEIGHT_FILES, read_config

# Where weights came from is not where these are.
_ELSEWHERE = ("file", "hf_hub_filename", "hf_hub_id", "label_names", "source", "url")


def save_for_timm(
    model: VisionTransformer,
    directory: str | PathLike[str],
    label_names: Sequence[str] | None = None,
) -> Path:
    """Writes config.json and model.safetensors into a folder, which is made if it is not there.

    label_names: of the classes, by default those of the model's `pretrained_cfg`. A model that is
    there already is replaced. Raises `ValueError` for a quantised model, which timm has no layers
    for, `FileExistsError` for files of these names that are not such a model's, `OSError` if it
    cannot write.
    """
    if model.quantized:
        raise ValueError("timm has no layers with 8-bit weights: save the model before quantize")
    directory = Path(directory)
    _check_replaceable(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_folder(directory, model, label_names or model.pretrained_cfg.get("label_names"))
    return directory


def _check_replaceable(directory: Path) -> None:
    if os.path.lexists(directory / "state.json"):
        raise FileExistsError(f"{directory} is a checkpoint, whose files are not changed")
    taken = [f for f in (CONFIG, WEIGHT_FILES[0]) if os.path.lexists(directory / f)]
    try:
        if taken:
            read_config(directory / CONFIG)
    except (OSError, ValueError):
        raise FileExistsError(
            f"{directory / taken[0]} is there already, and {CONFIG} describes no model: give "
            "another folder"
        ) from None


def write_folder(
    directory: str | PathLike[str], model: VisionTransformer, label_names: Sequence[str] | None
) -> None:
    """Writes config.json and model.safetensors into a folder that is there."""
    directory = Path(directory)
    text = json.dumps(timm_config(model, label_names), indent=1)
    with replacing(directory / CONFIG) as unfinished:
        unfinished.write_text(text + "\n")
    save_file(directory / WEIGHT_FILES[0], model.state_dict(), {"format": "pt"})


def timm_config(
    model: VisionTransformer, label_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """config.json as timm writes and reads it."""
    cfg = {k: v for k, v in model.default_cfg.items() if k not in _ELSEWHERE}
    cfg |= {"tag": None, "custom_load": False, "fixed_input_size": True}
    if label_names:
        cfg["label_names"] = list(label_names)
    return {
        "architecture": model.name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": model.global_pool,
        "model_args": changed_arguments(model),
        "pretrained_cfg": cfg,
    }
