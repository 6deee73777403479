"""Every operation of the core in small cases, and what runs one: see test_operations.py.

    python tests/operation_cases.py

runs each of them forward and backward in every precision, and prints how many there were; under
sanitizers by test_hostile.py.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vitc import _vitc

STEP = 1e-5
BATCH = 2
KEY = dict(seed=5, step=3, forward=1, row=9)

Shape = tuple[int, ...]


class Case(NamedTuple):
    """An operation, the shape of its input (of each, if there are two; of nothing that it reads, if
    there is none) and of its parameters."""

    kind: str
    input: Shape | tuple[Shape, Shape]
    params: tuple[Shape | None, ...] = ()  # None: left out
    attributes: dict[str, Any] = {}  # noqa: RUF012  (a named tuple has no factories)


CASES = {
    "patchify": Case("patchify", (2, 4, 6), (), dict(patch_height=2, patch_width=3)),
    "patchify with a rest": Case("patchify", (1, 5, 7), (), dict(patch_height=2, patch_width=3)),
    "linear": Case("linear", (5, 4), ((3, 4), (3,))),
    "linear without bias": Case("linear", (5, 4), ((3, 4), None)),
    "linear of a convolution": Case("linear", (3, 8), ((3, 2, 2, 2), (3,))),
    "linear of two strips": Case("linear", (70, 2), ((3, 2), (3,))),
    "linear of one row": Case("linear", (1, 5), ((2, 5), (2,))),
    "norm": Case("norm", (4, 5), ((5,), (5,)), dict(eps=1e-6)),
    "norm of heads": Case("norm", (4, 6), ((3,), (3,)), dict(eps=1e-6)),
    "rms_norm": Case("rms_norm", (4, 5), ((5,),), dict(eps=1e-6)),
    "rms_norm of two strips of heads": Case("rms_norm", (66, 6), ((3,),), dict(eps=1e-2)),
    "norm of two strips": Case("norm", (66, 3), ((3,), (3,)), dict(eps=1e-2)),
    "attention": Case("attention", (5, 12), (), dict(heads=2)),
    "attention of one head": Case("attention", (7, 9), (), dict(heads=1)),
    "attention of one token": Case("attention", (1, 12), (), dict(heads=4)),
    "attention of some queries": Case("attention", (5, 12), (), dict(heads=2, queries=2)),
    "attention of two maps": Case("attention", (5, 24), (), dict(heads=2, maps=2)),
    "attention of maps, narrowed": Case("attention", (5, 24), (), dict(heads=1, maps=2, queries=3)),
    "attention, causal": Case("attention", (5, 12), (), dict(heads=2, causal=1)),
    "attention, causal, narrowed": Case(
        "attention", (5, 24), (), dict(heads=1, maps=2, queries=3, causal=1)
    ),
    "masked_attention": Case("masked_attention", ((5, 12), (5, 5)), (), dict(heads=2)),
    "masked_attention of heads": Case(
        "masked_attention", ((5, 24), (10, 5)), (), dict(heads=2, maps=2, queries=3)
    ),
    "attention with dropout": Case("attention", (5, 12), (), dict(heads=2, rate=0.4, site="a")),
    "attention with dropout, causal, narrowed": Case(
        "attention", (5, 24), (), dict(heads=1, maps=2, queries=3, causal=1, rate=0.3, site="a")
    ),
    "attention of what is dropped": Case(
        "attention", (5, 12), (), dict(heads=2, rate=1.0, site="a")
    ),
    "masked_attention with dropout": Case(
        "masked_attention", ((5, 24), (10, 5)), (), dict(heads=2, maps=2, rate=0.4, site="b")
    ),
    "cross_attention": Case("cross_attention", ((2, 4), (5, 8)), (), dict(heads=2)),
    "cross_attention, more queries": Case("cross_attention", ((7, 3), (2, 6)), (), dict(heads=1)),
    "attention_probs": Case("attention_probs", (5, 12), (), dict(heads=2)),
    "attention_probs of maps": Case("attention_probs", (5, 12), (), dict(heads=2, maps=2)),
    "biased_attention": Case(
        "biased_attention", ((6, 12), (15, 2)), (), dict(heads=2, height=2, width=3)
    ),
    "biased_attention, a prefix without rows": Case(
        "biased_attention", ((7, 12), (15, 2)), (), dict(heads=2, height=2, width=3)
    ),
    "biased_attention, a prefix with rows": Case(
        "biased_attention", ((7, 12), (18, 2)), (), dict(heads=2, height=3, width=2)
    ),
    "biased_attention, narrowed, maps": Case(
        "biased_attention",
        ((5, 24), (12, 2)),
        (),
        dict(heads=2, height=2, width=2, maps=2) | dict(queries=3),
    ),
    "biased_attention with dropout": Case(
        "biased_attention",
        ((7, 12), (18, 2)),
        (),
        dict(heads=2, height=2, width=3, rate=0.4, site="c"),
    ),
    "biased_attention_probs": Case(
        "biased_attention_probs",
        ((7, 12), (18, 2)),
        (),
        dict(heads=2, height=2, width=3, maps=1) | dict(queries=0),
    ),
    "relative_coordinates": Case("relative_coordinates", (2, 2), (), dict(height=2, width=3)),
    "relative_coordinates of two strips": Case(
        "relative_coordinates", (2, 2), (), dict(height=4, width=6)
    ),
    "differential": Case("differential", (5, 8), ((3,),) * 4, dict(heads=2, init=0.3)),
    "differential of two strips": Case(
        "differential", (66, 4), ((2,),) * 4, dict(heads=1, init=0.8)
    ),
    "rope": Case("rope", ((5, 24), (5, 4)), (), dict(heads=2)),
    "rope of halves": Case("rope", ((5, 24), (5, 4)), (), dict(heads=2, halves=1)),
    "rope of a table per head": Case("rope", ((5, 24), (5, 8)), (), dict(heads=2)),
    "rope of halves, a table per head, of two strips": Case(
        "rope", ((66, 24), (66, 8)), (), dict(heads=2, halves=1)
    ),
    "rope_table": Case(
        "rope_table",
        (2, 2),
        (),
        dict(prefix=2, height=2, width=3, size=8, temperature=100.0)
        | dict(y_start=-0.5, y_step=1.0, x_start=0.25, x_step=0.75),
    ),
    "rope_table of two strips, swapped": Case(
        "rope_table",
        (2, 2),
        (),
        dict(prefix=1, height=13, width=5, size=4, temperature=10.0, swapped=1)
        | dict(y_start=1.0, y_step=0.5, x_start=0.0, x_step=1.0),
    ),
    "rope_mixed": Case(
        "rope_mixed", (12, 2), (), dict(prefix=1, height=2, width=3, heads=2, block=1)
    ),
    "rope_mixed, swapped": Case(
        "rope_mixed", (4, 3), (), dict(prefix=0, height=1, width=4, heads=2, block=0, swapped=1)
    ),
    "tokens": Case("tokens", (4, 3), ((1, 1, 3), (1, 1, 3), None, (1, 6, 3))),
    "tokens without distillation": Case("tokens", (4, 3), ((1, 1, 3), None, None, (1, 5, 3))),
    "tokens without positions": Case("tokens", (4, 3), ((1, 1, 3), None, None, None)),
    "tokens, positions only": Case("tokens", (66, 2), (None, None, None, (1, 66, 2))),
    "tokens, registers": Case("tokens", (4, 3), ((1, 1, 3), None, (1, 2, 3), (1, 7, 3))),
    "tokens, positions of patches": Case(
        "tokens", (80, 2), ((1, 1, 2), None, (1, 70, 2), (1, 80, 2))
    ),
    "parameter": Case("parameter", (3, 3), ((1, 4, 3),)),
    "parameter of four dimensions": Case("parameter", (3, 3), ((2, 2, 3, 4),)),
    "pool": Case("pool", (5, 3)),
    "pool of one row": Case("pool", (1, 3)),
    "pool of two strips": Case("pool", (66, 2)),
    "pool_max": Case("pool_max", (5, 3)),
    "pool_max of two strips": Case("pool_max", (66, 2)),
    "columns": Case("columns", (5, 7), (), dict(start=2, count=4)),
    "concat": Case("concat", ((5, 3), (5, 4))),
    "multiply": Case("multiply", (5, 3)),
    "affine": Case("affine", (5, 3), ((3,), (3,))),
    "affine of two strips": Case("affine", (66, 2), ((2,), (2,))),
    "affine without shift": Case("affine", (5, 3), ((3,), None)),
    "affine without factor": Case("affine", (5, 3), (None, (3,))),
    "qv_bias": Case("qv_bias", (5, 6), ((2,), (2,))),
    "qv_bias of two strips": Case("qv_bias", (66, 3), ((1,), (1,))),
    "select": Case("select", (5, 3), (), dict(start=1, count=3)),
    "select the last": Case("select", (5, 3), (), dict(start=4, count=1)),
    "select all": Case("select", (5, 3), (), dict(start=0, count=5)),
    "resample": Case(
        "resample", (8, 2), (), dict(prefix=2, height=2, width=3, new_height=5, new_width=4)
    ),
    "resample, smaller": Case(
        "resample", (66, 2), (), dict(prefix=1, height=5, width=13, new_height=2, new_width=3)
    ),
    "resample, two strips": Case(
        "resample", (4, 1), (), dict(prefix=0, height=2, width=2, new_height=3, new_width=30)
    ),
    "activation": Case("activation", (5, 3), (), dict(function="gelu")),
    "activation gelu_tanh": Case("activation", (5, 3), (), dict(function="gelu_tanh")),
    "activation quick_gelu": Case("activation", (5, 3), (), dict(function="quick_gelu")),
    "activation relu": Case("activation", (5, 3), (), dict(function="relu")),
    "activation silu": Case("activation", (5, 3), (), dict(function="silu")),
    "add": Case("add", (5, 3)),
    "scale": Case("scale", (5, 3), (), dict(factor=-1.7)),
    "dropout": Case("dropout", (6, 3), (), dict(rate=0.4, site="a")),
    "dropout of later rows": Case("dropout", (6, 3), (), dict(rate=0.4, site="a", row=2)),
    "dropout of nothing": Case("dropout", (6, 3), (), dict(rate=0.0, site="a")),
    "dropout of everything": Case("dropout", (6, 3), (), dict(rate=1.0, site="a")),
    "patch_drop": Case("patch_drop", (7, 3), (), dict(prefix=2, count=3, site="c")),
    "patch_drop of two strips": Case(
        "patch_drop", (150, 2), (), dict(prefix=0, count=80, site="c")
    ),
    "patch_drop of nothing": Case("patch_drop", (4, 3), (), dict(prefix=1, count=3, site="c")),
    "drop_path": Case("drop_path", (6, 3), (), dict(rate=0.5, site="b")),
}
# All but those on 8-bit weights, which have no gradient and no double: see test_quantization.py.
TABLE = {
    op["name"]: op
    for op in _vitc.operation_table()
    if not any(param["int8"] for param in op["params"])
}
WITHOUT_GRADIENT = {("masked_attention", 1)}  # an input that is taken as given: the mask
DIFFERENTIABLE = [name for name, case in CASES.items() if TABLE[case.kind]["differentiable"]]

# What else reads the input: nothing; an operation before this one, whose backward comes later; one
# behind it, which leaves a gradient to add to.
READERS = ("alone", "read before", "read behind", "read on both sides")


def program_of(case: Case, readers: str) -> _vitc.Program:
    """Outputs: what the operation gives, then what the other readers give."""
    reads = TABLE[case.kind]["inputs"]
    count = max(reads, 1)
    inputs = case.input if isinstance(case.input[0], tuple) else [case.input] * count
    shapes = [shape for shape in case.params if shape is not None]
    rows = iter(range(len(shapes)))
    params = [-1 if shape is None else next(rows) for shape in case.params]
    operations: list[Any] = [("scale", (i,), (), {"factor": 1.25}) for i in range(count)]
    read = list(range(count, 2 * count))  # values of the middle: their gradients have a place

    def other(factor: float) -> int:
        operations.append(("scale", (read[0],), (), {"factor": factor}))
        return count + len(operations) - 1

    outputs = [other(0.5)] if readers in ("read before", "read on both sides") else []
    operations.append((case.kind, read[:reads], params, case.attributes))
    outputs.insert(0, count + len(operations) - 1)
    outputs += [other(-0.75)] if readers in ("read behind", "read on both sides") else []
    return _vitc.Program(inputs, shapes, operations, outputs)


class Session:
    """A program with random parameters and inputs, and the loss sum(weights * outputs)."""

    def __init__(self, case: Case, readers: str, dtype: str = "float64", **flags: bool) -> None:
        random = np.random.default_rng(1)
        self.kind = case.kind
        self.program = program_of(case, readers)
        shapes = self.program.params
        self.params = _vitc.Params([(f"p{i}", shape) for i, shape in enumerate(shapes)], dtype)
        for i, shape in enumerate(shapes):
            self.params.write(i, random.standard_normal(shape).astype(dtype))
        shapes = [(BATCH, *shape) for shape in self.program.inputs]
        self.inputs = [random.standard_normal(shape).astype(dtype) for shape in shapes]
        # The lowest strips that there are, so that a case of two strips has them on any machine.
        self.plan = _vitc.Plan(
            self.program,
            self.params,
            tile_rows=1,
            **{"training": True, "input_gradients": True, **flags},
        )
        self.run = _vitc.Run(self.plan, BATCH, 2)
        self.weights = [random.standard_normal(y.shape).astype(dtype) for y in self.forward()]

    def forward(self) -> tuple[np.ndarray, ...]:
        return self.run.forward(self.inputs, **KEY)

    def loss(self) -> float:
        return sum(float(np.sum(w * y)) for w, y in zip(self.weights, self.forward(), strict=True))

    def gradients(self) -> list[np.ndarray]:
        """Of the inputs, then of the parameters."""
        self.forward()
        self.params.zero_gradients()
        passed = zip(self.run.backward(self.weights), self.inputs, strict=True)
        inputs = [np.zeros_like(x) if dx is None else dx for dx, x in passed]
        params = [self.params.gradient(i) for i in range(len(self.params))]
        return [*inputs, *(np.array(g) for g in params if g is not None)]

    def differences(self) -> Iterator[np.ndarray]:
        """The same by central differences."""
        for i, x in enumerate(self.inputs):
            given = (self.kind, i) not in WITHOUT_GRADIENT
            yield self._slope(x, lambda: None) if given else np.zeros_like(x)
        for i in range(len(self.params)):
            value = np.array(self.params.view(i))
            yield self._slope(value, lambda i=i, v=value: self.params.write(i, v))

    def _slope(self, x: np.ndarray, publish: Any) -> np.ndarray:
        slope = np.empty_like(x)
        for at in np.ndindex(x.shape):
            middle, sides = x[at], []
            for x[at] in (middle + STEP, middle - STEP):
                publish()
                sides.append(self.loss())
            x[at] = middle
            publish()
            slope[at] = (sides[0] - sides[1]) / (2 * STEP)
        return slope


def run_all() -> int:
    """Every case as it stands and, where it can, in bfloat16; how many runs that were."""
    count = 0
    for case in CASES.values():
        differentiable = TABLE[case.kind]["differentiable"]
        for dtype, bf16 in (("float64", False), ("float32", False), ("float32", True)):
            if bf16 and not _vitc.config()["bf16"]:
                continue
            ways = dict(training=differentiable, input_gradients=differentiable, bf16=bf16)
            session = Session(case, "read on both sides", dtype, **ways)
            if differentiable:
                session.gradients()
            count += 1
    return count


if __name__ == "__main__":
    print(run_all())
