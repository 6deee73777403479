"""The layers of Vision Transformers. Each is a pair: what parameters it has, in the order of timm's
state dict, and its forward pass."""

import math
from collections.abc import Iterator
from typing import Any

from vitc.models.config import Config
from vitc.models.init import Entry, constant, normal
from vitc.program import Builder, Value

# ------------------------------------------------------------------------------------- small ones


def linear_entries(name: str, fan_in: int, fan_out: int, bias: bool = True) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (fan_out, fan_in), normal(0.02))
    if bias:
        yield Entry(f"{name}.bias", (fan_out,), constant(0))


def norm_entries(name: str, dim: int, c: Config, start: float = 1) -> Iterator[Entry]:
    yield Entry(f"{name}.weight", (dim,), constant(start))
    if c.norm_layer == "layernorm":
        yield Entry(f"{name}.bias", (dim,), constant(0))


def norm(b: Builder, x: Value, name: str, c: Config) -> Value:
    """(N, D) -> (N, D)."""
    return (b.norm if c.norm_layer == "layernorm" else b.rms_norm)(x, name, c.norm_eps)


def layer_scale_entries(name: str, c: Config, exists: bool) -> Iterator[Entry]:
    if exists:
        yield Entry(f"{name}.gamma", (c.embed_dim,), constant(c.init_values or 0))


def branch(b: Builder, y: Value, i: int, name: str, number: str, c: Config, scaled: bool) -> Value:
    """What a branch of block i gives, through its layer scale and drop path."""
    y = b.affine(y, f"{name}ls{number}.gamma") if scaled else y
    rate = c.drop_path_rate * i / max(c.depth - 1, 1)
    return b.drop_path(y, rate, f"{name}drop_path{number}")


# ------------------------------------------------------------------------------------- attention


def head_norm_entries(name: str, c: Config) -> Iterator[Entry]:
    size = c.head_dim // 2 if c.differential else c.head_dim
    for part in ("q_norm", "k_norm") if c.qk_norm else ():
        yield from norm_entries(f"{name}.{part}", size, c)


def head_norms(b: Builder, qkv: Value, name: str, c: Config) -> Value:
    """(N, 3D) -> (N, 3D): the queries and keys of each head normalised."""
    if not c.qk_norm:
        return qkv
    q, k, v = (b.columns(qkv, part * c.embed_dim, c.embed_dim) for part in range(3))
    q, k = norm(b, q, f"{name}.q_norm", c), norm(b, k, f"{name}.k_norm", c)
    return b.concat(b.concat(q, k), v)


