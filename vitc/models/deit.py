"""DeiT (Touvron et al. 2021): a Vision Transformer with a token and head for distillation."""

from dataclasses import replace

from vitc import checks
from vitc.models.config import Config
from vitc.models.init import Entry
from vitc.models.vision_transformer import VisionTransformer
from vitc.program import Builder, Value


def distilled_head(
    b: Builder, x: Value, c: Config, pre_logits: bool, pair: bool
) -> tuple[Value, ...]:
    """(2+N, D) -> (1, K), the mean of both heads; or, if pair, both."""
    x = b.dropout(b.select(x, 0, 2), c.drop_rate, "head_drop")
    cls, dist = b.select(x, 0, 1), b.select(x, 1, 1)
    if c.num_classes and not pre_logits:
        cls, dist = b.linear(cls, "head"), b.linear(dist, "head_dist")
    if pair and not pre_logits:
        return cls, dist
    return (b.scale(b.add(cls, dist), 0.5),)


class VisionTransformerDistilled(VisionTransformer):
    """A Vision Transformer with a class token and a distillation token.

    Its output is the mean of both heads; in training mode, after `set_distilled_training(True)`,
    the pair (logits of the class token, logits of the distillation token).
    """

    heads = ("head", "head_dist")
    distilled = True
    distilled_training = False

    @classmethod
    def entries(cls, c: Config) -> list[Entry]:
        plain = c.class_token and c.has_positions and not (c.no_embed_class or c.reg_tokens)
        if not plain or c.global_pool != "token" or c.norm_after_pooling:
            raise ValueError(
                "a distilled model has a class token and no registers, positions for both tokens, "
                "and pools by these tokens"
            )
        return super().entries(c)

    def set_distilled_training(self, enable: bool = True) -> None:
        self.distilled_training = checks.flag("enable", enable)

    def _head_mode(self) -> bool:
        return self.distilled_training and self.training

    def _headless(self, c: Config) -> Config:
        """It pools by its two tokens in any case."""
        return replace(c, num_classes=0)

    def _head(self, b: Builder, x: Value, c: Config, pre_logits: bool) -> tuple[Value, ...]:
        return distilled_head(b, x, c, pre_logits, self._head_mode())
