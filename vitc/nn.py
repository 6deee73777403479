"""A layer to put on top of a model, and losses, under torch's names and with its arguments."""

from typing import Any

from vitc import checks
from vitc import functional as F
from vitc.errors import nearest, shown
from vitc.models.init import Row, uniform
from vitc.models.model import Model
from vitc.program import Builder, Program
from vitc.tape import Loss

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "KLDivLoss", "Linear", "MSELoss"]


class Linear(Model):
    """y = x @ weight.T + bias: (batch, in_features) -> (batch, out_features).

    It starts as torch's does, from U(-1/sqrt(in_features), 1/sqrt(in_features)). Given the output
    of a model, its gradient flows on into that model.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: str = "float32"
    ) -> None:
        in_features = checks.integer("in_features", in_features, 1)
        out_features = checks.integer("out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        rows = [Row("weight", (out_features, in_features), uniform(in_features))]
        rows += [Row("bias", (out_features,), uniform(in_features))] if bias else []
        super().__init__(rows, dtype)

    def forward(self, x: Any) -> Any:
        return self._run(self._forward_program(self.training), x)[0]

    def _forward_program(self, training: bool) -> Program:
        return self._program((), self._build)

    def _build(self) -> Program:
        b = Builder(self.shapes)
        x = b.input((1, self.in_features), vector=True)
        return b.finish(b.linear(x, ""), vector=True)

    def _described(self) -> str:
        return f"{self.in_features} -> {self.out_features}"


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
