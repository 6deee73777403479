"""Programs: a model's forward pass as a flat list of plain operations over numbered values.

A `Builder` writes the list. Its methods are the vocabulary, one per operation, and read like the
layers of a model; `vitc/models/` holds the architectures written with it, and an own architecture
is a function of the same kind:

    rows = {"fc.weight": (10, 64), "fc.bias": (10,)}
    b = Builder(rows)
    x = b.input((1, 64), vector=True)
    program = b.finish(b.linear(x, "fc"), vector=True)

Parameters are named as in a state dict. Where an operation takes a layer name such as "fc", it uses
the rows "fc.weight" and, if there is one, "fc.bias". Shapes are those of one image, without the
batch.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, NewType, Self

from vitc import _vitc
from vitc.errors import nearest, shown

Shape = tuple[int, ...]
Value = NewType("Value", int)  # the number of a value: inputs first, then one per operation


class Port(NamedTuple):
    """An input or output of a program: its shape for one image, inside and as the user sees it."""

    inner: Shape
    outer: Shape  # without the leading 1 of a vector, which is a matrix of one row inside


def _port(shape: Shape, vector: bool) -> Port:
    if vector and shape[0] != 1:
        raise ValueError(f"a vector is one row, got a value of shape {shape}")
    return Port(shape, shape[1:] if vector else shape)


class Program(NamedTuple):
    """A checked program with the shapes at its border."""

    core: _vitc.Program
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    used: frozenset[int]  # the parameters that some operation reads, as indices into the table

    @classmethod
    def close(cls, core: _vitc.Program, inputs: tuple[Port, ...], vector: bool) -> Self:
        """Reads the shapes of the outputs and the parameters in use from the checked list."""
        shapes = [*core.inputs, *(op["shape"] for op in core.operations)]
        outputs = tuple(_port(tuple(shapes[value]), vector) for value in core.outputs)
        used = frozenset(i for op in core.operations for i in op["params"] if i >= 0)
        return cls(core, inputs, outputs, used)


class Builder:
    """Collects the operations of one program.

    rows: every parameter of the model by name with its shape, in the order of its state dict,
    whether this program uses it or not: all programs of a model share one table.
    """

    def __init__(self, rows: Mapping[str, Shape]) -> None:
        self._index = {name: i for i, name in enumerate(rows)}
        self.shapes = dict(rows)
        self._inputs: list[Port] = []
        self._borders: list[Value] = []
        self._operations: list[tuple[str, list[int], list[int], dict[str, int | float | str]]] = []

    # ------------------------------------------------------------------------------- border

    def input(self, shape: Shape, *, vector: bool = False) -> Value:
        """An input of this shape, before all operations. vector: (1, D) inside, (D,) outside."""
        if self._operations:
            raise ValueError("inputs are declared before the first operation")
        self._inputs.append(_port(shape, vector))
        return Value(len(self._inputs) - 1)

    def finish(self, *outputs: Value, vector: bool = False) -> Program:
        """Checks and closes the list. Raises `ValueError` naming an operation that does not fit."""
        core = _vitc.Program(
            [port.inner for port in self._inputs],
            tuple(self.shapes.values()),
            self._operations,
            outputs,
            self._borders,
        )
        return Program.close(core, tuple(self._inputs), vector)

    def border(self, x: Value) -> None:
        """Marks x as the end of a block: gradient checkpointing keeps it, and computes what lies
        between two such values again."""
        self._borders.append(x)

    # ------------------------------------------------------------------------------- vocabulary

    def patchify(self, image: Value, patch: tuple[int, int]) -> Value:
        """(C, H, W) -> (H//p * W//q, C*p*q): patches, row by row; a rest at the border is cut."""
        return self._add("patchify", [image], patch_height=patch[0], patch_width=patch[1])

    def linear(self, x: Value, layer: str) -> Value:
        """(N, K) -> (N, M): x @ weight.T + bias, weight (M, K) or (M, ...) with K elements each."""
        dot = f"{layer}." if layer else ""
        return self._add("linear", [x], [f"{dot}weight"], [f"{dot}bias"])

    def norm(self, x: Value, layer: str, eps: float = 1e-6) -> Value:
        """(N, D) -> (N, D): layer normalisation with weight and bias (d,), over d columns at a
        time: all D, or one head of several."""
        return self._add("norm", [x], [f"{layer}.weight", f"{layer}.bias"], eps=eps)

    def rms_norm(self, x: Value, layer: str, eps: float = 1e-6) -> Value:
        """(N, D) -> (N, D): x / sqrt(mean(x^2) + eps) * weight (d,), over d columns at a time."""
        return self._add("rms_norm", [x], [f"{layer}.weight"], eps=eps)

    def attention(self, qkv: Value, heads: int, maps: int = 1, *, causal: bool = False) -> Value:
        """(N, 3D) -> (N, D): softmax(q k^T / sqrt(D/heads)) v per head, heads side by side.

        maps: q and k of a head are so many pieces, each with a softmax of its own over the same v:
        (N, maps*D), the results of a head beside each other. causal: a token sees itself and those
        before it.
        """
        return self._add("attention", [qkv], heads=heads, maps=maps, causal=int(causal))

    def masked_attention(self, qkv: Value, mask: Value, heads: int, maps: int = 1) -> Value:
        """(N, 3D), (N, N) or (heads*N, N) -> (N, D): `attention` with the mask added to q k^T /
        sqrt(D/heads), of all heads or of one after another. The mask gets no gradient."""
        return self._add("masked_attention", [qkv, mask], heads=heads, maps=maps)

    def cross_attention(self, q: Value, kv: Value, heads: int) -> Value:
        """(M, D), (N, 2D) -> (M, D): `attention` where the queries come from elsewhere."""
        return self._add("cross_attention", [q, kv], heads=heads)

    def attention_probs(self, qkv: Value, heads: int, maps: int = 1) -> Value:
        """(N, 3D) -> (heads*maps*N, N): the softmax of `attention`, to look at; it has no
        backward."""
        return self._add("attention_probs", [qkv], heads=heads, maps=maps)

    def differential(self, x: Value, layer: str, heads: int, init: float) -> Value:
        """(N, 2D) -> (N, D): of the two maps of `attention`, the first minus lambda times the
        second.

        lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + init.
        """
        rows = [f"{layer}.lambda_{name}" for name in ("q1", "k1", "q2", "k2")]
        return self._add("differential", [x], rows, heads=heads, init=init)

    def tokens(self, x: Value, positions: bool = True) -> Value:
        """(N, D) -> (P+N, D): cls_token, dist_token and reg_token, those that exist, then x; plus
        pos_embed, which has P+N rows, or N for the patches alone, if it exists and positions."""
        rows = ["cls_token", "dist_token", "reg_token", "pos_embed" if positions else ""]
        return self._add("tokens", [x], [], rows)

    def parameter(self, name: str) -> Value:
        """-> (M, D): a parameter (1, M, D), the same for every image."""
        return self._add("parameter", [], [name])

    def resample(self, x: Value, prefix: int, grid: tuple[int, int], new: tuple[int, int]) -> Value:
        """(prefix + h w, D) -> (prefix + h' w', D): a table of positions for another grid, resized
        as in `vitc.models.resample.bicubic`; the rows of the prefix stay."""
        (height, width), (new_height, new_width) = grid, new
        return self._add(
            "resample",
            [x],
            prefix=prefix,
            height=height,
            width=width,
            new_height=new_height,
            new_width=new_width,
        )

    def select(self, x: Value, start: int, count: int) -> Value:
        """(N, D) -> (count, D): rows start to start + count."""
        return self._add("select", [x], start=start, count=count)

    def pool(self, x: Value) -> Value:
        """(N, D) -> (1, D): the mean of the rows."""
        return self._add("pool", [x])

    def pool_max(self, x: Value) -> Value:
        """(N, D) -> (1, D): the greatest of the rows, column by column; rows of equal greatness
        share the gradient."""
        return self._add("pool_max", [x])

    def columns(self, x: Value, start: int, count: int) -> Value:
        """(N, D) -> (N, count): columns start to start + count."""
        return self._add("columns", [x], start=start, count=count)

    def concat(self, a: Value, b: Value) -> Value:
        """(N, D), (N, E) -> (N, D+E): a and b side by side."""
        return self._add("concat", [a, b])

    def activation(self, x: Value, function: str) -> Value:
        """x * Phi(x) with the normal distribution function Phi for "gelu"; x * sigmoid(...) for its
        approximations "gelu_tanh" and "quick_gelu", and for "silu"."""
        return self._add("activation", [x], function=function)

    def gelu(self, x: Value) -> Value:
        """The exact one of `activation`."""
        return self.activation(x, "gelu")

    def multiply(self, a: Value, b: Value) -> Value:
        """a * b, element by element."""
        return self._add("multiply", [a, b])

    def affine(self, x: Value, weight: str = "", bias: str = "") -> Value:
        """(N, D) -> (N, D): x * weight + bias, parameters (D,) of which one may be left out."""
        return self._add("affine", [x], [], [weight, bias])

    def add(self, a: Value, b: Value) -> Value:
        """a + b, of equal shapes."""
        return self._add("add", [a, b])

    def scale(self, x: Value, factor: float) -> Value:
        """factor * x."""
        return self._add("scale", [x], factor=factor)

    def dropout(self, x: Value, rate: float, site: str) -> Value:
        """Zeroes elements with probability rate, divides the others by 1 - rate; x if rate is 0."""
        return self._add("dropout", [x], rate=rate, site=site) if rate else x

    def drop_path(self, x: Value, rate: float, site: str) -> Value:
        """Like dropout, but all elements of an image together (Huang et al. 2016)."""
        return self._add("drop_path", [x], rate=rate, site=site) if rate else x

    def patch_drop(self, x: Value, prefix: int, count: int, site: str) -> Value:
        """(P+N, D) -> (P+count, D): the first prefix rows, and count of the others in their order,
        drawn for each image (Liu et al. 2022)."""
        return self._add("patch_drop", [x], prefix=prefix, count=count, site=site)

    # ------------------------------------------------------------------------------- helpers

    def _add(
        self,
        kind: str,
        inputs: Sequence[Value],
        params: Sequence[str] = (),
        optional: Sequence[str] = (),
        **attributes: int | float | str,
    ) -> Value:
        rows = [self._row(name) for name in params] + [self._index.get(n, -1) for n in optional]
        self._operations.append((kind, list(inputs), rows, attributes))
        return Value(len(self._inputs) + len(self._operations) - 1)

    def _row(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"there is no parameter {shown(name)}; {nearest(name, self._index)}")
        return self._index[name]


def with_attention_probs(program: Program) -> Program:
    """The program up to its last attention; its outputs are the probabilities of each one."""
    core, start = program.core, len(program.core.inputs)
    rows = [(op["kind"], op["inputs"], op["params"], op["attributes"]) for op in core.operations]
    places = [i for i, row in enumerate(rows) if row[0] == "attention"]
    kept = rows[: places[-1] + 1] if places else []
    looks = [
        ("attention_probs", rows[i][1], (), {name: rows[i][3][name] for name in ("heads", "maps")})
        for i in places
    ]
    outputs = range(start + len(kept), start + len(kept) + len(looks))
    rewritten = _vitc.Program(core.inputs, core.params, [*kept, *looks], outputs)
    return Program.close(rewritten, program.inputs, vector=False)


def with_causal_attention(program: Program) -> Program:
    """The program with `causal` in each attention."""
    core = program.core
    operations = [
        (
            op["kind"],
            op["inputs"],
            op["params"],
            {**op["attributes"], "causal": 1} if op["kind"] == "attention" else op["attributes"],
        )
        for op in core.operations
    ]
    changed = _vitc.Program(core.inputs, core.params, operations, core.outputs, core.borders)
    return Program.close(changed, program.inputs, _vector(program))


def with_attention_mask(program: Program, heads: int) -> Program:
    """The program with `masked_attention` in place of each attention; the mask is its last input.

    heads: how many masks there are for each image, 1 for all heads of an attention.
    """
    core, mask = program.core, len(program.core.inputs)
    attentions = [op for op in core.operations if op["kind"] == "attention"]
    if not attentions:
        raise ValueError("there is no attention to mask")
    tokens = attentions[0]["shape"][0]

    def moved(values: Sequence[int]) -> list[int]:
        return [value + (value >= mask) for value in values]

    def rewritten(op: dict[str, Any]) -> tuple[Any, ...]:
        kind, inputs, attributes = op["kind"], moved(op["inputs"]), op["attributes"]
        if kind == "attention":
            kind, inputs = "masked_attention", [*inputs, mask]
            attributes = {name: attributes[name] for name in ("heads", "maps")}
        return kind, inputs, op["params"], attributes

    port = _port((heads * tokens, tokens), vector=False)
    changed = _vitc.Program(
        [*core.inputs, port.inner],
        core.params,
        [rewritten(op) for op in core.operations],
        moved(core.outputs),
        moved(core.borders),
    )
    return Program.close(changed, (*program.inputs, port), _vector(program))


def _vector(program: Program) -> bool:
    """Whether its outputs are vectors outside."""
    return any(port.inner != port.outer for port in program.outputs)


def with_int8(program: Program, rows: Collection[int]) -> Program:
    """The program with 8-bit linear layers where the weight is one of these rows of the table; its
    scales are the row behind it."""
    if not rows:
        return program
    core = program.core

    def rewritten(op: dict[str, Any]) -> tuple[Any, ...]:
        kind, params = op["kind"], list(op["params"])
        if kind == "linear" and params[0] in rows:
            kind, params = "linear_int8", [params[0], params[0] + 1, *params[1:]]
        return kind, op["inputs"], params, op["attributes"]

    operations = [rewritten(op) for op in core.operations]
    changed = _vitc.Program(core.inputs, core.params, operations, core.outputs, core.borders)
    return Program.close(changed, program.inputs, _vector(program))
