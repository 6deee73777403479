"""Every plain operation as ONNX operators: one function each, in the forms that runtimes fuse.

A value (N, D) of the program is a tensor (batch, N, D). Only the batch is open, and no operator
reads a shape. Values beside the code are the shapes of its results, B the batch, H the heads, d
their size.
"""

import numpy as np

from vitc.arrays import Array
from vitc.export.graph import Emitter, Graph, Operation

_LAYER_NORMALIZATION = 17  # the first opset that has it
_GELU = 20


# ------------------------------------------------------------------------------------- patches


def patchify(g: Graph, op: Operation) -> str:
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


def convolution(g: Graph, op: Operation, patches: Operation) -> str:
    """A linear layer over the patches of an image, (C, H, W) -> (N, D)."""
    weight, bias = op.params
    kernel = [patches.attributes["patch_height"], patches.attributes["patch_width"]]
    channels = g.shape(patches.inputs[0])[0]
    matrix = g.weight(weight).reshape(-1, channels, *kernel)
    inputs = [g.value(patches.inputs[0]), g.constant(g.weight_name(weight), matrix)]
    inputs += [g.parameter(bias)] if bias >= 0 else []
    x = g.node("Conv", *inputs, kernel_shape=kernel, strides=kernel)  # (B, D, gh, gw)
    return g.node("Transpose", g.reshape(x, 0, len(matrix), -1), perm=[0, 2, 1])


def tokens(g: Graph, op: Operation) -> str:
    """(N, D) -> (P + N, D): P rows of zeros before x, plus a table that holds tokens and positions.

    The table is the position embedding with the tokens added to its first rows.
    """
    *prefix, pos_embed = op.params
    first = [g.weight(row)[0] for row in prefix if row >= 0]  # each (1, D)
    table = np.zeros((1, *op.shape), np.float32)
    if pos_embed >= 0:
        table += g.weight(pos_embed)
    x = g.value(op.inputs[0])
    if first:
        table[0, : len(first)] += np.concatenate(first)
        x = g.node("Pad", x, g.integers(0, len(first), 0, 0, 0, 0))
    return g.node("Add", x, g.constant(f"{op.kind}_{op.output}.table", table))


# ------------------------------------------------------------------------------------- layers


def linear(g: Graph, op: Operation) -> str:
    """(N, K) -> (N, M)."""
    patches = g.together(op.inputs[0])
    if patches:
        return convolution(g, op, patches)
    weight, bias = op.params
    matrix = g.weight(weight).reshape(len(g.weight(weight)), -1).T
    matrix_name = g.constant(f"{g.weight_name(weight)}.T", matrix)
    return affine(g, g.value(op.inputs[0]), matrix_name, g.parameter(bias) if bias >= 0 else "")


def affine(g: Graph, x: str, matrix: str, bias: str) -> str:
    """x @ matrix + bias: (B, N, K) with matrix (K, M) and bias (M,), if it is not ""."""
    y = g.node("MatMul", x, matrix)
    return g.node("Add", y, bias) if bias else y


def norm(g: Graph, op: Operation) -> str:
    """(N, D) -> (N, D): one operator, or before there was one the nine that stand for it."""
    x, eps = g.value(op.inputs[0]), op.attributes["eps"]
    weight, bias = map(g.parameter, op.params)
    if g.opset >= _LAYER_NORMALIZATION:
        return g.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps, stash_type=1)
    centred = g.node("Sub", x, g.node("ReduceMean", x, axes=[-1], keepdims=1))
    square = g.node("Pow", centred, g.number(2))
    variance = g.node("ReduceMean", square, axes=[-1], keepdims=1)
    deviation = g.node("Sqrt", g.node("Add", variance, g.number(eps)))
    return g.node("Add", g.node("Mul", g.node("Div", centred, deviation), weight), bias)


def activation(g: Graph, op: Operation) -> str:
    function = op.attributes["function"]
    if function not in _ACTIVATIONS:
        raise ValueError(f"the activation {function!r} has no form in ONNX in this version")
    return _ACTIVATIONS[function](g, op)


