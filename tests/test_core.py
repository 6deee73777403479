"""The C core without Python: csrc/tools/test_*.c, as it is shipped and under the sanitizers.

The runners hold their own oracles (central differences, sums in double, the plain C twin of every
kernel). They are built with the flags of setup.py, warnings being errors, and run at every
instruction set that this processor has. A sanitizer ends a program at its first finding.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import vitc
import vitc.export
from oracle import redrawn
from oracle.static import static
from vitc import _vitc

ROOT = Path(__file__).parents[1]
CC = shlex.split(os.environ.get("CC", "gcc"))
LEVELS = _vitc.config()["isas"]
ITSELF = (
    *("test_cost", "test_cpu", "test_extremes", "test_kernel_values", "test_kernels"),
    "test_offsets",
)
TOLD = (
    *("test_api", "test_core", "test_file", "test_image", "test_matmul", "test_pairs"),
    *("test_panels", "test_small", "test_threads", "test_tiles"),
)
RACED = ("test_pairs", "test_threads")
ONEDNN = "0" if _vitc.config()["onednn"] == "none" else "1"
# Waiting threads sleep: some tests start more of them than there are processors.
QUIET = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": ""}

# What setup.py is asked for, and what a run needs besides.
CHECKED = "address,undefined"
BUILDS = {
    "plain": ({}, {}),
    "checked": ({"VITC_SANITIZE": CHECKED}, {"UBSAN_OPTIONS": "print_stacktrace=1"}),
    # libgomp is unknown to ThreadSanitizer: the core without it, oneDNN's copy on one thread.
    "raced": ({"VITC_SANITIZE": "thread", "VITC_OPENMP": "0"}, {"OMP_NUM_THREADS": "1"}),
}


def program(source: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Compiles and runs a program of a few lines."""
    folder.mkdir()
    (folder / "main.c").write_text(source)
    command = [*CC, "main.c", *flags, "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if built.returncode:
        return built
    return subprocess.run([folder / "main"], capture_output=True, text=True)


def build(kind: str, folder: Path) -> Path:
    """All runners of one kind."""
    environment = {**os.environ, "VITC_ONEDNN": ONEDNN, "VITC_WERROR": "1", **BUILDS[kind][0]}
    done = subprocess.run(
        [sys.executable, "csrc/tools/build.py", folder],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Programs(NamedTuple):
    """Those of one kind, built."""

    folder: Path
    environment: dict[str, str]

    def run(self, name: str, level: str, *arguments: str | Path, **options: Any) -> Any:
        """Runs one at an instruction set; the result is a `CompletedProcess`."""
        return subprocess.run(
            [self.folder / name, *arguments],
            env={**self.environment, "VITC_ISA": level},
            capture_output=True,
            timeout=300,
            **options,
        )


def programs(kind: str, folder: Path) -> Programs:
    """Builds one kind."""
    environment = {**os.environ, **QUIET, **BUILDS[kind][1]}
    if sanitizer := BUILDS[kind][0].get("VITC_SANITIZE"):
        probe = program("int main(void) { return 0; }", folder / "probe", f"-fsanitize={sanitizer}")
        if probe.returncode:
            pytest.skip(f"-fsanitize={sanitizer} does not work here: {probe.stderr[-200:]}")
    if kind == "checked":  # where tracing is forbidden, leaks cannot be looked for
        leak = "#include <stdlib.h>\nint main(void) { return malloc(8) == (void *)&main; }"
        probe = program(leak, folder / "leak", "-fsanitize=address")
        environment["ASAN_OPTIONS"] = f"detect_leaks={int('memory leaks' in probe.stderr)}"
    return Programs(build(kind, folder / "programs"), environment)


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Programs]:
    """The programs of a kind, built when first asked for."""
    return functools.cache(lambda kind: programs(kind, tmp_path_factory.mktemp(kind)))


# Some go through the levels themselves, some are told which; few start threads of their own.
CASES = [
    *((kind, name, "native") for kind in ("plain", "checked") for name in ITSELF),
    *((kind, name, level) for kind in ("plain", "checked") for name in TOLD for level in LEVELS),
    *(("raced", name, level) for name in RACED for level in LEVELS),
]


@pytest.mark.parametrize(("kind", "name", "level"), CASES)
def test_a_runner_passes(
    runners: Callable[[str], Programs], kind: str, name: str, level: str
) -> None:
    done = runners(kind).run(name, level, text=True)
    told = done.stdout[-4000:] + done.stderr[-6000:]
    assert done.returncode == 0, told
    closing = re.fullmatch(r"(\d+) passed, 0 failed", done.stdout.splitlines()[-1])
    assert closing is not None and int(closing[1]) > 50, told


MODELS = {
    "float32": dict(),
    "float64": dict(dtype="float64"),
    "features": dict(num_classes=0),
    "int8": dict(),
    "int8 static": dict(),
}


def model(name: str) -> Any:
    """With the same parameters whenever it is made."""
    made = vitc.create_model("test_vit", img_size=64, **{"num_classes": 5, **MODELS[name]}).eval()
    made.load_state_dict(redrawn(made.shapes, made.params.dtype))
    if name == "int8 static":
        return static(made, reach=4)  # the same at every level
    return vitc.quantize(made) if name == "int8" else made


def inputs(name: str) -> np.ndarray:
    dtype = model(name).params.dtype
    return np.random.default_rng(3).normal(size=(3, 3, 64, 64)).astype(dtype)


@cache
def in_python(level: str) -> dict[str, bytes]:
    """What each model gives at a level, in a process of its own."""
    script = "import sys, test_core as t\n"
    script += "found = [t.model(n)(t.inputs(n)).tobytes() for n in t.MODELS]\n"
    script += "sys.stdout.write('\\n'.join(b.hex() for b in found))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "VITC_ISA": level, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        check=True,
        text=True,
    )
    return dict(zip(MODELS, map(bytes.fromhex, done.stdout.split("\n")), strict=True))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["plain", "checked"])
def test_c_alone_gives_the_same_bits(
    runners: Callable[[str], Programs], kind: str, level: str, tmp_path: Path
) -> None:
    """Of a model in a file, one image or three, whatever the number of threads."""
    for name, expected in in_python(level).items():
        file, x = vitc.export.program(model(name), tmp_path / name), inputs(name)
        for images, threads in ((3, "2"), (1, "1")):
            done = runners(kind).run("run_file", level, file, threads, input=x[:images].tobytes())
            assert done.returncode == 0, done.stderr[-4000:]
            assert done.stdout == expected[: len(expected) * images // 3] != b""


def test_c_alone_says_what_is_wrong(runners: Callable[[str], Programs], tmp_path: Path) -> None:
    file = vitc.export.program(model("float32"), tmp_path / "model.vitc")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-64])
    for arguments, words in (
        ((file, "1"), "10 bytes are not images of 49152 bytes"),
        ((tmp_path / "cut", "1"), "bytes, "),
        ((tmp_path / "none",), "none cannot be opened"),
        ((file, "0"), "1 to 1024 threads"),
        ((), "usage: run_file FILE"),
    ):
        given = b"x" * (10 if "images" in words else 49152)
        done = runners("checked").run("run_file", "native", *arguments, input=given)
        assert done.returncode == 1 and done.stdout == b""
        assert words in done.stderr.decode()


def test_every_runner_is_run() -> None:
    there = {path.stem for path in (ROOT / "csrc/tools").glob("test_*.c")}
    assert there == {*ITSELF, *TOLD}


def test_a_compiler_is_there() -> None:
    assert shutil.which(CC[0]), f"{CC[0]} was not found: the tests of the core need a C compiler"
