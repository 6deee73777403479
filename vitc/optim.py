"""Optimizers over the flat parameter buffers, parameter groups, and schedules of the learning rate.

An optimizer works like torch's: `step()`, `zero_grad()`, `param_groups`, `state_dict()` in torch's
layout. A schedule is a pure function of the step, so there is nothing of it to save or restore.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.parameters import Parameter
from vitc.runtime import get_num_threads
from vitc.tape import clock, close_window

Group = dict[str, Any]
Schedule = Callable[[int, int], float]
"""(optimizer step from 0, total steps) -> the factor of the group's initial learning rate."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), in torch.optim.AdamW's order.

    params: `Parameter`s, or groups `{"params": [...], "lr": ..., "weight_decay": ...}` that may
    override the other arguments. Rows without a gradient are passed over, and so are frozen ones.

    Raises `ValueError` for an empty list, a parameter given twice, or a value out of range.
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        self.defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups = [_checked({**self.defaults, **group}) for group in _groups(params)]
        self._parameters = [p for group in self.param_groups for p in group["params"]]
        _refuse_doubles(self._parameters)
        self._tables = {id(p.owner): _Moments(p.owner) for p in self._parameters}

    def step(self) -> None:
        """One update from the gradients, which are divided by their total weight first."""
        close_window(self._parameters)
        for group in self.param_groups:
            for table, step, rows in self._due(group["params"]):
                _vitc.adamw_step(
                    table.params,
                    table.exp_avg,
                    table.exp_avg_sq,
                    rows,
                    step=step,
                    lr=group["lr"],
                    betas=group["betas"],
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    threads=get_num_threads(),
                )
        clock.advance()

    def _due(self, parameters: Sequence[Parameter]) -> list[tuple["_Moments", int, list[int]]]:
        """The rows to update, together where table and step are the same; counts the step."""
        due: dict[tuple[int, int], list[int]] = {}
        for p in parameters:
            if p.requires_grad and p.owner.gradient(p.index) is not None:
                steps = self._tables[id(p.owner)].steps
                steps[p.index] += 1
                due.setdefault((id(p.owner), int(steps[p.index])), []).append(p.index)
        return [(self._tables[table], step, rows) for (table, step), rows in due.items()]

    def zero_grad(self) -> None:
        """Forgets the gradients of every table that this optimizer works on."""
        for table in self._tables.values():
            table.params.zero_gradients()

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """torch's layout: `state` by the number of the parameter, `param_groups` with numbers.

        The moments are read-only views; parameters that were never updated have no state.
        """
        state = {}
        for number, p in enumerate(self._parameters):
            table = self._tables[id(p.owner)]
            if table.steps[p.index]:
                state[number] = {
                    "step": int(table.steps[p.index]),
                    "exp_avg": table.exp_avg.view(p.index),
                    "exp_avg_sq": table.exp_avg_sq.view(p.index),
                }
        return {"state": state, "param_groups": self._numbered_groups()}

    def _numbered_groups(self) -> list[Group]:
        groups, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**group, "params": list(range(first, first + count))})
            first += count
        return groups

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over moments, steps and the groups' settings.

        Raises `ValueError` if the groups have other sizes, or a moment has another shape than its
        parameter; nothing is changed then.
        """
        groups = state["param_groups"]
        ours = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in groups]
        if ours != theirs:
            raise ValueError(f"the state has groups of {theirs} parameters, expected {ours}")
        moments = {int(number): values for number, values in state["state"].items()}
        for number, values in moments.items():
            _check_moments(self._parameters[number], values)
        for table in self._tables.values():
            table.steps[:] = 0
        for number, values in moments.items():
            p = self._parameters[number]
            self._tables[id(p.owner)].write(p, values)
        for group, given in zip(self.param_groups, groups, strict=True):
            group.update({key: value for key, value in given.items() if key != "params"})
            group["betas"] = tuple(group["betas"])

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            settings = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {settings}")
        return "AdamW(\n" + "\n".join(lines) + "\n)"


class _Moments:
    """What Adam keeps for one parameter table: two buffers of its layout, and a step per row."""

    def __init__(self, params: _vitc.Params) -> None:
        self.params = params
        self.exp_avg = params.new_buffer()
        self.exp_avg_sq = params.new_buffer()
        self.steps = np.zeros(len(params), np.int64)

    def write(self, parameter: Parameter, values: Mapping[str, Any]) -> None:
        for buffer, name in ((self.exp_avg, "exp_avg"), (self.exp_avg_sq, "exp_avg_sq")):
            buffer.write(parameter.index, _as_row(parameter, values[name]))
        self.steps[parameter.index] = int(values["step"])


def _as_row(parameter: Parameter, values: Any) -> Array:
    return np.ascontiguousarray(values, dtype=parameter.dtype)


def _check_moments(parameter: Parameter, values: Mapping[str, Any]) -> None:
    for name in ("exp_avg", "exp_avg_sq"):
        if np.shape(values[name]) != parameter.shape:
            raise ValueError(
                f"{name} of {parameter.name} has shape {np.shape(values[name])}, expected "
                f"{parameter.shape}"
            )


def _groups(params: Iterable[Parameter] | Iterable[Group]) -> list[Group]:
    given: list[Any] = list(params)
    if not given:
        raise ValueError("the optimizer got no parameters")
    if isinstance(given[0], Mapping):
        return [{**group, "params": list(group["params"])} for group in given]
    return [{"params": given}]


def _checked(group: Group) -> Group:
    """The group with its learning rate remembered. Raises `ValueError` for a value out of range."""
    for name in ("lr", "eps", "weight_decay"):
        if not (group[name] >= 0 and math.isfinite(group[name])):
            raise ValueError(f"{name} is {group[name]!r}, expected a finite number, 0 or more")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas are {group['betas']!r}, expected 0 <= beta < 1")
    for p in group["params"]:
        if not isinstance(p, Parameter):
            raise TypeError(f"expected parameters of vitc models, got {type(p).__name__}")
    return {**group, "initial_lr": group.get("initial_lr", group["lr"])}


def _refuse_doubles(parameters: Sequence[Parameter]) -> None:
    seen: set[tuple[int, int]] = set()
    for p in parameters:
        if (id(p.owner), p.index) in seen:
            raise ValueError(f"parameter {p.name} is given twice")
        seen.add((id(p.owner), p.index))


# ------------------------------------------------------------------------------------- groups


class _Parametrised(Protocol):
    def named_parameters(self) -> Iterable[tuple[str, Parameter]]: ...


def param_groups_weight_decay(
    model: _Parametrised, weight_decay: float = 1e-5, no_weight_decay_list: Iterable[str] = ()
) -> list[Group]:
    """Two groups, without and with weight decay, as timm's function of this name makes them.

    Vectors (biases, norm weights) and the names in no_weight_decay_list do not decay; neither do
    those that the model names in `no_weight_decay()`. Frozen parameters are left out.
    """
    exempt = {*no_weight_decay_list, *getattr(model, "no_weight_decay", frozenset)()}
    free: list[Parameter] = []
    decayed: list[Parameter] = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            (free if p.ndim <= 1 or name in exempt else decayed).append(p)
    return [
        {"params": free, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": weight_decay},
    ]


# ------------------------------------------------------------------------------------- schedules


def cosine(warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """From `floor` up in a line over the first `warmup` (a share of all steps), then half a cosine
    (Loshchilov & Hutter 2017) down to `floor` at the last step."""
    if not 0 <= warmup < 1 or not 0 <= floor <= 1:
        raise ValueError(f"warmup is {warmup}, floor is {floor}: expected shares of 1")

    def factor(step: int, total: int) -> float:
        rising = round(warmup * total)
        if step < rising:
            share = (step + 1) / rising
        else:
            progress = (step - rising) / max(total - rising - 1, 1)
            share = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return floor + (1 - floor) * share

    return factor


def set_lr(optimizer: AdamW, schedule: Schedule, step: int, total: int) -> None:
    """Gives every group its learning rate for this step."""
    factor = schedule(step, total)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