def gelu(g: Graph, op: Operation) -> str:
    """x/2 (1 + erf(x / sqrt 2))."""
    x = g.value(op.inputs[0])
    if g.opset >= _GELU:
        return g.node("Gelu", x, approximate="none")
    erf = g.node("Erf", g.node("Div", x, g.number(2**0.5)))
    return g.node("Mul", g.node("Mul", x, g.node("Add", erf, g.number(1))), g.number(0.5))


# ------------------------------------------------------------------------------------- attention


def attention(g: Graph, op: Operation) -> str:
    """(N, 3D) -> (N, D)."""
    q, k, v = queries_keys_values(g, op)
    x = g.node("MatMul", probabilities(g, op, q, k), heads(g, op, v))  # (B, H, N, d)
    return g.reshape(g.node("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, op.shape[-1])


def attention_probs(g: Graph, op: Operation) -> str:
    """(N, 3D) -> (H N, N)."""
    q, k, _ = queries_keys_values(g, op)
    return g.reshape(probabilities(g, op, q, k), 0, *op.shape)


def queries_keys_values(g: Graph, op: Operation) -> list[str]:
    """q / sqrt(d), k and v, each (B, N, D).

    The layer in front of the attention is written as three, the factor in the weights of the first.
    """
    dim = g.shape(op.inputs[0])[-1] // 3
    factors = ((op.attributes["heads"] / dim) ** 0.5, 1.0, 1.0)
    packed = g.together(op.inputs[0])
    if packed:
        return [third(g, packed, i, factor) for i, factor in enumerate(factors)]
    x = g.value(op.inputs[0])
    q, k, v = (g.rows(x, i * dim, (i + 1) * dim, axis=2) for i in range(3))
    return [g.node("Mul", q, g.number(factors[0])), k, v]


def third(g: Graph, packed: Operation, i: int, factor: float) -> str:
    """The rows i D to (i + 1) D of a linear layer's result, times factor: (B, N, D)."""

    def part(row: int) -> Array:
        return np.split(g.weight(row), 3)[i] * np.float32(factor)

    weight, bias = packed.params
    layer = g.weight_name(weight).removesuffix("weight") + "qkv"[i]
    matrix = g.constant(f"{layer}.weight.T", part(weight).T)
    shift = g.constant(f"{layer}.bias", part(bias)) if bias >= 0 else ""
    return affine(g, g.value(packed.inputs[0]), matrix, shift)


def heads(g: Graph, op: Operation, x: str, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
    """(B, N, D) -> (B, N, H, d), transposed to (B, H, N, d)."""
    count = op.attributes["heads"]
    split = g.reshape(x, 0, 0, count, g.shape(op.inputs[0])[-1] // 3 // count)
    return g.node("Transpose", split, perm=perm)


def probabilities(g: Graph, op: Operation, q: str, k: str) -> str:
    """softmax(q k^T): (B, H, N, N)."""
    keys = heads(g, op, k, perm=(0, 2, 3, 1))  # (B, H, d, N)
    return g.node("Softmax", g.node("MatMul", heads(g, op, q), keys), axis=-1)


# ------------------------------------------------------------------------------------- the rest


def select(g: Graph, op: Operation) -> str:
    """(N, D) -> (count, D)."""
    start = op.attributes["start"]
    return g.rows(g.value(op.inputs[0]), start, start + op.attributes["count"])


def add(g: Graph, op: Operation) -> str:
    return g.node("Add", *map(g.value, op.inputs))


def scale(g: Graph, op: Operation) -> str:
    return g.node("Mul", g.value(op.inputs[0]), g.number(op.attributes["factor"]))


_ACTIVATIONS: dict[str, Emitter] = {"gelu": gelu}

# By kind of `_vitc.operation_table()`. What acts in training only, such as dropout, has none: the
# program of the evaluation mode does without it.
EMITTERS: dict[str, Emitter] = {
    "patchify": patchify,
    "tokens": tokens,
    "linear": linear,
    "norm": norm,
    "activation": activation,
    "attention": attention,
    "attention_probs": attention_probs,
    "select": select,
    "add": add,
    "scale": scale,
}
