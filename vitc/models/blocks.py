"""The blocks of Vision Transformers, under timm's names: parameters and forward pass of each."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from vitc.models import eva_blocks, rel_pos_blocks
from vitc.models.config import Config
from vitc.models.init import Entry, constant
from vitc.models.layers import (
    attention,
    attention_entries,
    branch,
    differential,
    dropped,
    head_norm_entries,
    head_norms,
    lambda_entries,
    layer_scale_entries,
    linear_entries,
    mlp,
    mlp_entries,
    norm,
    norm_entries,
    sub_norm_entries,
)
from vitc.program import Builder, Value

# ------------------------------------------------------------------------------------- Block


def block_entries(name: str, c: Config) -> Iterator[Entry]:
    yield from norm_entries(f"{name}norm1", c.embed_dim, c)
    yield from attention_entries(f"{name}attn", c)
    yield from layer_scale_entries(f"{name}ls1", c, bool(c.init_values))
    yield from norm_entries(f"{name}norm2", c.embed_dim, c)
    yield from mlp_entries(f"{name}mlp", c)
    yield from layer_scale_entries(f"{name}ls2", c, bool(c.init_values))


def block(b: Builder, x: Value, i: int, name: str, c: Config) -> Value:
    """x + attn(norm1(x)), then x + mlp(norm2(x)): (N, D) -> (N, D)."""
    scaled = bool(c.init_values)
    y = attention(b, norm(b, x, f"{name}norm1", c), f"{name}attn", i, c)
    x = b.add(x, branch(b, y, i, name, "1", c, scaled))
    y = mlp(b, norm(b, x, f"{name}norm2", c), f"{name}mlp", c)
    return b.add(x, branch(b, y, i, name, "2", c, scaled))


# ------------------------------------------------------------------------------------- ResPostBlock


def post_norm_entries(name: str, c: Config) -> Iterator[Entry]:
    start = 1 if c.init_values is None else c.init_values
    yield from attention_entries(f"{name}attn", c)
    yield from norm_entries(f"{name}norm1", c.embed_dim, c, start)
    yield from mlp_entries(f"{name}mlp", c)
    yield from norm_entries(f"{name}norm2", c.embed_dim, c, start)


def post_norm(b: Builder, x: Value, i: int, name: str, c: Config) -> Value:
    """x + norm1(attn(x)), then x + norm2(mlp(x)): (N, D) -> (N, D)."""
    y = norm(b, attention(b, x, f"{name}attn", i, c), f"{name}norm1", c)
    x = b.add(x, branch(b, y, i, name, "1", c, scaled=False))
    y = norm(b, mlp(b, x, f"{name}mlp", c), f"{name}norm2", c)
    return b.add(x, branch(b, y, i, name, "2", c, scaled=False))


# ------------------------------------------------------------------------- ParallelScalingBlock

# Attention and mlp side by side: one product gives mlp | q | k | v (Dehghani et al. 2023).


def in_entries(name: str, c: Config) -> Iterator[Entry]:
    yield from norm_entries(f"{name}in_norm", c.embed_dim, c)
    yield from linear_entries(
        f"{name}in_proj", c.embed_dim, c.hidden + 3 * c.embed_dim, bias=c.qkv_bias
    )
    yield from head_norm_entries(name.removesuffix("."), c)


def mlp_bias_entries(name: str, c: Config) -> Iterator[Entry]:
    if not c.qkv_bias:
        yield Entry(f"{name}mlp_bias", (c.hidden,), constant(0))


def taken_in(b: Builder, x: Value, name: str, c: Config) -> tuple[Value, Value]:
    """(N, D) -> the activated hidden layer (N, hidden), and q | k | v (N, 3D)."""
    y = b.linear(norm(b, x, f"{name}in_norm", c), f"{name}in_proj")
    hidden = b.columns(y, 0, c.hidden)
    hidden = hidden if c.qkv_bias else b.affine(hidden, bias=f"{name}mlp_bias")
    hidden = b.activation(hidden, c.act_layer)
    hidden = b.dropout(hidden, c.proj_drop_rate, f"{name}mlp_drop")
    qkv = b.columns(y, c.hidden, 3 * c.embed_dim)
    return hidden, head_norms(b, qkv, name.removesuffix("."), c)


def parallel_entries(name: str, c: Config) -> Iterator[Entry]:
    yield from mlp_bias_entries(name, c)
    yield from in_entries(name, c)
    yield from linear_entries(f"{name}attn_out_proj", c.embed_dim, c.embed_dim, c.proj_bias)
    yield from linear_entries(f"{name}mlp_out_proj", c.hidden, c.embed_dim, c.proj_bias)
    yield from layer_scale_entries(f"{name}ls", c, c.init_values is not None)


def parallel(b: Builder, x: Value, i: int, name: str, c: Config) -> Value:
    """x + (attn + mlp)(in_norm(x)): (N, D) -> (N, D)."""
    hidden, qkv = taken_in(b, x, name, c)
    y = b.attention(qkv, c.num_heads, **dropped(name.removesuffix("."), c))
    y = b.linear(y, f"{name}attn_out_proj")
    y = b.add(y, b.linear(hidden, f"{name}mlp_out_proj"))
    return b.add(x, branch(b, y, i, name, "", c, c.init_values is not None))


def diff_parallel_entries(name: str, c: Config) -> Iterator[Entry]:
    yield from mlp_bias_entries(name, c)
    yield from lambda_entries(name.removesuffix("."), c)
    yield from in_entries(name, c)
    yield from sub_norm_entries(name.removesuffix("."), c)
    yield from linear_entries(f"{name}out_proj", c.embed_dim + c.hidden, c.embed_dim, c.proj_bias)
    yield from layer_scale_entries(f"{name}ls", c, c.init_values is not None)


def diff_parallel(b: Builder, x: Value, i: int, name: str, c: Config) -> Value:
    """The same with differential attention, and one product out of both."""
    hidden, qkv = taken_in(b, x, name, c)
    y = differential(b, qkv, name.removesuffix("."), i, c)
    y = b.linear(b.concat(y, hidden), f"{name}out_proj")
    return b.add(x, branch(b, y, i, name, "", c, c.init_values is not None))


# ------------------------------------------------------------------------- ParallelThingsBlock

# Two attentions of the same input, then two mlps (Touvron et al. 2022).


def things_entries(name: str, c: Config) -> Iterator[Entry]:
    for j in range(2):
        yield from norm_entries(f"{name}attns.{j}.norm", c.embed_dim, c)
        yield from attention_entries(f"{name}attns.{j}.attn", c)
        yield from layer_scale_entries(f"{name}attns.{j}.ls", c, bool(c.init_values))
    for j in range(2):
        yield from norm_entries(f"{name}ffns.{j}.norm", c.embed_dim, c)
        yield from mlp_entries(f"{name}ffns.{j}.mlp", c)
        yield from layer_scale_entries(f"{name}ffns.{j}.ls", c, bool(c.init_values))


def things(b: Builder, x: Value, i: int, name: str, c: Config) -> Value:
    """x + the attentions of x, then x + the mlps of x: (N, D) -> (N, D)."""

    def both(part: str, inner: Callable[[Value, str], Value]) -> Value:
        total = x
        for j in range(2):
            own = f"{name}{part}.{j}."
            y = inner(norm(b, x, f"{own}norm", c), own)
            total = b.add(total, branch(b, y, i, own, "", c, bool(c.init_values)))
        return total

    x = both("attns", lambda y, own: attention(b, y, f"{own}attn", i, c))
    return both("ffns", lambda y, own: mlp(b, y, f"{own}mlp", c))


class BlockType(NamedTuple):
    """What a kind of block has, name being with the dot at its end.

    shared: what all blocks of a program read, made once and given to forward under this name.
    """

    entries: Callable[[str, Any], Iterator[Entry]]
    forward: Callable[..., Value]
    shared_entries: Callable[[Any], Iterator[Entry]] | None = None
    shared: Callable[[Builder, Any], Any] | None = None

    def steps(self, b: Builder, c: Config) -> Callable[..., Value]:
        """The blocks of one program: forward, with what they share."""
        return partial(self.forward, shared=self.shared(b, c)) if self.shared else self.forward


BLOCK_TYPES = {
    "Block": BlockType(block_entries, block),
    "ResPostBlock": BlockType(post_norm_entries, post_norm),
    "ParallelScalingBlock": BlockType(parallel_entries, parallel),
    "DiffParallelScalingBlock": BlockType(diff_parallel_entries, diff_parallel),
    "ParallelThingsBlock": BlockType(things_entries, things),
    "EvaBlock": BlockType(
        eva_blocks.block_entries, eva_blocks.block, eva_blocks.rope_entries, eva_blocks.turning
    ),
    "EvaBlockPostNorm": BlockType(
        eva_blocks.post_norm_entries,
        eva_blocks.post_norm,
        eva_blocks.rope_entries,
        eva_blocks.turning,
    ),
    "BeitBlock": BlockType(
        rel_pos_blocks.beit_entries,
        rel_pos_blocks.beit,
        rel_pos_blocks.beit_shared_entries,
        rel_pos_blocks.beit_shared,
    ),
    "RelPosBlock": BlockType(
        rel_pos_blocks.rel_pos_entries,
        rel_pos_blocks.rel_pos,
        rel_pos_blocks.shared_bias_entries,
        rel_pos_blocks.shared_bias,
    ),
    "ResPostRelPosBlock": BlockType(
        rel_pos_blocks.post_norm_entries,
        rel_pos_blocks.post_norm,
        rel_pos_blocks.shared_bias_entries,
        rel_pos_blocks.shared_bias,
    ),
}
