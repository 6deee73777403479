"""The arguments of timm's classes whose attention has a bias by distance, under its names."""

from dataclasses import dataclass
from typing import Any, ClassVar

from vitc import checks
from vitc.models.config import RATES, WIDEST, Config

# Fields of `Config` that neither class has.
NEITHER = (
    *("no_embed_class", "reg_tokens", "pre_norm", "final_norm", "pool_include_prefix"),
    *("scale_attn_norm", "scale_mlp_norm", "mlp_layer", "attn_layer", "proj_bias"),
    *("embed_norm_layer", "dynamic_img_size", "dynamic_img_pad", "patch_drop_rate"),
)
POOLS = ("", "token", "avg")
BEIT_FLAGS = (
    *("swiglu_mlp", "scale_mlp", "use_abs_pos_emb"),
    *("use_rel_pos_bias", "use_shared_rel_pos_bias"),
)


@dataclass(frozen=True)
class BeitConfig(Config):
    """The arguments of `Beit`, under timm's names; `ValueError` for bad ones.

    What `Config` calls otherwise (`derived`) follows from these and is no argument of its own.
    """

    derived: ClassVar[tuple[str, ...]] = (
        *NEITHER,
        *("class_token", "pos_embed", "fc_norm", "qk_norm", "act_layer", "block_fn"),
        *("weight_init", "fix_init"),
    )
    blocks: ClassVar[tuple[str, ...]] = ("BeitBlock",)
    pools: ClassVar[tuple[str, ...]] = POOLS

    global_pool: str = "avg"
    swiglu_mlp: bool = False  # a gated mlp
    scale_mlp: bool = False  # a norm before mlp.fc2
    use_abs_pos_emb: bool = True  # a table of positions, added to the tokens
    use_rel_pos_bias: bool = False  # a bias by distance, of each block
    use_shared_rel_pos_bias: bool = False  # one that all blocks share
    use_fc_norm: bool | None = None  # the last norm comes after pooling; None: with "avg"
    head_init_scale: float = 0.001

    def __post_init__(self) -> None:
        for name in BEIT_FLAGS:
            checks.flag(name, getattr(self, name))
        checks.optional(checks.flag, "use_fc_norm", self.use_fc_norm)
        checks.one_of("weight_init", self.weight_init, ("",))  # it has one start
        checks.finite("head_init_scale", self.head_init_scale, 0)
        fc_norm = self.global_pool == "avg" if self.use_fc_norm is None else self.use_fc_norm
        derived: dict[str, Any] = dict(
            pos_embed="learn" if self.use_abs_pos_emb else "none",
            fc_norm=fc_norm,
            scale_mlp_norm=self.scale_mlp,
            mlp_layer="SwiGLU" if self.swiglu_mlp else "Mlp",
            act_layer="silu" if self.swiglu_mlp else "gelu",
            block_fn="BeitBlock",
        )
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        super().__post_init__()


@dataclass(frozen=True)
class RelPosConfig(Config):
    """The arguments of `VisionTransformerRelPos`, under timm's names; `ValueError` for bad ones."""

    derived: ClassVar[tuple[str, ...]] = (
        *NEITHER,
        "pos_embed",
        "pos_drop_rate",
        "rel_pos_drop_rate",
    )
    blocks: ClassVar[tuple[str, ...]] = ("RelPosBlock", "ResPostRelPosBlock")
    pools: ClassVar[tuple[str, ...]] = POOLS
    rates: ClassVar[tuple[str, ...]] = (*RATES, "rel_pos_drop_rate")

    global_pool: str = "avg"
    init_values: float | None = 1e-6
    class_token: bool = False
    fc_norm: bool | None = False  # the last norm comes after pooling
    pos_embed: str = "none"
    block_fn: str = "RelPosBlock"
    weight_init: str = "reset"
    rel_pos_type: str = "mlp"  # the bias by distance comes from an mlp, or "bias": from a table
    rel_pos_dim: int | None = None  # hidden columns of that mlp; None: 128
    shared_rel_pos: bool = False  # all blocks have the same
    rel_pos_drop_rate: float = 0.125  # in that mlp, in training mode

    def __post_init__(self) -> None:
        checks.flag("shared_rel_pos", self.shared_rel_pos)
        checks.one_of("rel_pos_type", self.rel_pos_type, ("mlp", "bias"))
        if self.rel_pos_dim is not None:
            dim = checks.integer("rel_pos_dim", self.rel_pos_dim, 1, WIDEST)
            object.__setattr__(self, "rel_pos_dim", dim)
        if self.rel_pos_type == "bias":
            object.__setattr__(self, "rel_pos_drop_rate", 0.0)
        super().__post_init__()
