"""How far each layer of a changed model is from the one that it was made of."""

import math
from typing import NamedTuple

import numpy as np

from vitc import engine
from vitc.arrays import Array
from vitc.models.int8 import beside
from vitc.models.model import Model
from vitc.program import Program, with_layer_outputs
from vitc.quantization.images import Images
from vitc.quantization.methods import Range
from vitc.quantization.observe import batch_size
from vitc.tape import no_grad


class Layer(NamedTuple):
    """A linear layer of the changed model on some images.

    sqnr: 10 log10(signal / noise) in decibels of its outputs against those of the float32 model,
    with the errors of all layers before it; infinite where they are equal. cosine: of the angle
    between both. range: of its inputs, where that is fixed.
    """

    name: str
    shape: tuple[int, ...]  # of the weight
    precision: str  # "int8" or "float32"
    range: Range | None
    sqnr: float
    cosine: float


class _Sums:
    """Products of two series of numbers, in double precision."""

    def __init__(self) -> None:
        self.signal = self.other = self.both = self.noise = 0.0

    def add(self, exact: Array, found: Array) -> None:
        a, b = exact.ravel().astype(np.float64), found.ravel().astype(np.float64)
        self.signal += float(a @ a)
        self.other += float(b @ b)
        self.both += float(a @ b)
        self.noise += float((a - b) @ (a - b))

    @property
    def sqnr(self) -> float:
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def cosine(self) -> float:
        norms = math.sqrt(self.signal * self.other)
        return self.both / norms if norms else float(self.signal == self.other)


def layer_table(model: Model, changed: Model, images: Images) -> list[Layer]:
    """All linear layers of a model, in their order, and how far the changed one is from it."""
    names = model.linear_weights()
    programs = [_outputs(twin, names) for twin in (model, changed)]
    size = max(1, min(map(batch_size, programs)) // 2)
    sums = [_Sums() for _ in names]
    pools = [engine.Pool(twin.params) for twin in (model, changed)]
    for batch in images.batches(size):
        with no_grad():
            exact, found = (
                engine.forward(program, pool, twin.window, [batch])
                for program, pool, twin in zip(programs, pools, (model, changed), strict=True)
            )
        for total, a, b in zip(sums, exact, found, strict=True):
            total.add(np.asarray(a), np.asarray(b))
    return [
        Layer(
            name.removesuffix(".weight"),
            model.shapes[name],
            "int8" if changed.state_dict()[name].dtype == np.int8 else "float32",
            input_range(changed, name),
            total.sqnr,
            total.cosine,
        )
        for name, total in zip(names, sums, strict=True)
    ]


def _outputs(model: Model, names: list[str]) -> Program:
    table = model.params.names
    return with_layer_outputs(model.program(), [table.index(name) for name in names])


def input_range(model: Model, name: str) -> Range | None:
    """Of a static layer by its weight: what its 256 levels reach from and to."""
    state = model.state_dict()
    scale = state.get(beside(name, "input_scale"))
    if scale is None:
        return None
    step, zero = float(scale[0]), float(state[beside(name, "input_zero_point")][0])
    return -zero * step, (255 - zero) * step
