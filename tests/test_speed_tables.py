"""benchmarks/race.py: its rows, its files, and the tables that are made of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import race_files  # noqa: E402
import race_table  # noqa: E402
from race_workloads import ENGINES, README, WORKLOADS  # noqa: E402


def row(workload: str, engine: str, ratio: float, against: str, **others: Any) -> dict[str, Any]:
    fixed = dict(ms=10 * ratio, share=0.5, quartiles=[ratio, ratio], difference=0.0, canary=None)
    place = dict(cpu="made up", threads=2, date="2026-01-01", commit="", versions={}, rounds=2)
    return {"workload": workload, "engine": engine, "ratio": ratio, "against": against} | (
        fixed | place | others
    )


# ------------------------------------------------------------------------------- the pages


def test_the_readme_has_what_the_files_give() -> None:
    text = race_table.PAGE.read_text()
    assert race_table.page(text) == text


def test_race_md_has_what_the_files_give() -> None:
    assert race_table.FULL.read_text() == race_table.full()


def test_every_file_of_a_race_is_in_the_tables() -> None:
    found = {path.stem.removeprefix("race-") for path in race_files.RESULTS.glob("race-*.json")}
    assert found and found <= set(race_table.KINDS)
    for kind in found:
        for one in race_files.read(race_files.RESULTS / f"race-{kind}.json"):
            assert one["workload"] in WORKLOADS


def test_a_peer_is_shown_in_its_fastest_form_and_losses_are_bold() -> None:
    first = "vitc int8 static bf16"
    rows = [
        row("base int8 1", first, 1.0, first),
        row("base int8 1", "openvino int8", 1.25, first),
        row("base int8 1", "openvino int8 bf16", 0.75, first),
        {**row("base int8 1", "onnxruntime int8", 0, first), "left_out": "ImportError: none"},
    ]
    head, _, line = race_table.short_table(rows).splitlines()
    assert head == "|  | vitc | OpenVINO |"
    cells = "10 ms, 50% static bf16 | **0.75** bf16"
    assert line == f"| vit_base, int8, inference, batch 1 | {cells} |"
    full = race_table.full_part("amx", rows)
    assert full.count("| base int8 1 |") == 3 and "- onnxruntime int8: ImportError: none" in full


def test_a_ratio_to_another_form_of_vitc_is_not_mixed_in() -> None:
    rows = [
        row("base int8 1", "vitc int8", 1.0, "vitc int8"),
        row("base int8 1", "onnxruntime int8", 9.0, "vitc int8"),
        row("base int8 1", "vitc int8 static bf16", 1.0, "vitc int8 static bf16"),
        row("base int8 1", "onnxruntime int8 static", 1.5, "vitc int8 static bf16"),
    ]
    assert race_table.short_table(rows).splitlines()[2].endswith("static bf16 | 1.50 static |")


# ------------------------------------------------------------------------------- the files


def test_rows_of_other_workloads_and_engines_stay(tmp_path: Path) -> None:
    path = tmp_path / "race.json"
    race_files.merge(path, [row("a", "vitc", 1, "vitc"), row("a", "torch", 2, "vitc")])
    race_files.merge(path, [row("b", "vitc", 1, "vitc"), row("a", "torch", 3, "vitc")])
    found = [(r["workload"], r["engine"], r["ratio"]) for r in race_files.read(path)]
    assert found == [("a", "vitc", 1), ("a", "torch", 3), ("b", "vitc", 1)]
    assert len(path.read_text().splitlines()) == 5


def test_every_workload_has_engines_and_the_readme_has_the_floors() -> None:
    race_engines = pytest.importorskip("race_engines")
    assert {e for engines in ENGINES.values() for e in engines} == set(race_engines.STARTS)
    assert all(work.engines[0].startswith("vitc") for work in WORKLOADS.values())
    assert len(README) == 13 and set(README) <= set(WORKLOADS)


# ------------------------------------------------------------------------------- a race


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHMARKS / "race.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_race(tmp_path: Path) -> None:
    """Of vitc alone: zentorch does not start here, and is named with its reason."""
    out = tmp_path / "race.json"
    wanted = ("--only", "tiny float32 1", "--engines", "zentorch")
    done = run("--rounds", 2, *wanted, "--out", out)
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads(out.read_text())
    assert ours["engine"] == ours["against"] == "vitc" and ours["difference"] == 0
    assert ours["ms"] > 0 and ours["rounds"] == 2 and 0 <= ours["canary"]["disturbed"] <= 2
    assert {"date", "commit", "versions", "threads", "cpu", "isa", "peak_gflops"} <= set(ours)
    assert theirs["engine"] == "zentorch" and "Error: " in theirs["left_out"]
    assert "zentorch" in done.stdout and "left out: " in done.stdout


def test_an_unknown_workload_is_refused() -> None:
    done = run("--only", "huge")
    assert done.returncode == 2 and "there are: base float32 1, " in done.stderr


def test_help() -> None:
    done = run("--help")
    assert done.returncode == 0 and "--engines" in done.stdout
