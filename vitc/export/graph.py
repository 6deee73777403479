"""The ONNX graph of a program while it is written, one node after another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from vitc.arrays import Array
from vitc.errors import shown
from vitc.program import Op, Program, Shape, Value

Emitter = Callable[["Graph", Op], str]

# Pairs of an operation and its consumer, of which it is the first input, that are written together
# by the emitter of the consumer.
_TOGETHER = {
    ("patchify", "linear"),
    *(("linear", kind) for kind in ("attention", "attention_probs", "biased_attention")),
}


class Graph:
    """Nodes and initializers. A value (N, D) of the program is a tensor (batch, N, D).

    weights: the rows of the parameter table by name, in order. opset: that of the file.
    """

    def __init__(self, program: Program, weights: Mapping[str, Array], opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self._names, self._weights = tuple(weights), tuple(weights.values())
        self._operations = {op.output: op for op in program.operations}
        self._together = self._written_together(program.core.outputs)
        self._shapes = dict(enumerate(program.core.inputs))
        self._shapes |= {value: op.shape for value, op in self._operations.items()}
        self._values: dict[int, str] = {}
        self._count: dict[str, int] = {}
        self._scope = ""

    def _written_together(self, outputs: Sequence[int]) -> set[Value]:
        """The values that nobody reads but operations which write their producer themselves."""
        kept = set(outputs)
        for op in self._operations.values():
            for i, value in enumerate(op.inputs):
                producer = self._operations.get(value)
                if i or producer is None or (producer.kind, op.kind) not in _TOGETHER:
                    kept.add(value)
        read = (value for op in self._operations.values() for value in op.inputs)
        return {value for value in read if value not in kept}

    # ------------------------------------------------------------------------------- reading

    def shape(self, value: int) -> Shape:
        """The shape of a value for one image."""
        return tuple(self._shapes[value])

    def value(self, number: int) -> str:
        """The name of the tensor that holds a value."""
        return self._values[number]

    def together(self, value: Value) -> Op | None:
        """The producer of a value if its consumer is to write it, else None."""
        return self._operations[value] if value in self._together else None

    def weight(self, row: int) -> Array:
        """The values of a parameter."""
        return self._weights[row]

    def weight_name(self, row: int) -> str:
        return self._names[row]

    # ------------------------------------------------------------------------------- writing

    def hold(self, value: int, tensor: str) -> None:
        """From now on the value is this tensor."""
        self._values[value] = tensor

    def write(self, emitters: Mapping[str, Emitter]) -> None:
        """All operations in order. Raises `ValueError` naming one without an emitter."""
        for value, op in self._operations.items():
            if op.kind not in emitters or op.attributes.get("rate"):
                dropout = " with dropout" if op.kind in emitters else ""
                raise ValueError(
                    f"the operation {shown(op.kind)}{dropout} has no form in ONNX in this version"
                )
            if value not in self._together:
                self._scope = self._scope_of(op)
                self.hold(value, emitters[op.kind](self, op))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends an ONNX operator with one output; returns the name of that output."""
        place = f"{self._scope}/{kind}"
        count = self._count[place] = self._count.get(place, -1) + 1
        name = f"{place}_{count}" if count else place
        output = output or name
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def parameter(self, row: int) -> str:
        """A parameter as it is; the name of its initializer."""
        return self.constant(self._names[row], self._weights[row])

    def constant(self, name: str, value: Array) -> str:
        """An initializer; the same name twice means the same value."""
        self.initializers.setdefault(name, value)
        return name

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"number_{np.float32(value)!s}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """An int64 vector: a shape, axes, or where a slice starts."""
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def reshape(self, x: str, *shape: int, output: str = "") -> str:
        """0 keeps the size of that axis. The first is the batch, so the graph reads no shape."""
        return self.node("Reshape", x, self.integers(*shape), output=output)

    def rows(self, x: str, start: int, end: int, axis: int = 1) -> str:
        """x[:, start:end], or along another axis."""
        return self.node("Slice", x, self.integers(start), self.integers(end), self.integers(axis))

    def _scope_of(self, op: Op) -> str:
        """What the names of an operation's nodes begin with: its layer, or what its layer is in."""
        first = self.together(op.inputs[0]) if op.inputs else None
        rows = op.params or (first.params if first else ())
        layer = self._names[rows[0]].rpartition(".")[0] if rows and rows[0] >= 0 else ""
        layer = layer if op.params else layer.rpartition(".")[0]
        return layer or f"{op.kind}_{op.output}"
