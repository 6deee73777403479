"""The Vision Transformer (Dosovitskiy et al. 2021), with timm's parameter names and arguments."""

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from vitc.arrays import Array
from vitc.models.init import Row, constant, normal, uniform
from vitc.models.model import Model
from vitc.program import Builder, Program, Value, with_attention_probs
from vitc.tape import no_grad


@dataclass(frozen=True)
class Config:
    """The arguments of a Vision Transformer, under timm's names; `ValueError` for bad ones."""

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    in_chans: int = 3
    num_classes: int = 1000  # 0: no head, the output is the feature vector
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_rate: float = 0.0  # before the head
    pos_drop_rate: float = 0.0  # after the position embedding
    proj_drop_rate: float = 0.0  # after attn.proj and after both layers of the mlp
    drop_path_rate: float = 0.0  # of the last block; the blocks before rise to it from 0

    def __post_init__(self) -> None:
        for name in ("in_chans", "embed_dim", "depth", "num_heads", "hidden"):
            _at_least(name, getattr(self, name), 1)
        _at_least("num_classes", self.num_classes, 0)
        for name in ("drop_rate", "pos_drop_rate", "proj_drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected 0 <= {name} < 1")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if self.num_patches == 0:
            raise ValueError(
                f"img_size {self.img_size} is smaller than patch_size {self.patch_size}"
            )

    @property
    def image(self) -> tuple[int, int]:
        return _pair("img_size", self.img_size)

    @property
    def patch(self) -> tuple[int, int]:
        return _pair("patch_size", self.patch_size)

    @property
    def hidden(self) -> int:
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def grid(self) -> tuple[int, int]:
        (height, width), (ph, pw) = self.image, self.patch
        return height // ph, width // pw

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def draws(self) -> bool:
        """Whether anything is dropped in training mode."""
        return self != self.without_dropout()

    def without_dropout(self) -> "Config":
        return replace(
            self, drop_rate=0.0, pos_drop_rate=0.0, proj_drop_rate=0.0, drop_path_rate=0.0
        )


def _pair(name: str, size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"{name} is {size!r}, expected a number or (height, width)")
    for side in pair:
        _at_least(name, side, 1)
    return pair


def _at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more")


# ------------------------------------------------------------------------------------- parameters


def linear_rows(name: str, fan_in: int, fan_out: int, bias: bool = True) -> Iterator[Row]:
    yield Row(f"{name}.weight", (fan_out, fan_in), normal(0.02))
    if bias:
        yield Row(f"{name}.bias", (fan_out,), constant(0))


def norm_rows(name: str, dim: int) -> Iterator[Row]:
    yield Row(f"{name}.weight", (dim,), constant(1))
    yield Row(f"{name}.bias", (dim,), constant(0))


def block_rows(name: str, c: Config) -> Iterator[Row]:
    yield from norm_rows(f"{name}.norm1", c.embed_dim)
    yield from linear_rows(f"{name}.attn.qkv", c.embed_dim, 3 * c.embed_dim, c.qkv_bias)
    yield from linear_rows(f"{name}.attn.proj", c.embed_dim, c.embed_dim)
    yield from norm_rows(f"{name}.norm2", c.embed_dim)
    yield from linear_rows(f"{name}.mlp.fc1", c.embed_dim, c.hidden)
    yield from linear_rows(f"{name}.mlp.fc2", c.hidden, c.embed_dim)


def trunk_rows(c: Config, prefix: tuple[str, ...]) -> Iterator[Row]:
    """Everything but the heads. prefix: the tokens before the patches, class token first."""
    tokens, dim, (ph, pw) = len(prefix) + c.num_patches, c.embed_dim, c.patch
    fan_in = c.in_chans * ph * pw
    yield Row(prefix[0], (1, 1, dim), normal(1e-6))
    yield Row("pos_embed", (1, tokens, dim), normal(0.02))
    for name in prefix[1:]:
        yield Row(name, (1, 1, dim), normal(0.02))
    yield Row("patch_embed.proj.weight", (dim, c.in_chans, ph, pw), uniform(fan_in))
    yield Row("patch_embed.proj.bias", (dim,), uniform(fan_in))
    for i in range(c.depth):
        yield from block_rows(f"blocks.{i}", c)
    yield from norm_rows("norm", dim)


