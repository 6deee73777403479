"""Where a model comes from: a name, a folder or a hub; and its weights, made to fit."""

import re
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from vitc.arrays import Array
from vitc.errors import nearest, said, shown
from vitc.models.adapt import adapted
from vitc.models.architectures import ARCHITECTURES
from vitc.models.arguments import checked_cfg, plain_arguments
from vitc.models.init import initial
from vitc.models.model import Model
from vitc.models.registry import current_name, get_pretrained_cfg, is_model
from vitc.models.transformers_folder import PREPROCESSOR, described
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import IncompatibleKeys, Weights, load_file, read_metadata, read_weights
from vitc.models.weights.keys import renamed
from vitc.models.weights.local_dir import (
    CONFIG,
    ModelConfig,
    config_of,
    parsed_table,
    read_config,
    read_table,
    weight_file,
)
from vitc.models.weights.mapped import DAMAGE
from vitc.tape import clock

SCHEMES = {"hf-hub": "hf-hub", "hf_hub": "hf-hub", "local-dir": "local-dir"}
# What of a published tag is not so for other weights of its architecture.
OF_A_TAG = ("custom_load", "hf_hub_id", "license", "notes", "origin_url", "paper_ids", "tag", "url")
# Architectures that resized their own arrays in training, and so.
RESIZED = {
    "flexivit_*": "bilinear",
    "*_base_patch16_radio_v3": "bilinear_corners",
    "*_huge_patch16_radio_v3": "bilinear_corners",
    "*_radio_*": "bilinear",
}


class Source(NamedTuple):
    """What a name given to `create_model` means.

    cfg: in place of the architecture's own `pretrained_cfg`. arguments: of the constructor. folder,
    hub_id: where the weights are, if the name says so. config_file: what describes it.
    """

    architecture: str
    cfg: dict[str, Any]
    arguments: dict[str, Any]
    folder: str = ""
    hub_id: str = ""
    config_file: Path | None = None


def resolve(name: str, cache_dir: str | PathLike[str] | None = None) -> Source:
    """The source of "NAME", "NAME.TAG", "local-dir:PATH" or "hf-hub:OWNER/NAME[@REVISION]".

    PATH is a folder, or a file of `Model.save`. cache_dir: of the hub, in place of the usual one.
    Raises `ValueError` for a name that is none of these, `OSError` or `ValueError` for a
    config.json that cannot be had.
    """
    scheme, colon, place = name.partition(":")
    if colon and len(scheme) > 1:
        if scheme.lower() not in SCHEMES or not place:
            raise ValueError(
                f"{shown(name)} is not a model, expected 'local-dir:PATH' or 'hf-hub:OWNER/NAME'"
            )
        return _described(SCHEMES[scheme.lower()], place, cache_dir)
    if re.search(r"[/\\:]", name):
        raise ValueError(
            f"{shown(name)} is not the name of a model: a folder is {shown(f'local-dir:{name}')}, "
            f"a repository {shown(f'hf-hub:{name}')}"
        )
    cfg = get_pretrained_cfg(current_name(name))
    return Source(cfg["architecture"], cfg, {})


