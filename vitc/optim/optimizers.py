"""Optimizers. They work like torch's: `step()`, `zero_grad()`, `param_groups`, `state_dict()` in
torch's layout."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.errors import shown
from vitc.parameters import Parameter
from vitc.runtime import get_num_threads
from vitc.tape import alone, clock, close_window

Group = dict[str, Any]
Params = Iterable[Parameter] | Iterable[Group]


class Optimizer:
    """What all optimizers share: groups, state and its layout.

    params: `Parameter`s, or groups `{"params": [...], "lr": ..., "weight_decay": ...}` that may
    override the other arguments. Rows without a gradient are passed over, and so are frozen ones.

    Raises `ValueError` for an empty list, a parameter given twice, or a value out of range.
    """

    state_names: ClassVar[tuple[str, ...]] = ()  # of the buffers, in the names of torch and timm

    def __init__(self, params: Params, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups = [_checked({**defaults, **group}) for group in _groups(params)]
        self._parameters = [p for group in self.param_groups for p in group["params"]]
        _refuse_doubles(self._parameters)
        tables = {id(p.owner): p.owner for p in self._parameters}
        self._tables = {key: _State(t, self.state_names) for key, t in tables.items()}

    def step(self) -> None:
        """One update from the gradients, which are divided by their total weight first."""
        with self._alone():
            close_window(self._parameters)
            self._prepare()
            for group in self.param_groups:
                for due in self._due(group["params"]):
                    self._update(due, group)
        clock.advance()

    def _alone(self) -> AbstractContextManager[None]:
        return alone(p.window for p in self._parameters)

    def _prepare(self) -> None:
        """What a step looks at before it changes anything."""

    def _update(self, due: "Due", group: Group) -> None:
        raise NotImplementedError

    def _due(self, parameters: Sequence[Parameter]) -> Iterator["Due"]:
        """The entries to update, together where table and step are the same; counts the step."""
        due: dict[tuple[int, int], list[int]] = {}
        for p in _with_gradient(parameters):
            steps = self._tables[id(p.owner)].steps
            steps[p.index] += 1
            due.setdefault((id(p.owner), int(steps[p.index])), []).append(p.index)
        for (table, step), entries in due.items():
            yield Due(self._tables[table].params, self._tables[table].buffers, entries, step)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of every table that this optimizer works on."""
        with self._alone():
            for table in self._tables.values():
                table.params.zero_gradients()

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """torch's layout: `state` by the number of the parameter, `param_groups` with numbers.

        Buffers are read-only views; parameters that were never updated have no state.
        """
        state = {}
        for number, p in enumerate(self._parameters):
            table = self._tables[id(p.owner)]
            if table.steps[p.index]:
                state[number] = table.read(p.index)
        return {"state": state, "param_groups": self._numbered_groups()}

    def _numbered_groups(self) -> list[Group]:
        groups, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**group, "params": list(range(first, first + count))})
            first += count
        return groups

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over buffers, steps and the groups' settings.

        Raises `ValueError` if the groups have other sizes, or a buffer has another shape than its
        parameter; nothing is changed then.
        """
        groups = state["param_groups"]
        ours = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in groups]
        if ours != theirs:
            raise ValueError(f"the state has groups of {shown(theirs)} parameters, expected {ours}")
        kept = {int(number): values for number, values in state["state"].items()}
        for number, values in kept.items():
            _check_state(self._parameters[number], values, self.state_names)
        for table in self._tables.values():
            table.steps[:] = 0
        for number, values in kept.items():
            p = self._parameters[number]
            self._tables[id(p.owner)].write(p, values)
        for group, given in zip(self.param_groups, groups, strict=True):
            group.update({key: _plain(value) for key, value in given.items() if key != "params"})

    def state_bytes(self) -> int:
        """What the buffers take once all of their pages are in use."""
        return sum(b.nbytes for table in self._tables.values() for b in table.buffers)

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            settings = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {settings}")
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


class Due(NamedTuple):
    """Rows of one table that make their `step`-th step, and the optimizer's buffers for them."""

    params: _vitc.Params
    buffers: list[_vitc.Buffer]
    entries: list[int]
    step: int


