"""Parameter groups by timm's rules: who has weight decay, and which learning rate a layer gets."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from itertools import chain
from typing import Any, Protocol

from vitc.optim.optimizers import Group
from vitc.parameters import Parameter

Matcher = Mapping[str, Any] | Callable[[str], Any]


class Parametrised(Protocol):
    """A model or a module."""

    def named_parameters(self) -> Iterable[tuple[str, Parameter]]: ...


def param_groups_weight_decay(
    model: Parametrised,
    weight_decay: float = 1e-5,
    no_weight_decay_list: Iterable[str] = (),
    weight_decay_exclude_1d: bool = True,
) -> list[Group]:
    """Two groups, without and with weight decay, as timm's function of this name makes them.

    Vectors (biases, norm weights; unless weight_decay_exclude_1d is False) and what matches a
    pattern in no_weight_decay_list do not decay; neither does what the model names in
    `no_weight_decay()`. Frozen parameters are left out.
    """
    exempt = _exempt(model, no_weight_decay_list)
    free: list[Parameter] = []
    decayed: list[Parameter] = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            vector = weight_decay_exclude_1d and (p.ndim <= 1 or name.endswith(".bias"))
            (free if not weight_decay or vector or exempt(name) else decayed).append(p)
    groups = [
        {"params": free, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]


def param_groups_layer_decay(
    model: Parametrised,
    weight_decay: float = 0.05,
    no_weight_decay_list: Iterable[str] = (),
    weight_decay_exclude_1d: bool = True,
    layer_decay: float = 0.75,
    min_scale: float = 0.0,
    no_opt_scale: float | None = None,
) -> list[Group]:
    """A group per layer and kind of decay, as timm's function of this name makes them (BEiT, Bao et
    al. 2022).

    `lr_scale` of a layer is layer_decay per layer between it and the head, at least min_scale;
    schedules multiply by it. no_opt_scale: layers below it are frozen and left out. The order of
    the layers comes from the model's `group_matcher()`.

    Raises `TypeError` for something without one, such as a module around a model.
    """
    if not hasattr(model, "group_matcher"):
        raise TypeError(
            f"layer decay needs the order of the layers, which {type(model).__name__} does not "
            "tell: pass the model itself, such as self.model"
        )
    exempt = _exempt(model, no_weight_decay_list)
    layer_of = group_parameters(model, model.group_matcher(coarse=False))
    last = max(layer_of.values())
    groups: dict[tuple[int, bool], Group] = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        layer = layer_of[name]
        scale = max(min_scale, layer_decay ** (last - layer))
        if no_opt_scale and scale < no_opt_scale:
            p.requires_grad = False
            continue
        free = (weight_decay_exclude_1d and p.ndim <= 1) or exempt(name)
        decay = 0.0 if free else weight_decay
        group = {"lr_scale": scale, "weight_decay": decay, "params": []}
        groups.setdefault((layer, free), group)["params"].append(p)
    return list(groups.values())


def group_parameters(model: Parametrised, matcher: Matcher) -> dict[str, int]:
    """The number of the layer that each parameter belongs to, from 0 at the input; timm's rule.

    matcher: patterns by the name of a group of layers, in order: a regular expression whose groups
    are the layer's number, or several (expression, suffix), where the suffix (99999,) stands for
    "with the layer before"; or a function from a name to a number or tuple. What matches nothing
    comes last.
    """
    places: dict[tuple[float, ...], list[str]] = {}
    for name, _ in model.named_parameters():
        places.setdefault(_place(name, matcher), []).append(name)
    layer, numbers = -1, {}
    for place in sorted(places):
        if layer < 0 or place[-1] != _WITH_PREVIOUS:
            layer += 1
        numbers.update(dict.fromkeys(places[place], layer))
    return numbers


_WITH_PREVIOUS = 99999


def _place(name: str, matcher: Matcher) -> tuple[float, ...]:
    if not isinstance(matcher, Mapping):
        place = matcher(name)
        return tuple(place) if isinstance(place, Iterable) else (place,)
    for number, patterns in enumerate(matcher.values()):
        for pattern, suffix in [(patterns, ())] if isinstance(patterns, str) else patterns or ():
            found = re.match(pattern, name)
            if found:
                return tuple(map(float, chain((number,), found.groups(), suffix or ())))
    return (math.inf,)


def _exempt(model: Parametrised, patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name is excused from weight decay, by the caller or by a model."""
    inner = model.named_models() if hasattr(model, "named_models") else [("", model)]
    own = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in inner
        for name in getattr(part, "no_weight_decay", frozenset)()
    }
    every = {*patterns, *own}
    return lambda name: any(fnmatch(name, pattern) for pattern in every)
