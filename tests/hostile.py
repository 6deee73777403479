"""Throws made-up lists and arguments at the C core. `test_hostile.py` runs it in its own process:

    python tests/hostile.py SEED TRIALS

A program that fits together is written at random, spoiled in some places and, if the core takes
it, planned and run; in turn with that, functions and methods are called with things they do not
expect. Prints how often each outcome was seen, as JSON. An exception that is none of EXPECTED ends
it, and so does a crash.
"""

import copy
import json
import math
import random
import sys
from collections import Counter
from typing import Any

import numpy as np

from vitc import _vitc

EXPECTED = (ValueError, TypeError, OverflowError, MemoryError, IndexError)


class Grudge(Exception):
    """Raised by objects that do not want to be read; it must come out as it is."""


class Unwilling:
    def __index__(self) -> int:
        raise Grudge

    def __float__(self) -> float:
        raise Grudge


class Index:
    """Not an int, but good for one."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Thief:
    """Empties the list that it stands in while it is being read."""

    def __init__(self, victim: list[Any]) -> None:
        self.victim = victim

    def __index__(self) -> int:
        self.victim.clear()
        return 1


def endless() -> list[Any]:
    """A list that contains itself."""
    x: list[Any] = []
    x.append(x)
    return x


def anything(rng: random.Random) -> Any:
    """Something that does not belong there."""
    power = 1 << rng.choice([7, 15, 30, 31, 32, 40, 62, 63, 64, 200])
    return rng.choice(
        [
            lambda: rng.choice([-1, 1]) * power + rng.choice([-1, 0, 1]),
            lambda: rng.randrange(-4, 20),
            lambda: rng.choice([0.5, -0.0, 1e308, math.inf, -math.inf, math.nan]),
            lambda: rng.choice(["", "linear", "gelu", "no\0tail", "é" * 40, "x" * 5000, "\ud800"]),
            lambda: rng.choice([None, True, b"linear", 2j, object(), int, Unwilling(), len]),
            lambda: Index(power),
            lambda: rng.choice([(), [], {}, set(), range(3), "abc", endless()]),
            lambda: [Unwilling(), power, Index(1)],
            lambda: iter([1, 2, 3]),
            lambda: np.zeros(rng.choice([0, 1, 2])),
        ]
    )()


def other(rng: random.Random, old: Any) -> Any:
    """Something in place of `old`: another number where there was one, as a rule."""
    if rng.random() < 0.3 or not isinstance(old, int):
        return anything(rng)
    power = 1 << rng.choice([7, 15, 30, 31, 32, 40, 62, 63])
    return rng.choice([-1, 0, 1, 2, old + 1, old - 1, old * 2, power, -power, power - 1])


# ---------------------------------------------------------------------------------------- programs


KINDS = [
    *("linear", "norm", "rms_norm", "attention", "differential", "tokens", "parameter", "select"),
    *("columns", "pool", "resample", "concat", "add", "multiply", "affine", "rope", "qv_bias"),
    *("biased_attention", "relative_coordinates"),
    "others",
]


def writable(rng: random.Random) -> list[Any]:
    """Inputs, parameters, operations and outputs of a program that the core takes."""
    channels, height, width = rng.choice([(1, 4, 4), (3, 8, 4), (2, 5, 7)])
    inputs, params, operations = [[channels, height, width]], [], []
    patch = rng.choice([1, 2, 4])
    rows, cols = (height // patch) * (width // patch), channels * patch * patch
    operations.append(["patchify", [0], [], {"patch_height": patch, "patch_width": patch}])

    def row(*shape: int) -> int:
        params.append(list(shape))
        return len(params) - 1

    for _ in range(rng.randrange(1, 8)):
        last = len(operations)
        kind = rng.choice(KINDS)
        if kind == "linear":
            out = rng.choice([1, 5, 12, 24])
            operations.append([kind, [last], [row(out, cols), rng.choice([-1, row(out)])], {}])
            cols = out
        elif kind in ("norm", "rms_norm"):
            piece = rng.choice([1, cols])
            shift = [row(piece)] if kind == "norm" else []
            operations.append([kind, [last], [row(piece), *shift], {"eps": 1e-6}])
        elif kind == "attention" and cols % 3 == 0:
            heads, maps = rng.choice([(1, 1), (cols // 3, 1), (1, cols // 3)])
            given = {"heads": heads, "maps": maps}
            given |= rng.choice([{}, {"rate": rng.choice([0.5, 1.0]), "site": "d"}])
            operations.append([kind, [last], [], given])
            cols = cols // 3 * maps
        elif kind == "differential" and cols % 2 == 0:
            vectors = [row(3) for _ in range(4)]
            attributes = {"heads": rng.choice([1, cols // 2]), "init": 0.5}
            operations.append([kind, [last], vectors, attributes])
            cols //= 2
        elif kind == "tokens":
            registers = rng.choice([0, 2])
            patches, rows = rows, rows + 1 + registers
            table = rng.choice([-1, row(1, rows, cols), row(1, patches, cols)])
            register = row(1, registers, cols) if registers else -1
            operations.append([kind, [last], [row(1, 1, cols), -1, register, table], {}])
        elif kind == "parameter":
            rows, cols = rng.choice([(1, 6), (70, 2)])
            operations.append([kind, [], [row(1, rows, cols)], {}])
        elif kind == "rope" and cols % 12 == 0:
            heads = rng.choice([1, cols // 12])
            size, grid = cols // 3 // heads, {"prefix": rows - 1, "height": 1, "width": 1}
            if rng.random() < 0.5:
                at = {"y_start": 0.5, "y_step": math.pi, "x_start": -1.0, "x_step": 1.0}
                at |= {"size": size, "temperature": 100.0}
                operations.append(["rope_table", [], [], grid | at])
            else:
                operations.append(["parameter", [], [row(2, 1, heads, size // 2)], {}])
                operations.append(
                    ["rope_mixed", [len(operations)], [], grid | {"heads": heads, "block": 0}]
                )
            table = len(operations)
            operations.append(["rope", [last, table], [], {"heads": heads, "halves": 1}])
        elif kind == "biased_attention" and cols % 3 == 0:
            heads, prefix = rng.choice([1, cols // 3]), rng.choice([0, 1]) if rows > 1 else 0
            extra = rng.choice([0, 3]) if prefix else 0
            table = row(2 * (rows - prefix) - 1 + extra, heads)
            operations.append(["parameter", [], [table], {}])
            sizes = {"heads": heads, "height": 1, "width": rows - prefix}
            operations.append([kind, [last, len(operations)], [], sizes])
            cols //= 3
        elif kind == "relative_coordinates":
            operations.append([kind, [], [], {"height": rows, "width": 2}])
            rows, cols = 3 * (2 * rows - 1), 2
        elif kind == "qv_bias" and cols % 3 == 0:
            operations.append([kind, [last], [row(cols // 3), row(cols // 3)], {}])
        elif kind == "columns":
            count = rng.randrange(1, cols + 1)
            start = rng.randrange(cols - count + 1)
            operations.append([kind, [last], [], {"start": start, "count": count}])
            cols = count
        elif kind == "pool":
            operations.append([kind, [last], [], {}])
            rows = 1
        elif kind == "resample":
            prefix, height, width = rows - 1, 1, 1
            if rows % 2 == 0:
                prefix, height, width = rng.choice([(0, 2, rows // 2), (rows - 2, 1, 2)])
            new = rng.choice([1, 3]), rng.choice([1, 2, 4])
            sizes = {"prefix": prefix, "height": height, "width": width}
            sizes |= {"new_height": new[0], "new_width": new[1]}
            operations.append([kind, [last], [], sizes])
            rows = prefix + new[0] * new[1]
        elif kind == "concat":
            operations.append([kind, [last, last], [], {}])
            cols *= 2
        elif kind == "affine":
            operations.append([kind, [last], [row(cols), rng.choice([-1, row(cols)])], {}])
        elif kind == "select":
            count = rng.randrange(1, rows + 1)
            start = rng.randrange(rows - count + 1)
            operations.append([kind, [last], [], {"start": start, "count": count}])
            rows = count
        elif kind in ("add", "multiply"):
            operations.append([kind, [last, last], [], {}])
        else:
            name, attributes = rng.choice(
                [
                    ("activation", {"function": rng.choice(["gelu", "gelu_tanh", "silu"])}),
                    ("scale", {"factor": rng.choice([0.5, math.nan])}),
                    ("dropout", {"rate": 0.5, "site": "a", "row": rng.choice([0, 3])}),
                    ("drop_path", {"rate": 0.5, "site": "b"}),
                ]
            )
            operations.append([name, [last], [], attributes])
    outputs = [len(operations), *rng.choice([[], [0], [len(operations)], [1]])]
    return [inputs, params, operations, outputs]


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in nested lists and dicts."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    here = [(tree, key) for key in keys]
    below = [tree[key] for key in keys if isinstance(tree[key], list | dict)]
    return here + [place for part in below for place in places(part)]


def spoil(rng: random.Random, container: Any, key: Any) -> None:
    """Replaces, removes or repeats what stands there."""
    kind, is_list = rng.random(), isinstance(container, list)
    if not is_list:
        container[rng.choice([key, key, "extra"])] = other(rng, container[key])
    elif key >= len(container):
        pass  # something before it was removed
    elif kind < 0.7:
        container[key] = other(rng, container[key])
    elif kind < 0.8:
        del container[key]
    elif kind < 0.9:
        container.insert(key, container[key])
    else:
        container[key] = Thief(container)


def closed(operations: Any) -> Any:
    """Operations are tuples; what was spoiled stays as it is."""
    if not isinstance(operations, list):
        return operations
    return [tuple(row) if isinstance(row, list) else row for row in operations]


def spoiled(rng: random.Random) -> _vitc.Program:
    tree = writable(rng)
    parts = [[part] for part in tree]
    for container, key in rng.sample(places(parts), rng.choice([0, 1, 1, 1, 2, 3])):
        spoil(rng, container, key)
    inputs, params, operations, outputs = (part[0] if part else () for part in parts)
    return _vitc.Program(inputs, params, closed(operations), outputs)


def shaped(program: _vitc.Program, value: int) -> tuple[int, ...]:
    inputs = len(program.inputs)
    if value < inputs:
        return program.inputs[value]
    return tuple(program.operations[value - inputs]["shape"])


def array(rng: random.Random, shape: tuple[int, ...], dtype: str) -> Any:
    """An array that fits, as a rule."""
    if math.prod(shape) > 1 << 22:
        raise MemoryError
    x = np.full(shape, rng.choice([0.0, 1.0, math.nan, math.inf, 1e4]), dtype)
    if rng.random() < 0.8:
        return x
    return rng.choice(
        [
            lambda: x[::-1],
            lambda: x.T,
            lambda: x.astype("float16"),
            lambda: x.astype(x.dtype.newbyteorder()),
            lambda: x.astype(object),
            lambda: x[..., :0],
            lambda: x[:0],
            lambda: x[None],
            lambda: np.ma.masked_array(x),
            lambda: anything(rng),
        ]
    )()


def run(rng: random.Random, program: _vitc.Program) -> str:
    """Plans and runs what was accepted; what came of it."""
    if sum(map(math.prod, program.params)) > 1 << 20:
        return "accepted, too large to run"
    dtype = rng.choice(["float32", "float64"])
    params = _vitc.Params([(f"p{i}", s) for i, s in enumerate(program.params)], dtype)
    for i in range(len(params)):
        params.set_requires_grad(i, rng.random() < 0.8)
    flags = {name: rng.random() < 0.7 for name in ("training", "input_gradients", "fuse")}
    plan = _vitc.Plan(program, params, **flags)
    batch = rng.choice([1, 2, 3])
    capacity, threads = batch + rng.choice([0, 0, 1]), rng.choice([1, 2, 3])
    if rng.random() < 0.2:
        capacity = rng.choice([0, -1, 1 << 40, 1 << 62, anything(rng)])
    if rng.random() < 0.2:
        threads = rng.choice([0, -5, 1 << 20, anything(rng)])
    assert plan.nbytes(capacity, threads) > 0
    live = _vitc.Run(plan, capacity, threads)
    outputs = live.forward([array(rng, (batch, *s), dtype) for s in program.inputs])
    gradients = [rng.choice([None, array(rng, y.shape, dtype)]) for y in outputs]
    live.backward(gradients)
    assert math.isnan(params.gradient_norm()) or params.gradient_norm() >= 0
    return "accepted and run"


# ---------------------------------------------------------------------------------------- functions


def scene() -> dict[str, Any]:
    """Objects of every type, to be used and misused together."""
    operations = [("linear", (0,), (0, 1), {})]
    program = _vitc.Program([(2, 4)], [(3, 4), (3,)], operations, [1])
    params = _vitc.Params([("w", (3, 4)), ("b", (3,))])
    other = _vitc.Params([("w", (3, 4)), ("b", (3,))], "float64")
    plan = _vitc.Plan(program, params, training=True)
    return {
        "program": program,
        "params": params,
        "other": other,
        "plan": plan,
        "run": _vitc.Run(plan, 2, 2),
        "buffer": params.new_buffer(),
        "foreign": other.new_buffer(),
        "x": np.ones((2, 2, 4), np.float32),
        "y": np.ones((2, 2, 3), np.float32),
        "row": np.ones((3, 4), np.float32),
        "wide": np.ones((3, 4)),
        "weights": np.ones(4, np.float32),
        "samples": np.ones(3, np.float32),
        "labels": np.array([0, 1, 3]),
    }


def calls(s: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What there is to call, with arguments that it takes. Not among them: random_words, which can
    fill all memory, and fail_allocation, which would spoil the rest."""
    params, buffer, live, x = s["params"], s["buffer"], s["run"], s["x"]
    logits, target = s["row"], s["labels"]

    def adamw(p: Any, m: Any, v: Any, indices: Any, step: Any, lr: Any, threads: Any) -> None:
        more = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, l2=0.0)
        _vitc.adamw_step(p, m, v, indices, step=step, lr=lr, threads=threads, **more)

    def radam(p: Any, m: Any, v: Any, indices: Any, betas: Any, rectifier: Any) -> None:
        more = dict(lr=0.1, eps=1e-8, weight_decay=0.0, l2=0.0, correction=0.1, threads=2)
        _vitc.radam_step(p, m, v, indices, betas=betas, rectifier=rectifier, **more)

    def sgd(p: Any, m: Any, indices: Any, momentum: Any, first: Any, threads: Any) -> None:
        more = dict(lr=0.1, dampening=0.0, weight_decay=0.0, nesterov=True)
        _vitc.sgd_step(p, m, indices, momentum=momentum, first=first, threads=threads, **more)

    def lion(p: Any, m: Any, indices: Any, betas: Any, threads: Any) -> None:
        _vitc.lion_step(p, m, indices, lr=0.1, betas=betas, weight_decay=0.0, threads=threads)

    def lamb(p: Any, m: Any, v: Any, indices: Any, clip: Any, adapts: Any, threads: Any) -> None:
        more = dict(lr=0.1, eps=1e-6, weight_decay=0.1, gradient_share=0.1, trust_clip=False)
        more |= dict(betas=(0.9, 0.999), corrections=(0.1, 0.001), threads=threads)
        _vitc.lamb_step(p, m, v, indices, clip=clip, adapts=adapts, **more)

    def row_loss(kind: Any, input: Any, target: Any, w: Any, pos: Any, samples: Any) -> None:
        more = dict(factor=1.0, alpha=0.25, gamma=2.0, log_target=False)
        more |= dict(class_weights=w, positive_weights=pos, sample_weights=samples)
        _vitc.row_loss(kind, input, target, **more)

    def draw(seed: Any, step: Any, forward: Any, row: Any) -> None:
        live.forward([x], seed=seed, step=step, forward=forward, row=row)

    return [
        (_vitc.Params, [("w", (3, 4)), ("b", (3,))], "float32"),
        (_vitc.Plan, s["program"], params),
        (_vitc.Run, s["plan"], 2, 2),
        (s["plan"].nbytes, 2, 2),
        (_vitc.Program.__new__, _vitc.Program),
        (_vitc.Run.__new__, _vitc.Run),
        (object.__new__, _vitc.Buffer),
        (copy.copy, live),
        (copy.copy, buffer),
        (params.view, 1),
        (params.write, 0, logits),
        (params.gradient, 0),
        (params.set_requires_grad, 0, True),
        (params.scale_gradients, 0.5),
        (buffer.view, 1),
        (buffer.write, 0, logits),
        (live.forward, [x]),
        (live.backward, [s["y"]]),
        (live.backward, [None]),
        (draw, 1, 2, 3, 4),
        (adamw, params, buffer, buffer, [0, 1], 1, 1e-3, 2),
        (radam, params, buffer, buffer, [0, 1], (0.9, 0.999), 0.02),
        (sgd, params, buffer, [0, 1], 0.9, True, 2),
        (sgd, params, None, [0, 1], 0.9, True, 2),
        (lion, params, buffer, [0, 1], (0.9, 0.99), 2),
        (lamb, params, buffer, buffer, [0, 1], 1.0, True, 2),
        (params.scale_gradients, 0.5, [0]),
        (params.gradient_norm, [0, 1]),
        (_vitc.clip_value, params, [0, 1], 0.1),
        (_vitc.clip_adaptive, params, None, 0.01, 1e-3),
        (_vitc.average, params, params, 0.1),
        *(
            (row_loss, kind, logits, logits, s["weights"], s["weights"], s["samples"])
            for kind in ("binary_cross_entropy", "binary_focal", "divergence", "squared_error")
        ),
        (_vitc.jensen_shannon, logits, 3),
        (_vitc.cross_entropy, logits, target),
        (_vitc.cross_entropy, logits, logits, s["weights"], s["samples"], 0.1, -100),
        (_vitc.softmax, logits),
        (_vitc.log_softmax, logits),
        (_vitc.log_softmax_backward, logits, logits),
        (_vitc.count_nonfinite, logits),
    ]


def call(rng: random.Random, s: dict[str, Any]) -> str:
    function, *arguments = rng.choice(calls(s))
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(arguments))
        thing = rng.choice(list(s.values()))
        if isinstance(thing, np.ndarray):
            thing = rng.choice([thing, thing[::-1], thing[:0], thing[..., :0], thing * np.nan])
        arguments[at] = rng.choice([thing, [thing], other(rng, arguments[at])])
    function(*arguments)
    return "called"


# ---------------------------------------------------------------------------------------- all


def main(seed: int, trials: int) -> None:
    rng, seen = random.Random(seed), Counter[str]()
    objects = scene()
    for trial in range(trials):
        try:
            seen[run(rng, spoiled(rng)) if trial % 2 else call(rng, objects)] += 1
        except EXPECTED as error:
            seen[type(error).__name__] += 1
        except _vitc.VitcError as error:  # the only misuse that one thread can make of the core
            if "changed between the forward pass and its backward" not in str(error):
                raise
        except Grudge:
            seen["Grudge"] += 1
        if trial % 500 == 0:
            objects = scene()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
