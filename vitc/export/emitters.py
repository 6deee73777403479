"""Every plain operation as ONNX operators: one function each, in the forms that runtimes fuse.

A value (N, D) of the program is a tensor (batch, N, D). Only the batch is open, and no operator
reads a shape. Values beside the code are the shapes of its results, B the batch, H the heads, d
their size.
"""

from collections.abc import Callable

import numpy as np

from vitc.arrays import Array
from vitc.errors import shown
from vitc.export.graph import Emitter, Graph
from vitc.models.resample import bicubic
from vitc.program import Op

_LAYER_NORMALIZATION = 17  # the first opset that has it
_AXES_AS_INPUT = 18  # of reductions
_GELU = 20
_ATTENTION = 23  # and RMSNormalization

Inner = Callable[[Graph, Op, str], str]  # with the name of the input


# ------------------------------------------------------------------------------------- patches


def patchify(g: Graph, op: Op) -> str:
    """(C, H, W) -> (gh gw, C ph pw). In front of a linear layer, `convolution` takes its place."""
    channels, height, width = g.shape(op.inputs[0])
    ph, pw = op.attributes["patch_height"], op.attributes["patch_width"]
    gh, gw = height // ph, width // pw
    x = g.value(op.inputs[0])
    if (gh * ph, gw * pw) != (height, width):
        x = g.rows(g.rows(x, 0, gh * ph, axis=2), 0, gw * pw, axis=3)
    x = g.reshape(x, 0, channels, gh, ph, gw, pw)
    x = g.node("Transpose", x, perm=[0, 2, 4, 1, 3, 5])  # (B, gh, gw, C, ph, pw)
    return g.reshape(x, 0, gh * gw, channels * ph * pw)


def convolution(g: Graph, op: Op, patches: Op) -> str:
    """A linear layer over the patches of an image, (C, H, W) -> (N, D)."""
    weight, bias = op.params
    kernel = [patches.attributes["patch_height"], patches.attributes["patch_width"]]
    channels = g.shape(patches.inputs[0])[0]
    matrix = g.weight(weight).reshape(-1, channels, *kernel)
    inputs = [g.value(patches.inputs[0]), g.constant(g.weight_name(weight), matrix)]
    inputs += [g.parameter(bias)] if bias >= 0 else []
    x = g.node("Conv", *inputs, kernel_shape=kernel, strides=kernel)  # (B, D, gh, gw)
    return g.node("Transpose", g.reshape(x, 0, len(matrix), -1), perm=[0, 2, 1])


def tokens(g: Graph, op: Op) -> str:
    """(N, D) -> (P + N, D): P rows of zeros before x, plus a table that holds tokens and positions.

    The table is the position embedding with the tokens added to its first rows.
    """
    *prefix, pos_embed = op.params
    first = [row for param in prefix if param >= 0 for row in g.weight(param)[0]]
    table = np.zeros((1, *op.shape), np.float32)
    if pos_embed >= 0:  # of all rows, or of the last ones
        table[:, -g.weight(pos_embed).shape[1] :] += g.weight(pos_embed)
    x = g.value(op.inputs[0])
    if first:
        table[0, : len(first)] += np.stack(first)
        x = g.node("Pad", x, g.integers(0, len(first), 0, 0, 0, 0))
    return g.node("Add", x, g.constant(f"{op.kind}_{op.output}.table", table))


# ------------------------------------------------------------------------------------- layers


def linear(g: Graph, op: Op) -> str:
    """(N, K) -> (N, M)."""
    patches = g.together(op.inputs[0])
    if patches:
        return convolution(g, op, patches)
    name = g.weight_name(op.params[0]).removesuffix("weight")
    return product(g, op, name.removesuffix("."), lambda values: values)


def product(g: Graph, op: Op, layer: str, part: Callable[[Array], Array]) -> str:
    """A linear layer of any kind, x @ W^T + b: (B, N, M). layer: its name; part: what is taken of
    its weight, scale and bias, along their first axis."""
    x, row = g.value(op.inputs[0]), op.params[0]
    matrix = part(g.weight(row).reshape(len(g.weight(row)), -1)).T
    kernel = g.constant(f"{layer}.weight.T", matrix)
    y = _PRODUCTS[op.kind](g, op, x, kernel, layer, part)
    bias = op.params[1 if op.kind == "linear" else 2]
    return g.node("Add", y, g.constant(f"{layer}.bias", part(g.weight(bias)))) if bias >= 0 else y


