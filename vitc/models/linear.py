"""A linear layer as a model of its own, to put on top of another one or to make its head."""

from typing import Any

from vitc import checks
from vitc.models.init import Entry, uniform
from vitc.models.model import Model
from vitc.parameters import Layer
from vitc.program import Builder, Program


class Linear(Model):
    """y = x @ weight.T + bias: (batch, in_features) -> (batch, out_features).

    It starts as torch's does, from U(-1/sqrt(in_features), 1/sqrt(in_features)). Given the output
    of a model, its gradient flows on into that model. Assigned to `model.head` it becomes the head
    of a model: its parameters are then those of the model, `head.weight` and `head.bias`.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: str = "float32"
    ) -> None:
        in_features = checks.integer("in_features", in_features, 1)
        out_features = checks.integer("out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        entries = [Entry("weight", (out_features, in_features), uniform(in_features))]
        entries += [Entry("bias", (out_features,), uniform(in_features))] if bias else []
        super().__init__(entries, dtype)

    def become(self, model: Model, name: str) -> None:
        """Takes the parameters of the layer of this name in a model, which have its values, in
        place of its own. An optimizer that was made before keeps the old ones."""
        parameters = {
            entry.name: model._parameters[f"{name}.{entry.name}"] for entry in self._entries
        }
        vars(self).update(
            params=model.params,
            window=model.window,
            _parameters=parameters,
            _layers=Layer("", parameters),
            _pool=model._pool,
            _programs={},
            _prefix=name,
        )

    def forward(self, x: Any) -> Any:
        return self._run(self._forward_program(self.training), x)[0]

    def _forward_program(self, training: bool) -> Program:
        return self._program((), self._build)

    def _build(self) -> Program:
        table = zip(self.params.names, self.params.shapes, strict=True)
        b = Builder(dict(table))
        x = b.input((1, self.in_features), vector=True)
        return b.finish(b.linear(x, self._prefix), vector=True)

    def _described(self) -> str:
        return f"{self.in_features} -> {self.out_features}"
