"""timm's live registry in the form of vitc/models/timm.json.

    PYTHONPATH=tests python -m oracle.registry

writes that file anew from the installed timm.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timm.models import (
    _registry,
    beit,
    deit,
    eva,
    vision_transformer,
    vision_transformer_relpos,
)

from oracle import timm

FILE = Path(__file__).parents[2] / "vitc/models/timm.json"
MODULES = {
    "vision_transformer": vision_transformer,
    "deit": deit,
    "eva": eva,
    "beit": beit,
    "vision_transformer_relpos": vision_transformer_relpos,
}
STATISTICS = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "satellite": ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
# Fields of a tag with the values that are not written down.
USUAL = {
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "num_classes": 1000,
    "classifier": "head",
    "license": "apache-2.0",
    "url": "",
    "hf_hub_id": None,
    "custom_load": False,
    "origin_url": None,
    "paper_ids": None,
}
# Of an entry point, what says nothing about the layers of the model; coordinates that are rescaled
# at random, in training only, are not done here.
LEFT_OUT = {"feature_cfg", "pretrained_strict", "rope_rescale_coords"}


class _Caught(Exception):
    pass


def architecture(name: str, module: Any) -> tuple[str, dict[str, Any]]:
    """The class that an entry point builds, and its arguments under vitc's names."""
    caught: dict[str, Any] = {}

    def catch(cls: type, variant: str, pretrained: bool, **arguments: Any) -> None:
        caught.update(cls=cls.__name__, arguments=arguments)
        raise _Caught

    build, module.build_model_with_cfg = module.build_model_with_cfg, catch
    try:
        timm.models.model_entrypoint(name)()
    except _Caught:
        pass
    finally:
        module.build_model_with_cfg = build
    found: dict[str, Any] = {}
    for key, value in caught["arguments"].items():
        if not key.startswith("pretrained_") and key not in LEFT_OUT:
            found |= dict(_plain(key, value))
    plain: dict[str, Any] = json.loads(json.dumps(found))  # lists for tuples
    return caught["cls"], plain


def _plain(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Classes by their names; the eps that is bound to a norm as an argument of its own."""
    if isinstance(value, partial):
        assert set(value.keywords) in ({"eps"}, {"act_layer", "gate_last"}), (key, value)
        if "eps" in value.keywords:
            yield "norm_eps", value.keywords["eps"]
        value = "SwiGLUPacked" if key == "mlp_layer" else value.func
    if isinstance(value, type):
        value = value.__name__
    yield key, value.lower() if key in ("norm_layer", "embed_norm_layer", "act_layer") else value


def tags(name: str) -> dict[str, Any]:
    """What timm publishes with each tag, the default one first."""
    return {tag: _tag(name, tag) for tag in _registry._model_default_cfgs[name].tags}


def _tag(name: str, tag: str) -> dict[str, Any]:
    cfg = timm.get_pretrained_cfg(f"{name}.{tag}").to_dict()
    assert cfg["input_size"][0] == 3 and cfg["first_conv"] == "patch_embed.proj"
    (statistics,) = (k for k, v in STATISTICS.items() if v == (cfg["mean"], cfg["std"]))
    found: dict[str, Any] = {"size": list(cfg["input_size"][1:])}
    if statistics != "half":
        found["statistics"] = statistics
    for key, usual in USUAL.items():
        value = cfg.get(key, None if key == "license" else usual)
        if value != usual:
            found[key] = value
    if cfg.get("hf_hub_id") == f"timm/{name}.{tag}":
        found["hf_hub_id"] = "timm/"
    if any("QuickGELU" in note for note in cfg.get("notes") or ()):
        found["trained_with"] = "quick_gelu"
    plain: dict[str, Any] = json.loads(json.dumps(found))  # lists for tuples
    return plain


def described() -> dict[str, Any]:
    models: dict[str, Any] = {}
    for module_name, module in MODULES.items():
        for name in timm.list_models(module=module_name):
            cls, arguments = architecture(name, module)
            models[name] = {"model": cls, "arguments": arguments, "tags": tags(name)}
    deprecated = {
        old: _existing(new, models)
        for old, new in _registry._deprecated_models.items()
        if new and new.split(".")[0] in models
    }
    return {"deprecated": deprecated, "models": models}


def _existing(name: str, models: dict[str, Any]) -> str:
    """The name with a tag that is there: two earlier names lead to tags that timm has renamed."""
    model, _, tag = name.partition(".")
    tags = models[model]["tags"]
    return name if not tag or tag in tags else f"{model}.{next(t for t in tags if tag in t)}"


def written(described: dict[str, Any]) -> str:
    """JSON with one line for each model and each tag."""

    def lines() -> Iterator[str]:
        yield '{\n"deprecated": {\n'
        yield ",\n".join(f"  {json.dumps(a)}: {json.dumps(b)}" for a, b in deprecated.items())
        yield '\n},\n"models": {\n'
        yield ",\n".join(map(model, models.items()))
        yield "\n}\n}\n"

    def model(item: tuple[str, Any]) -> str:
        name, row = item
        head = json.dumps({"model": row["model"], "arguments": row["arguments"]})[1:-1]
        inner = ",\n".join(f"  {json.dumps(t)}: {json.dumps(c)}" for t, c in row["tags"].items())
        return f'{json.dumps(name)}: {{{head}, "tags": {{\n{inner}}}}}'

    deprecated, models = described["deprecated"], described["models"]
    return "".join(lines())


if __name__ == "__main__":
    FILE.write_text(written(described()))
