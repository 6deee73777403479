"""The arguments of timm's class Eva, under its names."""

from dataclasses import dataclass
from typing import Any, ClassVar

from vitc import checks
from vitc.models.config import WIDEST, Config

ROPE_TYPES = ("cat", "dinov3", "mixed")
ATTENTION_TYPES = ("eva", "rope")
FLAGS = (
    *("qkv_fused", "swiglu_mlp", "scale_mlp", "scale_attn_inner", "use_abs_pos_emb"),
    *(
        "attn_only_layer_scale",
        "use_rot_pos_emb",
        "rope_rotate_half",
        "use_post_norm",
        "use_pre_transformer_norm",
    ),
)


@dataclass(frozen=True)
class EvaConfig(Config):
    """The arguments of `Eva`, under timm's names; `ValueError` for bad ones.

    What `Config` calls otherwise (`derived`) follows from these and is no argument of its own.
    """

    derived: ClassVar[tuple[str, ...]] = (
        *("reg_tokens", "pos_embed", "pre_norm", "final_norm", "fc_norm", "pool_include_prefix"),
        *("scale_attn_norm", "scale_mlp_norm", "mlp_layer", "act_layer", "block_fn", "attn_layer"),
        *("proj_bias", "embed_norm_layer", "weight_init", "fix_init"),
    )
    blocks: ClassVar[tuple[str, ...]] = ("EvaBlock", "EvaBlockPostNorm")
    pools: ClassVar[tuple[str, ...]] = ("", "token", "avg", "max", "avgmax", "map")

    global_pool: str = "avg"
    qkv_fused: bool = True  # one product for q, k and v, or one for each
    swiglu_mlp: bool = False  # a gated mlp
    swiglu_align_to: int = 0  # its hidden columns are rounded up to a multiple; 0: they are not
    scale_mlp: bool = False  # a norm before mlp.fc2
    scale_attn_inner: bool = False  # a norm before attn.proj
    num_kv_heads: int | tuple[int, ...] | None = None  # that share keys and values, also by block
    attn_only_layer_scale: bool = False  # the branch of the mlp has none
    attn_type: str = "eva"  # "eva": k has no bias; "rope": it has one where q and v have
    num_reg_tokens: int = 0
    use_abs_pos_emb: bool = True  # a table of positions, added to the tokens
    use_rot_pos_emb: bool = False  # queries and keys turned by the place of their patch
    rope_type: str = "cat"  # how places become angles: "cat", "dinov3", "mixed" (learned)
    rope_grid_offset: float = 0.0  # added to row and column
    rope_grid_indexing: str = "ij"  # the angles of the row come first; "xy": those of the column
    rope_temperature: float = 10000.0  # of the slowest angle
    rope_rotate_half: bool = False  # pairs are i and d/2 + i of a head, not 2i and 2i + 1
    use_post_norm: bool = False  # norms at the end of the branches of a block, not in front
    use_pre_transformer_norm: bool = False  # and a patch embedding without bias
    use_post_transformer_norm: bool | None = None  # None: where there is no fc_norm
    use_fc_norm: bool | None = None  # None: with global_pool "avg"
    attn_pool_num_heads: int | None = None  # of the attention pool; None: as the blocks
    attn_pool_mlp_ratio: float | None = None
    ref_feat_shape: int | tuple[int, int] | None = None  # "cat": places are scaled to this grid
    head_init_scale: float = 0.001

    def __post_init__(self) -> None:
        for name in ("num_reg_tokens", "swiglu_align_to"):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), 0, WIDEST))
        for name in FLAGS:
            checks.flag(name, getattr(self, name))
        for name in ("use_post_transformer_norm", "use_fc_norm"):
            checks.optional(checks.flag, name, getattr(self, name))
        checks.one_of("weight_init", self.weight_init, ("",))  # it has one start
        checks.optional(checks.integer, "attn_pool_num_heads", self.attn_pool_num_heads, 1)
        checks.optional(checks.finite, "attn_pool_mlp_ratio", self.attn_pool_mlp_ratio, 0)
        checks.finite("head_init_scale", self.head_init_scale, 0)
        checks.finite("rope_grid_offset", self.rope_grid_offset)
        checks.finite("rope_temperature", self.rope_temperature, 1)
        if self.ref_feat_shape is not None:
            pair = checks.pair("ref_feat_shape", self.ref_feat_shape)
            object.__setattr__(self, "ref_feat_shape", pair)
        for name, value in self._derived().items():
            object.__setattr__(self, name, value)
        super().__post_init__()
        self._check_kv_heads()
        self._check_rope()

    def _derived(self) -> dict[str, Any]:
        """The fields of `Config` that are not arguments, where they differ from their defaults."""
        separate = self.scale_mlp or (self.swiglu_align_to and not self.use_post_norm)
        return dict(
            reg_tokens=self.num_reg_tokens,
            pos_embed="learn" if self.use_abs_pos_emb else "none",
            pre_norm=self.use_pre_transformer_norm,
            pool_include_prefix=self.global_pool == "map",
            scale_attn_norm=self.scale_attn_inner,
            scale_mlp_norm=self.scale_mlp,
            mlp_layer="Mlp" if not self.swiglu_mlp else "SwiGLU" if separate else "SwiGLUPacked",
            act_layer="silu" if self.swiglu_mlp else "gelu",
            block_fn="EvaBlockPostNorm" if self.use_post_norm else "EvaBlock",
        )

    def _check_kv_heads(self) -> None:
        given = self.num_kv_heads
        if isinstance(given, list | tuple):
            if len(given) != self.depth:
                raise ValueError(
                    f"num_kv_heads has {len(given)} numbers, the depth is {self.depth}"
                )
            counts = tuple(checks.integer("num_kv_heads", n, 1) for n in given)
            object.__setattr__(self, "num_kv_heads", counts)
        else:
            checks.optional(checks.integer, "num_kv_heads", given, 1)
        if wrong := [n for n in map(self.kv_heads, range(self.depth)) if self.num_heads % n]:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {wrong[0]}"
            )
        shared = any(self.kv_heads(i) != self.num_heads for i in range(self.depth))
        if shared and (self.qkv_fused or self.attn_type != "rope"):
            raise ValueError("num_kv_heads needs attn_type='rope' and qkv_fused=False")
        if self.use_post_norm and (given is not None or self.attn_only_layer_scale):
            raise ValueError("num_kv_heads and attn_only_layer_scale do not go with use_post_norm")

    def kv_heads(self, block: int) -> int:
        """How many heads of keys and values a block has."""
        given = self.num_kv_heads
        return (given[block] if isinstance(given, tuple) else given) or self.num_heads

    def _check_rope(self) -> None:
        checks.one_of("rope_type", self.rope_type, ROPE_TYPES)
        checks.one_of("attn_type", self.attn_type, ATTENTION_TYPES)
        checks.one_of("rope_grid_indexing", self.rope_grid_indexing, ("ij", "xy"))
        if self.use_rot_pos_emb and self.head_dim % 4:
            raise ValueError(
                f"embed_dim / num_heads is {self.head_dim}; rotary positions need a multiple of 4"
            )
        if self.use_rot_pos_emb and self.rope_type == "mixed" and self.rope_rotate_half:
            raise ValueError("rope_type 'mixed' needs rope_rotate_half=False")
        if self.use_post_norm and self.qk_norm:
            raise ValueError("qk_norm does not go with use_post_norm")
        if self.global_pool == "map":
            checks.integer("embed_dim * attn_pool_mlp_ratio", self.pool_hidden, 1, WIDEST)
        if self.global_pool == "map" and self.embed_dim % self.pool_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of attn_pool_num_heads "
                f"{self.pool_heads}"
            )

    @property
    def hidden(self) -> int:
        wide = int(self.embed_dim * self.mlp_ratio)
        if not self.swiglu_mlp:
            return wide
        separate = self.scale_mlp or (self.swiglu_align_to and not self.use_post_norm)
        if not separate:
            return 2 * wide
        return wide + (-wide % self.swiglu_align_to if self.swiglu_align_to else 0)

    @property
    def has_norm(self) -> bool:
        given = self.use_post_transformer_norm
        return not self.has_fc_norm if given is None else given

    @property
    def has_fc_norm(self) -> bool:
        return self.global_pool == "avg" if self.use_fc_norm is None else self.use_fc_norm

    @property
    def pool_heads(self) -> int:
        return self.attn_pool_num_heads or self.num_heads

    @property
    def pool_hidden(self) -> int:
        return int(self.embed_dim * (self.attn_pool_mlp_ratio or self.mlp_ratio))

    @property
    def pool_act(self) -> str:
        return "gelu"

    @property
    def reference(self) -> tuple[int, int]:
        """The grid that places are scaled to: by default that of the image."""
        return checks.pair("ref_feat_shape", self.ref_feat_shape or self.grid)
