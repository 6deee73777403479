"""The Vision Transformer (Dosovitskiy et al. 2021), with timm's parameter names and arguments."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from typing import Any, Self

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.errors import shown
from vitc.models.adapt import adapted
from vitc.models.blocks import BLOCK_TYPES
from vitc.models.config import POOLS, Config
from vitc.models.init import Entry, in_mode, initial, normal, uniform
from vitc.models.int8 import int8_entries
from vitc.models.layers import attention_pool_entries, linear_entries, norm, norm_entries, pool
from vitc.models.linear import Linear
from vitc.models.masks import NO_MASK, Masking, masked, masking
from vitc.models.model import Model, Start
from vitc.parameters import Facts, Identity, Layer, Parameter
from vitc.program import Builder, Program, Value, with_attention_probs
from vitc.tape import clock, no_grad

Grid = tuple[int, int]  # rows and columns of patches
Size = int | tuple[int, int]

# ------------------------------------------------------------------------------------- parameters


def trunk_entries(c: Config, distilled: bool = False) -> Iterator[Entry]:
    """Everything but the heads. distilled: there is a second token for distillation."""
    dim, (ph, pw) = c.embed_dim, c.patch
    fan_in = c.in_chans * ph * pw
    if c.class_token:
        yield Entry("cls_token", (1, 1, dim), normal(1e-6))
    if c.reg_tokens:
        yield Entry("reg_token", (1, c.reg_tokens, dim), normal(1e-6))
    if c.has_positions:
        prefix = 0 if c.no_embed_class else c.class_token + distilled + c.reg_tokens
        yield Entry("pos_embed", (1, prefix + c.num_patches, dim), normal(0.02))
    if distilled:
        yield Entry("dist_token", (1, 1, dim), normal(0.02))
    yield Entry("patch_embed.proj.weight", (dim, c.in_chans, ph, pw), uniform(fan_in))
    if not c.pre_norm:
        yield Entry("patch_embed.proj.bias", (dim,), uniform(fan_in))
    yield from outer_norm_entries(c, "patch_embed.norm")
    block = BLOCK_TYPES[c.block_fn]
    if block.shared_entries:
        yield from block.shared_entries(c)
    yield from outer_norm_entries(c, "norm_pre")
    for i in range(c.depth):
        yield from block.entries(f"blocks.{i}.", c)
    yield from outer_norm_entries(c, "norm")
    yield from attention_pool_entries(c)
    yield from outer_norm_entries(c, "fc_norm")


def outer_norms(c: Config) -> dict[str, Config | None]:
    """The norms outside of the blocks: None where there is none, else how it is made."""
    eps = c.norm_eps if c.embed_norm_eps is None else c.embed_norm_eps
    embed = c.embed_norm_layer and replace(c, norm_layer=c.embed_norm_layer, norm_eps=eps)
    return {
        "patch_embed.norm": embed or None,
        "norm_pre": c if c.pre_norm else None,
        "norm": c if c.has_norm else None,
        "fc_norm": c if c.has_fc_norm else None,
    }


def outer_norm_entries(c: Config, *names: str) -> Iterator[Entry]:
    for name in names:
        if own := outer_norms(c)[name]:
            yield from norm_entries(name, c.embed_dim, own)


# ------------------------------------------------------------------------------------- forward pass

PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")


def outer_norm(b: Builder, x: Value, name: str, c: Config) -> Value:
    """(N, D) -> (N, D): the norm of this name, if there is one."""
    own = outer_norms(c)[name]
    return norm(b, x, name, own) if own else x


def embedded(b: Builder, image: Value, c: Config, stored: Grid) -> Value:
    """(C, H, W) -> (P+N, D): the tokens before the first block. stored: the grid of the table of
    positions, which may be another one than that of the image."""
    x = b.linear(b.patchify(image, c.patch), "patch_embed.proj")
    x = outer_norm(b, x, "patch_embed.norm", c)
    x = positioned(b, x, c, stored) if c.has_positions and stored != c.grid else b.tokens(x)
    x = b.dropout(x, c.pos_drop_rate, "pos_drop")
    if c.patch_drop_rate:
        prefix = sum(b.shapes[name][1] for name in PREFIX_TOKENS if name in b.shapes)
        x = b.patch_drop(x, prefix, c.kept(c.num_patches), "patch_drop")
    return outer_norm(b, x, "norm_pre", c)


def positioned(b: Builder, x: Value, c: Config, stored: Grid) -> Value:
    """(N, D) -> (P+N, D): `tokens`, with the positions resampled from the stored grid."""
    table = b.parameter("pos_embed")
    prefix = b.shapes["pos_embed"][1] - stored[0] * stored[1]
    table = b.resample(table, prefix, stored, c.grid)
    if c.no_embed_class:
        return b.tokens(b.add(x, table), positions=False)
    return b.add(b.tokens(x, positions=False), table)


def blocks(b: Builder, x: Value, c: Config) -> Iterator[Value]:
    """(P+N, D): the tokens after each block."""
    b.border(x)
    step = BLOCK_TYPES[c.block_fn].steps(b, c)
    for i in range(c.depth):
        x = step(b, x, i, f"blocks.{i}.", c)
        b.border(x)
        yield x


def features(b: Builder, image: Value, c: Config, stored: Grid) -> Value:
    """(C, H, W) -> (P+N, D): the tokens after the last norm."""
    *_, x = blocks(b, embedded(b, image, c, stored), c)
    return outer_norm(b, x, "norm", c)


def head(b: Builder, x: Value, prefix: int, c: Config, pre_logits: bool) -> tuple[Value, ...]:
    """(P+N, D) -> (1, K): the pooled tokens, through the head if there is one."""
    x = outer_norm(b, pool(b, x, prefix, c.kept(c.num_patches), c), "fc_norm", c)
    x = b.dropout(x, c.drop_rate, "head_drop")
    return (x if pre_logits or not c.num_classes else b.linear(x, "head"),)


def chosen_blocks(depth: int, indices: int | Sequence[int] | None) -> tuple[int, ...]:
    """The blocks that timm's `indices` means, counted from 0: all, the last n, or these."""
    if indices is None:
        return tuple(range(depth))
    if not isinstance(indices, Iterable):
        count = checks.integer("indices", indices, 1, depth)
        return tuple(range(depth - count, depth))
    chosen = [checks.integer("indices", i, -depth, depth - 1) for i in indices]
    if not chosen:
        raise ValueError(f"indices is {shown(indices)}, expected one block or more")
    return tuple(sorted({i % depth for i in chosen}))


