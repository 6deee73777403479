"""The blocks of EVA (Fang et al. 2023) and its kin, under timm's names: parameters and forward
pass, and the rotary positions that they share."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from vitc.arrays import Array
from vitc.models.config import Config
from vitc.models.eva_config import EvaConfig
from vitc.models.init import Entry, constant
from vitc.models.layers import (
    dropped,
    head_norm_entries,
    head_norms,
    linear_entries,
    mlp,
    mlp_entries,
    norm,
    norm_entries,
)
from vitc.program import Builder, Shape, Value

# The table of angles of block i, by which `rope` turns its queries and keys.
Turning = Callable[[int], Value]

# ------------------------------------------------------------------------------------- rope


def frequencies(temperature: float, generator: np.random.Generator, shape: Shape) -> Array:
    """(2, depth, heads, d/2): how fast angles grow with row and column, in pairs at right angles
    of a direction that is random for each head of each block (Heo et al. 2024)."""
    _, depth, heads, count = shape
    slowness = temperature ** (2 * np.arange(count // 2) / count)
    angle = 2 * np.pi * generator.random((depth, heads, 1))
    angles = np.concatenate([np.repeat(angle + turn, count // 2, -1) for turn in (0, np.pi / 2)], 2)
    values = np.stack([np.cos(angles), np.sin(angles)]) / np.tile(slowness, 2)
    return values.astype(np.float32)


def rope_entries(c: EvaConfig) -> Iterator[Entry]:
    if c.use_rot_pos_emb and c.rope_type == "mixed":
        shape = (2, c.depth, c.num_heads, c.head_dim // 2)
        yield Entry("rope.freqs", shape, partial(frequencies, c.rope_temperature))


def places(c: EvaConfig) -> tuple[tuple[float, float], tuple[float, float]]:
    """The place of the first row and column, and how far the others are apart."""
    offset = c.rope_grid_offset
    if c.rope_type == "dinov3":  # from -1 to 1 times a full turn, patches at their centres
        full = 2 * math.pi
        first = tuple(full * (2 * (0.5 + offset) / side - 1) for side in c.grid)
        apart = tuple(full * 2 / side for side in c.grid)
    else:
        scale = tuple(new / side for new, side in zip(c.reference, c.grid, strict=True))
        first, apart = tuple(offset * s for s in scale), scale
    return (first[0], first[1]), (apart[0], apart[1])


def turning(b: Builder, c: EvaConfig) -> Turning | None:
    """The tables of all blocks; those of the patches that stay if some are dropped."""
    if not c.use_rot_pos_emb:
        return None
    prefix, swapped = c.class_token + c.reg_tokens, c.rope_grid_indexing == "xy"

    def of_remaining(table: Value) -> Value:
        if not c.patch_drop_rate:
            return table
        return b.patch_drop(table, prefix, c.kept(c.num_patches), "patch_drop")

    if c.rope_type == "mixed":
        learned = b.parameter("rope.freqs")
        return lambda i: of_remaining(
            b.rope_mixed(learned, prefix, c.grid, c.num_heads, i, swapped=swapped)
        )
    table = of_remaining(
        b.rope_table(prefix, c.grid, c.head_dim, c.rope_temperature, *places(c), swapped=swapped)
    )
    return lambda i: table


# ------------------------------------------------------------------------------------- attention


def attention_entries(name: str, i: int, c: EvaConfig) -> Iterator[Entry]:
    dim, of_k = c.embed_dim, c.qkv_bias and c.attn_type == "rope"
    if c.qkv_fused:
        for part in ("q", "v") if c.qkv_bias and not of_k else ():
            yield Entry(f"{name}.{part}_bias", (dim,), constant(0))
        yield from linear_entries(f"{name}.qkv", dim, 3 * dim, of_k)
    else:
        of_heads = c.kv_heads(i) * c.head_dim
        yield from linear_entries(f"{name}.q_proj", dim, dim, c.qkv_bias)
        yield from linear_entries(f"{name}.k_proj", dim, of_heads, of_k)
        yield from linear_entries(f"{name}.v_proj", dim, of_heads, c.qkv_bias)
    yield from head_norm_entries(name, c)
    if c.scale_attn_norm:
        yield from norm_entries(f"{name}.norm", dim, c)
    yield from linear_entries(f"{name}.proj", dim, dim)


def repeated(b: Builder, x: Value, count: int, c: EvaConfig) -> Value:
    """(N, count heads) -> (N, D): each of these heads as often as others share it, beside itself
    (Ainslie et al. 2023)."""
    times = c.num_heads // count
    if times == 1:
        return x
    heads = [b.columns(x, i * c.head_dim, c.head_dim) for i in range(count)]
    parts = [head for head in heads for _ in range(times)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [b.concat(*pair) for pair in pairs] + parts[len(parts) // 2 * 2 :]
    return parts[0]


def queries_keys_values(b: Builder, x: Value, name: str, i: int, c: EvaConfig) -> Value:
    """(N, D) -> (N, 3D), the queries and keys of each head normalised."""
    if not c.qkv_fused:
        q, k, v = (b.linear(x, f"{name}.{part}_proj") for part in "qkv")
        if c.qk_norm:
            q, k = norm(b, q, f"{name}.q_norm", c), norm(b, k, f"{name}.k_norm", c)
        k, v = (repeated(b, y, c.kv_heads(i), c) for y in (k, v))
        return b.concat(b.concat(q, k), v)
    qkv = b.linear(x, f"{name}.qkv")
    qkv = b.qv_bias(qkv, name) if c.qkv_bias and c.attn_type == "eva" else qkv
    return head_norms(b, qkv, name, c)


def attention(
    b: Builder, x: Value, name: str, i: int, c: EvaConfig, turning: Turning | None
) -> Value:
    """(N, D) -> (N, D): multi-head self-attention of block i."""
    qkv = queries_keys_values(b, x, name, i, c)
    if turning:
        qkv = b.rope(qkv, turning(i), c.num_heads, halves=c.rope_rotate_half)
    x = b.attention(qkv, c.num_heads, **dropped(name, c))
    x = norm(b, x, f"{name}.norm", c) if c.scale_attn_norm else x
    return b.dropout(b.linear(x, f"{name}.proj"), c.proj_drop_rate, f"{name}.proj_drop")


# ------------------------------------------------------------------------------------- blocks


def scaled_branches(c: EvaConfig) -> str:
    """Which branches of a block have a layer scale."""
    if c.init_values is None:
        return ""
    return "1" if c.attn_only_layer_scale else "12"


def block_number(name: str) -> int:
    """Of "blocks.3." the 3."""
    return int(name.split(".")[-2])


def gamma_entries(name: str, c: EvaConfig) -> Iterator[Entry]:
    for number in scaled_branches(c):
        yield Entry(f"{name}gamma_{number}", (c.embed_dim,), constant(c.init_values or 0))


def branch(b: Builder, y: Value, i: int, name: str, number: str, c: Config, scaled: bool) -> Value:
    """What a branch of block i gives, through its layer scale and drop path."""
    y = b.affine(y, f"{name}gamma_{number}") if scaled else y
    rate = c.drop_path_rate * i / max(c.depth - 1, 1)
    return b.drop_path(y, rate, f"{name}drop_path{number}")


def block_entries(name: str, c: EvaConfig) -> Iterator[Entry]:
    yield from gamma_entries(name, c)
    yield from norm_entries(f"{name}norm1", c.embed_dim, c)
    yield from attention_entries(f"{name}attn", block_number(name), c)
    yield from norm_entries(f"{name}norm2", c.embed_dim, c)
    yield from mlp_entries(f"{name}mlp", c)


def block(b: Builder, x: Value, i: int, name: str, c: EvaConfig, shared: Turning | None) -> Value:
    """x + attn(norm1(x)), then x + mlp(norm2(x)): (N, D) -> (N, D)."""
    scaled = scaled_branches(c)
    y = attention(b, norm(b, x, f"{name}norm1", c), f"{name}attn", i, c, shared)
    x = b.add(x, branch(b, y, i, name, "1", c, "1" in scaled))
    y = mlp(b, norm(b, x, f"{name}norm2", c), f"{name}mlp", c)
    return b.add(x, branch(b, y, i, name, "2", c, "2" in scaled))


def post_norm_entries(name: str, c: EvaConfig) -> Iterator[Entry]:
    yield from attention_entries(f"{name}attn", block_number(name), c)
    yield from norm_entries(f"{name}norm1", c.embed_dim, c)
    yield from mlp_entries(f"{name}mlp", c)
    yield from norm_entries(f"{name}norm2", c.embed_dim, c)


def post_norm(
    b: Builder, x: Value, i: int, name: str, c: EvaConfig, shared: Turning | None
) -> Value:
    """x + norm1(attn(x)), then x + norm2(mlp(x)): (N, D) -> (N, D)."""
    y = norm(b, attention(b, x, f"{name}attn", i, c, shared), f"{name}norm1", c)
    x = b.add(x, branch(b, y, i, name, "1", c, scaled=False))
    y = norm(b, mlp(b, x, f"{name}mlp", c), f"{name}norm2", c)
    return b.add(x, branch(b, y, i, name, "2", c, scaled=False))