Part = Callable[[Array], Array]


def plain_product(g: Graph, op: Op, x: str, kernel: str, layer: str, part: Part) -> str:
    return g.node("MatMul", x, kernel)


def dynamic_product(g: Graph, op: Op, x: str, kernel: str, layer: str, part: Part) -> str:
    """int8 weights, and activations whose range is found at run time, one for the whole batch."""
    scale = g.constant(f"{layer}.weight_scale", part(g.weight(op.params[1])))
    q, step, zero = g.once(
        ("dynamic", x), lambda: g.nodes_of("DynamicQuantizeLinear", x, outputs=("", "", ""))
    )
    y = g.cast(g.node("MatMulInteger", q, kernel, zero), np.float32)
    return g.node("Mul", y, g.node("Mul", step, scale))


def static_product(g: Graph, op: Op, x: str, kernel: str, layer: str, part: Part) -> str:
    """int8 weights and 8-bit activations of one range, as pairs of QuantizeLinear and
    DequantizeLinear, which runtimes turn into an integer product."""
    scale, zero = step_of(g, op)

    def pair() -> str:
        ends = (
            g.constant(f"{layer}.input_scale", scale),
            g.constant(f"{layer}.input_zero_point", zero),
        )
        return g.node("DequantizeLinear", g.node("QuantizeLinear", x, *ends), *ends)

    steps = part(g.weight(op.params[1]))
    ends = (
        g.constant(f"{layer}.weight_scale", steps),
        g.constant(f"{layer}.weight_zero_point", np.zeros(steps.shape, np.int8)),
    )
    weights = g.node("DequantizeLinear", kernel, *ends, axis=1)
    return g.node("MatMul", g.once(("static", x, str(op.params[3])), pair), weights)


def step_of(g: Graph, op: Op) -> tuple[Array, Array]:
    """Scale and zero point of what a static layer reads, in the profile of the file: uint8 as the
    model has it, or int8 around 0."""
    scale, zero = (g.weight(row).reshape(()) for row in op.params[3:5])
    if g.options.profile == "cpu":
        return scale, zero.astype(np.uint8)
    largest = max(float(zero), 255 - float(zero)) * float(scale)
    return np.array(largest / 127, np.float32), np.array(0, np.int8)


_PRODUCTS: dict[str, Callable[[Graph, Op, str, str, str, Part], str]] = {
    "linear": plain_product,
    "linear_int8": dynamic_product,
    "linear_int8_static": static_product,
}


