"""Blocks whose attention has a bias by distance, under timm's names: those of BEiT (Bao et al.
2022) and of timm's ViT with relative positions, whose bias comes from a table (Liu et al. 2021) or
from an mlp over logarithms of distances (Liu et al. 2022)."""

from collections.abc import Iterator

from vitc.models import eva_blocks, layers
from vitc.models.config import Config
from vitc.models.init import Entry, constant, normal
from vitc.models.layers import (
    layer_scale_entries,
    linear_entries,
    mlp,
    mlp_entries,
    norm,
    norm_entries,
)
from vitc.models.rel_pos_config import BeitConfig, RelPosConfig
from vitc.program import Builder, Value

TABLE = "relative_position_bias_table"


def distances(c: Config) -> int:
    """How many rows a table has: for each distance on the grid, and three for the class token."""
    height, width = c.grid
    return (2 * height - 1) * (2 * width - 1) + 3 * c.class_token


def attended(b: Builder, qkv: Value, table: Value | None, name: str, c: Config) -> Value:
    """(N, 3D) -> (N, D): attention with the biases of a table, if there is one."""
    if table is None:
        return b.attention(qkv, c.num_heads, **layers.dropped(name, c))
    return b.biased_attention(qkv, table, c.num_heads, c.grid, **layers.dropped(name, c))


# ------------------------------------------------------------------------------------- BEiT


def beit_shared_entries(c: BeitConfig) -> Iterator[Entry]:
    if c.use_shared_rel_pos_bias:
        yield Entry(f"rel_pos_bias.{TABLE}", (distances(c), c.num_heads), constant(0))


def beit_shared(b: Builder, c: BeitConfig) -> Value | None:
    return b.parameter(f"rel_pos_bias.{TABLE}") if c.use_shared_rel_pos_bias else None


def beit_attention_entries(name: str, c: BeitConfig) -> Iterator[Entry]:
    dim = c.embed_dim
    for part in "qv" if c.qkv_bias else "":
        yield Entry(f"{name}.{part}_bias", (dim,), constant(0))
    if c.use_rel_pos_bias:
        yield Entry(f"{name}.{TABLE}", (distances(c), c.num_heads), constant(0))
    yield from linear_entries(f"{name}.qkv", dim, 3 * dim, False)
    yield from linear_entries(f"{name}.proj", dim, dim)


def beit_attention(b: Builder, x: Value, name: str, c: BeitConfig, shared: Value | None) -> Value:
    """(N, D) -> (N, D)."""
    qkv = b.linear(x, f"{name}.qkv")
    qkv = b.qv_bias(qkv, name) if c.qkv_bias else qkv
    table = b.parameter(f"{name}.{TABLE}") if c.use_rel_pos_bias else shared
    if c.use_rel_pos_bias and shared is not None and table is not None:
        table = b.add(table, shared)
    x = b.linear(attended(b, qkv, table, name, c), f"{name}.proj")
    return b.dropout(x, c.proj_drop_rate, f"{name}.proj_drop")


def beit_entries(name: str, c: BeitConfig) -> Iterator[Entry]:
    for number in "12" if c.init_values else "":
        yield Entry(f"{name}gamma_{number}", (c.embed_dim,), constant(c.init_values or 0))
    yield from norm_entries(f"{name}norm1", c.embed_dim, c)
    yield from beit_attention_entries(f"{name}attn", c)
    yield from norm_entries(f"{name}norm2", c.embed_dim, c)
    yield from mlp_entries(f"{name}mlp", c)


def beit(b: Builder, x: Value, i: int, name: str, c: BeitConfig, shared: Value | None) -> Value:
    """x + attn(norm1(x)), then x + mlp(norm2(x)): (N, D) -> (N, D)."""
    scaled = bool(c.init_values)
    y = beit_attention(b, norm(b, x, f"{name}norm1", c), f"{name}attn", c, shared)
    x = b.add(x, eva_blocks.branch(b, y, i, name, "1", c, scaled))
    y = mlp(b, norm(b, x, f"{name}norm2", c), f"{name}mlp", c)
    return b.add(x, eva_blocks.branch(b, y, i, name, "2", c, scaled))


# ------------------------------------------------------------------------- relative positions


