"""The vocabulary of programs: a method per operation, each of which appends to the list."""

from collections.abc import Mapping, Sequence

from vitc.errors import nearest, shown
from vitc.program.operation import Attribute, Op, Port, Program, Shape, Value


class Builder:
    """Collects the operations of one program.

    entries: every parameter of the model by name with its shape, in the order of its state dict,
    whether this program uses it or not: all programs of a model share one table.
    """

    def __init__(self, entries: Mapping[str, Shape]) -> None:
        self._index = {name: i for i, name in enumerate(entries)}
        self.shapes = dict(entries)
        self._inputs: list[Port] = []
        self._borders: list[Value] = []
        self._operations: list[Op] = []

    # ------------------------------------------------------------------------------- border

    def input(self, shape: Shape, *, vector: bool = False) -> Value:
        """An input of this shape, before all operations. vector: (1, D) inside, (D,) outside."""
        if self._operations:
            raise ValueError("inputs are declared before the first operation")
        self._inputs.append(Port.of(shape, vector=vector))
        return Value(len(self._inputs) - 1)

    def finish(self, *outputs: Value, vector: bool = False) -> Program:
        """Checks and closes the list. Raises `ValueError` naming an operation that does not fit."""
        return Program.close(
            self._inputs,
            tuple(self.shapes.values()),
            self._operations,
            outputs,
            self._borders,
            vector=vector,
        )

    def border(self, x: Value) -> None:
        """Marks x as the end of a block: gradient checkpointing keeps it, and recomputes
        what is between two such values."""
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

    def attention(
        self,
        qkv: Value,
        heads: int,
        maps: int = 1,
        *,
        causal: bool = False,
        rate: float = 0.0,
        site: str = "",
    ) -> Value:
        """(N, 3D) -> (N, D): softmax(q k^T / sqrt(D/heads)) v per head, heads side by side.

        maps: q and k of a head are split into this many pieces, each with its own softmax over the
        same v: (N, maps*D), the results of a head beside each other. causal: a token sees itself
        and those before it. rate: in training each probability is zeroed with it, and else divided
        by 1 - rate; site names the draws, as in `dropout`.
        """
        dropped = _dropped(rate, site)
        return self._add("attention", [qkv], heads=heads, maps=maps, causal=int(causal), **dropped)

    def masked_attention(
        self,
        qkv: Value,
        mask: Value,
        heads: int,
        maps: int = 1,
        *,
        rate: float = 0.0,
        site: str = "",
    ) -> Value:
        """(N, 3D), (N, N) or (heads*N, N) -> (N, D): `attention` with the mask added to q k^T /
        sqrt(D/heads), of all heads or of one after another. The mask gets no gradient. rate, site:
        of `attention`."""
        dropped = _dropped(rate, site)
        return self._add("masked_attention", [qkv, mask], heads=heads, maps=maps, **dropped)

    def cross_attention(self, q: Value, kv: Value, heads: int) -> Value:
        """(M, D), (N, 2D) -> (M, D): `attention` where the queries come from elsewhere."""
        return self._add("cross_attention", [q, kv], heads=heads)

    def attention_probs(self, qkv: Value, heads: int, maps: int = 1) -> Value:
        """(N, 3D) -> (heads*maps*N, N): the softmax of `attention`, to look at; it has no
        backward."""
        return self._add("attention_probs", [qkv], heads=heads, maps=maps)

    def biased_attention(
        self,
        qkv: Value,
        table: Value,
        heads: int,
        grid: tuple[int, int],
        maps: int = 1,
        *,
        rate: float = 0.0,
        site: str = "",
    ) -> Value:
        """(N, 3D), (R, heads) -> (N, D): `attention` with a bias added to q k^T / sqrt(D/heads), by
        how far the patches of a grid (h, w) are apart (Liu et al. 2021, Bao et al. 2022).

        A query that is dy below and dx right of a key has row (dy + h-1) (2w-1) + dx + w-1 of the
        table, which has (2h-1) (2w-1) of them. With a token before the patches there may be three
        more: for its queries to patches, for theirs to it, for its own to itself; else they are 0.
        rate, site: of `attention`.
        """
        height, width = grid
        return self._add(
            "biased_attention",
            [qkv, table],
            heads=heads,
            maps=maps,
            height=height,
            width=width,
            **_dropped(rate, site),
        )

    def biased_attention_probs(
        self, qkv: Value, table: Value, heads: int, grid: tuple[int, int], maps: int = 1
    ) -> Value:
        """(N, 3D), (R, heads) -> (heads*maps*N, N): the softmax of `biased_attention`, to look at;
        it has no backward."""
        height, width = grid
        return self._add(
            "biased_attention_probs",
            [qkv, table],
            heads=heads,
            maps=maps,
            height=height,
            width=width,
        )

    def relative_coordinates(self, grid: tuple[int, int]) -> Value:
        """-> ((2h-1) (2w-1), 2): sign(d) log(1 + |d|) of how far patches are apart down and across,
        for the rows of the table of `biased_attention` (Liu et al. 2022)."""
        return self._add("relative_coordinates", [], height=grid[0], width=grid[1])

    def differential(self, x: Value, layer: str, heads: int, init: float) -> Value:
        """(N, 2D) -> (N, D): of the two maps of `attention`, the first minus lambda times the
        second.

        lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + init.
        """
        entries = [f"{layer}.lambda_{name}" for name in ("q1", "k1", "q2", "k2")]
        return self._add("differential", [x], entries, heads=heads, init=init)

    def rope(self, qkv: Value, table: Value, heads: int, *, halves: bool = False) -> Value:
        """(N, 3D), (N, d) or (N, D) -> (N, 3D): the queries and keys of each head of d = D/heads
        columns turned by the angles of the table (Su et al. 2021), the values left as they are.

        A row of the table, for all heads or for one after another, is cos | sin of d/2 angles. The
        columns that angle i turns are i and d/2 + i with halves, else 2i and 2i + 1.
        """
        return self._add("rope", [qkv, table], heads=heads, halves=int(halves))

    def rope_table(
        self,
        prefix: int,
        grid: tuple[int, int],
        size: int,
        temperature: float,
        start: tuple[float, float],
        step: tuple[float, float],
        *,
        swapped: bool = False,
    ) -> Value:
        """-> (prefix + h w, size): the table of `rope` for a grid of patches behind a prefix that
        is not turned.

        Row and column of a patch give the places start + step * index, and each place size/4
        angles place * temperature^(-4i / size), those of the row first unless swapped.
        """
        return self._add(
            "rope_table",
            [],
            prefix=prefix,
            height=grid[0],
            width=grid[1],
            swapped=int(swapped),
            size=size,
            temperature=temperature,
            y_start=start[0],
            y_step=step[0],
            x_start=start[1],
            x_step=step[1],
        )

    def rope_mixed(
        self,
        frequencies: Value,
        prefix: int,
        grid: tuple[int, int],
        heads: int,
        block: int,
        *,
        swapped: bool = False,
    ) -> Value:
        """(2 depth heads, f) -> (prefix + h w, heads 2f): the table of `rope` for one block from
        learned frequencies [axis, block, head, i] (Heo et al. 2024).

        Angle i of a head is row * frequencies[0] + column * frequencies[1], or with swapped the
        other way round.
        """
        return self._add(
            "rope_mixed",
            [frequencies],
            prefix=prefix,
            height=grid[0],
            width=grid[1],
            swapped=int(swapped),
            heads=heads,
            block=block,
        )

    def tokens(self, x: Value, positions: bool = True) -> Value:
        """(N, D) -> (P+N, D): cls_token, dist_token and reg_token, those that exist, then x; plus
        pos_embed, which has P+N rows, or N for the patches alone, if it exists and positions."""
        entries = ["cls_token", "dist_token", "reg_token", "pos_embed" if positions else ""]
        return self._add("tokens", [x], [], entries)

    def parameter(self, name: str) -> Value:
        """-> (M, D): a parameter (..., D) of M rows, the same for every image."""
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
        approximations "gelu_tanh" and "quick_gelu", and for "silu"; max(x, 0) for "relu"."""
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

    def qv_bias(self, qkv: Value, layer: str) -> Value:
        """(N, 3D) -> (N, 3D): the parameters q_bias and v_bias (D,) added to the queries and to the
        values."""
        return self._add("qv_bias", [qkv], [f"{layer}.q_bias", f"{layer}.v_bias"])

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
        **attributes: Attribute,
    ) -> Value:
        entries = [self._entry(name) for name in params] + [
            self._index.get(n, -1) for n in optional
        ]
        self._operations.append(Op(kind, tuple(inputs), tuple(entries), attributes))
        return Value(len(self._inputs) + len(self._operations) - 1)

    def _entry(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"there is no parameter {shown(name)}; {nearest(name, self._index)}")
        return self._index[name]


def _dropped(rate: float, site: str) -> dict[str, Attribute]:
    """The attributes of an attention with dropout, none without."""
    return {"rate": rate, "site": site} if rate else {}
