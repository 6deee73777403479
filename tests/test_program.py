"""vitc.program: the builder's checks, and programs made of others."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vitc import _vitc
from vitc.program import Builder, Op, Port, Value, rewrite, with_attention_probs
from vitc.program.rewrite import Add

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
    assert [op.kind for op in program.operations] == ["linear"]


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
    assert [op.kind for op in program.operations] == [
        "linear",
        "attention_probs",
        "attention",
        "linear",
        "norm",
        "linear",
        "attention_probs",
    ]
    assert [port.outer for port in program.outputs] == [(6, 3), (6, 3)]
    params = _vitc.Params([*rows.items(), ("n.weight", (4,)), ("n.bias", (4,))], "float64")
    run = _vitc.Run(_vitc.Plan(program.core, params), 2, 1)
    for probs in run.forward([np.ones((2, 3, 4))]):  # zero weights: every key weighs the same
        np.testing.assert_allclose(probs, 1 / 3)


def test_a_rewrite_carries_borders_inputs_and_vectors() -> None:
    b = Builder(ROWS)
    x, other = b.input((3, 4)), b.input((3, 4))
    x = b.add(x, other)
    b.border(x)
    x = b.scale(b.norm(x, "n"), 2.0)
    b.border(x)
    program = b.finish(b.pool(x), vector=True)

    def twice(op: Op, add: Add) -> Value:
        """Scales become two, norms disappear."""
        if op.kind == "norm":
            return op.inputs[0]
        return add(op._replace(inputs=(add(op),))) if op.kind == "scale" else add(op)

    changed = rewrite(program, twice, inputs=[Port.of((2, 2), vector=False)])
    assert [(op.kind, op.inputs) for op in changed.operations] == [
        ("add", (0, 1)),
        ("scale", (3,)),
        ("scale", (4,)),
        ("pool", (5,)),
    ]
    assert changed.core.borders == (3, 5) and program.core.borders == (2, 4)
    assert changed.inputs[2].inner == (2, 2) and changed.outputs == program.outputs
    assert changed.vector and changed.used == frozenset() != program.used


def test_what_no_output_needs_is_left_out_of_a_rewrite() -> None:
    b = Builder(ROWS)
    x = b.linear(b.input((3, 4)), "fc")
    b.border(x)
    program = b.finish(b.norm(x, "n"))
    seen: list[Value] = []

    def look(op: Op, add: Add) -> Value:
        if op.kind == "norm":
            seen.append(add(Op("scale", op.inputs, (), {"factor": 3.0})))
        return add(op)

    changed = rewrite(program, look, outputs=seen)
    assert [op.kind for op in changed.operations] == ["linear", "scale"]
    assert changed.core.borders == (1,) and changed.used == {2}
    assert rewrite(program, lambda op, add: add(op)).core.operations == program.core.operations


def chain(length: int, kind: str) -> tuple[_vitc.Program, _vitc.Params]:
    """A product, `length` operations one after the other, and another product."""
    attributes = {"activation": {"function": "gelu"}, "scale": {"factor": 1.0}}[kind]
    rows = [("first", (3, 2)), ("last", (2, 3))]
    middle = [(kind, (1 + i,), (), attributes) for i in range(length)]
    operations = [
        ("linear", (0,), (0,), {}),
        *middle,
        ("linear", (1 + length,), (1,), {}),
    ]
    program = _vitc.Program([(4, 2)], [shape for _, shape in rows], operations, [length + 2])
    return program, _vitc.Params(rows, "float64")


# A thread of the main program has 8 MB of stack by default, and none of them is needed.
LONG = """
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from test_program import chain
from vitc import _vitc

program, params = chain(60_000, "scale")
for row, shape in enumerate(params.shapes):
    params.write(row, np.ones(shape))
for options in ({}, {"checkpointing": True}):
    run = _vitc.Run(_vitc.Plan(program, params, training=True, **options), 1, 1)
    (y,) = run.forward([np.ones((1, 4, 2))])
    run.backward([np.ones_like(y)])
    assert (y == 6).all() and (params.gradient(0) == 8).all(), (y, params.gradient(0))
    params.zero_gradients()
print("good")
"""


def test_a_long_list_is_planned_and_run_on_a_small_stack() -> None:
    """Scheduling once recursed over what backward computes again."""

    def small_stack() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))

    done = subprocess.run(
        [sys.executable, "-c", LONG],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        preexec_fn=small_stack,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "good\n", (done.returncode, done.stderr)


def test_a_list_is_as_long_as_planning_can_honour() -> None:
    longest = 1 << 16
    program, params = chain(longest - 2, "activation")
    assert len(program.operations) == longest
    assert _vitc.Plan(program, params, training=True).image_bytes > 0
    for length in (longest - 1, 1_000_000):
        with pytest.raises(ValueError, match=f"at most 65536 operations, .* {length + 2}$"):
            chain(length, "activation")


def test_the_flops_of_a_plan_are_two_per_multiply_add() -> None:
    """Forward, attention has two products and backward five: one of forward is done again."""
    tokens, width, heads = 10, 6, 2
    rows = [("qkv", (3 * width, width)), ("out", (width, width))]
    program = _vitc.Program(
        [(tokens, width)],
        [shape for _, shape in rows],
        [
            ("linear", (0,), (0,), {}),
            ("attention", (1,), (), {"heads": heads}),
            ("linear", (2,), (1,), {}),
        ],
        [3],
    )
    params = _vitc.Params(rows)
    product, attention = 2 * tokens * width * width, 2 * tokens * tokens * width

    def flops(**options: bool) -> tuple[float, float]:
        plan = _vitc.Plan(program, params, training=True, **options)
        return plan.forward_flops, plan.backward_flops

    forward = 3 * product + 2 * attention + product
    weights, inputs = 4 * product, 4 * product
    assert flops(input_gradients=True) == (forward, 5 * attention + weights + inputs)
    assert flops() == (forward, 5 * attention + weights + product)
    params.set_requires_grad(0, False)
    assert flops() == (forward, product)