def _described(scheme: str, place: str, cache_dir: str | PathLike[str] | None) -> Source:
    """What a config.json says, in a folder or on the hub."""
    if scheme == "local-dir":
        path = Path(place) if Path(place).is_file() else Path(place) / CONFIG
    else:
        from vitc.models.weights.hub import fetch_config

        path = fetch_config(place, cache_dir)
    if scheme == "local-dir" and Path(place).is_file():
        config = _of_metadata(path)
    else:
        config = _of_transformers(path, scheme, place, cache_dir) or read_config(path)
    if not is_model(config.architecture):
        hint = nearest(config.architecture, ARCHITECTURES)
        raise ValueError(
            f"{path} does not describe a model of this version: there is no "
            f"{shown(config.architecture)}; {hint}"
        )
    usual = {k: v for k, v in get_pretrained_cfg(config.architecture).items() if k not in OF_A_TAG}
    try:
        cfg = checked_cfg({**usual, **config.cfg})
        arguments = plain_arguments(config.arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: {said(error)}") from None
    local = scheme == "local-dir"
    return Source(
        config.architecture,
        cfg,
        arguments,
        folder=place if local else "",
        hub_id="" if local else place,
        config_file=path,
    )


def _of_metadata(path: Path) -> ModelConfig:
    """What a file of `Model.save` says of the model."""
    text = read_metadata(path).get("config")
    if text is None:
        raise ValueError(f"{path} says not what it holds: give a name and checkpoint_path")
    return config_of(parsed_table(text, path), path)


def _of_transformers(
    path: Path, scheme: str, place: str, cache_dir: str | PathLike[str] | None
) -> ModelConfig | None:
    """What a config.json of transformers says; None for one of timm."""
    content = read_table(path)
    if "model_type" not in content or "architecture" in content:
        return None
    beside = path.parent / PREPROCESSOR
    if scheme == "hf-hub":
        from vitc.models.weights.hub import NoSuchEntry, fetch

        with suppress(NoSuchEntry):
            beside = fetch(place, PREPROCESSOR, cache_dir)
    preprocessor = read_table(beside) if beside.is_file() else {}
    try:
        return ModelConfig(*described(content, preprocessor))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: {said(error)}") from None


def weights_of(
    source: Source, cfg: Mapping[str, Any], cache_dir: str | PathLike[str] | None = None
) -> Path:
    """The file with the weights of a model, fetched if it is on a hub.

    cfg: the model's `pretrained_cfg`, of which `file` comes first. cache_dir: of the hub. Raises
    `OSError`, or `ValueError` if there are no weights.
    """
    if cfg.get("file"):
        return weight_file(cfg["file"])
    if source.folder:
        return weight_file(source.folder)
    from vitc.models.weights.hub import fetch_url, fetch_weights

    repository = source.hub_id or cfg.get("hf_hub_id")
    if repository:
        return fetch_weights(repository, cfg.get("hf_hub_filename"), cache_dir)
    if cfg.get("url"):
        return fetch_url(cfg["url"], cache_dir)
    raise ValueError(
        f"no weights are published for {source.architecture}.{cfg.get('tag', '')}; see "
        f"vitc.list_pretrained('{source.architecture}*')"
    )


def load_adapted(
    model: VisionTransformer,
    path: str | PathLike[str],
    image: tuple[int, int] | None = None,
    *,
    fresh_heads: bool = True,
) -> None:
    """Gives a model the weights of a file (or of the folder that holds it), made to fit.

    image: the size of the images they were trained on, if it is known. fresh_heads: whether heads
    of another number of classes are left out; else they are an error.
    Raises `OSError`, or `ValueError` naming the path and what does not fit.
    """
    path = weight_file(path)
    weights = read_weights(path)
    if not weights.metadata.get("quantization"):
        try:
            state = _fitted(model, weights, image, fresh_heads)
        except ValueError as error:
            raise ValueError(f"{path}: {weights.told(error)}") from None
        except DAMAGE as error:  # of arrays in shapes that no writer gives them
            raise ValueError(f"{path}: its arrays do not fit: {said(error)}") from None
        weights = weights._replace(state=state | _fresh_heads(model, state))
    model._load(path, weights)


def _fitted(
    model: VisionTransformer, weights: Weights, image: tuple[int, int] | None, fresh_heads: bool
) -> dict[str, Array]:
    """The weights under the names and shapes of the model, but for heads of other classes."""
    guessed = model.pretrained_cfg.get("input_size", (3, 224, 224))
    for name in (f"{head}.weight" for head in model.heads if not fresh_heads):
        if name in model.shapes and any(key.endswith(name) for key in weights.unread):
            raise ValueError(f"{name} is not read, and the model would have a fresh one")
    return adapted(
        renamed(weights.state, model.shapes),
        model.shapes,
        grid=model.grid_size,
        stated=image,
        guessed=(guessed[1], guessed[2]),
        prefix=model.num_positions - model.config.num_patches,
        heads=model.heads,
        interpolation=_interpolation(model.name) or weights.interpolation,
        cut=any(key.startswith("radio_model.") for key in weights.state),
        fresh_heads=fresh_heads,
    )


def _fresh_heads(model: VisionTransformer, state: Mapping[str, Array]) -> dict[str, Array]:
    """What the heads that were left out begin with."""
    missing = [head for head in model.heads if f"{head}.weight" not in state]
    return {
        entry.name: initial(entry, clock.seed, model.params.dtype)
        for entry in model.entries(model.config)
        if entry.name.split(".")[0] in missing
    }


def _interpolation(architecture: str) -> str | None:
    """How arrays of this architecture are resized, whatever file they come from."""
    for pattern, interpolation in RESIZED.items():
        if fnmatchcase(architecture, pattern):
            return interpolation
    return None


def load_checkpoint(
    model: Model,
    checkpoint_path: str | PathLike[str],
    use_ema: bool = True,
    strict: bool = True,
) -> IncompatibleKeys:
    """Gives a model the weights of a file or folder as they are, as `model.load`, under timm's
    name. use_ema: of a checkpoint that also holds averaged weights, those.

    Raises `OSError`, or `ValueError` naming the path and what does not fit.
    """
    path = weight_file(checkpoint_path)
    return model._load(path, read_weights(path, use_ema=use_ema), strict)


def load_state_dict(checkpoint_path: str | PathLike[str], use_ema: bool = True) -> dict[str, Array]:
    """The arrays of a weight file by name: `vitc.models.weights.load_file` under timm's name."""
    return load_file(checkpoint_path, use_ema=use_ema)


def check_path(path: Any) -> None:
    """Raises `TypeError` for a checkpoint_path that is not a path."""
    if isinstance(path, bool):
        raise TypeError(
            f"checkpoint_path is {path}, expected the path of a weight file; gradient "
            "checkpointing is another thing: model.set_grad_checkpointing()"
        )
    fspath(path)
