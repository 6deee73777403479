"""Layers to put on top of a model, under torch's names."""

from typing import Any

from vitc import checks
from vitc.models.init import Row, uniform
from vitc.models.model import Model
from vitc.program import Builder, Program


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