def lambda_entries(name: str, c: Config) -> Iterator[Entry]:
    for part in ("q1", "k1", "q2", "k2"):
        yield Entry(f"{name}.lambda_{part}", (c.head_dim // 2,), normal(0.1))


def sub_norm_entries(name: str, c: Config) -> Iterator[Entry]:
    yield Entry(f"{name}.sub_norm.weight", (2 * (c.head_dim // 2),), constant(1))


def dropped(name: str, c: Config) -> dict[str, Any]:
    """What an attention drops of its probabilities, as it is told."""
    return dict(rate=c.attn_drop_rate, site=f"{name}.attn_drop")


def differential(b: Builder, qkv: Value, name: str, i: int, c: Config) -> Value:
    """(N, 3D) -> (N, D): differential attention of block i (Ye et al. 2024)."""
    init = 0.8 - 0.6 * math.exp(-0.3 * i)
    x = b.attention(qkv, c.num_heads, maps=2, **dropped(name, c))
    x = b.differential(x, name, c.num_heads, init)
    return b.scale(b.rms_norm(x, f"{name}.sub_norm", 1e-5), 1 - init)


def attention_entries(name: str, c: Config) -> Iterator[Entry]:
    dim, differs = c.embed_dim, c.attn_layer == "diff"
    if differs:
        yield from lambda_entries(name, c)
    yield from linear_entries(f"{name}.qkv", dim, 3 * dim, c.qkv_bias)
    yield from head_norm_entries(name, c)
    if c.scale_attn_norm:
        yield from norm_entries(f"{name}.norm", dim, c)
    yield from linear_entries(f"{name}.proj", dim, dim, c.proj_bias)
    if differs:
        yield from sub_norm_entries(name, c)


def attention(b: Builder, x: Value, name: str, i: int, c: Config) -> Value:
    """(N, D) -> (N, D): multi-head self-attention of block i."""
    qkv = head_norms(b, b.linear(x, f"{name}.qkv"), name, c)
    if c.attn_layer == "diff":
        x = differential(b, qkv, name, i, c)
    else:
        x = b.attention(qkv, c.num_heads, **dropped(name, c))
    x = norm(b, x, f"{name}.norm", c) if c.scale_attn_norm else x
    return b.dropout(b.linear(x, f"{name}.proj"), c.proj_drop_rate, f"{name}.proj_drop")


# ------------------------------------------------------------------------------------- mlp


def mlp_entries(name: str, c: Config) -> Iterator[Entry]:
    dim, hidden = c.embed_dim, c.hidden
    inner = hidden // 2 if c.mlp_layer == "SwiGLUPacked" else hidden
    if c.mlp_layer == "SwiGLU":
        yield from gate_entries(f"{name}.fc1_g", dim, hidden, c.proj_bias, gate=hidden)
        yield from linear_entries(f"{name}.fc1_x", dim, hidden, c.proj_bias)
    else:
        yield from gate_entries(f"{name}.fc1", dim, hidden, c.proj_bias, gate=hidden - inner)
    if c.scale_mlp_norm:
        yield from norm_entries(f"{name}.norm", inner, c)
    yield from linear_entries(f"{name}.fc2", inner, dim, c.proj_bias)


def gate_entries(name: str, fan_in: int, fan_out: int, bias: bool, gate: int) -> Iterator[Entry]:
    """A linear layer of which the last `gate` outputs are a gate."""
    for entry in linear_entries(name, fan_in, fan_out, bias):
        yield entry._replace(gate=gate)


def mlp(b: Builder, x: Value, name: str, c: Config) -> Value:
    """(N, D) -> (N, hidden) -> (N, D)."""
    if c.mlp_layer == "SwiGLU":
        gate, x = b.linear(x, f"{name}.fc1_g"), b.linear(x, f"{name}.fc1_x")
        x = b.multiply(b.activation(gate, c.act_layer), x)
    elif c.mlp_layer == "SwiGLUPacked":
        x, half = b.linear(x, f"{name}.fc1"), c.hidden // 2
        gate = b.activation(b.columns(x, 0, half), c.act_layer)
        x = b.multiply(gate, b.columns(x, half, half))
    else:
        x = b.activation(b.linear(x, f"{name}.fc1"), c.act_layer)
    x = b.dropout(x, c.proj_drop_rate, f"{name}.drop1")
    x = norm(b, x, f"{name}.norm", c) if c.scale_mlp_norm else x
    return b.dropout(b.linear(x, f"{name}.fc2"), c.proj_drop_rate, f"{name}.drop2")


# ------------------------------------------------------------------------------------- pooling


def attention_pool_entries(c: Config) -> Iterator[Entry]:
    """Of the pools "map"; "prr" has none."""
    if c.global_pool != "map":
        return
    dim, name = c.embed_dim, "attn_pool"
    yield Entry(f"{name}.latent", (1, 1, dim), normal(dim**-0.5, cut=2))
    yield from linear_entries(f"{name}.q", dim, dim)
    yield from linear_entries(f"{name}.kv", dim, 2 * dim)
    yield from linear_entries(f"{name}.proj", dim, dim)
    yield from norm_entries(f"{name}.norm", dim, c)
    yield from linear_entries(f"{name}.mlp.fc1", dim, c.pool_hidden)
    yield from linear_entries(f"{name}.mlp.fc2", c.pool_hidden, dim)


def attention_pool(b: Builder, x: Value, c: Config) -> Value:
    """(N, D) -> (1, D): what a learned query finds in the tokens (Zhai et al. 2022)."""
    name = "attn_pool"
    q, kv = b.linear(b.parameter(f"{name}.latent"), f"{name}.q"), b.linear(x, f"{name}.kv")
    x = b.linear(b.cross_attention(q, kv, c.pool_heads), f"{name}.proj")
    y = b.activation(b.linear(norm(b, x, f"{name}.norm", c), f"{name}.mlp.fc1"), c.pool_act)
    return b.add(x, b.linear(y, f"{name}.mlp.fc2"))


def refined(b: Builder, x: Value, c: Config) -> Value:
    """(N, D) -> (N, D), or (1, D) of the class token: self-attention without parameters, the tokens
    being q, k and v."""
    queries = b.select(x, 0, 1) if c.class_token else x
    return b.cross_attention(queries, b.concat(x, x), c.num_heads)


def reduced(b: Builder, x: Value, c: Config) -> Value:
    """(N, D) -> (1, D), or (N, D) without pooling."""
    if c.global_pool == "avgmax":
        return b.scale(b.add(b.pool_max(x), b.pool(x)), 0.5)
    if c.global_pool == "max":
        return b.pool_max(x)
    return b.pool(x) if c.global_pool == "avg" else x


def pool(b: Builder, x: Value, prefix: int, patches: int, c: Config) -> Value:
    """(P+N, D) -> (1, D), for "token_avg" (1, 2D), or (P+N, D) without pooling."""
    if c.global_pool == "prr":
        x = refined(b, x, c)
        return x if c.class_token else b.pool(x)
    if c.global_pool == "token":
        return b.select(x, 0, 1)
    if c.global_pool == "token_avg":  # side by side
        return b.concat(b.select(x, 0, 1), b.pool(b.select(x, prefix, patches)))
    if c.global_pool and prefix and not c.pool_include_prefix:
        x = b.select(x, prefix, patches)
    if c.global_pool == "map":
        return attention_pool(b, x, c)
    return reduced(b, x, c)
