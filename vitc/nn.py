"""Layers to put on top of a model or in the place of its head, and losses, under torch's names."""

from typing import Any, Self

from vitc import checks
from vitc import functional as F
from vitc.errors import nearest, shown
from vitc.models.linear import Linear
from vitc.parameters import Identity
from vitc.tape import Loss

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "Identity", "KLDivLoss", "Linear", "MSELoss"]


# ------------------------------------------------------------------------------------ losses


class _Loss:
    """A loss of `vitc.functional` with its settings: called with (input, target), whose shapes and
    errors are those of the function.

    reduction: as the function takes it. size_average and reduce, which torch gave up, are refused.
    """

    _reductions: tuple[str, ...] = ("mean", "sum")

    def __init__(self, reduction: str, size_average: Any, reduce: Any) -> None:
        for name, given in (("size_average", size_average), ("reduce", reduce)):
            if given is not None:
                raise ValueError(f"{name} is {shown(given)}, expected None: say it with reduction")
        self.reduction = checks.one_of("reduction", reduction, self._reductions)

    def forward(self, input: Any, target: Any, **options: Any) -> Loss:
        raise NotImplementedError

    def __call__(self, input: Any, target: Any, **options: Any) -> Loss:
        return self.forward(input, target, **options)

    def to(self, device: Any) -> Self:
        """Itself. Raises `ValueError` for anything but the CPU."""
        checks.on_cpu(device)
        return self

    def cpu(self) -> Self:
        return self

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={shown(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class CrossEntropyLoss(_Loss):
    """`vitc.functional.cross_entropy`: (batch, classes) logits against labels (batch,) or
    probabilities (batch, classes). It also takes sample_weight=."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, size_average, reduce)
        self.weight, self.ignore_index = (
            weight,
            checks.integer("ignore_index", ignore_index, -(2**63)),
        )
        self.label_smoothing = checks.probability("label_smoothing", label_smoothing)

    def forward(self, input: Any, target: Any, **options: Any) -> Loss:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
            **options,
        )


class BCEWithLogitsLoss(_Loss):
    """`vitc.functional.binary_cross_entropy_with_logits`: (batch, classes) logits against targets
    of that shape, from 0 to 1. It also takes sample_weight=."""

    _reductions = ("mean", "batchmean", "sum")

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(reduction, size_average, reduce)
        self.weight, self.pos_weight = weight, pos_weight

    def forward(self, input: Any, target: Any, **options: Any) -> Loss:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight, **options
        )


class KLDivLoss(_Loss):
    """`vitc.functional.kl_div`: log-probabilities against probabilities, or their logarithms if
    log_target. It also takes sample_weight=.

    The default of reduction is torch's, "mean"; the divergence of its definition is "batchmean".
    """

    _reductions = ("mean", "batchmean", "sum")

    def __init__(
        self,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(reduction, size_average, reduce)
        self.log_target = log_target

    def forward(self, input: Any, target: Any, **options: Any) -> Loss:
        return F.kl_div(input, target, self.reduction, self.log_target, **options)


class MSELoss(_Loss):
    """`vitc.functional.mse_loss`: the squared distance of two arrays of one shape. It also takes
    sample_weight=."""

    _reductions = ("mean", "batchmean", "sum")

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, size_average, reduce)

    def forward(self, input: Any, target: Any, **options: Any) -> Loss:
        return F.mse_loss(input, target, self.reduction, **options)


def __getattr__(name: str) -> Any:
    """What torch.nn has and this has not is named, with what comes closest."""
    advice = "; a loss of your own is a function with @vitc.loss" if name.endswith("Loss") else ""
    raise AttributeError(f"vitc.nn has no {shown(name)}; {nearest(name, __all__)}{advice}")
