"""Two threads at once on one model, and on the arrays of one call (races.py): no crash, no data
race, and afterwards the bits of a model that was never shared.

The long ones build the core under the sanitizers. ThreadSanitizer does not know OpenMP's runtime,
so its build does without. Of CPython, which is not built for it, it sees the locks alone; nothing
had to be suppressed.
"""

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitc.functional as F
from sanitized import vitc_under
from vitc import _vitc, create_model, optim
from vitc.files import replacing
from vitc.models import model as models
from vitc.tape import Output, on_tape

RACES = Path(__file__).with_name("races.py")
QUIET = {"OMP_WAIT_POLICY": "passive", "PYTHONSAFEPATH": "1"}


def start(*arguments: Any, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", RACES, *map(str, arguments)],
        env={**os.environ, **QUIET, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str], timeout: float) -> str:
    """What it printed, once it has ended well."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:  # they wait for each other
        process.kill()
        raise
    assert process.returncode == 0, err[-6000:]
    return out


# ---------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(
    ("one", "other"),
    [("train", "clip_grad_norm"), ("train", "gradient_norm"), ("train", "AdamW")],
)
def test_gradients_may_be_forgotten_during_a_pass_over_them(one: str, other: str) -> None:
    assert told(start("pair", 1, one, other), 100).startswith("1 pairs, ")


def test_every_pair_for_a_moment() -> None:
    assert told(start("pairs", 0.01), 200).startswith("276 pairs, ")


def for_long(**environment: str) -> None:
    """Every pair for 20 seconds, in eight processes."""
    parts = [start("pairs", 20, part, 8, **environment) for part in range(8)]
    for part in parts:
        print(told(part, 3600), end="")


@pytest.mark.long
def test_every_pair_for_long() -> None:
    for_long()


@pytest.mark.long
def test_every_pair_under_thread_sanitizer(tmp_path: Path) -> None:
    environment = vitc_under("thread", tmp_path, VITC_OPENMP="0")
    options = {"TSAN_OPTIONS": "halt_on_error=1", "OMP_NUM_THREADS": "1"}
    for_long(**environment, **options)


# ---------------------------------------------------------------------------------------- arrays


def test_arrays_that_change_during_a_call() -> None:
    assert told(start("arrays", 0.5), 100).count("refused") == 6


@pytest.mark.long
def test_arrays_that_change_under_address_sanitizer(tmp_path: Path) -> None:
    environment = vitc_under("address,undefined", tmp_path)
    options = {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
    print(told(start("arrays", 30, **environment, **options), 600), end="")


# ---------------------------------------------------------------------------------------- Python


def small() -> Any:
    return create_model("test_vit", num_classes=3, img_size=32, depth=1)


X = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)


def test_outputs_can_die_while_another_thread_has_the_pool() -> None:
    """A finalizer that waited for a lock could wait for one that waits for its own thread."""
    model = small()
    out = model(X)
    taken, done = threading.Event(), threading.Event()
    waited: list[bool] = []

    def hold() -> None:
        with model._pool._lock:
            taken.set()
            waited.append(done.wait(20))

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    del out
    gc.collect()
    done.set()
    holder.join()
    assert waited == [True] and not model._pool._live


def test_a_parameter_frozen_while_a_plan_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    made = _vitc.Plan

    def freeze_first(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(_vitc, "Plan", made)
        model.head.weight.requires_grad = False
        return made(*arguments, **options)

    monkeypatch.setattr(_vitc, "Plan", freeze_first)
    F.cross_entropy(model(X), [0, 1]).backward()
    assert model.head.weight.grad is None
    model.head.weight.requires_grad = True
    F.cross_entropy(model(X), [0, 1]).backward()
    assert model.head.weight.grad is not None


def gradients(model: Any) -> list[np.ndarray]:
    return [np.array(p.grad) for p in model.parameters()]


def test_clipping_waits_for_a_backward_pass() -> None:
    """Else it would divide what is there by the weight of what is still to come."""
    model, shared = small(), small()
    shared.load_state_dict(model.state_dict())
    for _ in range(2):
        F.cross_entropy(model(X), [0, 1]).backward()
    expected = gradients(model)

    def clip() -> None:
        optim.clip_grad_norm_(shared.parameters(), 1e9)

    monitor = threading.Thread(target=clip)

    def look(dy: np.ndarray) -> np.ndarray:
        monitor.start()
        monitor.join(0.5)  # time to do what it must not do
        return dy

    F.cross_entropy(shared(X), [0, 1]).backward()
    out = shared(X)
    assert isinstance(out, Output) and out.edge is not None
    F.cross_entropy(on_tape(np.array(out), out.edge, look), [0, 1]).backward()
    monitor.join()
    for ours, theirs in zip(gradients(shared), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_programs_are_dropped_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_PROGRAMS", 1)
    model, wrong = small(), []
    program = model.program()

    def use() -> None:
        try:
            for i in range(20_000):
                model._program((i % 7,), lambda: program)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert wrong == [] and len(model._programs) <= len(threads)


def test_two_threads_write_one_file(tmp_path: Path) -> None:
    path, both = tmp_path / "a.bin", threading.Barrier(2)

    def write(byte: bytes) -> None:
        with replacing(path) as unfinished:
            both.wait()
            unfinished.write_bytes(byte * 1000)
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (b"a", b"b")))
    assert path.read_bytes() in (b"a" * 1000, b"b" * 1000)
    assert list(tmp_path.iterdir()) == [path]
