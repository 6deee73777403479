"""Arguments as users of timm give them: classes of torch and timm by their names, other spellings,
and what a `pretrained_cfg` may hold."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from vitc import checks
from vitc.errors import shown

# Of an argument the names of classes and other spellings, in small letters without underscores, and
# what it is called here.
NAMES: dict[str, dict[str, str]] = {
    "norm_layer": {
        **dict.fromkeys(("layernorm", "layernormfp32"), "layernorm"),
        **dict.fromkeys(("rmsnorm", "rmsnormfp32"), "rmsnorm"),
    },
    "act_layer": {
        "gelu": "gelu",
        "gelutanh": "gelu_tanh",
        "quickgelu": "quick_gelu",
        **dict.fromkeys(("silu", "swish"), "silu"),
    },
    "attn_layer": {"attention": "attn", "attn": "attn", "diffattention": "diff", "diff": "diff"},
    "mlp_layer": {"mlp": "Mlp", "swiglupacked": "SwiGLUPacked", "swiglu": "SwiGLU"},
    "block_fn": {
        name.lower(): name
        for name in (
            "Block",
            "ResPostBlock",
            "ParallelScalingBlock",
            "DiffParallelScalingBlock",
            "ParallelThingsBlock",
        )
    },
}
NAMES["embed_norm_layer"] = NAMES["norm_layer"]
NORMS = {"norm_layer": "norm_eps", "embed_norm_layer": "embed_norm_eps"}
USUAL_EPS = 1e-6  # of timm's norms
_TORCH_EPS = {"LayerNorm": 1e-5}


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with names in place of classes, and without those that are None.

    A norm brings its eps: that of a `functools.partial`, else the usual one of its class. Raises
    `TypeError` for a partial with other arguments.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    out = {name: _named(name, value) if name in NAMES else value for name, value in given.items()}
    for layer, eps in NORMS.items():
        if layer in given:
            out.setdefault(eps, _eps(given[layer]))
    return out


def _named(argument: str, value: Any) -> Any:
    known = NAMES[argument]
    bound: dict[str, Any] = dict(getattr(value, "keywords", None) or {})
    inner = getattr(value, "func", value)
    word = inner if isinstance(inner, str) else getattr(inner, "__name__", None)
    if not isinstance(word, str):
        return value
    if argument == "mlp_layer" and word == "GluMlp" and bound.pop("gate_last", True) is False:
        word = "SwiGLUPacked"  # which timm makes of it; its activation is that of the model
        bound.pop("act_layer", None)
    if argument == "act_layer" and bound.pop("approximate", "none") == "tanh":
        word = "gelu_tanh"
    if argument in NORMS:
        bound.pop("eps", None)
    if bound:
        raise TypeError(f"{argument} is given {shown(next(iter(bound)))}, which is not read here")
    return known.get(word.replace("_", "").lower(), word)


def _eps(norm: Any) -> float:
    bound = getattr(norm, "keywords", None) or {}
    if "eps" in bound:
        return float(bound["eps"])
    of_torch = str(getattr(norm, "__module__", "")).startswith("torch.")
    return _TORCH_EPS.get(getattr(norm, "__name__", ""), USUAL_EPS) if of_torch else USUAL_EPS


# ------------------------------------------------------------------------------- pretrained_cfg


def _size(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise ValueError(f"{name} is {shown(value)}, expected (channels, height, width)")
    return tuple(checks.integer(name, side, 1) for side in value)


def _per_channel(name: str, value: Any) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not values or not all(_finite(x) for x in values):
        raise ValueError(f"{name} is {shown(value)}, expected a number for each channel")
    return values


def _finite(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool) and math.isfinite(x)


def _share(name: str, value: Any) -> float:
    if not _finite(value) or not value > 0:
        raise ValueError(f"{name} is {shown(value)}, expected a number above 0")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {shown(value)}, expected text")
    return value


_CFG: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("input_size", "test_input_size", "min_input_size"), _size),
    **dict.fromkeys(("mean", "std"), _per_channel),
    **dict.fromkeys(("crop_pct", "test_crop_pct"), _share),
    **dict.fromkeys(
        ("interpolation", "crop_mode", "hf_hub_id", "hf_hub_filename", "url", "global_pool"), _text
    ),
    "num_classes": lambda name, value: checks.integer(name, value, 0),
}


def checked_cfg(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A `pretrained_cfg` whose known items are of the right kind, without those that are None.

    Raises `TypeError` or `ValueError` naming the item.
    """
    given = {name: value for name, value in cfg.items() if value is not None}
    return {name: _CFG[name](name, v) if name in _CFG else v for name, v in given.items()}
