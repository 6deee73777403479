"""The arguments of a Vision Transformer, under timm's names."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from vitc import checks
from vitc.models.init import MODES

POOLS = ("", "token", "avg", "max", "avgmax", "map", "prr", "token_avg")
REDUCTIONS = ("avg", "max", "avgmax")  # those over all patches without parameters
NORMS = ("layernorm", "rmsnorm")
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "silu", "relu")
BLOCKS = (
    "Block",
    "ResPostBlock",
    "ParallelScalingBlock",
    "DiffParallelScalingBlock",
    "ParallelThingsBlock",
)
MLPS = ("Mlp", "SwiGLUPacked", "SwiGLU")
ATTENTIONS = ("", "attn", "diff")
WIDEST, DEEPEST = 1 << 31, 1 << 12  # of a file that says more no memory is asked for
LIMITS = dict(
    in_chans=(1, WIDEST),
    embed_dim=(1, WIDEST),
    depth=(1, DEEPEST),
    num_heads=(1, WIDEST),
    num_classes=(0, WIDEST),
    reg_tokens=(0, WIDEST),
)
FLAGS = (
    "qkv_bias",
    "qk_norm",
    "scale_attn_norm",
    "scale_mlp_norm",
    "proj_bias",
    "class_token",
    "no_embed_class",
    "pre_norm",
    "final_norm",
    "pool_include_prefix",
    "dynamic_img_size",
    "dynamic_img_pad",
    "fix_init",
)
RATES = (
    "drop_rate",
    "patch_drop_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
)


@dataclass(frozen=True)
class Config:
    """The arguments of a Vision Transformer, under timm's names; `ValueError` for bad ones.

    What timm takes as a class (norm_layer, block_fn, ...) is its name here, and norm_eps replaces
    the argument that timm binds to a norm_layer.
    """

    derived: ClassVar[tuple[str, ...]] = ()  # fields of a subclass that are none of its arguments
    blocks: ClassVar[tuple[str, ...]] = BLOCKS
    pools: ClassVar[tuple[str, ...]] = POOLS
    rates: ClassVar[tuple[str, ...]] = RATES

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    in_chans: int = 3
    num_classes: int = 1000  # 0: no head, the output is the feature vector
    global_pool: str = "token"  # "": none, a vector per token; "token_avg": DINOv2's
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False  # of the queries and keys of each head
    scale_attn_norm: bool = False  # before attn.proj
    scale_mlp_norm: bool = False  # before mlp.fc2
    proj_bias: bool = True  # of attn.proj and of both layers of the mlp
    init_values: float | None = None  # of the layer scale; None: there is none
    class_token: bool = True
    pos_embed: str = "learn"  # "" or "none": no position table
    no_embed_class: bool = False  # the position table has rows for the patches alone
    reg_tokens: int = 0
    pre_norm: bool = False  # a norm before the blocks, and a patch embedding without bias
    final_norm: bool = True
    fc_norm: bool | None = None  # the final norm comes after pooling; None: if of REDUCTIONS
    pool_include_prefix: bool = False
    dynamic_img_size: bool = False  # images of any size, positions resampled to their grid
    dynamic_img_pad: bool = False  # ... and padded to whole patches, right and below, by zeros
    drop_rate: float = 0.0  # before the head
    patch_drop_rate: float = 0.0  # patches left out before the blocks, in training mode
    pos_drop_rate: float = 0.0  # after the position embedding
    proj_drop_rate: float = 0.0  # after attn.proj and after both layers of the mlp
    attn_drop_rate: float = 0.0  # of the attention probabilities
    drop_path_rate: float = 0.0  # of the last block; the blocks before rise to it from 0
    embed_norm_layer: str | None = None  # after the patch embedding
    embed_norm_eps: float | None = None  # None: norm_eps
    norm_layer: str = "layernorm"
    norm_eps: float = 1e-6
    act_layer: str = "gelu"
    block_fn: str = "Block"
    mlp_layer: str = "Mlp"
    attn_layer: str = "attn"
    weight_init: str = ""  # how parameters start, see `vitc.models.init.in_mode`
    fix_init: bool = False  # what ends the branches of a block starts smaller the deeper it is

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), *limits))
        for name in FLAGS:
            object.__setattr__(self, name, checks.flag(name, getattr(self, name)))
        object.__setattr__(self, "fc_norm", checks.optional(checks.flag, "fc_norm", self.fc_norm))
        for name in ("img_size", "patch_size"):
            sides = checks.pair(name, getattr(self, name))
            height, width = (checks.integer(name, side, 1, WIDEST) for side in sides)
            object.__setattr__(self, name, height if height == width else (height, width))
        self._check_numbers()
        self._check_names()
        self._check_sizes()

    def _check_numbers(self) -> None:
        for name in self.rates:
            object.__setattr__(self, name, float(checks.below_one(name, getattr(self, name))))
        for name in ("mlp_ratio", "norm_eps"):
            object.__setattr__(self, name, float(checks.finite(name, getattr(self, name), 0)))
        for name in ("init_values", "embed_norm_eps"):
            value = checks.optional(checks.finite, name, getattr(self, name))
            object.__setattr__(self, name, None if value is None else float(value))
        checks.integer("embed_dim * mlp_ratio", self.hidden, 1, WIDEST)

    def _check_names(self) -> None:
        choices = dict(
            global_pool=self.pools,
            pos_embed=("learn", "none", ""),
            norm_layer=NORMS,
            embed_norm_layer=(None, *NORMS),
            act_layer=ACTIVATIONS,
            block_fn=self.blocks,
            mlp_layer=MLPS,
            attn_layer=ATTENTIONS,
            weight_init=MODES,
        )
        for name, known in choices.items():
            checks.one_of(name, getattr(self, name), known)
        if self.global_pool in ("token", "token_avg") and not self.class_token:
            raise ValueError(f"global_pool {self.global_pool!r} needs class_token=True")
        if self.global_pool == "token_avg" and self.fc_norm:
            raise ValueError("global_pool 'token_avg' has no norm behind it")
        if self.fix_init and "Parallel" in self.block_fn:
            raise ValueError(f"fix_init is for Block and ResPostBlock, not for {self.block_fn}")
        if "Scaling" in self.block_fn and (self.scale_attn_norm or self.scale_mlp_norm):
            raise ValueError(f"{self.block_fn} has no scale_attn_norm and no scale_mlp_norm")

    def _check_sizes(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if self.differential and self.head_dim % 2:
            raise ValueError(
                f"embed_dim / num_heads is {self.head_dim}; two attention maps need an even number"
            )
        if self.mlp_layer == "SwiGLUPacked" and self.hidden % 2:
            raise ValueError(f"embed_dim * mlp_ratio is {self.hidden}, SwiGLUPacked needs it even")
        if self.dynamic_img_pad and not self.dynamic_img_size:
            raise ValueError("dynamic_img_pad goes with dynamic_img_size=True")
        checks.integer("the number of patches", self.num_patches, 0, WIDEST)
        if self.num_patches == 0:
            raise ValueError(
                f"img_size {self.img_size} is smaller than patch_size {self.patch_size}"
            )

    @classmethod
    def arguments(cls) -> tuple[str, ...]:
        """The names of all arguments."""
        return tuple(field.name for field in fields(cls) if field.name not in cls.derived)

    @property
    def image(self) -> tuple[int, int]:
        return checks.pair("img_size", self.img_size)

    @property
    def patch(self) -> tuple[int, int]:
        return checks.pair("patch_size", self.patch_size)

    @property
    def hidden(self) -> int:
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def head_width(self) -> int:
        """Columns of what the head reads."""
        return self.embed_dim * (2 if self.global_pool == "token_avg" else 1)

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def grid(self) -> tuple[int, int]:
        (height, width), (ph, pw) = self.image, self.patch
        return height // ph, width // pw

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    def kept(self, patches: int) -> int:
        """How many of n patches go into the blocks."""
        return max(1, int(patches * (1 - self.patch_drop_rate)))

    @property
    def differential(self) -> bool:
        """Whether a head is the difference of two attention maps."""
        if "Scaling" in self.block_fn:  # which has its own attention
            return self.block_fn == "DiffParallelScalingBlock"
        return self.attn_layer == "diff"

    @property
    def has_positions(self) -> bool:
        return self.pos_embed == "learn"

    @property
    def norm_after_pooling(self) -> bool:
        """Whether the last norm, if there is one, is `fc_norm` and not `norm`."""
        return self.global_pool in REDUCTIONS if self.fc_norm is None else self.fc_norm

    @property
    def has_norm(self) -> bool:
        """Whether there is a norm behind the blocks."""
        return self.final_norm and not self.norm_after_pooling

    @property
    def has_fc_norm(self) -> bool:
        """Whether there is a norm in front of the head."""
        return self.final_norm and self.norm_after_pooling

    @property
    def pool_heads(self) -> int:
        """Of the attention pool "map"; also its `pool_hidden` and `pool_act`."""
        return self.num_heads

    @property
    def pool_hidden(self) -> int:
        return self.hidden

    @property
    def pool_act(self) -> str:
        return self.act_layer

    @property
    def draws(self) -> bool:
        """Whether anything is dropped in training mode."""
        return self != self.without_dropout()

    def without_dropout(self) -> Self:
        nothing: dict[str, Any] = dict.fromkeys(self.rates, 0.0)
        return replace(self, **nothing)
