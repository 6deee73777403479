"""benchmarks/scaling.py: what it does with made-up costs, and that it reads the plan."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vitc

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import scaling  # noqa: E402
from scaling import Lane, Machine, Step  # noqa: E402

NORM = ("norm", (0,), (0, 1), {"eps": 1e-6})


def linear(rows: int, inner: int, outer: int) -> Step:
    return Step("linear", ((rows, inner),), ((outer, inner), (outer,)), (), (rows, outer))


def alike(kind: str, rows: int, columns: int) -> Step:
    return Step(kind, ((rows, columns),), (), (), (rows, columns))


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each multiplication, or else for each element; no barriers."""

    def cost(step: Step, bf16: bool) -> float:
        rows, columns = step.shape
        return float(rows * columns * (step.shapes[0][-1] if step.is_linear else 1))

    monkeypatch.setattr(scaling, "cost", cost)
    monkeypatch.setattr(scaling, "barrier", lambda threads: 0.0)


def test_tasks_go_to_the_thread_that_is_free_first() -> None:
    assert scaling.phase([4.0, 1.0, 1.0, 3.0], 2) == (5.0, 9.0, 0.0)
    assert scaling.phase([4.0, 1.0], 1) == (5.0, 5.0, 0.0)


def test_a_phase_of_one_task_has_no_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "barrier", lambda threads: 10.0 * threads)
    assert scaling.phase([4.0], 8) == (4.0, 4.0, 0.0)
    assert scaling.phase([4.0, 4.0], 8) == (24.0, 8.0, 20.0)


@pytest.mark.parametrize("rows", [1, 50, 64, 65, 197, 257, 577])
def test_units_are_those_of_the_plan(rows: int) -> None:
    program = vitc._vitc.Program([(rows, 8)], [(8,)] * 2, [NORM], [1])
    params = vitc._vitc.Params([("w", (8,)), ("b", (8,))])
    plan = vitc._vitc.Plan(program, params, tile_rows=1)
    assert plan.steps[-1]["tile_rows"] == scaling.units(rows)[0]


def test_all_work_is_done_in_either_way() -> None:
    lane = Lane([linear(197, 96, 192), alike("activation", 197, 192), linear(197, 192, 96)], 197, 0)
    work = sum(scaling.cost(step, False) for step in lane.steps)
    for threads in scaling.THREADS:
        for images in scaling.BATCHES:
            machine = Machine(threads, False)
            for way in (scaling.in_columns, scaling.best):
                busy = sum(part.busy for part in way(lane, images, machine))
                assert busy == pytest.approx(images * work)


def test_one_image_keeps_more_threads_busy_by_columns() -> None:
    lane = Lane([linear(197, 96, 512)], 197, 0)
    work = scaling.cost(lane.steps[0], False)
    assert scaling.best(lane, 1, Machine(16, False)).time == pytest.approx(work / 16)
    strips = scaling.by_rows(lane.steps, scaling.units(197), 1, Machine(16, False))
    assert strips.time == pytest.approx(work * 50 / 197)


def test_better_pieces_fill_the_last_round() -> None:
    """24 groups on 16 threads: two rounds, of which the second is half empty."""
    lane = Lane([linear(200, 96, 768)], 200, 0)
    work = scaling.cost(lane.steps[0], False)
    assert scaling.best(lane, 1, Machine(16, False)).time == pytest.approx(2 * work / 24)
    assert scaling.best(lane, 1, Machine(16, False, pieces=True)).time == pytest.approx(work / 16)


def test_stretches_begin_with_products_and_with_what_is_not_alike() -> None:
    steps = [linear(9, 4, 8), alike("add", 9, 8), alike("norm", 9, 8), alike("norm", 9, 8)]
    lane = Lane([*steps, linear(9, 8, 4), linear(9, 4, 4)], 9, 0)
    found = [[step.kind for step in stretch] for stretch in scaling.stretches(lane)]
    assert found == [["linear", "add"], ["norm", "norm"], ["linear"], ["linear"]]


def test_lanes_are_those_of_the_plan() -> None:
    model: Any = vitc.create_model("test_vit", num_classes=5, img_size=32).eval()
    lanes = scaling.lanes_of(model, False)
    kinds = [step.kind for lane in lanes for step in lane.steps]
    assert kinds == [op["kind"] for op in model.program().core.lower().operations]
    depth = kinds.count("attention")
    assert depth and [lane.tasks for lane in lanes].count(2) == depth


def test_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "measured", lambda model: 1.0)
    text = scaling.report("float32", ["tiny"])
    assert "| vit_tiny | 1 | " in text and "| vit_tiny | 8 | " in text
    assert "| vit_tiny | 23 | " in text  # MB of weights


def test_help() -> None:
    command = [sys.executable, BENCHMARKS / "scaling.py", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "--precision" in done.stdout
