"""What a program is made of: operations, the ports at its border, and the checked list itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NewType, Self

from vitc import _vitc

Shape = tuple[int, ...]
Attribute = Any  # int, float or str; the checker knows which
Value = NewType("Value", int)  # the number of a value: inputs first, then one per operation


class Op(NamedTuple):
    """One operation. Those of a checked program also know what they give."""

    kind: str
    inputs: tuple[Value, ...]
    params: tuple[int, ...] = ()  # entries of the table, -1 where an optional one is left out
    attributes: Mapping[str, Attribute] = {}
    output: Value = Value(-1)
    shape: Shape = ()  # of the output, for one image

    def replace(self, **attributes: Attribute) -> Self:
        """The same operation with these attributes changed or added."""
        return self._replace(attributes={**self.attributes, **attributes})


class Port(NamedTuple):
    """An input or output of a program: its shape for one image, inside and as the user sees it."""

    inner: Shape
    outer: Shape  # without the leading 1 of a vector, which is a matrix of one row inside

    @classmethod
    def of(cls, shape: Shape, *, vector: bool) -> Self:
        """Raises `ValueError` for a vector of more than one row."""
        if vector and shape[0] != 1:
            raise ValueError(f"a vector is one row, got a value of shape {shape}")
        return cls(shape, shape[1:] if vector else shape)


class Program(NamedTuple):
    """A checked program with the shapes at its border."""

    core: _vitc.Program
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    used: frozenset[int]  # the parameters that some operation reads, as indices into the table

    @classmethod
    def close(
        cls,
        inputs: Sequence[Port],
        params: Sequence[Shape],
        operations: Iterable[Op],
        outputs: Sequence[Value],
        borders: Sequence[Value],
        *,
        vector: bool,
    ) -> Self:
        """Checks a list. Raises `ValueError` naming an operation that does not fit.

        params: the shapes of the whole table. vector: whether the outputs are vectors outside.
        """
        listed = [op[:4] for op in operations]
        core = _vitc.Program([port.inner for port in inputs], params, listed, outputs, borders)
        return cls.around(core, inputs, vector=vector)

    @classmethod
    def around(cls, core: _vitc.Program, inputs: Sequence[Port], *, vector: bool) -> Self:
        """Of a checked list. Raises `ValueError` for outputs that cannot be vectors."""
        operations = core.operations
        shapes = [*core.inputs, *(op["shape"] for op in operations)]
        ports = tuple(Port.of(tuple(shapes[value]), vector=vector) for value in core.outputs)
        used = frozenset(index for op in operations for index in op["params"] if index >= 0)
        return cls(core, tuple(inputs), ports, used)

    @property
    def operations(self) -> tuple[Op, ...]:
        """In the order in which they run, each with its output and shape."""
        return tuple(Op(**record) for record in self.core.operations)

    @property
    def vector(self) -> bool:
        """Whether the outputs are vectors outside."""
        return any(port.inner != port.outer for port in self.outputs)
