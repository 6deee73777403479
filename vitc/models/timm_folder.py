"""Models written as timm reads them: `timm.create_model("local-dir:<folder>", pretrained=True)`."""

import json
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.errors import shown
from vitc.files import replacing
from vitc.models.architectures import ARCHITECTURES
from vitc.models.factory import changed_arguments
from vitc.models.model import Model
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import save_file
from vitc.models.weights.local_dir import CONFIG, WEIGHT_FILES, read_config

# Arguments that timm reads from the name of an architecture only.
_OF_A_NAME = ("block_fn", "mlp_layer", "norm_eps", "embed_norm_eps")
# Where weights came from is not where these are.
_ELSEWHERE = ("file", "hf_hub_filename", "hf_hub_id", "label_names", "source", "split", "url")


def save_for_timm(
    model: VisionTransformer,
    directory: str | PathLike[str],
    label_names: Sequence[str] | None = None,
) -> Path:
    """Writes config.json and model.safetensors into a folder, which is made if it is not there.

    label_names: of the classes, by default those of the model's `pretrained_cfg`. A model that is
    there already is replaced. timm takes block_fn, mlp_layer and norm_eps from the name of the
    architecture alone: where those of the model are others, the nearest name with them is written.
    Raises `ValueError` for a model that no name has them of, and for a quantised one, which timm
    has no layers for, `FileExistsError` for files of these names that are not such a model's,
    `OSError` if it cannot write.
    """
    if model.quantized:
        raise ValueError("timm has no layers with 8-bit weights: save the model before quantize")
    directory, name = Path(directory), name_for_timm(model)
    _check_replaceable(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_folder(directory, model, label_names, name)
    return directory


def name_for_timm(model: VisionTransformer) -> str:
    """The architecture under which timm makes such a model, its own name if that does. Raises
    `ValueError` if there is none."""
    alike: list[str] = [
        name
        for name, known in ARCHITECTURES.items()
        if known.model is type(model) and not _unsaid(changed_arguments(model, name))
    ]
    if model.global_pool == "token_avg":
        raise ValueError("timm has no pooling 'token_avg'; see vitc.save_for_transformers")
    if model.name in alike:
        return model.name
    if not alike:
        own = {name: getattr(model.config, name) for name in _OF_A_NAME}
        raise ValueError(
            "timm has no architecture with "
            + ", ".join(f"{name} {shown(value)}" for name, value in own.items())
            + f", and {model.name} has others: save the model with model.save()"
        )
    return min(alike, key=lambda name: len(changed_arguments(model, name)))


def _unsaid(arguments: Mapping[str, Any]) -> bool:
    """Whether timm reads some of these from no config.json."""
    return any(name in arguments for name in _OF_A_NAME)


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
    directory: str | PathLike[str],
    model: VisionTransformer,
    label_names: Sequence[str] | None,
    architecture: str = "",
) -> None:
    """Writes config.json and model.safetensors into a folder that is there: what the model is,
    in values that give its bits, of 8 bits too. architecture: in place of the model's name."""
    directory = Path(directory)
    write_config(directory, model, label_names, architecture)
    save_file(directory / WEIGHT_FILES[0], model.state_dict(), model.stored_as())


def write_config(
    directory: Path,
    model: VisionTransformer,
    label_names: Sequence[str] | None,
    architecture: str = "",
) -> None:
    """The config.json of `write_folder` alone."""
    text = json.dumps(timm_config(model, label_names, architecture), indent=1)
    with replacing(directory / CONFIG) as unfinished:
        unfinished.write_text(text + "\n")


def labels_of(model: Model) -> list[str] | None:
    """The names of the model's classes, if there is one for each in its `pretrained_cfg`."""
    names = getattr(model, "pretrained_cfg", {}).get("label_names")
    named = isinstance(names, list | tuple) and len(names) == getattr(model, "num_classes", 0)
    return [str(name) for name in names] if names and named else None


def split_of(model: Model) -> dict[str, list[str]]:
    """Which images a model was trained on and which were set apart, by the first 16 digits of their
    SHA-256: {"train": [...], "val": [...]}; empty if nothing says so."""
    found = getattr(model, "pretrained_cfg", {}).get("split")
    return found if isinstance(found, dict) else {}


def timm_config(
    model: VisionTransformer, label_names: Sequence[str] | None = None, architecture: str = ""
) -> dict[str, Any]:
    """config.json as timm writes and reads it. label_names: by default those of the model;
    architecture: in place of its name."""
    label_names = label_names or labels_of(model)
    cfg = {k: v for k, v in model.default_cfg.items() if k not in _ELSEWHERE}
    cfg["architecture"] = architecture or model.name
    cfg |= {"tag": None, "custom_load": False, "fixed_input_size": True}
    if label_names:
        cfg["label_names"] = list(label_names)
    split = split_of(model)
    return {
        **({"split": split} if split else {}),
        "architecture": architecture or model.name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": model.global_pool,
        "model_args": changed_arguments(model, architecture),
        "pretrained_cfg": cfg,
    }
