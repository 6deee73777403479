"""Every operation of the core on its own, forward and backward, with every parameter it may have.

Oracles: central differences in float64, element by element (tolerance 1e-6 of the largest gradient;
differences with a step of 1e-5 are good to about 1e-9), and the float64 run for the float32 one
(1e-5 relative). Where an operation's input has another reader, its gradient is the sum of both,
whichever comes first.
"""

import numpy as np
import pytest
import torch

from operation_cases import (
    BATCH,
    CASES,
    DIFFERENTIABLE,
    KEY,
    READERS,
    TABLE,
    Session,
    program_of,
)
from vitc import _vitc
from vitc.program import Builder

DIFFERENCES, FLOAT32 = 1e-6, 1e-5


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
