"""vitc.runtime: threads, seeds, and what show_config tells."""

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vitc
from vitc import _vitc
from vitc.runtime import config_text
from vitc.tape import clock


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vitc.runtime._threads", None)
    seed, python, numpy = clock.seed, random.getstate(), np.random.get_state()
    yield
    clock.seed = seed
    clock.begin(0)
    random.setstate(python)
    np.random.set_state(numpy)


# ---------------------------------------------------------------------------------------- threads


def test_threads_are_what_the_core_finds_until_they_are_set() -> None:
    assert vitc.get_num_threads() == _vitc.default_threads() >= 1
    vitc.set_num_threads(np.int64(3))
    assert vitc.get_num_threads() == 3


def test_a_number_of_threads_out_of_range_is_named() -> None:
    for threads in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"threads is {threads}, expected 1 to 1024"):
            vitc.set_num_threads(threads)
    with pytest.raises(TypeError):
        vitc.set_num_threads(2.0)  # type: ignore[arg-type]
    assert vitc.get_num_threads() == _vitc.default_threads()


def threads_with(wish: str) -> int:
    program = "import vitc; print(vitc.get_num_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": wish}
    return int(subprocess.check_output([sys.executable, "-c", program], env=environment))


def test_omp_num_threads_lowers_the_number_and_nonsense_does_not_count() -> None:
    assert threads_with("1") == 1
    assert threads_with("100000") == threads_with("0") == threads_with("") == threads_with("many")


# ---------------------------------------------------------------------------------------- seeds


def test_seed_everything_seeds_weights_dropout_and_the_global_generators() -> None:
    def drawn() -> list[float]:
        clock.step = 5
        assert vitc.seed_everything(3) == 3
        assert (clock.seed, clock.step, clock.forward) == (3, 0, 0)
        weights = vitc.create_model("test_vit", depth=1).state_dict()["head.weight"]
        return [random.random(), np.random.rand(), float(weights.sum())]

    first = drawn()
    assert drawn() == first
    vitc.seed_everything(4)
    other = vitc.create_model("test_vit", depth=1).state_dict()["head.weight"]
    assert first != [random.random(), np.random.rand(), float(other.sum())]


def test_a_seed_is_a_whole_number_of_32_bits() -> None:
    assert vitc.seed_everything(2**32 - 1, workers=True) == 2**32 - 1
    assert 0 <= vitc.seed_everything() < 2**32
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"the seed is {seed}, expected 0 to 4294967295"):
            vitc.seed_everything(seed)


# ---------------------------------------------------------------------------------------- config


def rows(text: str) -> dict[str, str]:
    """Name and value of each row, joined where it was wrapped."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines()[1:]:
        assert len(line) <= 100 and line[:2] == "  " and line[18] == " " and line[19] != " "
        name = line[:19].strip() or name
        found[name] = f"{found[name]} {line[19:]}" if name in found else line[19:]
    return found


def test_show_config_tells_versions_levels_threads_and_each_kernel() -> None:
    told, config = rows(config_text()), _vitc.config()
    assert told["version"].startswith(f"{vitc.__version__} (Python 3.")
    assert config["onednn"] in told["oneDNN"]
    assert config["isa"] in told["instruction set"]
    assert told["instruction set"].endswith(", ".join(config["isas"]))
    assert told["CPU features"] == (config["features"] or "none that the kernels use")
    assert told["threads"] == f"{vitc.get_num_threads()} (OpenMP)"
    for kind, kernels in (("kernels", "kernels"), ("images", "image_kernels")):
        levels = {
            kernel: name.removesuffix(f" {kind}")
            for name, value in told.items()
            if name.endswith(f" {kind}")
            for kernel in value.split(", ")
        }
        assert levels == config[kernels] and levels


def test_show_config_prints_to_a_file_or_to_standard_output(capsys) -> None:
    file = io.StringIO()
    assert vitc.show_config(file) is None
    assert capsys.readouterr().out == ""
    vitc.show_config()
    assert capsys.readouterr().out == file.getvalue() == config_text() + "\n"


def test_at_ref_onednn_is_said_to_rest() -> None:
    program = "import vitc; vitc.show_config()"
    environment = {**os.environ, "VITC_ISA": "ref"}
    text = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    told = rows(text)
    assert told["instruction set"].startswith("ref;")
    assert "not used" in told["oneDNN"] or told["oneDNN"].startswith("none")
    assert not any(name in told for name in ("avx2 kernels", "avx512 kernels"))


def test_sources_that_are_not_built_say_what_to_do(tmp_path: Path) -> None:
    """As when Python is started in a checkout, whose folder comes before the installed package."""
    (tmp_path / "vitc").mkdir()
    source = Path(vitc.__file__).read_text()
    (tmp_path / "vitc" / "__init__.py").write_text(source)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import vitc"],  # without what is installed
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: vitc was found in {tmp_path / 'vitc'}, where it is not")
    assert last.endswith("pip install -e .") and "During handling" not in done.stderr
