"""Instruction sets: forced by VITC_ISA, refused where there are none, right and the same at each.

Parity: a part of the suite, with its own oracles (timm in float64, torch) and tolerances, is run
again at each level. Bits: one SHA-256 per quantity (bits.py), compared between numbers of threads,
repetitions, processes and cuts of the batch.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vitc import _vitc

ROOT = Path(__file__).parents[1]
CONFIG = _vitc.config()
LEVELS = CONFIG["isas"]
ORDER = ("ref", "avx2", "avx512", "native")

# Enough of the suite to meet every operation, forward and backward, at odd and at common sizes.
PARITY = (
    *(
        f"tests/test_models.py::test_outputs_and_gradients_equal_timms[{case}]"
        for case in ("test_vit", "test_vit grey", "test_vit no qkv bias", "tiny odd sizes", "tiny")
    ),
    "tests/test_models.py::test_distilled_training_gives_both_heads_and_evaluation_their_mean",
    "tests/test_models_training.py::test_dropout_and_drop_path_equal_timm_with_the_same_masks",
    "tests/test_models_training.py::test_recorded_and_plain_forwards_agree",
    "tests/test_functional.py",
)


def python(
    *arguments: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    # Waiting threads sleep: there are more of them than processors.
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_WAIT_POLICY": "passive", **environment},
        capture_output=True,
        text=True,
    )


# ---------------------------------------------------------------------------------------- choosing


def config_at(level: str) -> Any:
    done = python(
        "-c",
        "import json; from vitc import _vitc; print(json.dumps(_vitc.config()))",
        VITC_ISA=level,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def highest(kernels: dict[str, str]) -> str:
    """Of the levels that fill slots."""
    return max(kernels.values(), key=ORDER.index)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_taken_and_no_kernel_is_above_it(level: str) -> None:
    config = config_at(level)
    assert config["isa"] == level
    best = CONFIG["best_isa"] if level == "native" else level
    assert highest(config["kernels"]) == best
    # Those of images need more of AVX-512 than the others.
    some = best == "avx512" and not {"avx512vbmi", "avx512vnni"} <= set(config["features"].split())
    assert highest(config["image_kernels"]) == ("avx2" if some else best)


def test_without_a_wish_it_is_native() -> None:
    assert config_at("")["isa"] == "native"


@pytest.mark.parametrize("name", ["avx9000", "AVX2", "avx2 "])
def test_an_unknown_level_is_an_error_that_names_the_known(name: str) -> None:
    done = python("-c", "import vitc.models", VITC_ISA=name)
    assert done.returncode == 1
    expected = f"'{name}' is unknown, expected ref, avx2, avx512 or native"
    assert done.stderr.splitlines()[-1] == f"ValueError: instruction set {expected}"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension built so that it believes to be on a processor without AVX2."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = python(
        *("setup.py", "-q", "build_ext"),
        *("--build-lib", folder / "lib", "--build-temp", folder / "temp"),
        CFLAGS="-D__builtin_cpu_supports(name)=0",
        VITC_ONEDNN="0",
        VITC_WERROR="0",
    )
    assert done.returncode == 0, done.stderr
    (folder / "lib/vitc/__init__.py").touch()  # only the extension is asked for
    return folder / "lib"


@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_a_level_that_the_processor_lacks_is_an_error_that_says_so(
    elsewhere: Path, level: str
) -> None:
    done = python(
        "-c", "import vitc._vitc", cwd=elsewhere, PYTHONPATH=str(elsewhere), VITC_ISA=level
    )
    assert done.returncode == 1
    expected = f"instruction set '{level}' is not available on this CPU (no AVX2)"
    assert done.stderr.splitlines()[-1] == f"ValueError: {expected}"


def test_a_processor_without_avx2_runs_plain_c(elsewhere: Path) -> None:
    program = "import json; from vitc import _vitc; print(json.dumps(_vitc.config()))"
    done = python("-c", program, cwd=elsewhere, PYTHONPATH=str(elsewhere), VITC_ISA="")
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert (config["isa"], config["best_isa"]) == ("native", "ref")
    assert config["isas"] == ["ref", "native"]
    assert {*config["kernels"].values(), *config["image_kernels"].values()} == {"ref"}


# ---------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize("level", [level for level in LEVELS if level != CONFIG["isa"]])
def test_the_numbers_are_right_at_every_level(level: str) -> None:
    """The level of this process has the whole suite."""
    options = ("-q", "-n0", "-p", "no:cacheprovider")
    done = python("-m", "pytest", *options, *PARITY, VITC_ISA=level)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


# ---------------------------------------------------------------------------------------- bits


def digests(level: str, threads: str) -> dict[str, dict[str, str]]:
    done = python("tests/bits.py", VITC_ISA=level, OMP_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("level", LEVELS)
def test_threads_repetition_and_cuts_change_no_bit(level: str) -> None:
    first, second = digests(level, ""), digests(level, "1")
    assert len(first) == 18 and all(len(ways) == 8 for ways in first.values())
    for quantity, ways in first.items():
        assert len(set(ways.values())) == 1, (quantity, ways)
    assert first == second


def test_the_digests_see_a_single_bit() -> None:
    import bits
    import numpy as np

    x = np.ones(1000, np.float32)
    y = x.copy()
    y[777] = np.nextafter(y[777], np.float32(2))
    assert bits.sha256([x]) == bits.sha256([x.copy()]) != bits.sha256([y])
