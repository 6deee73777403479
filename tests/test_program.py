"""vitc.program: the builder's checks and the rewrite for attention maps."""

import numpy as np
import pytest

from vitc import _vitc
from vitc.program import Builder, Value, with_attention_probs

ROWS = {
    "qkv.weight": (12, 4),
    "qkv.bias": (12,),
    "fc.weight": (4, 4),
    "n.weight": (4,),
    "n.bias": (4,),
}


def _attending(b: Builder, x: Value, name: str) -> Value:
    return b.linear(b.attention(b.linear(x, f"{name}.qkv"), heads=2), f"{name}.fc")


def test_a_program_knows_its_border_and_what_it_uses() -> None:
    b = Builder(ROWS)
    x = b.input((1, 4), vector=True)
    program = b.finish(b.linear(x, "fc"), vector=True)
    assert program.inputs[0].outer == (4,) and program.outputs[0] == ((1, 4), (4,))
    assert program.used == {2}
    assert [op["kind"] for op in program.core.operations] == ["linear"]


def test_a_rate_of_zero_writes_no_operation() -> None:
    b = Builder(ROWS)
    x = b.input((3, 4))
    assert b.dropout(x, 0.0, "a") == x == b.drop_path(x, 0.0, "b")


def test_unknown_parameters_are_named() -> None:
    b = Builder(ROWS)
    with pytest.raises(ValueError, match=r"'fd\.weight'.*'fc\.weight'"):
        b.linear(b.input((3, 4)), "fd")


def test_inputs_come_first_and_vectors_are_one_row() -> None:
    b = Builder(ROWS)
    with pytest.raises(ValueError, match=r"one row.*\(3, 4\)"):
        b.input((3, 4), vector=True)
    b.linear(b.input((3, 4)), "fc")
    with pytest.raises(ValueError, match="before the first operation"):
        b.input((3, 4))


def test_shapes_that_do_not_fit_are_refused_by_the_checker() -> None:
    b = Builder(ROWS)
    x = b.input((3, 5))
    with pytest.raises(ValueError, match=r"(?s)linear.*5|5.*linear"):
        b.finish(b.linear(x, "fc"))
    b = Builder(ROWS)
    x = b.input((3, 4))
    with pytest.raises(ValueError, match="attention"):
        b.finish(b.attention(b.linear(x, "qkv"), heads=3))


def test_attention_probs_are_added_and_what_follows_is_cut() -> None:
    layers = {"qkv.weight": (12, 4), "qkv.bias": (12,), "fc.weight": (4, 4)}
    rows = {f"{name}.{key}": shape for name in "ab" for key, shape in layers.items()}
    b = Builder(rows | {"n.weight": (4,), "n.bias": (4,)})
    x = _attending(b, b.input((3, 4)), "a")
    program = with_attention_probs(b.finish(_attending(b, b.norm(x, "n"), "b")))
    kinds = [op["kind"] for op in program.core.operations]
    assert kinds[:6] == ["linear", "attention", "linear", "norm", "linear", "attention"]
    assert kinds[6:] == ["attention_probs", "attention_probs"]
    assert [port.outer for port in program.outputs] == [(6, 3), (6, 3)]
    params = _vitc.Params([*rows.items(), ("n.weight", (4,)), ("n.bias", (4,))], "float64")
    run = _vitc.Run(_vitc.Plan(program.core, params), 2, 1)
    for probs in run.forward([np.ones((2, 3, 4))]):  # zero weights: every key weighs the same
        np.testing.assert_allclose(probs, 1 / 3)