# ------------------------------------------------------------------------------------- forward pass


def attention(b: Builder, x: Value, name: str, c: Config) -> Value:
    """(N, D) -> (N, D): multi-head self-attention."""
    x = b.attention(b.linear(x, f"{name}.qkv"), c.num_heads)
    return b.dropout(b.linear(x, f"{name}.proj"), c.proj_drop_rate, f"{name}.proj_drop")


def mlp(b: Builder, x: Value, name: str, c: Config) -> Value:
    """(N, D) -> (N, hidden) -> (N, D)."""
    x = b.dropout(b.gelu(b.linear(x, f"{name}.fc1")), c.proj_drop_rate, f"{name}.drop1")
    return b.dropout(b.linear(x, f"{name}.fc2"), c.proj_drop_rate, f"{name}.drop2")


def block(b: Builder, x: Value, i: int, c: Config) -> Value:
    """x + attn(norm1(x)), then x + mlp(norm2(x)): (N, D) -> (N, D)."""
    name = f"blocks.{i}"
    drop = c.drop_path_rate * i / max(c.depth - 1, 1)
    y = attention(b, b.norm(x, f"{name}.norm1"), f"{name}.attn", c)
    x = b.add(x, b.drop_path(y, drop, f"{name}.drop_path1"))
    y = mlp(b, b.norm(x, f"{name}.norm2"), f"{name}.mlp", c)
    return b.add(x, b.drop_path(y, drop, f"{name}.drop_path2"))


def features(b: Builder, image: Value, c: Config) -> Value:
    """(C, H, W) -> (P+N, D): the tokens after the last norm."""
    x = b.linear(b.patchify(image, c.patch), "patch_embed.proj")
    x = b.dropout(b.tokens(x), c.pos_drop_rate, "pos_drop")
    for i in range(c.depth):
        x = block(b, x, i, c)
    return b.norm(x, "norm")


def head(b: Builder, x: Value, c: Config, pre_logits: bool) -> tuple[Value, ...]:
    """(P+N, D) -> (1, K): the class token, through the head if there is one."""
    x = b.dropout(b.select(x, 0, 1), c.drop_rate, "head_drop")
    return (x if pre_logits or not c.num_classes else b.linear(x, "head"),)


# ------------------------------------------------------------------------------------- the model


