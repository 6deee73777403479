"""timm's `create_optimizer_v2`: an optimizer by its name, with the groups of a model."""

from collections.abc import Callable, Iterable
from typing import Any

from vitc import checks
from vitc.optim.groups import param_groups_layer_decay, param_groups_weight_decay
from vitc.optim.nadamw import Muon, NAdamW
from vitc.optim.optimizers import SGD, Adam, AdamW, Lamb, Lion, Optimizer

# A name, its class and the arguments that the name stands for.
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, dict(nesterov=True)),
    "nesterov": (SGD, dict(nesterov=True)),
    "momentum": (SGD, dict(nesterov=False)),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "nadamw": (NAdamW, {}),
    "lamb": (Lamb, {}),
    "lambc": (Lamb, dict(trust_clip=True)),
    "lion": (Lion, {}),
    "muon": (Muon, {}),
    "nmuon": (Muon, dict(nesterov=True)),
}
_WITH_MOMENTUM = (SGD, Muon)


def list_optimizers() -> list[str]:
    """The names that `create_optimizer_v2` knows."""
    return sorted(OPTIMIZERS)


def create_optimizer_v2(
    model_or_params: Any,
    opt: str = "sgd",
    lr: float | None = None,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    filter_bias_and_bn: bool = True,
    layer_decay: float | None = None,
    layer_decay_min_scale: float = 0.0,
    layer_decay_no_opt_scale: float | None = None,
    param_group_fn: Callable[[Any], Iterable[Any]] | None = None,
    **options: Any,
) -> Optimizer:
    """An optimizer by timm's name, one of `list_optimizers()`.

    model_or_params: a model or module, whose vectors do not decay (unless filter_bias_and_bn is
    False), nor what it names in `no_weight_decay()`; or parameters, or groups of them. lr: by
    default that of the class. momentum: of "sgd", "momentum" and "muon". layer_decay,
    layer_decay_min_scale, layer_decay_no_opt_scale: see `param_groups_layer_decay`. param_group_fn:
    makes the groups of the model. options: of the class, such as betas and eps.

    Raises `ValueError` for another name, `TypeError` for an option that the class does not have.
    """
    kind, usual = OPTIMIZERS[checks.one_of("opt", opt, OPTIMIZERS)]
    exclude = checks.flag("filter_bias_and_bn", filter_bias_and_bn)
    params: Any = model_or_params
    decay = weight_decay
    if hasattr(model_or_params, "named_parameters"):
        decay = 0.0  # which groups say
        if param_group_fn is not None:
            params = param_group_fn(model_or_params)
        elif layer_decay is not None:
            params = param_groups_layer_decay(
                model_or_params,
                weight_decay,
                weight_decay_exclude_1d=exclude,
                layer_decay=layer_decay,
                min_scale=layer_decay_min_scale,
                no_opt_scale=layer_decay_no_opt_scale,
            )
        else:
            params = param_groups_weight_decay(
                model_or_params, weight_decay, weight_decay_exclude_1d=exclude
            )
    elif layer_decay is not None or param_group_fn is not None:
        raise TypeError("layer_decay and param_group_fn go with a model, not with parameters")
    given = {**usual, **options, "weight_decay": decay}
    if lr is not None:
        given["lr"] = lr
    if kind in _WITH_MOMENTUM:
        given["momentum"] = momentum
    return kind(params, **given)
