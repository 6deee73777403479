"""`create_model(..., features_only=True)`: a trunk that gives what some of its blocks see."""

from collections.abc import Sequence
from typing import Any, Self

from vitc import checks
from vitc.models.vision_transformer import VisionTransformer


class FeatureInfo:
    """Of the chosen blocks: how wide they are, how many pixels apart, and what they are called."""

    def __init__(self, info: Sequence[dict[str, Any]], out_indices: Sequence[int]) -> None:
        self.info, self.out_indices = tuple(info), tuple(out_indices)

    def get(self, key: str) -> list[Any]:
        return [self.info[i][key] for i in self.out_indices]

    def channels(self) -> list[int]:
        return self.get("num_chs")

    def reduction(self) -> list[Any]:
        """Pixels of the image per place of the feature map."""
        return self.get("reduction")

    def module_name(self) -> list[str]:
        return self.get("module")

    def get_dicts(
        self, keys: Sequence[str] | None = None, out_indices: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """What is known of the chosen blocks (or of these), or the items of these keys."""
        chosen = [self.info[i] for i in out_indices or self.out_indices]
        return [{k: row[k] for k in row if keys is None or k in keys} for row in chosen]

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]


class FeatureGetterNet:
    """Images (batch, C, H, W) -> a list of feature maps (batch, D, rows, columns), as in timm.

    It computes what it was made for: only values of parameters are assigned.

    model: from which everything behind the last of the blocks is removed. out_indices: of blocks;
    a number n for the last n. norm: after the model's last norm. output_fmt: "NLC" for
    (batch, tokens, D), through which gradients are recorded. Raises `ValueError` for blocks that
    are not there.
    """

    model: VisionTransformer
    feature_info: FeatureInfo
    out_indices: list[int]
    output_fmt: str
    _norm: bool

    def __init__(
        self,
        model: VisionTransformer,
        out_indices: int | Sequence[int] = 3,
        *,
        output_fmt: str = "NCHW",
        norm: bool = False,
    ) -> None:
        checks.one_of("output_fmt", output_fmt, ("NCHW", "NLC"))
        norm = checks.flag("norm", norm)
        taken = model.prune_intermediate_layers(out_indices, prune_norm=not norm)
        info = FeatureInfo(model.feature_info, taken)
        for item in ("num_classes", "classifier", "global_pool"):  # of what is no longer there
            model.pretrained_cfg.pop(item, None)
        vars(self).update(
            model=model, out_indices=taken, feature_info=info, output_fmt=output_fmt, _norm=norm
        )

    def __call__(self, x: Any) -> list[Any]:
        found: list[Any] = self.model.forward_intermediates(
            x,
            self.out_indices,
            norm=self._norm,
            output_fmt=self.output_fmt,
            intermediates_only=True,
        )
        return found

    forward = __call__

    def train(self, mode: bool = True) -> Self:
        self.model.train(mode)
        return self

    def eval(self) -> Self:
        return self.train(False)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the trunk's: parameters, load, save, ..."""
        if name == "model" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            raise AttributeError(f"{name} is set when the trunk is made: make another one")
        setattr(self.model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.model, name)

    def __repr__(self) -> str:
        return f"FeatureGetterNet({self.model!r}, out_indices={self.out_indices})"