class VisionTransformer(Model):
    """A Vision Transformer whose output is read from the class token.

    config: the arguments. pretrained_cfg: what timm publishes with the architecture (input size,
    mean, std, crop_pct, interpolation), of which `default_cfg` is the version for this model's
    image size.
    """

    prefix: tuple[str, ...] = ("cls_token",)
    heads: tuple[str, ...] = ("head",)

    def __init__(
        self,
        config: Config,
        name: str = "vision_transformer",
        pretrained_cfg: dict[str, Any] | None = None,
        dtype: str = "float32",
    ) -> None:
        self.name, self.config = name, config
        self.pretrained_cfg = dict(pretrained_cfg or {})
        super().__init__(self.rows(config), dtype)

    @classmethod
    def rows(cls, c: Config) -> list[Row]:
        """The parameters of such a model, in the order of its state dict."""
        rows = list(trunk_rows(c, cls.prefix))
        for name in cls.heads if c.num_classes else ():
            rows += linear_rows(name, c.embed_dim, c.num_classes)
        return rows

    # ------------------------------------------------------------------------------- running

    def forward(self, x: Any) -> Any:
        """Images (batch, C, H, W) -> logits (batch, num_classes)."""
        return self._outputs("forward", x)

    def forward_features(self, x: Any) -> Any:
        """Images (batch, C, H, W) -> tokens (batch, P+N, D), after the last norm."""
        return self._outputs("features", x)

    def forward_head(self, x: Any, pre_logits: bool = False) -> Any:
        """Tokens (batch, P+N, D) -> logits, or the feature vectors (batch, D) before the head."""
        return self._outputs("pre_logits" if pre_logits else "head", x)

    def attention_maps(self, x: Any) -> Array:
        """Images -> attention probabilities (batch, depth, heads, P+N, P+N), queries by keys."""
        c = self.config
        program = self._program(
            ("attention",), lambda: with_attention_probs(self._build("features", draws=False))
        )
        with no_grad():
            maps = self._run(program, x)
        shape = (len(maps[0]), 1, c.num_heads, -1, maps[0].shape[-1])
        return np.concatenate([np.asarray(m).reshape(shape) for m in maps], axis=1)

    def _outputs(self, part: str, x: Any) -> Any:
        draws = self.training and self.config.draws
        outputs = self._run(self._part(part, draws), x, draws=draws)
        return outputs[0] if len(outputs) == 1 else outputs

    def _part(self, part: str, draws: bool) -> Program:
        """The program of one part of the forward pass, built the first time."""
        key = (part, draws, self._head_mode())
        return self._program(key, lambda: self._build(part, draws))

    def _forward_program(self, training: bool) -> Program:
        return self._part("forward", training and self.config.draws)

    def _head_mode(self) -> bool:
        """What else, besides dropout, the head depends on."""
        return False

    def _build(self, part: str, draws: bool) -> Program:
        """The program of one part of the forward pass; draws: with dropout and drop path."""
        c = self.config if draws else self.config.without_dropout()
        b = Builder(self.shapes)
        if part in ("forward", "features"):
            x = features(b, b.input((c.in_chans, *c.image)), c)
        else:
            x = b.input((len(self.prefix) + c.num_patches, c.embed_dim))
        if part == "features":
            return b.finish(x)
        return b.finish(*self._head(b, x, c, pre_logits=part == "pre_logits"), vector=True)

    def _head(self, b: Builder, x: Value, c: Config, pre_logits: bool) -> tuple[Value, ...]:
        return head(b, x, c, pre_logits)

    # ------------------------------------------------------------------------------- description

    @property
    def embed_dim(self) -> int:
        return self.config.embed_dim

    num_features = head_hidden_size = embed_dim

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.config.grid

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    @property
    def num_prefix_tokens(self) -> int:
        return len(self.prefix)

    @property
    def default_cfg(self) -> dict[str, Any]:
        """`pretrained_cfg` for this model: its image size and classes, mean and std per channel."""
        c, cfg = self.config, dict(self.pretrained_cfg)
        for name in ("mean", "std"):
            given = cfg.get(name, (0.5,))
            cfg[name] = (
                given if len(given) == c.in_chans else (sum(given) / len(given),) * c.in_chans
            )
        return {**cfg, "input_size": (c.in_chans, *c.image), "num_classes": c.num_classes}

    def no_weight_decay(self) -> Set[str]:
        """The names timm exempts from weight decay (besides biases and norms)."""
        return {"pos_embed", *self.prefix}

    def get_classifier(self) -> Any:
        """The head, or the pair of heads; None without classes."""
        found = tuple(self._layers.child(name) for name in self.heads)
        return found[0] if len(found) == 1 else found

    def reset_classifier(self, num_classes: int) -> Self:
        """Gives the model a fresh head (0: none), drawn as torch's linear layer is.

        The table of parameters is made anew, so do it before making an optimizer.
        """
        self.config = replace(self.config, num_classes=num_classes)
        trunk = {k: p for k, p in self.named_parameters() if k.split(".")[0] not in self.heads}
        fresh = uniform(self.config.embed_dim)
        rows = [r if r.name in trunk else r._replace(draw=fresh) for r in self.rows(self.config)]
        self._adopt(rows, self.params.dtype, trunk)
        return self

    def _described(self) -> str:
        c = self.config
        size = " x ".join(map(str, (c.in_chans, *c.image)))
        return f"{self.name}, input {size}, {c.num_classes} classes"
