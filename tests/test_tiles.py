"""Tiles follow the machine, bits do not; and the file that describes a machine.

One SHA-256 per quantity (tile_bits.py) is compared between heights of strips, and between machines
with larger panels and blocks, at each instruction set.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vitc
from vitc import _vitc
from vitc.program import Builder

ROOT = Path(__file__).parents[1]
CONFIG = _vitc.config()
PRECISIONS = ("float32", "bfloat16", "int8", "float64")
SIZES = ("rows", "panel", "block")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


# ---------------------------------------------------------------------------------------- bits


def digests(level: str, machine: str) -> dict[str, dict[str, str]]:
    done = python("tests/tile_bits.py", VITC_ISA=level, VITC_MACHINE=machine)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("level", CONFIG["isas"])
def test_bits_do_not_follow_the_tiles(level: str, tmp_path: Path) -> None:
    """Also where all lanes that can go by columns do so, and where none does."""
    lines = [f"{p}.{s} = {n}" for p in PRECISIONS for s, n in zip(SIZES, (128, 3, 2), strict=True)]
    columns, strips = tmp_path / "columns", tmp_path / "strips"
    columns.write_text("\n".join([*lines, "barrier = 1", "memory = 1"]))
    strips.write_text("barrier = 1000000000")
    usual, *others = (digests(level, file) for file in ("", str(columns), str(strips)))
    assert len(usual) > 200
    for name in usual:
        found = {value for one in (usual, *others) for value in one[name].values()}
        assert found == {usual[name]["machine"]}, name


# ---------------------------------------------------------------------------------------- heights


def plan(rows: int, **options: Any) -> _vitc.Plan:
    shapes = {"norm.weight": (4,), "norm.bias": (4,), "head.weight": (4, 4)}
    b = Builder(shapes)
    program = b.finish(b.linear(b.norm(b.input((rows, 4)), "norm"), "head")).core
    params = _vitc.Params([*shapes.items()])
    return _vitc.Plan(program, params, **options)


def heights(made: _vitc.Plan) -> set[int]:
    return {step["tile_rows"] for step in made.steps if step["lane"] == "strips"}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("rows", "wish", "height"),
    [
        (197, None, 197),  # four units of 50
        (577, None, 232),  # ten of 58: four, four, two
        (197, 64, 50),
        (197, 1, 50),
        (197, 99, 50),
        (197, 100, 100),
        (197, 192, 100),  # three fit, two and two are more even
        (197, 4096, 197),
        (65, 64, 33),
        (65, 66, 65),
        (64, 16, 64),
        (1, 16, 1),
    ],
)
def test_a_strip_is_a_whole_number_of_units(
    rows: int, wish: int | None, height: int, training: bool
) -> None:
    assert heights(plan(rows, training=training, tile_rows=wish)) == {height}


@pytest.mark.parametrize("wish", [0, -1, 4097])
def test_a_height_is_a_number_of_rows(wish: int) -> None:
    with pytest.raises(ValueError, match="tile_rows is .*, expected 1 to 4096"):
        plan(8, tile_rows=wish)
    with pytest.raises(TypeError):
        plan(8, tile_rows="many")


# ---------------------------------------------------------------------------------------- machine


def machine_of(file: Path) -> Any:
    program = "import json; from vitc import _vitc; print(json.dumps(_vitc.config()['machine']))"
    done = python("-c", program, VITC_MACHINE=str(file))
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.splitlines()[-1]


def test_without_a_file_the_sizes_are_built_in() -> None:
    done = machine_of(Path())  # "."
    assert "could not be read" in done or "cannot be opened" in done
    machine = CONFIG["machine"]
    if "VITC_MACHINE" not in os.environ:
        assert machine["source"] == "built in"
        usual = {"rows": 256, "panel": 1, "block": 1}
        assert machine["tiles"] == dict.fromkeys(PRECISIONS, usual)
    caches = machine["caches"]
    assert len(caches) == 3 and all(size >= 0 for size in caches)
    assert caches == tuple(sorted(caches)) or 0 in caches


def test_a_file_gives_some_sizes_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "machine"
    file.write_text("# of a test\n\n  float32.rows =  128 \r\nint8.block=2")
    machine = machine_of(file)
    assert machine["source"] == str(file)
    assert machine["tiles"]["float32"] == {"rows": 128, "panel": 1, "block": 1}
    assert machine["tiles"]["int8"] == {"rows": 256, "panel": 1, "block": 2}
    assert machine["tiles"]["bfloat16"] == machine["tiles"]["float64"]
    text = python("-c", "import vitc; vitc.show_config()", VITC_MACHINE=str(file)).stdout
    assert "float32 128, bfloat16 256, int8 256, float64 256" in text
    assert f"from {file}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "float32.rows = 64\nfloat33.rows = 1",
            "line 2: key 'float33.rows' is unknown, ",
        ),
        ("rows = 64", "line 1: key 'rows' is unknown"),
        ("float32.rows 64", "line 1: 'float32.rows 64' is not of the form key = value"),
        ("int8.rows = 0", "line 1: int8.rows is '0', expected a number from 1 to 4096"),
        ("int8.rows = 4097", "line 1: int8.rows is '4097', expected"),
        ("int8.rows = 99999999999999999999", "int8.rows is '99999999999999999999', expected"),
        ("int8.rows = -5", "int8.rows is '-5'"),
        ("int8.rows = 6 4", "int8.rows is '6 4'"),
        ("int8.rows =", "int8.rows is ''"),
        ("int8.rows = 8\n#\nint8.rows = 8", "line 3: int8.rows is given twice"),
        ("#" * 126 + "\n" + "#" * 200, "line 2 is longer than 126 characters"),
        ("\n" * 1001, "has more than 1000 lines"),
        ("float64.rows = 8\0\n", "or holds a zero byte"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_line_and_key(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "machine"
    file.write_text(text)
    told = machine_of(file)
    assert isinstance(told, str) and told.startswith(f"ValueError: {file}") and words in told, told


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    told = machine_of(tmp_path / "nowhere")
    assert told == f"OSError: VITC_MACHINE names {tmp_path / 'nowhere'}, which cannot be opened"
    assert "longer than 255 characters" in machine_of(Path("a" * 300))


def test_show_config_tells_caches_and_rows() -> None:
    from vitc.runtime import config_text

    text = config_text()
    assert "  caches           " in text and "  rows of a tile   float32 " in text
    assert vitc.__version__ in text


# ---------------------------------------------------------------------------------------- engines


@pytest.mark.parametrize("level", CONFIG["isas"])
def test_what_multiplies_is_told_by_precision(level: str) -> None:
    program = "import json; from vitc.runtime import engines; print(json.dumps(engines()))"
    done = python("-c", program, VITC_ISA=level)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {*found} == {*PRECISIONS} and found["float64"] == "plain"
    if level == "ref" or CONFIG["onednn"] == "none":
        assert found["float32"] == found["bfloat16"] == "plain"
    else:
        assert found["float32"].startswith(("brg", "gemm", "panels"))
        assert found["int8"] != "plain"
    text = python("-c", "import vitc; vitc.show_config()", VITC_ISA=level).stdout
    assert f"float32 by {found['float32']}" in text


def test_each_step_tells_what_multiplies_in_it() -> None:
    engines = {(s["kind"], s["pass"]): s["engine"] for s in plan(8, training=True).steps}
    assert {key for key, engine in engines.items() if engine is None} >= {
        ("norm", "forward"),
        ("norm", "backward"),
    }
    for step in ("forward", "backward", "accumulate"):
        assert isinstance(engines["linear", step], str) and engines["linear", step]
    assert engines.get(("linear", "pack")) is None