def in_pieces(inner: Inner) -> Emitter:
    """A norm whose weight is shorter than a row: over one piece of the row after another."""

    def outer(g: Graph, op: Op, x: str) -> str:
        size, cols = len(g.weight(op.params[0])), op.shape[-1]
        if size == cols:
            return inner(g, op, x)
        return g.reshape(inner(g, op, g.reshape(x, 0, 0, cols // size, size)), 0, 0, cols)

    return lambda g, op: outer(g, op, g.value(op.inputs[0]))


@in_pieces
def norm(g: Graph, op: Op, x: str) -> str:
    """(..., D) -> (..., D): one operator, or, before there was one, nine that do the same."""
    eps = op.attributes["eps"]
    if g.opset >= _LAYER_NORMALIZATION:
        weight, bias = map(g.parameter, op.params)
        return g.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps, stash_type=1)

    def written(x: str) -> str:  # squares are too large for half precision
        weight, bias = map(g.parameter, op.params)
        centred = g.node("Sub", x, mean(g, x, axis=-1))
        variance = mean(g, g.node("Pow", centred, g.number(2)), axis=-1)
        deviation = g.node("Sqrt", g.node("Add", variance, g.number(eps)))
        return g.node("Add", g.node("Mul", g.node("Div", centred, deviation), weight), bias)

    return g.wide(x, written)


@in_pieces
def rms_norm(g: Graph, op: Op, x: str) -> str:
    """(..., D) -> (..., D)."""
    eps = op.attributes["eps"]
    if g.opset >= _ATTENTION:
        weight = g.parameter(op.params[0])
        return g.node("RMSNormalization", x, weight, axis=-1, epsilon=eps, stash_type=1)

    def written(x: str) -> str:
        square = mean(g, g.node("Pow", x, g.number(2)), axis=-1)
        root = g.node("Sqrt", g.node("Add", square, g.number(eps)))
        return g.node("Mul", g.node("Div", x, root), g.parameter(op.params[0]))

    return g.wide(x, written)


def reduce(g: Graph, kind: str, x: str, axis: int) -> str:
    """ReduceMean or ReduceMax along an axis, which stays with size 1."""
    if g.opset >= _AXES_AS_INPUT:
        return g.node(kind, x, g.integers(axis), keepdims=1)
    return g.node(kind, x, axes=[axis], keepdims=1)


def mean(g: Graph, x: str, axis: int) -> str:
    return reduce(g, "ReduceMean", x, axis)


def activation(g: Graph, op: Op) -> str:
    function = op.attributes["function"]
    if function not in _ACTIVATIONS:
        raise ValueError(f"the activation {shown(function)} has no form in ONNX in this version")
    return _ACTIVATIONS[function](g, op)


def gelu(g: Graph, op: Op) -> str:
    """x/2 (1 + erf(x / sqrt 2))."""
    x = g.value(op.inputs[0])
    if g.opset >= _GELU:
        return g.node("Gelu", x, approximate="none")
    erf = g.node("Erf", g.node("Div", x, g.number(2**0.5)))
    return g.node("Mul", g.node("Mul", x, g.node("Add", erf, g.number(1))), g.number(0.5))


def gelu_tanh(g: Graph, op: Op) -> str:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    x = g.value(op.inputs[0])
    if g.opset >= _GELU:
        return g.node("Gelu", x, approximate="tanh")
    cube = g.node("Mul", g.node("Pow", x, g.number(3)), g.number(0.044715))
    inner = g.node("Mul", g.node("Add", x, cube), g.number((2 / np.pi) ** 0.5))
    one = g.node("Add", g.node("Tanh", inner), g.number(1))
    return g.node("Mul", g.node("Mul", x, one), g.number(0.5))


def quick_gelu(g: Graph, op: Op) -> str:
    x = g.value(op.inputs[0])
    return g.node("Mul", x, g.node("Sigmoid", g.node("Mul", x, g.number(1.702))))


def silu(g: Graph, op: Op) -> str:
    x = g.value(op.inputs[0])
    return g.node("Mul", x, g.node("Sigmoid", x))


def relu(g: Graph, op: Op) -> str:
    return g.node("Relu", g.value(op.inputs[0]))


def affine(g: Graph, op: Op) -> str:
    """x * weight + bias, of which one may be left out."""
    x, (weight, bias) = g.value(op.inputs[0]), op.params
    x = g.node("Mul", x, g.parameter(weight)) if weight >= 0 else x
    return g.node("Add", x, g.parameter(bias)) if bias >= 0 else x


def qv_bias(g: Graph, op: Op) -> str:
    """(N, 3D) -> (N, 3D)."""
    q, v = map(g.weight, op.params)
    bias = g.constant(g.weight_name(op.params[0])[: -len("q_bias")] + "qkv.bias", joined(q, v))
    return g.node("Add", g.value(op.inputs[0]), bias)


def joined(q: Array, v: Array) -> Array:
    """The bias of q, k and v where k has none."""
    return np.concatenate([q, np.zeros_like(q), v])


# ------------------------------------------------------------------------------------- attention


def attention(g: Graph, op: Op) -> str:
    """(N, 3D) -> (N, D), or (N, M D) with M maps per head."""
    count, maps = op.attributes["heads"], map_count(op)
    q, k, v = queries_keys_values(g, op)
    if maps == 1 and g.opset >= _ATTENTION and g.options.target != "openvino":
        return whole_attention(g, op, q, k, v)
    probs, values = probabilities(g, op, q, k), heads(g, v, count, op.shape[-1] // maps)
    if maps == 1:
        x = g.node("MatMul", probs, values)  # (B, H, N, d)
        return g.reshape(g.node("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, op.shape[-1])
    tokens, size = op.shape[0], op.shape[-1] // maps // count
    x = g.node("MatMul", g.reshape(probs, 0, count, maps * tokens, tokens), values)
    x = g.reshape(x, 0, count, maps, tokens, size)
    return g.reshape(g.node("Transpose", x, perm=[0, 3, 1, 2, 4]), 0, tokens, op.shape[-1])


def whole_attention(g: Graph, op: Op, q: str, k: str, v: str) -> str:
    """The same in one operator. q holds the factor already, unless the target wants it inside."""
    count, dim = op.attributes["heads"], op.shape[-1]
    mask, causal = [], bool(op.attributes.get("causal"))
    if op.kind == "masked_attention":
        tokens = g.shape(op.inputs[0])[0]
        sets = g.shape(op.inputs[1])[0] // tokens
        mask = [g.reshape(g.value(op.inputs[1]), 0, sets, tokens, tokens)]
    elif op.kind == "biased_attention":
        tokens = op.shape[0]
        mask = [g.reshape(bias(g, op), 1, count, tokens, tokens)]
    factor = 1.0 if folded(g) else (count / dim) ** 0.5
    sizes = dict(q_num_heads=count, kv_num_heads=count, scale=factor, is_causal=int(causal))
    return g.node("Attention", q, k, v, *mask, **sizes)


def folded(g: Graph) -> bool:
    """Whether 1 / sqrt(d) is in the weights of q, not at the scores."""
    return g.options.target != "ort"


def cross_attention(g: Graph, op: Op) -> str:
    """(M, D), (N, 2D) -> (M, D)."""
    count, dim = op.attributes["heads"], op.shape[-1]
    q = g.node("Mul", g.value(op.inputs[0]), g.number((count / dim) ** 0.5))
    kv = g.value(op.inputs[1])
    k, v = (g.rows(kv, i * dim, (i + 1) * dim, axis=2) for i in range(2))
    scores = g.node("MatMul", heads(g, q, count, dim), heads(g, k, count, dim, perm=(0, 2, 3, 1)))
    x = g.node("MatMul", g.node("Softmax", scores, axis=-1), heads(g, v, count, dim))
    return g.reshape(g.node("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, dim)


def differential(g: Graph, op: Op) -> str:
    """(N, 2D) -> (N, D): the first half of each head minus lambda times the second."""
    q1, k1, q2, k2 = map(g.weight, op.params)
    factor = np.exp(np.dot(q1, k1)) - np.exp(np.dot(q2, k2)) + op.attributes["init"]
    count, dim = op.attributes["heads"], op.shape[-1]
    x, size = g.reshape(g.value(op.inputs[0]), 0, 0, count, 2 * dim // count), dim // count
    first, second = (g.rows(x, i * size, (i + 1) * size, axis=3) for i in range(2))
    x = g.node("Sub", first, g.node("Mul", second, g.number(float(factor))))
    return g.reshape(x, 0, 0, dim)


def rope(g: Graph, op: Op) -> str:
    """(N, 3D), (N, d) or (N, D) -> (N, 3D): q and k turned pair by pair."""
    count, cols = op.attributes["heads"], op.shape[-1]
    angles, channels = cols // 6 // count, cols // 3
    x = g.value(op.inputs[0])
    pairs, axis = ((2, angles), 4) if op.attributes["halves"] else ((angles, 2), 5)
    turned = g.reshape(g.rows(x, 0, 2 * channels, axis=2), 0, 0, 2, count, *pairs)
    u, v = (g.rows(turned, i, i + 1, axis=axis) for i in range(2))
    cos, sin = cosines_and_sines(g, op, angles, axis)
    left = g.node("Sub", g.node("Mul", u, cos), g.node("Mul", v, sin))
    right = g.node("Add", g.node("Mul", v, cos), g.node("Mul", u, sin))
    turned = g.reshape(g.node("Concat", left, right, axis=axis), 0, 0, 2 * channels)
    return g.node("Concat", turned, g.rows(x, 2 * channels, cols, axis=2), axis=2)


def cosines_and_sines(g: Graph, op: Op, angles: int, axis: int) -> tuple[str, str]:
    """Of the table of `rope`, each (1, N, 1, H or 1, ...) with the angles beside the given axis."""
    rows, cols = g.shape(op.inputs[1])
    table = g.value(op.inputs[1])
    table = g.reshape(table, 0, rows, 1, cols // (2 * angles), 2 * angles)
    shape = (1, angles) if axis == 4 else (angles, 1)
    cos, sin = (
        g.reshape(g.rows(table, i * angles, (i + 1) * angles, axis=4), 0, 0, 0, 0, *shape)
        for i in range(2)
    )
    return cos, sin


def rope_table(g: Graph, op: Op) -> str:
    """-> (N, d), with a batch of 1: what works with it repeats it for each image."""
    names = ("prefix", "height", "width", "size", "temperature", "swapped")
    prefix, height, width, size, temperature, swapped = (op.attributes[name] for name in names)
    start, step = ([op.attributes[f"{axis}_{name}"] for axis in "yx"] for name in ("start", "step"))
    places = np.indices((height, width)).reshape(2, -1).T * step + start
    places = places[:, ::-1] if swapped else places
    slowness = temperature ** (np.arange(size // 4) / (size // 4))
    angles = (places[:, :, None] / slowness).reshape(len(places), size // 2)
    angles = np.concatenate([np.zeros((prefix, size // 2)), angles])
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return g.constant(f"{op.kind}_{op.output}", table[None].astype(np.float32))


def rope_mixed(g: Graph, op: Op) -> str:
    """(2 depth heads, f) -> (N, heads 2f): places times frequencies, their cosines and sines."""
    names = ("prefix", "height", "width", "heads", "block", "swapped")
    prefix, height, width, count, block, swapped = (op.attributes[name] for name in names)
    rows, angles = g.shape(op.inputs[0])
    places = np.indices((height, width)).reshape(2, -1)[:: -1 if swapped else 1]
    places = np.concatenate([np.zeros((2, prefix), int), places], axis=1).astype(np.float32)
    terms = []
    for axis in range(2):
        first = axis * rows // 2 + block * count
        own = g.reshape(g.rows(g.value(op.inputs[0]), first, first + count), 0, 1, count, angles)
        name = f"rope_{prefix}_{height}_{width}.{'yx'[axis ^ swapped]}"
        terms.append(g.node("Mul", own, g.constant(name, places[axis][:, None, None])))
    angle = g.node("Add", *terms)  # (1, N, heads, f)
    both = g.node("Concat", g.node("Cos", angle), g.node("Sin", angle), axis=3)
    return g.reshape(both, 0, 0, 2 * count * angles)


def map_count(op: Op) -> int:
    """Attention maps per head."""
    return max(int(op.attributes["maps"]), 1)


def attention_probs(g: Graph, op: Op) -> str:
    """(N, 3D) -> (H M N, N)."""
    q, k, _ = queries_keys_values(g, op)
    return g.reshape(probabilities(g, op, q, k), 0, *op.shape)


def queries_keys_values(g: Graph, op: Op) -> list[str]:
    """q / sqrt(d) where that is folded, k and v, each (B, N, D).

    The layer in front of the attention is written as three, the factor in the weights of the first.
    """
    dim = g.shape(op.inputs[0])[-1] // 3
    factor = (op.attributes["heads"] * map_count(op) / dim) ** 0.5 if folded(g) else 1.0
    packed = g.together(op.inputs[0])
    if packed:
        return [third(g, packed, i, 1.0 if i else factor) for i in range(3)]
    x = g.value(op.inputs[0])
    q, k, v = (g.rows(x, i * dim, (i + 1) * dim, axis=2) for i in range(3))
    return [g.node("Mul", q, g.number(factor)) if folded(g) else q, k, v]


def third(g: Graph, packed: Op, i: int, factor: float) -> str:
    """The rows i D to (i + 1) D of a linear layer's result, times factor: (B, N, D). Of a layer in
    8 bits its scales take the factor."""

    def part(values: Array) -> Array:
        own: Array = np.split(values, 3)[i]
        whole = factor == 1 or own.dtype == np.int8
        return own if whole else own * np.float32(factor)

    layer = g.weight_name(packed.params[0]).removesuffix("weight") + "qkv"[i]
    return product(g, packed, layer, part)


def heads(g: Graph, x: str, count: int, dim: int, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
    """(B, N, D) -> (B, N, H, d), transposed to (B, H, N, d)."""
    return g.node("Transpose", g.reshape(x, 0, 0, count, dim // count), perm=perm)


def probabilities(g: Graph, op: Op, q: str, k: str) -> str:
    """softmax(q k^T): (B, H M, N, N)."""
    count, dim = op.attributes["heads"] * map_count(op), g.shape(op.inputs[0])[-1] // 3
    keys = heads(g, k, count, dim, perm=(0, 2, 3, 1))  # (B, H M, d, N)
    scores = g.node("MatMul", heads(g, q, count, dim), keys)
    if not folded(g):
        scores = g.node("Div", scores, g.number((dim / count) ** 0.5))
    return g.node("Softmax", masked(g, op, scores), axis=-1)


def masked(g: Graph, op: Op, scores: str) -> str:
    """(B, H M, N, N), with what each query must not see out of its reach."""
    tokens = g.shape(op.inputs[0])[0]
    if op.kind == "masked_attention":  # the maps of a head are adjacent
        sets = g.shape(op.inputs[1])[0] // tokens
        mask = g.reshape(g.value(op.inputs[1]), 0, sets, 1, tokens, tokens)
        count, maps = op.attributes["heads"], map_count(op)
        x = g.node("Add", g.reshape(scores, 0, count, maps, tokens, tokens), mask)
        return g.reshape(x, 0, count * maps, tokens, tokens)
    if op.kind.startswith("biased_attention"):
        count, maps = op.attributes["heads"], map_count(op)
        x = g.reshape(scores, 0, count, maps, tokens, tokens)
        return g.reshape(g.node("Add", x, bias(g, op)), 0, count * maps, tokens, tokens)
    if op.attributes.get("causal"):
        reach = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
        return g.node("Add", scores, g.constant(f"causal_{tokens}", reach))
    return scores


def bias(g: Graph, op: Op) -> str:
    """The rows of the table of `biased_attention` for all pairs of tokens: (H, 1, N, N)."""
    (rows, count), tokens = g.shape(op.inputs[1]), g.shape(op.inputs[0])[0]
    height, width = op.attributes["height"], op.attributes["width"]
    index = distances(height, width, tokens - height * width, rows)
    none = g.constant(f"zeros_{count}", np.zeros((1, 1, count), np.float32))
    table = g.node("Concat", g.value(op.inputs[1]), none, axis=1)
    table = g.node("Transpose", g.reshape(table, rows + 1, count), perm=[1, 0])
    name = f"distances_{height}_{width}_{tokens}_{rows}"
    return g.reshape(g.node("Gather", table, g.constant(name, index), axis=1), 0, 1, tokens, tokens)


def distances(height: int, width: int, prefix: int, rows: int) -> Array:
    """(N, N): the row of the table for a query and a key, or the one behind it."""
    y, x = np.indices((height, width)).reshape(2, -1)
    down, right = y[:, None] - y + height - 1, x[:, None] - x + width - 1
    index = np.pad(down * (2 * width - 1) + right, ((prefix, 0), (prefix, 0)))
    if prefix:
        own = rows == (2 * height - 1) * (2 * width - 1)
        index[0], index[:, 0], index[0, 0] = (
            (rows, rows, rows) if own else (rows - 3, rows - 2, rows - 1)
        )
    return index.astype(np.int64)


def relative_coordinates(g: Graph, op: Op) -> str:
    """-> (R, 2), with a batch of 1."""
    sides = op.attributes["height"], op.attributes["width"]
    apart = [np.arange(1 - side, side) for side in sides]
    places = np.stack(np.meshgrid(*apart, indexing="ij"), axis=-1).reshape(1, -1, 2)
    name = f"relative_coordinates_{sides[0]}_{sides[1]}"
    return g.constant(name, (np.sign(places) * np.log1p(np.abs(places))).astype(np.float32))


# ------------------------------------------------------------------------------------- the rest


def select(g: Graph, op: Op) -> str:
    """(N, D) -> (count, D)."""
    start = op.attributes["start"]
    return g.rows(g.value(op.inputs[0]), start, start + op.attributes["count"])


def parameter(g: Graph, op: Op) -> str:
    """-> (M, D), with a batch of 1: what works with it repeats it for each image."""
    name = g.parameter(op.params[0])
    return name if g.weight(op.params[0]).ndim == 3 else g.reshape(name, 1, *op.shape)


def resample(g: Graph, op: Op) -> str:
    """(P + h w, D) -> (P + h' w', D): the grid times a matrix along its rows and its columns."""
    prefix, height, width = (op.attributes[name] for name in ("prefix", "height", "width"))
    new = op.attributes["new_height"], op.attributes["new_width"]
    x, cols = g.value(op.inputs[0]), op.shape[1]
    grid = g.rows(x, prefix, prefix + height * width) if prefix else x
    down, across = (
        g.constant(f"resample_{op.output}.{side}", bicubic(*sizes).astype(np.float32))
        for side, sizes in (("rows", (height, new[0])), ("columns", (width, new[1])))
    )
    grid = g.node("MatMul", down, g.reshape(grid, 0, height, width * cols))
    grid = g.node("MatMul", across, g.reshape(grid, 0, new[0], width, cols))
    grid = g.reshape(grid, 0, new[0] * new[1], cols)
    return g.node("Concat", g.rows(x, 0, prefix), grid, axis=1) if prefix else grid


def pool(g: Graph, op: Op) -> str:
    """(N, D) -> (1, D)."""
    return mean(g, g.value(op.inputs[0]), axis=1)


def pool_max(g: Graph, op: Op) -> str:
    """(N, D) -> (1, D)."""
    return reduce(g, "ReduceMax", g.value(op.inputs[0]), axis=1)


def columns(g: Graph, op: Op) -> str:
    """(N, D) -> (N, count)."""
    start = op.attributes["start"]
    return g.rows(g.value(op.inputs[0]), start, start + op.attributes["count"], axis=2)


def concat(g: Graph, op: Op) -> str:
    return g.node("Concat", *map(g.value, op.inputs), axis=2)


def add(g: Graph, op: Op) -> str:
    return g.node("Add", *map(g.value, op.inputs))


def multiply(g: Graph, op: Op) -> str:
    return g.node("Mul", *map(g.value, op.inputs))


def scale(g: Graph, op: Op) -> str:
    return g.node("Mul", g.value(op.inputs[0]), g.number(op.attributes["factor"]))


_ACTIVATIONS: dict[str, Emitter] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "relu": relu,
}

# By kind of `_vitc.operation_table()`. What acts in training only, such as dropout, has none: the
# program of the evaluation mode does without it.
EMITTERS: dict[str, Emitter] = {
    "patchify": patchify,
    "tokens": tokens,
    "parameter": parameter,
    "linear": linear,
    "linear_int8": linear,
    "linear_int8_static": linear,
    "norm": norm,
    "rms_norm": rms_norm,
    "activation": activation,
    "affine": affine,
    "qv_bias": qv_bias,
    "attention": attention,
    "masked_attention": attention,
    "cross_attention": cross_attention,
    "attention_probs": attention_probs,
    "biased_attention": attention,
    "biased_attention_probs": attention_probs,
    "relative_coordinates": relative_coordinates,
    "differential": differential,
    "rope": rope,
    "rope_table": rope_table,
    "rope_mixed": rope_mixed,
    "resample": resample,
    "select": select,
    "pool": pool,
    "pool_max": pool_max,
    "columns": columns,
    "concat": concat,
    "add": add,
    "multiply": multiply,
    "scale": scale,
}
