"""Static int8 models for tests: ranges as a list of values would be read by hand."""

import numpy as np

from oracle import images
from vitc.models.model import Model
from vitc.program import Op, Value
from vitc.program.rewrite import Add, rewrite
from vitc.quantization.convert import int8_model
from vitc.tape import no_grad


def ranges_of(model: Model) -> dict[str, tuple[float, float]]:
    """The least and the greatest input of each inner linear layer on two random images, by the
    name of its weight."""
    names: list[str] = []
    inputs: list[Value] = []
    inner = model.int8_weights()

    def change(op: Op, add: Add) -> Value:
        if op.kind == "linear" and model.params.names[op.params[0]] in inner:
            names.append(model.params.names[op.params[0]])
            inputs.append(op.inputs[0])
        return add(op)

    watched = rewrite(model.program(), change, outputs=inputs)
    with no_grad():
        values = [np.asarray(value) for value in model._run(watched, images(2, model))]
    return {n: (float(v.min()), float(v.max())) for n, v in zip(names, values, strict=True)}


def static(model: Model, reach: float | None = None) -> Model:
    """reach: a range for all inputs, from -reach to reach."""
    names = model.int8_weights()
    ranges = ranges_of(model) if reach is None else dict.fromkeys(names, (-reach, reach))
    return int8_model(model, names, ranges)