# ------------------------------------------------------------------------------------ the rules


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), in torch.optim.AdamW's order."""

    state_names = ("exp_avg", "exp_avg_sq")
    _decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self, due: Due, group: Group) -> None:
        decay = group["weight_decay"]
        _vitc.adamw_step(
            due.params,
            due.buffers[0],
            due.buffers[1],
            due.entries,
            step=due.step,
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=decay if self._decoupled else 0.0,
            l2=0.0 if self._decoupled else decay,
            threads=get_num_threads(),
        )


class Adam(AdamW):
    """Adam (Kingma & Ba 2015) as torch.optim.Adam: weight decay is a part of the gradient."""

    _decoupled = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class RAdam(Optimizer):
    """Rectified Adam (Liu et al. 2020) as torch.optim.RAdam: its steps adapt to the variance of a
    gradient as far as that is known, so that no warm-up is needed.

    Weight decay is a part of the gradient unless decoupled_weight_decay.
    """

    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _update(self, due: Due, group: Group) -> None:
        decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        _vitc.radam_step(
            due.params,
            due.buffers[0],
            due.buffers[1],
            due.entries,
            lr=group["lr"],
            betas=group["betas"],
            correction=1 - group["betas"][0] ** due.step,
            rectifier=_rectifier(group["betas"][1], due.step),
            eps=group["eps"],
            weight_decay=decay if decoupled else 0.0,
            l2=0.0 if decoupled else decay,
            threads=get_num_threads(),
        )


def _rectifier(beta2: float, step: int) -> float:
    """What RAdam multiplies its adaptive step by, with Adam's sqrt(1 - beta2^t) in it; 0 while the
    length of the averaged window, of whose greatest it is a function, is 5 or less."""
    most, power = 2 / (1 - beta2) - 1, beta2**step
    length = most - 2 * step * power / (1 - power)
    if length <= 5:
        return 0.0
    share = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
    return math.sqrt(share * (1 - power))


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013) as torch.optim.SGD.

    Raises `ValueError` for nesterov=True without momentum or with dampening.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"nesterov needs momentum above 0 and dampening 0, got momentum {momentum} and "
                f"dampening {dampening}"
            )
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def _update(self, due: Due, group: Group) -> None:
        _vitc.sgd_step(
            due.params,
            due.buffers[0] if group["momentum"] else None,
            due.entries,
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            first=due.step == 1,
            threads=get_num_threads(),
        )


class Lion(Optimizer):
    """Lion (Chen et al. 2023) as timm.optim.Lion: steps of one length, by the sign of a momentum.

    Its lr is some 3 to 10 times smaller than AdamW's, its weight_decay as much larger.
    """

    state_names = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def _update(self, due: Due, group: Group) -> None:
        _vitc.lion_step(
            due.params,
            due.buffers[0],
            due.entries,
            lr=group["lr"],
            betas=group["betas"],
            weight_decay=group["weight_decay"],
            threads=get_num_threads(),
        )


class Lamb(Optimizer):
    """LAMB (You et al. 2020) as timm.optim.Lamb, for large batches.

    The step of a parameter is scaled by norm(parameter) / norm(direction) where it has weight
    decay, or everywhere with always_adapt; trust_clip: by at most 1. max_grad_norm: the norm over
    all gradients is clipped to it, None: no clipping. grad_averaging: the first moment takes
    (1 - beta1) of a gradient, else all of it.
    """

    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        grad_averaging: bool = True,
        max_grad_norm: float | None = 1.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            bias_correction=bias_correction,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            grad_averaging=grad_averaging,
            max_grad_norm=max_grad_norm,
            trust_clip=trust_clip,
            always_adapt=always_adapt,
        )
        self._clip = 1.0

    def _prepare(self) -> None:
        most = self.defaults["max_grad_norm"]
        self._clip = 1.0 if most is None else max(grad_norm(self._parameters) / most, 1.0)
        for group in self.param_groups:  # timm counts the steps of a group, not of a parameter
            group["step"] = group.get("step", 0) + 1

    def _update(self, due: Due, group: Group) -> None:
        betas = group["betas"]
        powers = [beta ** group["step"] if group["bias_correction"] else 0.0 for beta in betas]
        _vitc.lamb_step(
            due.params,
            due.buffers[0],
            due.buffers[1],
            due.entries,
            lr=group["lr"],
            betas=betas,
            corrections=(1 - powers[0], 1 - powers[1]),
            eps=group["eps"],
            clip=self._clip,
            weight_decay=group["weight_decay"],
            gradient_share=1 - betas[0] if group["grad_averaging"] else 1.0,
            adapts=group["weight_decay"] != 0 or group["always_adapt"],
            trust_clip=group["trust_clip"],
            threads=get_num_threads(),
        )