def as_dict(found: list[Any], prefix: bool, final: Any) -> dict[str, Any]:
    """What `forward_intermediates` found, under timm's names."""
    out = {"image_intermediates": [pair[0] for pair in found] if prefix else found}
    if prefix:
        out["image_intermediates_prefix"] = [pair[1] for pair in found]
    return out if final is None else {**out, "image_features": final}


# ------------------------------------------------------------------------------------- the model

Part = str | tuple[Any, ...]  # of the forward pass: what a program computes

# What timm's models have in the place of a layer or token that a model is without.
ABSENT: dict[str, type[Identity] | None] = {
    **dict.fromkeys(("norm_pre", "norm", "fc_norm", "head"), Identity),
    **dict.fromkeys(("attn_pool", "cls_token", "reg_token", "pos_embed"), None),
}
# What changes a part of a model, in place of an assignment.
_HEAD = (
    "reset_classifier() gives another head and pooling, a vitc.nn.Linear can be assigned to head"
)
_DEPTH = "prune_intermediate_layers() removes blocks and norms"
_SIZE = "set_input_size() changes the size of images and patches"
_SELF = "override it in a subclass"
INSTEAD = {
    **dict.fromkeys(("head", "head_dist", "num_classes", "global_pool", "attn_pool"), _HEAD),
    **dict.fromkeys(("blocks", "depth", "norm", "norm_pre", "fc_norm", "final_norm"), _DEPTH),
    **dict.fromkeys(("patch_embed", "img_size", "patch_size", "grid_size", "pos_embed"), _SIZE),
    **dict.fromkeys(("forward_features", "forward_head", "pool"), _SELF),
    **dict.fromkeys(("head_drop", "pos_drop", "patch_drop"), "create_model takes their rates"),
    **dict.fromkeys(("cls_token", "reg_token", "dist_token"), "the model has them or has not"),
    **dict.fromkeys(("config", "default_cfg"), "create_model makes a model of other arguments"),
}
ARGUMENTS = frozenset(field.name for field in fields(Config))


