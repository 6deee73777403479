"""`create_model`: a model from a name, a folder or a hub."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from vitc.errors import nearest, shown
from vitc.models.architectures import ARCHITECTURES, Architecture
from vitc.models.config import Config
from vitc.models.features import FeatureGetterNet
from vitc.models.sources import check_path, load_adapted, resolve, weights_of
from vitc.models.vision_transformer import VisionTransformer


@overload
def create_model(
    model_name: str,
    pretrained: bool = ...,
    *,
    features_only: Literal[True],
    out_indices: int | Sequence[int] | None = ...,
    **arguments: Any,
) -> FeatureGetterNet: ...


@overload
def create_model(
    model_name: str,
    pretrained: bool = ...,
    *,
    features_only: Literal[False] = ...,
    **arguments: Any,
) -> VisionTransformer: ...


def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    checkpoint_path: str | PathLike[str] = "",
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    dtype: str = "float32",
    precision: str = "float32",
    **arguments: Any,
) -> VisionTransformer | FeatureGetterNet:
    """A model by timm's name, in training mode, with fresh weights, published ones or your own.

    model_name: "NAME" or "NAME.TAG", of which the tag says the image size, the number of classes
    and the weights; or what a config.json describes: "local-dir:PATH" or
    "hf-hub:OWNER/NAME[@REVISION]". pretrained: with the weights that belong to the name, fetched
    from the hub into its cache unless they are in a folder. pretrained_cfg_overlay: changes of
    `pretrained_cfg`, of which `file` names the weights to take instead. checkpoint_path: a weight
    file of any format of `vitc.models.weights.read_weights`, or a folder that holds one.

    Weights of another number of channels, of another image or patch size are adapted. So are
    those of another number of classes, where a warning says that the head starts fresh; but of
    checkpoint_path this is an error, since such a model is often evaluated as it is: to train
    another head, name the file in pretrained_cfg_overlay, with pretrained=True.

    features_only: a trunk that gives feature maps of the blocks out_indices (the last three), see
    `FeatureGetterNet`.
    dtype: "float32", or "float64" for the slow reference. precision: "bf16" for faster inference.
    arguments: of `Config` (num_classes, in_chans, img_size, drop_rate, drop_path_rate, embed_dim,
    depth, ...), in place of the architecture's own; None leaves it as it is.

    Raises `ValueError` for an unknown name, a bad value or a file that does not fit, `TypeError`
    for an unknown argument, `OSError` for weights that cannot be had.
    """
    check_path(checkpoint_path)
    if out_indices is not None and not features_only:
        raise TypeError("out_indices goes with features_only=True")
    source = resolve(model_name)
    cfg = {**source.cfg, **(pretrained_cfg_overlay or {})}
    architecture = ARCHITECTURES[source.architecture]
    given = {name: value for name, value in arguments.items() if value is not None}
    config = architecture_config(architecture, {**source.arguments, **given}, cfg)
    fresh = not (pretrained or checkpoint_path)
    model = architecture.model(config, source.architecture, cfg, dtype, draw=fresh)
    if pretrained:
        load_adapted(model, weights_of(source, cfg), cfg["input_size"][1:])
    if checkpoint_path:
        load_adapted(model, checkpoint_path, fresh_heads=False)
    if precision != "float32":
        model.precision = precision
    return FeatureGetterNet(model, out_indices or 3) if features_only else model


def fetched_files(model_name: str) -> list[Path]:
    """config.json and weights of a name or of "hf-hub:OWNER/NAME", fetched into the hub's cache.

    Raises `ValueError` for another name, `OSError` if they cannot be had.
    """
    from vitc.models.weights.hub import fetch_config

    source = resolve(model_name)
    if source.folder:
        raise ValueError(f"{shown(model_name)} is on this machine already")
    weights = weights_of(source, source.cfg)
    repository = source.hub_id or source.cfg.get("hf_hub_id")
    return [fetch_config(repository), weights] if repository else [weights]


def architecture_config(
    architecture: Architecture, arguments: dict[str, Any], cfg: Mapping[str, Any] | None = None
) -> Config:
    """The architecture's arguments with the user's, of which none is None, in their place.

    cfg: that of a tag, from which the size of the images and the number of classes come.
    """
    kind = architecture.model.config_type
    for name in arguments:
        if name not in kind.arguments():
            hint = nearest(name, kind.arguments())
            raise TypeError(f"create_model has no argument {shown(name)} in this version; {hint}")
    cfg = cfg or architecture.pretrained_cfg
    own = dict(img_size=cfg["input_size"][1:], num_classes=cfg["num_classes"])
    return kind(**{**own, **architecture.arguments, **arguments})


def changed_arguments(model: VisionTransformer) -> dict[str, Any]:
    """The arguments, besides num_classes, in which a model differs from its architecture."""
    known = ARCHITECTURES.get(model.name)
    default = architecture_config(known, {}) if known else model.config_type()
    given, own = _plain(model.config), _plain(default)
    return {name: value for name, value in given.items() if value != own[name]}


def _plain(config: Config) -> dict[str, Any]:
    values = {**asdict(config), "img_size": config.image, "patch_size": config.patch}
    return {name: values[name] for name in config.arguments() if name != "num_classes"}
