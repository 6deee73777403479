"""Parameters as objects, and the tree of layers their names spell."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.errors import nearest, shown
from vitc.tape import Window


class Parameter:
    """One row of a model's parameter table.

    name: as in the state dict. owner: the table. index: of the row. window: of the table's
    gradients.
    """

    __slots__ = ("index", "name", "owner", "window")

    def __init__(self, name: str, owner: _vitc.Params, index: int, window: Window) -> None:
        self.name, self.owner, self.index, self.window = name, owner, index, window

    @property
    def data(self) -> Array:
        """A read-only view of the values; write with `model.edit()` or `load_state_dict`."""
        return self.owner.view(self.index)

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


class Layer:
    """The parameters below one dotted name: `model.head`, `model.blocks[3].attn.qkv`.

    Numbered layers are a sequence: `len(model.blocks)`, `model.blocks[:6]`, `for b in
    model.blocks`.
    """

    def __init__(self, name: str, members: Mapping[str, Parameter]) -> None:
        self._name, self._members = name, members

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
        return Layer(name, below) if below else None

    def parts(self) -> list[str]:
        """The names one step below, in order."""
        skip = len(self._name) + 1 if self._name else 0
        return list(dict.fromkeys(name[skip:].split(".")[0] for name in self._members))

    def __getattr__(self, part: str) -> "Parameter | Layer":
        found = None if part.startswith("_") else self.child(part)
        if found is None:
            where = f"layer {shown(self._name)}" if self._name else "model"
            raise AttributeError(f"the {where} has no {shown(part)}; {nearest(part, self.parts())}")
        return found

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
