"""Every operation of the core on its own, forward and backward, with every parameter it may have.

Oracles: central differences in float64, element by element (tolerance 1e-6 of the largest gradient;
differences with a step of 1e-5 are good to about 1e-9), and the float64 run for the float32 one
(1e-5 relative). Where an operation's input has another reader, its gradient is the sum of both,
whichever comes first.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from vitc import _vitc
from vitc.program import Builder

DIFFERENCES, FLOAT32 = 1e-6, 1e-5
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
            training=True,
            tile_rows=1,
            **{"input_gradients": True, **flags},
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


def assert_equal_gradients(session: Session, tolerance: float = DIFFERENCES) -> None:
    ours, expected = session.gradients(), list(session.differences())
    assert [g.shape for g in ours] == [g.shape for g in expected]
    for gradient, slope in zip(ours, expected, strict=True):
        assert np.abs(gradient - slope).max() <= tolerance * max(1.0, np.abs(slope).max())


def test_a_builder_writes_every_operation() -> None:
    assert {name for name in TABLE if not hasattr(Builder, name)} == set()
    assert not hasattr(Builder, "subtract")


def test_every_operation_has_a_case_with_each_of_its_parameters() -> None:
    assert {case.kind for case in CASES.values()} == set(TABLE)
    for name, op in TABLE.items():
        cases = [case for case in CASES.values() if case.kind == name]
        for i, param in enumerate(op["params"]):
            given = [case.params[i] is not None for case in cases]
            assert any(given), f"no case of {name} has {param['name']}"
            assert not (param["optional"] and all(given)), f"{name} never lacks {param['name']}"
        for attribute in op["attributes"]:
            assert any(attribute["name"] in case.attributes for case in cases), attribute


@pytest.mark.parametrize("name", [name for name in CASES if "two strips" in name])
def test_two_strips_are_two(name: str) -> None:
    case = CASES[name]
    session = Session(case, "alone")
    rows = {case.input[0], session.weights[0].shape[1]}
    heights = [step["tile_rows"] for step in session.plan.steps if step["lane"] == "strips"]
    assert any(0 < 2 * height >= most > height for most in rows for height in heights)


@pytest.mark.parametrize("readers", READERS)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_equal_central_differences(name: str, readers: str) -> None:
    assert_equal_gradients(Session(CASES[name], readers))


def test_a_value_added_to_itself() -> None:
    program = _vitc.Program([(3, 2)], [], [("add", (0, 0), (), {})], [1])
    run = _vitc.Run(
        _vitc.Plan(program, _vitc.Params([], "float64"), training=True, input_gradients=True), 1, 1
    )
    (y,) = run.forward([np.full((1, 3, 2), 1.5)])
    (dx,) = run.backward([np.arange(6.0).reshape(1, 3, 2)])
    assert np.array_equal(y, np.full((1, 3, 2), 3.0))
    assert np.array_equal(dx, 2 * np.arange(6.0).reshape(1, 3, 2))


@pytest.mark.parametrize("kind", ["add", "multiply"])
def test_two_operations_may_read_the_same_two_values(kind: str) -> None:
    """The gradient of the first value is written where that of the second is not read any more."""
    program = _vitc.Program([(3, 2)] * 2, [], [(kind, (0, 1), (), {})] * 2, [2, 3])
    params = _vitc.Params([], "float64")
    run = _vitc.Run(_vitc.Plan(program, params, training=True, input_gradients=True), 1, 1)
    a, b, dy, dz = np.random.default_rng(0).standard_normal((4, 1, 3, 2))
    run.forward([a, b])
    da, db = run.backward([dy, dz])
    factors = (b, a) if kind == "multiply" else (1, 1)
    np.testing.assert_allclose(da, (dy + dz) * factors[0], rtol=1e-14)
    np.testing.assert_allclose(db, (dy + dz) * factors[1], rtol=1e-14)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_float32_follows_float64(name: str) -> None:
    """Products by oneDNN and the vector kernels against plain C in double."""
    narrow, wide = (Session(CASES[name], "read behind", d) for d in ("float32", "float64"))
    for x, y in zip(narrow.inputs + narrow.weights, wide.inputs + wide.weights, strict=True):
        y[...] = x  # the same numbers, rounded
    for i in range(len(wide.params)):
        wide.params.write(i, narrow.params.view(i).astype(np.float64))
    values = [*zip(narrow.forward(), wide.forward(), strict=True)]
    values += [*zip(narrow.gradients(), wide.gradients(), strict=True)]
    for x, y in values:
        assert np.linalg.norm(x - y) <= FLOAT32 * np.linalg.norm(y)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_plain_list_gives_what_the_lowered_one_gives(name: str) -> None:
    lowered, plain = (Session(CASES[name], "read on both sides", fuse=f) for f in (True, False))
    for x, y in zip(lowered.gradients(), plain.gradients(), strict=True):
        assert np.abs(x - y).max() <= 1e-14 * max(1.0, np.abs(y).max())


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if any(CASES[n].params)])
def test_gradients_of_parameters_add_up_until_they_are_forgotten(name: str) -> None:
    session = Session(CASES[name], "alone")
    once = session.gradients()[len(session.inputs) :]
    session.forward()
    session.run.backward(session.weights)
    for i, gradient in enumerate(once):
        total = session.params.gradient(i)
        assert total is not None
        assert np.abs(total - 2 * gradient).max() <= 1e-14 * np.abs(total).max()
    session.params.zero_gradients()
    assert session.params.gradient(0) is None


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if any(CASES[n].params)])
def test_a_frozen_parameter_has_no_gradient_and_changes_no_other(name: str) -> None:
    full = Session(CASES[name], "alone")
    inputs = len(full.inputs)
    for frozen in range(len(full.params)):
        session = Session(CASES[name], "alone")
        session.params.set_requires_grad(frozen, False)
        flags = dict(training=True, input_gradients=True)
        session.run = _vitc.Run(_vitc.Plan(session.program, session.params, **flags), BATCH, 2)
        gradients = session.gradients()
        assert session.params.gradient(frozen) is None
        expected = full.gradients()
        del expected[inputs + frozen]
        for x, y in zip(gradients, expected, strict=True):
            assert np.array_equal(x, y)


def test_packed_weights_of_inference_follow_the_parameters() -> None:
    """Inference keeps its weights packed between passes: until they are written, or trained."""
    program = _vitc.Program([(5, 64)], [(64, 64)], [("linear", (0,), (0,), {})], [1])
    params = _vitc.Params([("w", (64, 64))])
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(s).astype(np.float32) for s in ((1, 5, 64), (64, 64)))
    run = _vitc.Run(_vitc.Plan(program, params), 1, 1)
    train = _vitc.Run(_vitc.Plan(program, params, training=True), 1, 1)

    def assert_fresh() -> np.ndarray:
        (y,) = run.forward([x])
        np.testing.assert_allclose(y[0], x[0] @ params.view(0).T, rtol=1e-4, atol=1e-4)
        return y

    zero = assert_fresh()
    params.write(0, w)
    written = assert_fresh()
    train.forward([x])
    train.backward([written])
    options = dict(lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, l2=0.0, threads=1)
    _vitc.adamw_step(params, params.new_buffer(), params.new_buffer(), [0], step=1, **options)
    trained = assert_fresh()
    assert not zero.any() and np.abs(trained - written).max() > 0.1


def test_probabilities_are_the_softmax_of_the_scores_and_have_no_gradient() -> None:
    case = CASES["attention_probs"]
    program = program_of(case, "alone")
    params = _vitc.Params([], "float64")
    x = np.random.default_rng(0).standard_normal((BATCH, *case.input))
    (probs,) = _vitc.Run(_vitc.Plan(program, params), BATCH, 1).forward([x])
    q, k, _ = (1.25 * x).reshape(BATCH, 5, 3, 2, 2).transpose(2, 0, 3, 1, 4)  # (batch, heads, N, d)
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(2))
    expected = scores / scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(probs.reshape(expected.shape), expected, rtol=1e-13)
    with pytest.raises(ValueError, match="attention_probs has no gradient"):
        _vitc.Plan(program, params, training=True, input_gradients=True)


@pytest.mark.parametrize("kind", ["attention", "masked_attention", "biased_attention"])
def test_each_probability_is_dropped_by_a_draw_of_its_own(kind: str) -> None:
    """With v the unit matrix the result is the probabilities themselves: of q = 0 each 1 / N."""
    tokens, heads, maps, rate = 48, 3, 2, 0.3
    qkv = np.zeros((BATCH, tokens, 3, heads, tokens))
    qkv[:, :, 2] = np.eye(tokens)[:, None]
    second = {"masked_attention": (tokens, tokens), "biased_attention": (7 * 23, heads)}.get(kind)
    inputs = [qkv.reshape(BATCH, tokens, -1)] + ([np.zeros((BATCH, *second))] if second else [])
    own = dict(height=4, width=12) if kind == "biased_attention" else {}
    attributes = dict(heads=heads, maps=maps, rate=rate, site="s", **own)
    operation = (kind, range(len(inputs)), (), attributes)
    program = _vitc.Program([x.shape[1:] for x in inputs], [], [operation], [len(inputs)])
    plan = _vitc.Plan(program, _vitc.Params([], "float64"), training=True)
    (y,) = _vitc.Run(plan, BATCH, 2).forward(inputs, **KEY)
    given = (KEY["seed"], KEY["step"], KEY["forward"])
    count = heads * maps * tokens * tokens
    words = [_vitc.random_words(*given, KEY["row"] + i, "s", count) for i in range(BATCH)]
    kept = np.array(words).reshape(BATCH, heads, maps, tokens, tokens) < (1 - rate) * 2**32
    expected = kept.transpose(0, 3, 1, 2, 4) / tokens / (1 - rate)
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-14)
    spread = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * spread


def test_attention_without_training_drops_nothing() -> None:
    case, plain = CASES["attention with dropout"], CASES["attention"]
    x = np.random.default_rng(0).standard_normal((BATCH, *case.input))
    seen = []
    for attributes, training in ((case.attributes, False), (plain.attributes, True)):
        program = program_of(case._replace(attributes=attributes), "alone")
        plan = _vitc.Plan(program, _vitc.Params([], "float64"), training=training)
        seen.append(_vitc.Run(plan, BATCH, 1).forward([x], **KEY)[0])
    assert np.array_equal(*seen)


def test_rows_of_equal_greatness_share_the_gradient() -> None:
    """Oracle: torch.amax in float64, exactly."""
    x = np.random.default_rng(0).integers(0, 3, (BATCH, 6, 4)).astype(np.float64)
    dy = np.random.default_rng(1).standard_normal((BATCH, 1, 4))
    program = _vitc.Program([(6, 4)], [], [("pool_max", (0,), (), {})], [1])
    plan = _vitc.Plan(program, _vitc.Params([], "float64"), training=True, input_gradients=True)
    run = _vitc.Run(plan, BATCH, 2)
    (y,) = run.forward([x])
    (dx,) = run.backward([dy])
    theirs = torch.tensor(x, requires_grad=True)
    greatest = theirs.amax(dim=1, keepdim=True)
    (greatest * torch.tensor(dy)).sum().backward()
    assert np.array_equal(y, greatest.detach())
    assert np.array_equal(dx, theirs.grad)


def test_a_wrong_gradient_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(CASES["norm"], "alone")
    right = session.gradients()
    for i in range(len(right)):
        wrong = [g.copy() for g in right]
        wrong[i].flat[-1] += 1e-5 * np.abs(wrong[i]).max()
        monkeypatch.setattr(session, "gradients", lambda wrong=wrong: wrong)
        with pytest.raises(AssertionError):
            assert_equal_gradients(session)


def test_an_output_may_be_repeated_any_number_of_times() -> None:
    """Its gradients add up, those that are None left out. Comparing each of so many with
    all before it would take many seconds."""
    many, one = 100_000, np.ones((1, 2, 3), np.float32)
    operations = [("scale", [0], [], dict(factor=2.0))]
    program = _vitc.Program([(2, 3)], [(1,)], operations, [1] * many + [0])
    plan = _vitc.Plan(program, _vitc.Params([("w", (1,))]), training=True, input_gradients=True)
    run = _vitc.Run(plan, 1, 1)
    for _ in range(2):  # nothing is left from before
        outputs = run.forward([one])
        assert len(outputs) == many + 1 and np.all(outputs[many - 1] == 2)
        (dx,) = run.backward([one, None] * (many // 2) + [3 * one])
        assert np.all(dx == 2 * (many // 2) + 3)
