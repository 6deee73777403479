"""Parameters as objects, and the tree of layers their names spell."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array
from vitc.errors import nearest, shown
from vitc.program import Shape
from vitc.tape import Window


def fault(array: Array, shape: Shape, dtype: str, allow_nonfinite: bool) -> str | None:
    """Why these cannot be the values of a parameter; None if they can."""
    if array.shape != shape:
        return f"shape {array.shape}, expected {shape}"
    if dtype == "int8":
        return None if array.dtype == np.int8 else f"dtype {shown(array.dtype)}, expected int8"
    if array.dtype.kind != "f":
        return f"dtype {shown(array.dtype)}, expected floating point numbers"
    wide = np.ascontiguousarray(array, dtype=np.result_type(array.dtype, np.float32))
    bad = 0 if allow_nonfinite else _vitc.count_nonfinite(wide)
    return (
        f"{bad} of {array.size} values are infinite or NaN (allow_nonfinite=True)" if bad else None
    )


class Parameter:
    """One entry of a model's parameter table.

    name: as in the state dict. owner: the table. index: of the entry. window: of the table's
    gradients.
    """

    __slots__ = ("index", "name", "owner", "window")

    def __init__(self, name: str, owner: _vitc.Params, index: int, window: Window) -> None:
        self.name, self.owner, self.index, self.window = name, owner, index, window

    @property
    def data(self) -> Array:
        """A read-only view of the values. Assign an array of this shape to write them; many at a
        time: `model.edit()` or `load_state_dict`. Raises `ValueError` for what does not fit."""
        return self.owner.view(self.index)

    @data.setter
    def data(self, values: Any) -> None:
        array, dtype = as_array(values), self.owner.dtypes[self.index]
        if wrong := fault(array, self.shape, dtype, allow_nonfinite=False):
            raise ValueError(f"{self.name}: {wrong}")
        self.owner.write(self.index, np.ascontiguousarray(array, dtype=dtype))

    @property
    def grad(self) -> Array | None:
        """The gradient, divided by the weight of the losses so far, read-only; None if there is
        none."""
        with self.window.lock:
            total = self.owner.gradient(self.index)
            divisor = self.window.divisor()
            if total is None or divisor == 1.0:
                return total
            mean: Array = total * total.dtype.type(1.0 / divisor)
            mean.flags.writeable = False  # a change of it would reach nobody
            return mean

    @grad.setter
    def grad(self, gradient: Any) -> None:
        """What the optimizer will use in its place; None for no gradient, which leaves the
        parameter as it is. Raises `ValueError` for another shape or dtype."""
        dtype = self.owner.dtypes[self.index]
        array = None if gradient is None else as_array(gradient)
        if array is not None and (wrong := fault(array, self.shape, dtype, allow_nonfinite=True)):
            raise ValueError(f"the gradient of {self.name}: {wrong}")
        if array is not None:
            array = np.ascontiguousarray(array, dtype=dtype)
        self.window.write(self.index, array)

    @property
    def requires_grad(self) -> bool:
        return self.owner.requires_grad(self.index)

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        self.owner.set_requires_grad(self.index, bool(flag))

    def requires_grad_(self, flag: bool = True) -> "Parameter":
        self.requires_grad = flag
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.owner.shapes[self.index]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.owner.dtypes[self.index])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self.shape}, requires_grad={self.requires_grad})"


Facts = Callable[[str], Mapping[str, Any]]


def no_facts(name: str) -> Mapping[str, Any]:
    return {}


class Layer:
    """The parameters below one dotted name: `model.head`, `model.blocks[3].attn.qkv`.

    Numbered layers are a sequence: `len(model.blocks)`, `model.blocks[:6]`, `for b in
    model.blocks`. What is assigned to a parameter is written into it; nothing else is assigned.

    facts: what else is known of a layer by its dotted name, such as `num_heads`; sizes of linear
    layers and convolutions are read from their weights.
    """

    _name: str
    _members: Mapping[str, Parameter]
    _facts: Facts

    def __init__(
        self, name: str, members: Mapping[str, Parameter], facts: Facts = no_facts
    ) -> None:
        vars(self).update(_name=name, _members=members, _facts=facts)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        yield from self._members.items()

    def parameters(self) -> Iterator[Parameter]:
        yield from self._members.values()

    def requires_grad_(self, flag: bool = True) -> "Layer":
        """Freezes or unfreezes every parameter below."""
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def child(self, part: str) -> "Parameter | Layer | None":
        """What the next part of the name leads to; None if nothing is called so."""
        name = f"{self._name}.{part}" if self._name else part
        if name in self._members:
            return self._members[name]
        below = {k: p for k, p in self._members.items() if k.startswith(name + ".")}
        return Layer(name, below, self._facts) if below else None

    def parts(self) -> list[str]:
        """The names one step below, in order."""
        skip = len(self._name) + 1 if self._name else 0
        return list(dict.fromkeys(name[skip:].split(".")[0] for name in self._members))

    def __getattr__(self, part: str) -> Any:
        if part.startswith("_"):
            raise AttributeError(part)
        if (found := self.child(part)) is not None:
            return found
        known = self._known()
        if part not in known:
            where = f"layer {shown(self._name)}" if self._name else "model"
            names = [*self.parts(), *known]
            raise AttributeError(f"the {where} has no {shown(part)}; {nearest(part, names)}")
        return known[part]

    def _known(self) -> dict[str, Any]:
        """What is known of the layer besides its parameters."""
        weight = self._members.get(f"{self._name}.weight")
        return {**(_sizes(weight.shape) if weight else {}), **self._facts(self._name)}

    def __setattr__(self, part: str, value: Any) -> None:
        found = self.child(part)
        if not isinstance(found, Parameter):
            raise AttributeError(
                f"{self._name}.{part} cannot be set: only parameters can, to arrays of their shape"
                + ("; freeze with requires_grad_(False)" if part == "requires_grad" else "")
            )
        found.data = value

    def __delattr__(self, part: str) -> None:
        raise AttributeError(f"{self._name}.{part} cannot be deleted")

    def named_children(self) -> Iterator[tuple[str, "Layer"]]:
        """The layers one step below, by the last part of their name."""
        for part in self.parts():
            if isinstance(child := self.child(part), Layer):
                yield part, child

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """This layer and all below it by their dotted names, outer ones first."""
        yield self._name, self
        for _, child in self.named_children():
            yield from child.named_modules()

    def modules(self) -> Iterator[Any]:
        for _, layer in self.named_modules():
            yield layer

    def apply(self, function: Callable[[Any], Any]) -> Self:
        """Calls function with every layer, inner ones first."""
        for _, child in self.named_children():
            child.apply(function)
        function(self)
        return self

    def _numbered(self) -> list[str]:
        return [part for part in self.parts() if part.isdigit()]

    def __len__(self) -> int:
        return len(self._numbered())

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: int | slice) -> Any:
        chosen = self._numbered()[key]
        if isinstance(chosen, str):
            return self.child(chosen)
        return [self.child(part) for part in chosen]

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return f"Layer({self._name!r}, {', '.join(self.parts())}: {count:,} parameters)"


class Identity(Layer):
    """A layer that is not there: it gives back what it is given, and has no parameters."""

    def __init__(self) -> None:
        super().__init__("", {})

    def __call__(self, x: Any) -> Any:
        return x

    def __repr__(self) -> str:
        return "Identity()"


def _sizes(shape: Shape) -> dict[str, Any]:
    """What torch's layers tell of themselves, by the shape of their weight; bias: if there is
    none."""
    if len(shape) == 1:
        return dict(normalized_shape=shape, bias=None)
    if len(shape) == 2:
        return dict(in_features=shape[1], out_features=shape[0], bias=None)
    kernel = shape[2:]
    return dict(
        in_channels=shape[1], out_channels=shape[0], kernel_size=kernel, stride=kernel, bias=None
    )