def bias_entries(name: str, c: RelPosConfig) -> Iterator[Entry]:
    if c.rel_pos_type == "bias":
        yield Entry(f"{name}.{TABLE}", (distances(c), c.num_heads), normal(0.02))
        return
    hidden = c.rel_pos_dim or 128
    yield from linear_entries(f"{name}.mlp.fc1", 2, hidden)
    yield from linear_entries(f"{name}.mlp.fc2", hidden, c.num_heads)


def bias(b: Builder, name: str, c: RelPosConfig) -> Value:
    """-> (R, heads): the biases of all distances. What is left out of the hidden layer in training
    mode is drawn for each image; timm draws it once for a batch."""
    if c.rel_pos_type == "bias":
        return b.parameter(f"{name}.{TABLE}")
    x = b.linear(b.relative_coordinates(c.grid), f"{name}.mlp.fc1")
    x = b.dropout(b.activation(x, "relu"), c.rel_pos_drop_rate, f"{name}.mlp.drop1")
    return b.linear(x, f"{name}.mlp.fc2")


def shared_bias_entries(c: RelPosConfig) -> Iterator[Entry]:
    if c.shared_rel_pos:
        yield from bias_entries("shared_rel_pos", c)


def shared_bias(b: Builder, c: RelPosConfig) -> Value | None:
    return bias(b, "shared_rel_pos", c) if c.shared_rel_pos else None


def rel_pos_attention_entries(name: str, c: RelPosConfig) -> Iterator[Entry]:
    dim = c.embed_dim
    yield from linear_entries(f"{name}.qkv", dim, 3 * dim, c.qkv_bias)
    yield from layers.head_norm_entries(name, c)
    if not c.shared_rel_pos:
        yield from bias_entries(f"{name}.rel_pos", c)
    yield from linear_entries(f"{name}.proj", dim, dim)


def rel_pos_attention(
    b: Builder, x: Value, name: str, c: RelPosConfig, shared: Value | None
) -> Value:
    """(N, D) -> (N, D)."""
    qkv = layers.head_norms(b, b.linear(x, f"{name}.qkv"), name, c)
    table = bias(b, f"{name}.rel_pos", c) if shared is None else shared
    x = b.linear(attended(b, qkv, table, name, c), f"{name}.proj")
    return b.dropout(x, c.proj_drop_rate, f"{name}.proj_drop")


def rel_pos_entries(name: str, c: RelPosConfig) -> Iterator[Entry]:
    yield from norm_entries(f"{name}norm1", c.embed_dim, c)
    yield from rel_pos_attention_entries(f"{name}attn", c)
    yield from layer_scale_entries(f"{name}ls1", c, bool(c.init_values))
    yield from norm_entries(f"{name}norm2", c.embed_dim, c)
    yield from mlp_entries(f"{name}mlp", c)
    yield from layer_scale_entries(f"{name}ls2", c, bool(c.init_values))


def rel_pos(
    b: Builder, x: Value, i: int, name: str, c: RelPosConfig, shared: Value | None
) -> Value:
    """x + attn(norm1(x)), then x + mlp(norm2(x)): (N, D) -> (N, D)."""
    scaled = bool(c.init_values)
    y = rel_pos_attention(b, norm(b, x, f"{name}norm1", c), f"{name}attn", c, shared)
    x = b.add(x, layers.branch(b, y, i, name, "1", c, scaled))
    y = mlp(b, norm(b, x, f"{name}norm2", c), f"{name}mlp", c)
    return b.add(x, layers.branch(b, y, i, name, "2", c, scaled))


def post_norm_entries(name: str, c: RelPosConfig) -> Iterator[Entry]:
    start = 1 if c.init_values is None else c.init_values
    yield from rel_pos_attention_entries(f"{name}attn", c)
    yield from norm_entries(f"{name}norm1", c.embed_dim, c, start)
    yield from mlp_entries(f"{name}mlp", c)
    yield from norm_entries(f"{name}norm2", c.embed_dim, c, start)


def post_norm(
    b: Builder, x: Value, i: int, name: str, c: RelPosConfig, shared: Value | None
) -> Value:
    """x + norm1(attn(x)), then x + norm2(mlp(x)): (N, D) -> (N, D)."""
    y = norm(b, rel_pos_attention(b, x, f"{name}attn", c, shared), f"{name}norm1", c)
    x = b.add(x, layers.branch(b, y, i, name, "1", c, scaled=False))
    y = norm(b, mlp(b, x, f"{name}mlp", c), f"{name}norm2", c)
    return b.add(x, layers.branch(b, y, i, name, "2", c, scaled=False))
