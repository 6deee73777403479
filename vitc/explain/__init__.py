"""Explanations: what a model looked at."""

from vitc.explain.figure import attention_figure
from vitc.explain.rollout import attention_rollout

__all__ = ["attention_figure", "attention_rollout"]