def layer_facts(c: Config, name: str) -> dict[str, Any]:
    """What timm's layers tell of themselves, besides the sizes of their weights."""
    if name == "patch_embed":
        return dict(
            img_size=c.image, patch_size=c.patch, grid_size=c.grid, num_patches=c.num_patches
        )
    scaling = "Scaling" in c.block_fn and re.fullmatch(r"blocks\.\d+", name)
    if scaling or re.fullmatch(r"blocks\.\d+\.(attns\.\d+\.)?attn", name):
        return dict(num_heads=c.num_heads, head_dim=c.head_dim, scale=c.head_dim**-0.5)
    if re.search(r"(^|[._])norm[^.]*$", name):
        return dict(eps=c.norm_eps)
    return {}


class VisionTransformer(Model):
    """A Vision Transformer.

    config: the arguments. pretrained_cfg: what timm publishes with the architecture (input size,
    mean, std, crop_pct, interpolation), of which `default_cfg` is the version for this model's
    image size. dtype, draw: of `Model`.
    """

    config_type: type[Config] = Config
    heads: tuple[str, ...] = ("head",)
    distilled = False  # a second token, for distillation

    def __init__(
        self,
        config: Config,
        name: str = "vision_transformer",
        pretrained_cfg: dict[str, Any] | None = None,
        dtype: str = "float32",
        draw: bool = True,
    ) -> None:
        self.name, self._config = name, config
        self.pretrained_cfg = dict(pretrained_cfg or {})
        super().__init__(self.entries(config), dtype, draw)

    @classmethod
    def entries(cls, c: Config) -> list[Entry]:
        """The parameters of such a model, in the order of its state dict."""
        entries = list(trunk_entries(c, cls.distilled))
        for name in cls.heads if c.num_classes else ():
            entries += linear_entries(name, c.head_width, c.num_classes)
        return in_mode(entries, c.weight_init, c.num_classes, c.fix_init)

    # ------------------------------------------------------------------------------- running

    def forward(self, x: Any, attn_mask: Any = None, is_causal: bool = False) -> Any:
        """Images (batch, C, H, W) -> logits (batch, num_classes).

        attn_mask: which tokens see which in all blocks, of a shape that broadcasts to (batch,
        heads, N, N), queries by keys, such as (N, N) or (batch, 1, 1, N): bool (True: is seen), or
        numbers that are added to the scores.
        is_causal: a token sees itself and those before it; wins over attn_mask.
        """
        x, image = self._sized(x)
        return self._outputs("forward", x, image, self._masking(x, image, attn_mask, is_causal))

    def forward_features(self, x: Any, attn_mask: Any = None, is_causal: bool = False) -> Any:
        """Images (batch, C, H, W) -> tokens (batch, P+N, D), after the last norm.

        attn_mask, is_causal: of `forward`.
        """
        x, image = self._sized(x)
        return self._outputs("features", x, image, self._masking(x, image, attn_mask, is_causal))

    def forward_head(self, x: Any, pre_logits: bool = False) -> Any:
        """Tokens (batch, P+N, D) -> logits, or the feature vectors (batch, D) before the head."""
        return self._outputs("pre_logits" if pre_logits else "head", x, self._image_of(x))

    def attention_maps(self, x: Any) -> Array:
        """Images -> attention probabilities (batch, attentions, heads, P+N, P+N), queries by keys.

        One attention per block (two in a ParallelThingsBlock), two heads for a differential one.
        """
        x, image = self._sized(x)
        program = self._program(
            ("attention", image),
            lambda: with_attention_probs(self._build("features", False, image)),
        )
        with no_grad():
            maps = self._run(program, x)
        tokens = maps[0].shape[-1]
        shape = (len(maps[0]), 1, -1, tokens, tokens)
        return np.concatenate([np.asarray(m).reshape(shape) for m in maps], axis=1)

    def forward_intermediates(
        self,
        x: Any,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        *,
        attn_mask: Any = None,
        is_causal: bool = False,
    ) -> Any:
        """Images -> (tokens after the last norm, what the chosen blocks give), or the latter alone.

        indices: of blocks; a number n for the last n; None for all. Of each block the patches as
        (batch, D, rows, columns) or, with output_fmt "NLC", as (batch, N, D), through which
        gradients are recorded; with return_prefix_tokens a pair with the other tokens. norm: after
        the last norm. stop_early: blocks behind the last chosen one are not run. `ValueError` for
        "NCHW" in training mode with a patch_drop_rate: the remaining patches do not form a grid.
        output_dict: a dict of "image_intermediates", with return_prefix_tokens
        "image_intermediates_prefix", and unless intermediates_only "image_features".
        attn_mask, is_causal: of `forward`.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt is {shown(output_fmt)}, expected 'NCHW' or 'NLC'")
        if output_fmt == "NCHW" and self.training and self.config.patch_drop_rate:
            raise ValueError(
                "patches are dropped in training mode and the rest does not form a grid: take "
                "output_fmt 'NLC' or call eval()"
            )
        taken = chosen_blocks(self.config.depth, indices)
        last = () if intermediates_only else (taken[-1] if stop_early else self.config.depth - 1,)
        x, image = self._sized(x)
        masking = self._masking(x, image, attn_mask, is_causal)
        tokens = self._outputs(("blocks", *taken, *last), x, image, masking, many=True)
        found = [
            self._split(y, image, norm, output_fmt, return_prefix_tokens)
            for y in tokens[: len(taken)]
        ]
        final = (
            None
            if intermediates_only
            else self._outputs("last norm", tokens[-1], self._image_of(tokens[-1]))
        )
        if output_dict:
            return as_dict(found, return_prefix_tokens and bool(self.num_prefix_tokens), final)
        return found if intermediates_only else (final, found)

    def get_intermediate_layers(
        self,
        x: Any,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        *,
        attn_mask: Any = None,
    ) -> list[Any]:
        """`forward_intermediates` under the name and with the arguments of DINO."""
        output_fmt = "NCHW" if reshape else "NLC"
        found: list[Any] = self.forward_intermediates(
            x,
            n,
            return_prefix_tokens,
            norm,
            output_fmt=output_fmt,
            intermediates_only=True,
            attn_mask=attn_mask,
        )
        return found

    def _split(self, tokens: Any, image: Grid, norm: bool, output_fmt: str, prefix: bool) -> Any:
        """Tokens (batch, P+N, D) -> the patches, or a pair of patches and prefix tokens."""
        patches, *rest = self._outputs(("split", norm), tokens, self._image_of(tokens), many=True)
        if output_fmt == "NCHW":
            rows, columns = (side // p for side, p in zip(image, self.config.patch, strict=True))
            patches = np.asarray(patches).reshape(len(patches), rows, columns, -1)
            patches = patches.transpose(0, 3, 1, 2)
        return (patches, rest[0]) if prefix and rest else patches

    def _sized(self, x: Any) -> tuple[Any, Grid]:
        """The images, padded if they are to be, and the size of each; that of the model unless it
        is dynamic. Raises `ValueError` for a size that is not a number of whole patches."""
        c = self.config
        shape: tuple[int, ...] = np.shape(x) if c.dynamic_img_size else ()
        if len(shape) != 4 or shape[1] != c.in_chans:
            return x, c.image  # what is wrong with it is reported where it is run
        image = (shape[2], shape[3])
        padded = self._padded(image)
        if padded == image:
            return x, image
        if not c.dynamic_img_pad:
            raise ValueError(
                f"images of {image[0]} x {image[1]}, expected multiples of the patch "
                f"{c.patch[0]} x {c.patch[1]} (dynamic_img_pad=True pads them)"
            )
        rest = [(0, new - old) for old, new in zip(image, padded, strict=True)]
        return np.pad(as_array(x), [(0, 0), (0, 0), *rest]), padded

    def _padded(self, image: Grid) -> Grid:
        """The next size of whole patches."""
        height, width = (-side % p for side, p in zip(image, self.config.patch, strict=True))
        return image[0] + height, image[1] + width

    def _image_of(self, tokens: Any) -> Grid:
        """A size of image that has as many patches as there are tokens."""
        c = self.config
        shape: tuple[int, ...] = np.shape(tokens)
        varies = c.dynamic_img_size or (self.training and c.patch_drop_rate)
        if not varies or len(shape) != 3 or shape[1] <= self.num_prefix_tokens:
            return c.image
        return c.patch[0], c.patch[1] * (shape[1] - self.num_prefix_tokens)

    def _masking(self, x: Any, image: Grid, attn_mask: Any, is_causal: bool) -> Masking:
        if attn_mask is None:
            return Masking(causal=bool(is_causal))
        c = replace(self.config, img_size=image)
        patches = c.kept(c.num_patches) if self.training else c.num_patches
        tokens = self.num_prefix_tokens + patches
        return masking(attn_mask, is_causal, len(x), c.num_heads, tokens)

    def _outputs(
        self, part: Part, x: Any, image: Grid, masking: Masking = NO_MASK, many: bool = False
    ) -> Any:
        draws = self.training and self.config.draws
        program = self._part(part, draws, image, masking)
        inputs = [x] if masking.bias is None else [x, masking.bias]
        outputs = self._run(program, *inputs, draws=draws)
        return outputs if many or len(outputs) > 1 else outputs[0]

    def _part(self, part: Part, draws: bool, image: Grid, masking: Masking = NO_MASK) -> Program:
        """The program of one part of the forward pass, built the first time."""
        key = (part, draws, self._head_mode(), image, masking.sets, masking.causal)
        return self._program(key, lambda: masked(self._build(part, draws, image), masking))

    def _forward_program(self, training: bool) -> Program:
        c = self.config
        image = self._padded(c.image) if c.dynamic_img_pad else c.image
        return self._part("forward", training and c.draws, image)

    def _head_mode(self) -> bool:
        """What else, besides dropout, the head depends on."""
        return False

    def _build(self, part: Part, draws: bool, image: Grid) -> Program:
        """The program of one part of the forward pass; draws: with dropout and drop path."""
        c = replace(self.config if draws else self.config.without_dropout(), img_size=image)
        b = Builder(self.shapes)
        if isinstance(part, tuple):
            vector = part[0] == "pool" and part[1] != ""
            return b.finish(*self._inner(b, part, c), vector=vector)
        if part in ("forward", "features"):
            x = features(b, b.input((c.in_chans, *c.image)), c, self.grid_size)
        else:
            c = replace(c, patch_drop_rate=0.0)  # of these tokens none is left out any more
            x = b.input((self.num_prefix_tokens + c.num_patches, c.embed_dim))
        if part == "last norm":
            x = outer_norm(b, x, "norm", c)
        if part in ("features", "last norm"):
            return b.finish(x)
        outputs = self._head(b, x, c, pre_logits=part == "pre_logits")
        return b.finish(*outputs, vector=c.global_pool != "")

    def _inner(self, b: Builder, part: tuple[Any, ...], c: Config) -> list[Value]:
        """("blocks", *indices): the tokens after these blocks, of which the last is the greatest.
        ("split", norm): the patches of a block's tokens, and the others if there are any.
        ("pool", global_pool): the pooled tokens."""
        if part[0] == "blocks":
            image = b.input((c.in_chans, *c.image))
            first = embedded(b, image, c, self.grid_size)
            tokens = list(islice(blocks(b, first, c), part[-1] + 1))
            return [tokens[i] for i in part[1:]]
        prefix = self.num_prefix_tokens
        x = b.input((prefix + c.num_patches, c.embed_dim))
        if part[0] == "pool":
            return [pool(b, x, prefix, c.num_patches, replace(c, global_pool=part[1]))]
        x = outer_norm(b, x, "norm", c) if part[1] else x
        rest = [b.select(x, 0, prefix)] if prefix else []
        return [b.select(x, prefix, c.num_patches), *rest]

    def _head(self, b: Builder, x: Value, c: Config, pre_logits: bool) -> tuple[Value, ...]:
        return head(b, x, self.num_prefix_tokens, c, pre_logits)

    # ------------------------------------------------------------------------------- its parts

    @property
    def config(self) -> Config:
        """The arguments as they are now."""
        return self._config

    def __getattr__(self, name: str) -> Any:
        """Parameters and layers; of those that timm has as well and this model does not, what timm
        has in their place."""
        if name in ABSENT and self._layers is not None and self._layers.child(name) is None:
            kind = ABSENT[name]
            return kind and kind()
        return super().__getattr__(name)

    def _facts(self) -> Facts:
        return partial(layer_facts, self.config)

    def _is_part(self, name: str) -> bool:
        return name in INSTEAD or name in ARGUMENTS or super()._is_part(name)

    def _instead(self, name: str) -> str:
        usual = "create_model takes it" if name in ARGUMENTS else super()._instead(name)
        return INSTEAD.get(name) or usual

    def _replace(self, name: str, value: Any) -> None:
        """Takes `vitc.nn.Linear` and `Identity` as a head, and the first blocks as the blocks."""
        if name in self.heads and isinstance(value, Identity):
            self.reset_classifier(0)
        elif name in self.heads and isinstance(value, Linear):
            self._take_head(name, value)
        elif name == "blocks" and self._are_first_blocks(value):
            self._rebuild(self._shortened(len(value)), self._remaining(len(value)))
        else:
            super()._replace(name, value)

    def _take_head(self, name: str, layer: Linear) -> None:
        classes = self.num_classes if len(self.heads) > 1 else layer.out_features
        if fault := self._fault_of_head(layer, classes):
            raise AttributeError(f"{layer!r} cannot be the {name}: {fault}; {self._instead(name)}")
        values = {f"{name}.{entry}": parameter for entry, parameter in layer.named_parameters()}
        others = dict(self.named_parameters()) if self.num_classes == classes else self._trunk()
        self._rebuild(replace(self.config, num_classes=classes), {**others, **values})
        layer.become(self, name)

    def _fault_of_head(self, layer: Linear, classes: int) -> str:
        """Why this cannot be a head; "" if it can."""
        if layer._prefix:
            return f"it is the {layer._prefix} of a model already"
        if (layer.in_features, layer.out_features) != (self.config.head_width, classes):
            return f"expected {self.config.head_width} -> {classes}"
        if "bias" not in layer.shapes:
            return "it has no bias"
        ours, its = self.params.dtype, layer.params.dtype
        return "" if ours == its else f"it is of {its}, the model of {ours}"

    def _are_first_blocks(self, value: Any) -> bool:
        """Whether these are blocks of this model from the first on."""
        if not isinstance(value, Layer | list | tuple) or not 0 < len(value) <= self.config.depth:
            return False
        return all(
            isinstance(block, Layer)
            and [*block.named_parameters()] == [*self.blocks[i].named_parameters()]
            for i, block in enumerate(value)
        )

    def pool(self, x: Any, pool_type: str | None = None) -> Any:
        """Tokens (batch, P+N, D) -> (batch, D), before `fc_norm`; as they are without pooling.

        pool_type: one of "", "token", "avg", "max", "avgmax" in place of the model's.
        """
        c = self.config
        if pool_type is not None and c.global_pool not in ("map", "prr"):
            checks.one_of("pool_type", pool_type, POOLS[:5])
        else:
            pool_type = c.global_pool
        return self._outputs(("pool", pool_type), x, self._image_of(x))

    # ------------------------------------------------------------------------------- description

    @property
    def in_chans(self) -> int:
        return self.config.in_chans

    @property
    def embed_dim(self) -> int:
        return self.config.embed_dim

    num_features = embed_dim

    @property
    def head_hidden_size(self) -> int:
        """Columns of what the head reads."""
        return self.config.head_width

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.config.grid

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    @property
    def num_prefix_tokens(self) -> int:
        return self.config.class_token + self.distilled + self.config.reg_tokens

    @property
    def num_positions(self) -> int:
        """Rows of the position table."""
        return self.shapes["pos_embed"][1] if self.config.has_positions else 0

    @property
    def num_reg_tokens(self) -> int:
        return self.config.reg_tokens

    @property
    def has_class_token(self) -> bool:
        return self.config.class_token

    @property
    def global_pool(self) -> str:
        return self.config.global_pool

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
        return {"pos_embed", "cls_token", "reg_token", "dist_token"} & set(self.shapes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that sort parameters into the stem and the blocks, for layer-wise decay.

        As in timm, the norms behind the blocks go with the last block.
        """
        return {
            "stem": r"^cls_token|reg_token|dist_token|pos_embed|patch_embed|norm_pre",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Of each block its name, the width of its tokens and the longer side of a patch."""
        c = self.config
        return [
            dict(module=f"blocks.{i}", num_chs=c.embed_dim, reduction=max(c.patch))
            for i in range(c.depth)
        ]

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Draws all parameters afresh, from the seed of `vitc.seed_everything` and their names.

        mode: "jax", "jax_nlhb", "moco", "reset", or "": that of the model's weight_init.
        needs_reset: timm's, of no effect here.
        """
        c = replace(self.config, weight_init=mode or self.config.weight_init)
        entries = self.entries(c)
        self.load_state_dict(
            {entry.name: initial(entry, clock.seed, self.params.dtype) for entry in entries}
        )

    def set_input_size(self, img_size: Size | None = None, patch_size: Size | None = None) -> None:
        """Other images or patches from now on, numbers or (height, width); None leaves them.

        Position embedding and patch kernel are resampled as `create_model` does for weights of
        another size. The table of parameters is rebuilt, so do it before making an optimizer.
        """
        c = self.config
        c = replace(
            c,
            img_size=c.img_size if img_size is None else img_size,
            patch_size=c.patch_size if patch_size is None else patch_size,
        )
        shapes = {entry.name: entry.shape for entry in self._entries_for(c)}
        state = adapted(
            self.state_dict(), shapes, grid=c.grid, stated=self.config.image,
            guessed=self.config.image, prefix=self.num_positions - self.config.num_patches,
            heads=self.heads,
        )  # fmt: skip
        self._rebuild(c, {n: Start(state[n], p.requires_grad) for n, p in self.named_parameters()})

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drops the blocks behind the last of these and, if asked to, the last norm and the head.

        indices: as in `forward_intermediates`. Returns them counted from 0.
        """
        prune_norm = checks.flag("prune_norm", prune_norm)
        prune_head = checks.flag("prune_head", prune_head)
        taken = list(chosen_blocks(self.config.depth, indices))
        c = self._pruned(self._shortened(taken[-1] + 1), prune_norm, prune_head)
        self._rebuild(c, self._remaining(c.depth))
        return taken

    def _pruned(self, c: Config, prune_norm: bool, prune_head: bool) -> Config:
        if prune_head if c.norm_after_pooling else prune_norm:
            c = replace(c, final_norm=False)
        return self._headless(c) if prune_head else c

    def _remaining(self, depth: int) -> Mapping[str, Any]:
        """What the parameters start as with the first blocks only."""
        return self._parameters

    def _shortened(self, depth: int, **changes: Any) -> Config:
        """With the first blocks only, whose drop path stays what it was, and other changes."""
        c = self.config
        rate = c.drop_path_rate * (depth - 1) / max(c.depth - 1, 1)
        return replace(c, depth=depth, drop_path_rate=rate, **changes)

    def _headless(self, c: Config) -> Config:
        return replace(c, num_classes=0, global_pool="", fc_norm=False)

    def _rebuild(self, c: Config, old: Mapping[str, Any]) -> None:
        """Makes the model one of another config, or raises and leaves it as it is. old: what its
        parameters start as; the others are drawn, heads as torch draws its linear layer."""
        self._adopt(self._entries_for(c), self.params.dtype, old, _config=c)

    def _entries_for(self, c: Config) -> list[Entry]:
        """The entries of another config; what is in 8 bits stays so."""
        fresh = uniform(c.head_width)
        entries = [
            entry._replace(draw=fresh) if entry.name.split(".")[0] in self.heads else entry
            for entry in self.entries(c)
        ]
        return int8_entries(entries, [self._entries[i].name for i in self._int8], self.quantized)

    def get_classifier(self) -> Any:
        """The head, or the pair of heads; `vitc.nn.Identity` without classes."""
        found = tuple(getattr(self, name) for name in self.heads)
        return found[0] if len(found) == 1 else found

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> Self:
        """Gives the model a fresh head (0: none), drawn as torch's linear layer is.

        global_pool: another pooling; the last norm stays where it is. An attention pool can be
        removed, not added. The table of parameters is rebuilt, so do it before making an
        optimizer.
        """
        self._rebuild(self._repooled(global_pool, num_classes), self._trunk())
        return self

    def _trunk(self) -> dict[str, Parameter]:
        """All parameters but those of the heads."""
        return {k: p for k, p in self.named_parameters() if k.split(".")[0] not in self.heads}

    def _repooled(self, global_pool: str | None, num_classes: int) -> Config:
        c = self.config
        if global_pool is None or global_pool == c.global_pool:
            return replace(c, num_classes=num_classes)
        if global_pool in ("map", "prr"):  # the others have no parameters
            raise ValueError(f"an attention pool {shown(global_pool)} cannot be added to a model")
        after = c.norm_after_pooling
        return replace(c, num_classes=num_classes, global_pool=global_pool, fc_norm=after)

    def _description(self) -> dict[str, str]:
        from vitc.models.timm_folder import timm_config

        return {"config": json.dumps(timm_config(self))}

    def _described(self) -> str:
        c = self.config
        size = " x ".join(map(str, (c.in_chans, *c.image)))
        return f"{self.name}, input {size}, {c.num_classes} classes"
