"""What stands around the core in a process: signals, limits of OpenMP, what another library has
done to a thread's arithmetic, little memory.

Oracle: the bits of an undisturbed process. Models are of real size, because small ones spend no
time in the products of oneDNN that signals and limits can disturb.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vitc import _vitc

TESTS = Path(__file__).parent
LEVELS = _vitc.config()["isas"]


def python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


def storm(signals: int, **environment: str) -> dict[str, list[str]]:
    """The digests of inference and of training."""
    done = python(TESTS / "storm.py", str(signals), **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


# ---------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_hundred_signals_change_no_bit(level: str, threads: str) -> None:
    seen = storm(100, VITC_ISA=level, OMP_NUM_THREADS=threads)
    assert {work: len(digests) for work, digests in seen.items()} == {"infer": 1, "train": 1}


def interrupt(folder: Path, milliseconds: int, name: str, level: str) -> str:
    """How a run ended that got one signal."""
    folder.mkdir()
    done = python(TESTS / "interrupted.py", folder, str(milliseconds), name, VITC_ISA=level)
    return "a checkpoint" if done.returncode == 0 else f"{done.returncode}: {done.stderr[-500:]}"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_gets_a_signal_leaves_a_checkpoint(tmp_path: Path, name: str) -> None:
    assert interrupt(tmp_path / "run", 50, name, "") == "a checkpoint"


@pytest.mark.long
@pytest.mark.parametrize("level", LEVELS)
def test_sixty_runs_that_get_a_signal_leave_sixty_checkpoints(tmp_path: Path, level: str) -> None:
    times = random.Random(level)
    ends = Counter(
        interrupt(tmp_path / str(i), times.randrange(400), ("SIGINT", "SIGTERM")[i % 2], level)
        for i in range(60)
    )
    print(level, dict(ends))
    assert ends == {"a checkpoint": 60}


# ---------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("level", LEVELS)
def test_limits_of_openmp_change_no_bit(level: str) -> None:
    """A team of one is no active region of OpenMP: oneDNN once took it for leave to use two."""
    free = storm(0, VITC_ISA=level, OMP_NUM_THREADS="2")
    for limit in ("OMP_THREAD_LIMIT=1", "OMP_MAX_ACTIVE_LEVELS=0", "OMP_DYNAMIC=true"):
        name, value = limit.split("=")
        assert storm(0, VITC_ISA=level, OMP_NUM_THREADS="2", **{name: value}) == free, limit


def test_the_environment_of_onednn_changes_no_bit() -> None:
    expected = storm(0, VITC_ISA="native")
    for wish in ("ONEDNN_MAX_CPU_ISA=SSE41", "ONEDNN_DEFAULT_FPMATH_MODE=ANY"):
        name, value = wish.split("=")
        assert storm(0, VITC_ISA="native", **{name: value}) == expected, wish


def test_the_documentation_names_the_program_that_prints_digests() -> None:
    page = TESTS.parent / "docs/reproducibility.md"
    assert "VITC_ISA=avx2 python tests/storm.py 0" in page.read_text()
    bare = python("tests/storm.py", "0", PYTHONPATH="", PYTHONSAFEPATH="")
    assert set(json.loads(bare.stdout)) == {"infer", "train"}


def test_the_limit_of_openmp_is_the_default_number_of_threads() -> None:
    program = "import vitc; print(vitc.get_num_threads())"
    assert python("-c", program, OMP_THREAD_LIMIT="1").stdout == "1\n"


DENORMALS = """
import numpy as np
import torch
import vitc, vitc.functional as F
from vitc.tape import close_window

def gradients(threads):
    vitc.set_num_threads(threads)
    model.zero_grad()
    (F.cross_entropy(model(x), [0, 1]) * 1e-33).backward()
    close_window([model])  # the core divides
    return np.concatenate([np.array(p.grad).ravel() for p in model.parameters()])

vitc.seed_everything(0)
model = vitc.create_model("test_vit", num_classes=3, img_size=64)
x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
quiet = gradients(2)
small = np.abs(quiet[quiet != 0]) < np.finfo(np.float32).tiny
assert small.sum() > 1000
assert torch.set_flush_denormal(True)  # as a library built with -ffast-math does
for threads in (1, 2, 4):
    assert gradients(threads).tobytes() == quiet.tobytes(), threads
assert np.float32(1e-39) * np.float32(0.5) == 0  # the caller's own arithmetic is as it was
"""


def test_flushing_denormals_in_the_calling_thread_changes_no_bit() -> None:
    done = python("-c", DENORMALS)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------------- fork

FORKS = """
import hashlib, os, signal, sys, threading, time, warnings
import numpy as np
import vitc, vitc.functional as F

warnings.simplefilter("ignore")  # of forking beside threads
x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)

def new_model():
    vitc.seed_everything(0)
    return vitc.create_model("test_vit", num_classes=3, img_size=64, depth=2)

def step(model):
    model.zero_grad()
    F.cross_entropy(model(x), [0, 1]).backward()
    bits = b"".join(np.array(p.grad).tobytes() for p in model.parameters())
    return hashlib.sha256(bits).hexdigest()

def train(model):
    step(model)

def plan(model):
    fresh = new_model()
    fresh.load_state_dict(model.state_dict())
    step(fresh)

def infer(model):
    with vitc.no_grad():
        model(x)

def work(task, model):
    while not stop.is_set():
        task(model)

model, stop = new_model(), threading.Event()
expected = step(model)
busy = threading.Thread(target=work, args=(globals()[sys.argv[1]], model))
busy.start()
for i in range(int(sys.argv[2])):
    time.sleep(0.001 * (i % 17))
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is ended
        good = step(model) == expected == step(new_model())
        os._exit(0 if good else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        break
stop.set()
busy.join()
sys.exit(f"child {i} ended with {code}" if code else 0)
"""


@pytest.mark.parametrize("task", ["train", "plan", "infer"])
def test_a_child_forked_beside_a_busy_thread_works(task: str) -> None:
    """Locks are made new in it, and nobody is in the midst of oneDNN when it is forked."""
    done = python("-c", FORKS, task, "12")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.long
@pytest.mark.parametrize("task", ["train", "plan", "infer"])
def test_a_hundred_forked_children_work(task: str) -> None:
    done = python("-c", FORKS, task, "100")
    assert done.returncode == 0, done.stderr[-2000:]


# ---------------------------------------------------------------------------------------- memory

SHORT = """
import resource, sys
import numpy as np
import vitc, vitc.functional as F

model = vitc.create_model("vit_tiny_patch16_224", depth=2, num_classes=3, img_size=64)
x = np.zeros((2, 3, 64, 64), np.float32)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    F.cross_entropy(model(x), [0, 1]).backward()
    print("done")
except MemoryError:
    print("MemoryError")
"""


def run_short(megabytes: float) -> str:
    """How a step ended that had so much more memory."""
    done = python("-c", SHORT, str(int(megabytes * 1e6)))
    return done.stdout.strip() or f"{done.returncode}: {done.stderr[-500:]}"


def test_little_memory_is_a_memory_error() -> None:
    """oneDNN ends the process where a small block of its own fails: so room is asked for before."""
    assert [run_short(megabytes) for megabytes in (1, 20, 40, 500)] == ["MemoryError"] * 3 + [
        "done"
    ]


@pytest.mark.long
def test_any_little_memory_is_a_memory_error() -> None:
    ends = Counter(run_short(0.6 * i) for i in range(300))
    print(dict(ends))
    assert set(ends) == {"MemoryError", "done"}, ends
    assert min(ends.values()) > 20, ends
