"""Models whose attention has a bias by distance: BEiT and BEiT v2 (Bao et al. 2022, Peng et al.
2022), and timm's Vision Transformers with relative positions."""

from collections.abc import Set
from dataclasses import replace
from typing import Any

from vitc.models.config import Config
from vitc.models.init import Entry, in_beit_mode
from vitc.models.masks import Masking
from vitc.models.rel_pos_blocks import TABLE
from vitc.models.rel_pos_config import BeitConfig, RelPosConfig
from vitc.models.vision_transformer import Grid, VisionTransformer


class Biased(VisionTransformer):
    """What both have in common: the bias takes the place of a mask."""

    stem = r"^cls_token|patch_embed"

    def _masking(self, x: Any, image: Grid, attn_mask: Any, is_causal: bool) -> Masking:
        if attn_mask is not None or is_causal:
            raise ValueError(f"{type(self).__name__} takes no mask: its attention has a bias")
        return super()._masking(x, image, attn_mask, is_causal)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {**super().group_matcher(coarse), "stem": self.stem}


class Beit(Biased):
    """A Vision Transformer with a bias by distance from a table, of each block or of all."""

    config: BeitConfig
    config_type = BeitConfig
    stem = r"^cls_token|pos_embed|patch_embed|rel_pos_bias"

    @classmethod
    def entries(cls, c: Config) -> list[Entry]:
        assert isinstance(c, BeitConfig)
        return in_beit_mode(super().entries(c), c.head_init_scale)

    def no_weight_decay(self) -> Set[str]:
        return super().no_weight_decay() | {name for name in self.shapes if name.endswith(TABLE)}

    def _repooled(self, global_pool: str | None, num_classes: int) -> Config:
        c = self.config
        if global_pool is not None:
            c = replace(c, use_fc_norm=c.has_fc_norm, global_pool=global_pool)
        return replace(c, num_classes=num_classes)

    def _pruned(self, c: Config, prune_norm: bool, prune_head: bool) -> Config:
        gone = (prune_norm and c.has_norm) or (prune_head and c.has_fc_norm)
        c = replace(c, final_norm=c.final_norm and not gone)
        if not prune_head:
            return c
        assert isinstance(c, BeitConfig)
        return replace(c, num_classes=0, global_pool="", use_fc_norm=False)


class VisionTransformerRelPos(Biased):
    """A Vision Transformer with a bias by distance, from an mlp or a table."""

    config: RelPosConfig
    config_type = RelPosConfig

    def no_weight_decay(self) -> Set[str]:
        return {"cls_token"} & set(self.shapes)
