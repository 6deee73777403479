"""What nobody should do to the C core: it says what is wrong in an exception, or it works.

Lists and arguments at random (hostile.py), once as installed and once under AddressSanitizer and
UndefinedBehaviorSanitizer; arrays of every wrong kind; a fork after a parallel pass; two threads on
one run. What could crash runs in a process of its own.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operation_cases import CASES
from sanitized import vitc_under
from vitc import _vitc

HOSTILE = Path(__file__).with_name("hostile.py")


def throw(seed: int, trials: int, environment: dict[str, str]) -> dict[str, int]:
    """How often each outcome was seen."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", HOSTILE, str(seed), str(trials)],
        env={**os.environ, "OMP_WAIT_POLICY": "passive", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout)


def says_enough(seen: dict[str, int]) -> bool:
    """A run in which almost everything was refused, or nothing, would prove little."""
    return all(
        seen[name] > 10 for name in ("accepted and run", "called", "ValueError", "TypeError")
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_random_programs_and_arguments(seed: int) -> None:
    assert says_enough(throw(seed, 4000, {}))


def test_the_glue_under_sanitizers(tmp_path: Path) -> None:
    options = {
        **vitc_under("address,undefined", tmp_path),
        "PYTHONMALLOC": "malloc",  # so that Python's objects are watched, too
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python leaks by design
    }
    assert says_enough(throw(3, 4000, options))
    done = subprocess.run(
        [sys.executable, HOSTILE.with_name("operation_cases.py")],
        env={**os.environ, "OMP_WAIT_POLICY": "passive", **options},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout) >= 2 * len(CASES)


# ---------------------------------------------------------------------------------------- arrays


def linear_run() -> tuple[_vitc.Run, _vitc.Params]:
    """y (2, 3) = x (2, 4) W^T + b in training, room for two images."""
    program = _vitc.Program([(2, 4)], [(3, 4), (3,)], [("linear", (0,), (0, 1), {})], [1])
    params = _vitc.Params([("w", (3, 4)), ("b", (3,))])
    params.write(0, np.arange(12, dtype=np.float32).reshape(3, 4))
    plan = _vitc.Plan(program, params, training=True, input_gradients=True)
    return _vitc.Run(plan, 2, 1), params


X = np.random.default_rng(0).standard_normal((2, 2, 4)).astype(np.float32)
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "double": (X.astype(np.float64), TypeError, "float64, expected float32"),
    "half": (X.astype(np.float16), TypeError, "float16"),
    "integers": (X.astype(np.int32), TypeError, "int32"),
    "byte-swapped": (X.astype(">f4"), TypeError, ">f4"),
    "objects": (X.astype(object), TypeError, "object"),
    "records": (X.view([("a", "f4")]), TypeError, "expected float32"),
    "list": (X.tolist(), TypeError, "list, expected a NumPy array"),
    "nothing": (None, TypeError, "NoneType"),
    "one dimension less": (X[0], ValueError, r"\(2, 4\), expected \(any, 2, 4\)"),
    "one dimension more": (X[None], ValueError, r"\(1, 2, 2, 4\), expected \(any, 2, 4\)"),
    "other columns": (X[..., :2], ValueError, r"\(2, 2, 2\)"),
    "no image": (X[:0], ValueError, "0 images do not fit a run made for 1 to 2"),
    "no columns": (X[..., :0], ValueError, r"\(2, 2, 0\)"),
    "too many images": (np.concatenate([X, X]), ValueError, "4 images do not fit"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_array_is_named(case: str) -> None:
    run, _ = linear_run()
    array, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        run.forward([array])
    run.forward([X])
    with pytest.raises((TypeError, ValueError)):
        run.backward([array] if case != "nothing" else [array, array])


def test_the_number_of_arrays_is_checked() -> None:
    run, _ = linear_run()
    for arrays in ([], [X, X]):
        with pytest.raises(ValueError, match=f"got {len(arrays)} arrays, expected 1"):
            run.forward(arrays)
    with pytest.raises(ValueError, match="once after each forward"):
        run.backward([None])


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """The same numbers in memory of every kind."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    backwards = x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    masked = np.ma.masked_array(x)
    return [wide[..., ::2], np.asfortranarray(x), shifted, frozen, backwards, masked]


def test_arrays_in_odd_memory_are_read_as_they_are() -> None:
    run, _ = linear_run()
    (expected,) = run.forward([X])
    assert len(layouts(X)) == 6
    for x in layouts(X):
        (y,) = run.forward([x])
        assert np.array_equal(y, expected)
        (dx,) = run.backward([np.ones_like(y)[::-1]])
        assert dx is not None and np.array_equal(dx[0, 0], np.arange(12).reshape(3, 4).sum(0))


def test_what_comes_out_belongs_to_the_caller() -> None:
    run, params = linear_run()
    (first,) = run.forward([X])
    kept = first.copy()
    run.forward([X * 2])
    assert np.array_equal(first, kept)
    view = params.view(0)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    del run, params
    assert view[2, 3] == 11  # a view keeps the memory that it shows


# ---------------------------------------------------------------------------------------- processes

FORK = """
import hashlib, os, sys
import numpy as np
import vitc, vitc.functional as F
from vitc import _vitc

def step(model, x):
    model.zero_grad()
    out = model(x)
    F.cross_entropy(out, [0, 1, 2]).backward()
    parts = [np.array(out), *(p.grad for p in model.parameters())]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()

vitc.set_num_threads(4)
model = vitc.create_model("test_vit", num_classes=3, img_size=96, depth=2)
x = np.random.default_rng(0).standard_normal((3, 3, 96, 96)).astype(np.float32)
expected = step(model, x)
child = os.fork()
if child == 0:
    fresh = vitc.create_model("test_vit", num_classes=3, img_size=96, depth=2)
    fresh.load_state_dict(model.state_dict())  # plans and products made after the fork
    same = step(model, x) == expected == step(fresh, x)
    os._exit(0 if same and _vitc.forked() else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 0, code
assert not _vitc.forked() and step(model, x) == expected
"""


def test_a_forked_child_computes_the_same_bits_on_one_thread() -> None:
    """libgomp hangs in a child that was forked after a parallel region, unless it stays serial."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_run_serves_one_thread_at_a_time() -> None:
    program = _vitc.Program([(512, 512)], [(512, 512)], [("linear", (0,), (0,), {})], [1])
    params = _vitc.Params([("w", (512, 512))], "float64")  # plain C: slow enough to meet
    run = _vitc.Run(_vitc.Plan(program, params), 8, 1)
    x = np.ones((8, 512, 512))
    worker = threading.Thread(target=run.forward, args=([x],))
    worker.start()
    refused = 0
    while worker.is_alive():
        try:
            run.forward([x[:1]])
        except _vitc.VitcError as error:
            assert "in use by another thread" in str(error)
            refused += 1
            time.sleep(0.001)
    worker.join()
    assert refused
    run.forward([x])


def test_sizes_out_of_range_are_refused() -> None:
    program = _vitc.Program([(2, 4)], [(3, 4)], [("linear", (0,), (0,), {})], [1])
    params = _vitc.Params([("w", (3, 4))])
    plan = _vitc.Plan(program, params)
    for capacity, threads in [(0, 1), (-1, 1), (1, 0), (1, -1), (1, 100_000)]:
        with pytest.raises(ValueError, match="at least one image and 1 to 1024 threads"):
            plan.nbytes(capacity, threads)
        with pytest.raises(ValueError, match="at least one image and 1 to 1024 threads"):
            _vitc.Run(plan, capacity, threads)
    with pytest.raises(MemoryError, match="do not fit into memory"):
        _vitc.Run(plan, 1 << 62, 1)
    with pytest.raises(OverflowError):
        _vitc.Run(plan, 1 << 70, 1)
    with pytest.raises(MemoryError):
        _vitc.Params([("w", (1 << 20, 1 << 19))], "float64")  # 4 TiB
