"""The ONNX graph of a program while it is written, one node after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from vitc.arrays import Array
from vitc.errors import shown
from vitc.export.onnx_options import Options
from vitc.program import Op, Program, Shape, Value

Emitter = Callable[["Graph", Op], str]

# Pairs of an operation and its consumer, of which it is the first input, that are written together
# by the emitter of the consumer.
LINEAR = ("linear", "linear_int8", "linear_int8_static")
_ATTENTION = ("attention", "attention_probs", "biased_attention")
_TOGETHER = {("patchify", "linear"), *((kind, after) for kind in LINEAR for after in _ATTENTION)}


class Graph:
    """Nodes and initializers. A value (N, D) of the program is a tensor (batch, N, D).

    weights: the entries of the parameter table by name, in order. options: of the file. dtype: of
    the floating point numbers that are written now.
    """

    def __init__(self, program: Program, weights: Mapping[str, Array], options: Options) -> None:
        self.options, self.opset = options, options.opset
        self.dtype: type[np.floating[Any]] = (
            np.float16 if options.precision == "fp16" else np.float32
        )
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self._names, self._weights = tuple(weights), tuple(weights.values())
        self._operations = {op.output: op for op in program.operations}
        self._together: set[Value] = set()
        self._shapes = dict(enumerate(program.core.inputs))
        self._shapes |= {value: op.shape for value, op in self._operations.items()}
        self._values: dict[int, str] = {}
        self._count: dict[str, int] = {}
        self._kept: dict[tuple[str, ...], Any] = {}
        self._scope = "input"

    def read_by_head(self, output: int) -> Value:
        """The value that the layer of an output reads. Raises `ValueError` if it is no layer."""
        op = self._operations[Value(output)]
        if op.kind not in LINEAR:
            raise ValueError("features is True, and the output is not that of one head")
        return op.inputs[0]

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

    def write(self, emitters: Mapping[str, Emitter], outputs: Sequence[int]) -> None:
        """All operations in order; outputs: values that are needed. Raises `ValueError` naming one
        without an emitter."""
        self._together = self._written_together(outputs)
        for value, op in self._operations.items():
            if op.kind not in emitters or op.attributes.get("rate"):
                dropout = " with dropout" if op.kind in emitters else ""
                raise ValueError(
                    f"the operation {shown(op.kind)}{dropout} has no form in ONNX in this version"
                )
            if value not in self._together:
                self._scope = self._scope_of(op)
                self.hold(value, emitters[op.kind](self, op))

    def once(self, key: tuple[str, ...], write: Callable[[], Any]) -> Any:
        """What write() gives, written the first time that it is asked for by this key."""
        if key not in self._kept:
            self._kept[key] = write()
        return self._kept[key]

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends an ONNX operator with one output; returns the name of that output."""
        return self.nodes_of(kind, *inputs, outputs=(output,), **attributes)[0]

    def nodes_of(
        self, kind: str, *inputs: str, outputs: Sequence[str] = ("",), **attributes: Any
    ) -> list[str]:
        """The same with several outputs; an empty name is that of the operator."""
        place = f"{self._scope}/{kind}"
        count = self._count[place] = self._count.get(place, -1) + 1
        name = f"{place}_{count}" if count else place
        written = [output or (f"{name}.{i}" if i else name) for i, output in enumerate(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, inputs, written, name, **attributes))
        return written

    def parameter(self, row: int) -> str:
        """A parameter as it is; the name of its initializer."""
        return self.constant(self._names[row], self._weights[row])

    def constant(self, name: str, value: Array) -> str:
        """An initializer; the same name twice means the same value. float32 becomes the present
        precision, in which what is too large is the largest number."""
        if value.dtype == np.float32 and self.dtype == np.float16:
            limit = np.finfo(np.float16).max
            name, value = f"{name}.half", np.clip(value, -limit, limit).astype(np.float16)
        self.initializers.setdefault(name, value)
        return name

    def number(self, value: float) -> str:
        """A scalar."""
        return self.constant(f"number_{np.float32(value)!s}", np.array(value, np.float32))

    def cast(self, x: str, dtype: Any, output: str = "") -> str:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", x, to=kind, output=output)

    def in_precision(self, x: str) -> str:
        """A float32 tensor in the precision of the file."""
        return x if self.dtype == np.float32 else self.cast(x, self.dtype)

    def in_float32(self, x: str, output: str, shape: tuple[int, ...]) -> str:
        """A tensor of the file's precision as float32 of that shape."""
        if self.dtype == np.float32:
            return self.reshape(x, *shape, output=output)
        return self.cast(self.reshape(x, *shape), np.float32, output)

    def wide(self, x: str, inner: Callable[[str], str]) -> str:
        """inner(x), computed in float32 also where the file is in half precision."""
        if self.dtype == np.float32:
            return inner(x)
        with self.in_full():
            y = inner(self.cast(x, np.float32))
        return self.cast(y, self.dtype)

    @contextmanager
    def in_full(self, scope: str = "") -> Iterator[None]:
        """Within it constants are float32, and nodes are named by this scope, if it is given."""
        before = self.dtype, self._scope
        self.dtype, self._scope = np.float32, scope or self._scope
        yield
        self.dtype, self._scope = before

    def check_names(self, border: Sequence[str]) -> None:
        """Raises `ValueError` for a name of an input or output that is not its alone."""
        made = [name for node in self.nodes for name in node.output]
        inner = {name for name in made if name not in border} | set(self.initializers)
        for name in border:
            once = made.count(name) <= 1 and border.count(name) == 1
            if not isinstance(name, str) or not name or name in inner or not once:
                raise ValueError(
                    f"{shown(name)} cannot name an input or output: it is taken or empty"
                )

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
