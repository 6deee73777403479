"""timm's class Eva: EVA (Fang et al. 2023), EVA-02 (Fang et al. 2024), DINOv3 (Siméoni et al.
2025), the Perception Encoder (Bolya et al. 2025), Sapiens2, and Vision Transformers with rotary
positions (Heo et al. 2024)."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from vitc.errors import shown
from vitc.models.config import Config
from vitc.models.eva_config import EvaConfig
from vitc.models.init import Entry, in_beit_mode
from vitc.models.model import Start
from vitc.models.vision_transformer import VisionTransformer


class Eva(VisionTransformer):
    """A Vision Transformer with rotary positions, a gated mlp, or norms at other places."""

    config: EvaConfig
    config_type = EvaConfig

    @classmethod
    def entries(cls, c: Config) -> list[Entry]:
        assert isinstance(c, EvaConfig)
        return in_beit_mode(super().entries(c), c.head_init_scale)

    def no_weight_decay(self) -> Set[str]:
        return super().no_weight_decay() | ({"rope.freqs"} & set(self.shapes))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        stem = r"^cls_token|reg_token|pos_embed|patch_embed|norm_pre"
        return {**super().group_matcher(coarse), "stem": stem}

    def _repooled(self, global_pool: str | None, num_classes: int) -> Config:
        c = self.config
        if global_pool is None or global_pool == c.global_pool:
            return replace(c, num_classes=num_classes)
        if global_pool == "map":
            raise ValueError(f"an attention pool {shown(global_pool)} cannot be added to a model")
        return replace(_settled(c), num_classes=num_classes, global_pool=global_pool)

    def _pruned(self, c: Config, prune_norm: bool, prune_head: bool) -> Config:
        assert isinstance(c, EvaConfig)
        c = _settled(c)
        if prune_norm:
            c = replace(c, use_post_transformer_norm=False)
        if prune_head:
            c = replace(c, num_classes=0, global_pool="", use_fc_norm=False)
        return c

    def _shortened(self, depth: int, **changes: Any) -> Config:
        counts = self.config.num_kv_heads
        if isinstance(counts, tuple):  # one for each block
            changes["num_kv_heads"] = counts[:depth]
        return super()._shortened(depth, **changes)

    def _remaining(self, depth: int) -> Mapping[str, Any]:
        old = dict(super()._remaining(depth))
        if learned := old.get("rope.freqs"):
            old["rope.freqs"] = Start(learned.data[:, :depth], learned.requires_grad)
        return old


def _settled(c: EvaConfig) -> EvaConfig:
    """The norms stay where they are, whatever the pooling becomes."""
    return replace(c, use_fc_norm=c.has_fc_norm, use_post_transformer_norm=c.has_norm)
