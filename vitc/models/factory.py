"""`create_model`: a model from a name, a folder or a hub."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from vitc import checks
from vitc.errors import nearest, said, shown
from vitc.models.architectures import ARCHITECTURES, Architecture
from vitc.models.arguments import NORMS, USUAL_EPS, checked_cfg, plain_arguments
from vitc.models.config import Config
from vitc.models.features import FeatureGetterNet
from vitc.models.model import word
from vitc.models.registry import USERS, get_arch_name, get_pretrained_cfg, is_model
from vitc.models.sources import Source, check_path, load_adapted, resolve, weights_of
from vitc.models.transformers_folder import PREPROCESSOR
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights.local_dir import INDICES, parts_of


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
    pretrained_cfg: str | Mapping[str, Any] | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    checkpoint_path: str | PathLike[str] = "",
    cache_dir: str | PathLike[str] | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    dtype: Any = "float32",
    precision: str = "float32",
    **arguments: Any,
) -> VisionTransformer | FeatureGetterNet:
    """A model by timm's name, in training mode, with fresh weights, published ones or your own.

    model_name: "NAME" or "NAME.TAG", of which the tag says the image size, the number of classes
    and the weights; or what a config.json describes: "local-dir:PATH" or
    "hf-hub:OWNER/NAME[@REVISION]". pretrained: with the weights that belong to the name, fetched
    from the hub into its cache (or cache_dir) unless they are in a folder. pretrained_cfg: a tag,
    or a cfg in place of the usual one. pretrained_cfg_overlay: changes of it; `file` names the
    weights to take instead. checkpoint_path: a weight
    file of any format of `vitc.models.weights.read_weights`, or a folder that holds one.

    Weights of another number of channels, of another image or patch size are adapted. So are
    those of another number of classes, where a warning says that the head starts fresh; but of
    checkpoint_path this is an error, since such a model is often evaluated as it is: to train
    another head, name the file in pretrained_cfg_overlay, with pretrained=True.

    features_only: a trunk that gives feature maps of the blocks out_indices (the last three), see
    `FeatureGetterNet`.
    dtype: "float32", or "float64" for the slow reference. precision: "bf16" for faster inference.
    arguments: of `Config` (num_classes, in_chans, img_size, drop_rate, drop_path_rate, embed_dim,
    depth, ...), in place of the architecture's own; None leaves it as it is. Classes of torch and
    timm for act_layer, norm_layer (also with a bound eps), mlp_layer, block_fn and attn_layer stand
    for the layers of these names here.

    Raises `ValueError` for an unknown name, a bad value or a file that does not fit, `TypeError`
    for an unknown argument, `OSError` for weights that cannot be had.
    """
    check_path(checkpoint_path)
    pretrained = checks.flag("pretrained", pretrained)
    features_only = checks.flag("features_only", features_only)
    if out_indices is not None and not features_only:
        raise TypeError("out_indices goes with features_only=True")
    if user := USERS.get(model_name):
        given = dict(
            pretrained_cfg=pretrained_cfg, pretrained_cfg_overlay=pretrained_cfg_overlay,
            checkpoint_path=checkpoint_path or None, cache_dir=cache_dir, out_indices=out_indices,
            features_only=features_only or None, **arguments,
        )  # fmt: skip
        made: VisionTransformer = user(
            pretrained=pretrained, **{k: v for k, v in given.items() if v is not None}
        )
        return made
    if isinstance(pretrained_cfg, str) and pretrained_cfg:
        model_name = f"{get_arch_name(model_name)}.{pretrained_cfg}"
    source = resolve(model_name, cache_dir)
    architecture = ARCHITECTURES[source.architecture]
    _check_described(source, architecture)
    usual = pretrained_cfg if isinstance(pretrained_cfg, Mapping) else source.cfg
    cfg = checked_cfg({**usual, **(pretrained_cfg_overlay or {})})
    cfg.setdefault("input_size", source.cfg["input_size"])
    config = architecture_config(
        architecture, {**source.arguments, **plain_arguments(arguments)}, cfg
    )
    fresh = not (pretrained or checkpoint_path)
    model = architecture.model(
        config, source.architecture, cfg, word(dtype) or "float32", draw=fresh
    )
    if pretrained:
        load_adapted(model, weights_of(source, cfg, cache_dir), cfg["input_size"][1:])
    if checkpoint_path:
        load_adapted(model, checkpoint_path, fresh_heads=False)
    if precision != "float32":
        model.precision = precision
    if not features_only:
        return model
    return FeatureGetterNet(model, 3 if out_indices is None else out_indices)


def _check_described(source: Source, architecture: Architecture) -> None:
    """Raises `ValueError`, naming the file, for arguments in a config.json that are none."""
    if source.config_file:
        try:
            architecture_config(architecture, source.arguments, source.cfg)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"{source.config_file}: {said(error)}") from None


def model_entrypoint(model_name: str) -> Callable[..., Any]:
    """The function (pretrained=False, **arguments) that makes models of a name.

    Raises `ValueError` for a name that there is none of.
    """
    if not is_model(model_name):
        get_pretrained_cfg(model_name)  # which names the nearest
    return partial(create_model, model_name)


def fetched_files(model_name: str) -> list[Path]:
    """config.json and weights of a name or of "hf-hub:OWNER/NAME", with what belongs to them,
    fetched into the hub's cache.

    Raises `ValueError` for another name, `OSError` if they cannot be had.
    """
    from vitc.models.weights.hub import fetch_config

    source = resolve(model_name)
    if source.folder:
        raise ValueError(f"{shown(model_name)} is on this machine already")
    weights = weights_of(source, source.cfg)
    repository = source.hub_id or source.cfg.get("hf_hub_id")
    if not repository:
        return [weights]
    config = fetch_config(repository)
    names = [PREPROCESSOR, *(parts_of(weights) if weights.name in INDICES else ())]
    beside = [config.parent / name for name in names]
    return [config, weights, *(path for path in beside if path.is_file())]


def architecture_config(
    architecture: Architecture, arguments: dict[str, Any], cfg: Mapping[str, Any] | None = None
) -> Config:
    """The architecture's arguments with the user's, of which none is None, in their place.

    cfg: that of a tag, from which the size of the images, their channels, the number of classes
    and the pooling come.
    """
    kind = architecture.model.config_type
    for name in arguments:
        if name not in kind.arguments():
            hint = nearest(name, kind.arguments())
            raise TypeError(f"create_model has no argument {shown(name)} in this version; {hint}")
    cfg = cfg or architecture.pretrained_cfg
    channels, *size = cfg["input_size"]
    own = dict(img_size=tuple(size), in_chans=channels)
    own |= {name: cfg[name] for name in ("num_classes", "global_pool") if name in cfg}
    return kind(**{**own, **architecture.arguments, **arguments})


def changed_arguments(model: VisionTransformer, architecture: str = "") -> dict[str, Any]:
    """The arguments, besides num_classes, in which a model differs from its architecture, or from
    another one."""
    known = ARCHITECTURES.get(architecture or model.name)
    default = architecture_config(known, {}) if known else model.config_type()
    given, own = _plain(model.config), _plain(default)
    changed = {name: value for name, value in given.items() if value != own[name]}
    for pair in NORMS.items():  # a norm that is named has the usual eps
        if set(pair) & set(changed):
            changed |= {name: given[name] for name in pair if given[name] is not None}
            if given[pair[1]] == USUAL_EPS:
                del changed[pair[1]]
    return changed


def _plain(config: Config) -> dict[str, Any]:
    values = {**asdict(config), "img_size": config.image, "patch_size": config.patch}
    if config.embed_norm_layer and config.embed_norm_eps is None:
        values["embed_norm_eps"] = config.norm_eps
    return {name: values[name] for name in config.arguments() if name != "num_classes"}