# ------------------------------------------------------------------------------------ helpers


def entries_by_table(parameters: Iterable[Parameter]) -> list[tuple[_vitc.Params, list[int]]]:
    """The tables of these parameters, each with the entries that have a gradient."""
    found: dict[int, tuple[_vitc.Params, list[int]]] = {}
    for p in _with_gradient(parameters):
        found.setdefault(id(p.owner), (p.owner, []))[1].append(p.index)
    return list(found.values())


def grad_norm(parameters: Iterable[Parameter]) -> float:
    """The L2 norm over the gradients of these parameters, as they are now."""
    norms = (table.gradient_norm(entries) for table, entries in entries_by_table(parameters))
    return math.sqrt(sum(norm * norm for norm in norms))


def _with_gradient(parameters: Iterable[Parameter]) -> Iterator[Parameter]:
    for p in parameters:
        if p.requires_grad and p.owner.gradient(p.index) is not None:
            yield p


class _State:
    """What an optimizer keeps for one parameter table: buffers of its layout, a step per entry."""

    def __init__(self, params: _vitc.Params, names: tuple[str, ...]) -> None:
        self.params, self.names = params, names
        self.buffers = [params.new_buffer() for _ in names]
        self.steps = np.zeros(len(params), np.int64)

    def read(self, index: int) -> dict[str, Any]:
        views = {n: b.view(index) for n, b in zip(self.names, self.buffers, strict=True)}
        return {"step": int(self.steps[index]), **views}

    def write(self, parameter: Parameter, values: Mapping[str, Any]) -> None:
        for name, buffer in zip(self.names, self.buffers, strict=True):
            if values.get(name) is not None:
                buffer.write(parameter.index, _as_row(parameter, values[name]))
        self.steps[parameter.index] = int(values.get("step", 1))


def _as_row(parameter: Parameter, values: Any) -> Array:
    return np.ascontiguousarray(values, dtype=parameter.dtype)


def _plain(value: Any) -> Any:
    """A setting as ours: a pair as a tuple, a tensor of one number as that number."""
    if isinstance(value, list):
        return tuple(value)
    return value.item() if hasattr(value, "item") else value


def _check_state(parameter: Parameter, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        given = values.get(name)
        if given is not None and np.shape(given) != parameter.shape:
            raise ValueError(
                f"{name} of {parameter.name} has shape {np.shape(given)}, expected "
                f"{parameter.shape}"
            )


def _groups(params: Params) -> list[Group]:
    given: list[Any] = list(params)
    if not given:
        raise ValueError("the optimizer got no parameters")
    if isinstance(given[0], Mapping):
        return [{**group, "params": list(group["params"])} for group in given]
    return [{"params": given}]


def _checked(group: Group) -> Group:
    """The group with its learning rate remembered. Raises `ValueError` for a value out of range."""
    for name in ("lr", "eps", "weight_decay", "momentum"):
        if name in group and not (group[name] >= 0 and math.isfinite(group[name])):
            raise ValueError(f"{name} is {shown(group[name])}, expected a finite number, 0 or more")
    if not all(0 <= beta < 1 for beta in group.get("betas", ())):
        raise ValueError(f"betas are {shown(group['betas'])}, expected 0 <= beta < 1")
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
