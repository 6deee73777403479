"""What training scripts import from timm.utils."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import as_array
from vitc.errors import nearest, shown
from vitc.optim import ModelEmaV3, adaptive_clip_grad, dispatch_clip_grad

__all__ = [
    "AverageMeter",
    "ModelEmaV3",
    "accuracy",
    "adaptive_clip_grad",
    "dispatch_clip_grad",
    "freeze",
    "unfreeze",
]


def accuracy(output: Any, target: Any, topk: Iterable[int] = (1,)) -> list[float]:
    """Percent of the rows whose label is among the k highest scores, for each k of topk.

    output: scores (batch, classes). target: labels (batch,). Of equal scores the first counts as
    the higher one. k counts as the number of classes where it is more.
    """
    scores, labels = as_array(output), as_array(target).reshape(-1)
    if scores.ndim != 2 or len(scores) != len(labels) or not len(labels):
        raise ValueError(
            f"output has shape {scores.shape} and target {len(labels)} labels, expected (batch, "
            "classes) and as many labels"
        )
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = order == labels[:, None]
    ks = [checks.integer("topk", k, 1) for k in topk]
    return [100.0 * float(hits[:, :k].any(axis=1).mean()) for k in ks]


class AverageMeter:
    """The mean of values, each with a weight, and the last one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.val = self.sum = self.avg = 0.0
        self.count = 0

    def update(self, val: Any, n: int = 1) -> None:
        """One more value (a number or a loss), which is the mean of n."""
        self.val = float(val)
        self.sum += self.val * n
        self.count += checks.integer("n", n, 0)
        self.avg = self.sum / self.count if self.count else 0.0


def freeze(root_module: Any, submodules: str | Sequence[str] = ()) -> None:
    """Freezes the layers of these dotted names, or all of a model or module.

    Raises `ValueError` for a name that leads to no layer and no parameter; nothing is frozen then.
    """
    _set(root_module, submodules, False)


def unfreeze(root_module: Any, submodules: str | Sequence[str] = ()) -> None:
    """The reverse of `freeze`."""
    _set(root_module, submodules, True)


def _set(root: Any, submodules: str | Sequence[str], flag: bool) -> None:
    names = [submodules] if isinstance(submodules, str) else list(submodules)
    parameters = dict(root.named_parameters())
    chosen = list(parameters.values()) if not names else []
    for name in names:
        below = [p for key, p in parameters.items() if f"{key}.".startswith(f"{name}.")]
        if not below:
            layers = {key.rpartition(".")[0] for key in parameters}
            raise ValueError(f"there is no layer {shown(name)}; {nearest(name, layers)}")
        chosen += below
    for parameter in chosen:
        parameter.requires_grad = flag
