"""How far inference would scale: a simulation of the plan on 1 to 64 threads.

    python benchmarks/scaling.py [--precision float32] [--models tiny base] [--write]

Phases, lanes and steps are those of the model's own plan. What each kind of task costs is measured
here on one thread: a program that runs the step several times over, each time with other
parameters, less the same with one such step; the fastest of many. Phases with several tasks end in
a barrier; its cost is measured with two threads and assumed to grow with log2(threads).

Tasks go to threads as the executor hands them out: one by one, in order, to whoever is free. A lane
of strips is run in the better of two ways, as the plan would choose:

- strips: whole images or units of at most 64 rows go through all steps of the lane
- columns: each step waits for the one before it; a linear layer is dealt out over panels of 32
  columns and all rows of an image, other steps over units of rows

Two further ways are no part of the plan, and shown for what they would give: panels that are cut
into units of rows as well, and attention whose heads are cut into as many blocks of queries as an
image has units.

The efficiency of p threads is the time of one thread, divided by p times their time. Threads are
taken to have caches and memory for themselves, which is too friendly: "GB/s" is what must come from
memory if each weight is read once per pass and no cache keeps it. --write puts the tables into
results/scaling.md.
"""

import argparse
import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from race_machine import processor

import vitc
from vitc import _vitc

FILE = Path(__file__).resolve().parent / "results" / "scaling.md"
SIZES = ("tiny", "small", "base", "large")
THREADS, BATCHES = (1, 2, 4, 8, 16, 32, 64), (1, 8)
PANEL, UNIT = 32, 64  # columns; rows at most
REPEATS = 15
GOALS = ((1, 16, 0.70), (1, 64, 0.45), (8, 16, 0.85))  # of vit_base: batch, threads, efficiency

# ---------------------------------------------------------------- the plan


class Step(NamedTuple):
    """An operation of a plan, hashable. shapes: of its inputs, for one image."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    params: tuple[tuple[int, ...] | None, ...]
    attributes: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]  # of its output

    @property
    def is_linear(self) -> bool:
        return self.kind == "linear"

    def cut(self, rows: int, columns: int) -> "Step":
        """The same on this many rows, and columns of its output; of a linear layer."""
        params = tuple(p and (columns, *p[1:]) for p in self.params)
        shapes = ((rows, self.shapes[0][-1]),)
        return self._replace(shapes=shapes, params=params, shape=(rows, columns))


class Lane(NamedTuple):
    """tasks: of one image; 0 for strips, which may be cut in several ways."""

    steps: list[Step]
    rows: int
    tasks: int


def lanes_of(model: Any, bf16: bool) -> list[Lane]:
    """A phase of inference has one lane. Packing, done once, is left out."""
    source = model.program().core
    program = source.lower()
    plan = _vitc.Plan(source, model.params, bf16=bf16)
    phases: dict[int, list[dict[str, Any]]] = {}
    for step in plan.steps:
        if step["pass"] == "forward":
            phases.setdefault(step["phase"], []).append(step)
    return [lane_of(steps, program) for steps in phases.values()]


def lane_of(planned: list[dict[str, Any]], program: _vitc.Program) -> Lane:
    shapes = [*program.inputs, *(op["shape"] for op in program.operations)]
    steps = []
    for op in (program.operations[step["operation"]] for step in planned):
        params = tuple(program.params[i] if i >= 0 else None for i in op["params"])
        inputs = tuple(tuple(shapes[i]) for i in op["inputs"])
        attributes = tuple(sorted(op["attributes"].items()))
        steps.append(Step(op["kind"], inputs, params, attributes, tuple(op["shape"])))
    if planned[0]["lane"] == "strips":
        return Lane(steps, math.prod(steps[-1].shape[:-1]), 0)
    return Lane(steps, 0, dict(steps[0].attributes).get("heads", 1))


# ---------------------------------------------------------------- what a task costs


def fastest(call: Callable[[], object], clock: Callable[[], float], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def seconds(step: Step, copies: int, bf16: bool) -> float:
    """Of a program with this many of a step, whose outputs are added up, on one thread."""
    params: list[tuple[int, ...]] = []
    listed: list[tuple[str, Sequence[int], Sequence[int], dict[str, Any]]] = []
    inputs = [*step.shapes, step.shape]
    total = len(inputs) - 1
    for _ in range(copies):
        own = [-1 if p is None else len(params) + i for i, p in enumerate(step.params)]
        params += [p or (1,) for p in step.params]
        new = len(inputs) + len(listed)
        listed.append((step.kind, range(len(step.shapes)), own, dict(step.attributes)))
        listed.append(("add", (total, new), (), {}))
        total = new + 1
    program = _vitc.Program(inputs, params, listed, [total])
    table = _vitc.Params([(str(i), shape) for i, shape in enumerate(params)])
    run = _vitc.Run(_vitc.Plan(program, table, bf16=bf16), 1, 1)
    images = [np.ones((1, *shape), np.float32) for shape in inputs]
    return fastest(lambda: run.forward(images), time.process_time, REPEATS)


@cache
def cost(step: Step, bf16: bool) -> float:
    """Seconds of a step on the rows that its shapes have. Layers are many enough that their weights
    do not stay in the second-level cache."""
    parameters = sum(math.prod(p) for p in step.params if p)
    copies = min(64, max(5, 2**21 // max(parameters, 1))) if step.is_linear else 5
    once = seconds(step, 1, bf16)
    found = (seconds(step, copies, bf16) - once) / (copies - 1)
    return max(found - (0 if step.kind == "add" else adding(step.shape, bf16)), 1e-8)


@cache
def adding(shape: tuple[int, ...], bf16: bool) -> float:
    step = Step("add", (shape, shape), (), (), shape)
    return (seconds(step, 9, bf16) - seconds(step, 1, bf16)) / 16  # each is followed by another


def on_rows(step: Step, rows: int, bf16: bool) -> float:
    """Other steps than linear ones are measured on all rows."""
    if step.is_linear:
        return cost(step.cut(rows, step.shape[-1]), bf16)
    return cost(step, bf16) * rows / math.prod(step.shape[:-1])


@cache
def barrier_of_two() -> float:
    """Seconds from a phase to the next: a program of tiny phases with two tasks each, on two
    threads, less the same on one."""
    phases, rows = 200, (2, 12)
    listed: list[tuple[str, Sequence[int], Sequence[int], dict[str, Any]]] = []
    for phase in range(phases):
        start = 3 * phase  # the value of this phase; behind it: attention, and twice concat
        listed.append(("attention", (start,), (), {"heads": 2}))
        listed.append(("concat", (start + 1, start + 1), (), {}))
        listed.append(("concat", (start + 2, start + 1), (), {}))
    program = _vitc.Program([rows], [(1,)], listed, [3 * phases])
    plan = _vitc.Plan(program, _vitc.Params([("unused", (1,))]))
    images = [np.ones((1, *rows), np.float32)]
    took = [
        fastest(partial(_vitc.Run(plan, 1, n).forward, images), time.perf_counter, 200)
        for n in (1, 2)
    ]
    return max(took[1] - took[0], 0.0) / phases


def barrier(threads: int) -> float:
    return barrier_of_two() * math.log2(threads)


# ---------------------------------------------------------------- the simulation


class Spent(NamedTuple):
    """What the phases of a lane take on some threads, in seconds. time: until the last barrier.
    busy: of all threads together. barriers: of one thread."""

    time: float
    busy: float
    barriers: float

    @staticmethod
    def sum(parts: Iterable["Spent"]) -> "Spent":
        return Spent(*map(sum, zip(*parts, strict=True)))


def phase(tasks: Sequence[float], threads: int) -> Spent:
    """One by one, in order, to the thread that is free first. One task needs no barrier."""
    used = min(threads, len(tasks))
    wait = barrier(used) if used > 1 else 0.0
    ends = [0.0] * used
    for task in tasks:
        heapq.heappush(ends, heapq.heappop(ends) + task)
    return Spent(max(ends) + wait, sum(tasks), wait)


def pieces(total: int, size: int) -> list[int]:
    """Of this size, the last one with what is left."""
    return [min(size, total - start) for start in range(0, total, size)]


def units(rows: int) -> list[int]:
    """As csrc/plan/tiling.c cuts them: equal ones of at most 64 rows."""
    return pieces(rows, math.ceil(rows / math.ceil(rows / UNIT)))


class Machine(NamedTuple):
    """threads: that it has. bf16: precision of products. panels, blocks: whether panels are cut
    into units of rows too, and heads into blocks of queries."""

    threads: int
    bf16: bool
    panels: bool = False
    blocks: bool = False


def in_strips(lane: Lane, heights: list[int], images: int, m: Machine) -> Spent:
    tasks = [sum(on_rows(step, height, m.bf16) for step in lane.steps) for height in heights]
    return phase(tasks * images, m.threads)


def in_columns(lane: Lane, heights: list[int], images: int, m: Machine) -> Spent:
    """heights: of the panels of linear layers."""

    def tasks(step: Step) -> list[float]:
        if not step.is_linear:
            return [on_rows(step, height, m.bf16) for height in units(lane.rows)]
        columns = pieces(step.shape[-1], PANEL)
        panels = [cost(step.cut(height, PANEL), m.bf16) / PANEL for height in heights]
        return [panel * n for n in columns for panel in panels]

    return Spent.sum(phase(tasks(step) * images, m.threads) for step in lane.steps)


def best(lane: Lane, images: int, m: Machine) -> Spent:
    """In the way that the plan would choose."""
    if lane.tasks:
        (step,) = lane.steps
        tasks = lane.tasks * (len(units(step.shape[-2])) if m.blocks else 1)
        return phase([cost(step, m.bf16) / tasks] * tasks * images, m.threads)
    whole, low = [lane.rows], units(lane.rows)
    ways = [in_strips(lane, h, images, m) for h in ([whole, low] if lane.rows <= 256 else [low])]
    if m.threads > 1 and any(step.is_linear for step in lane.steps):
        ways += [in_columns(lane, h, images, m) for h in ([whole, low] if m.panels else [whole])]
    return min(ways, key=lambda spent: spent.time)


class Forecast(NamedTuple):
    """Of a batch on some threads: attention apart from all other lanes."""

    attention: Spent
    layers: Spent

    @property
    def time(self) -> float:
        return self.attention.time + self.layers.time


def forecast(lanes: list[Lane], images: int, m: Machine) -> Forecast:
    parts: tuple[list[Spent], list[Spent]] = ([], [])
    for lane in lanes:
        parts[0 if lane.tasks else 1].append(best(lane, images, m))
    return Forecast(*map(Spent.sum, parts))


# ---------------------------------------------------------------- the tables


def table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *body)) + "\n"


Found = dict[tuple[int, int], Forecast]  # of one model, by batch and threads


def simulate(lanes: list[Lane], bf16: bool, **ways: bool) -> Found:
    return {
        (batch, threads): forecast(lanes, batch, Machine(threads, bf16, **ways))
        for batch in BATCHES
        for threads in THREADS
    }


def efficiency(found: Found, batch: int, threads: int) -> float:
    return found[batch, 1].time / (threads * found[batch, threads].time)


def efficiencies(models: dict[str, Found]) -> str:
    rows = [["model", "batch", "ms on 1", *(f"{p}" for p in THREADS[1:])]]
    for name, found in models.items():
        for batch in BATCHES:
            alone = f"{1e3 * found[batch, 1].time:.1f}"
            shares = [f"{efficiency(found, batch, p):.0%}" for p in THREADS[1:]]
            rows.append([name, str(batch), alone, *shares])
    return table(rows)


def losses(found: Found) -> str:
    """Shares of threads x time that are not work as one thread does it."""
    head = ["batch", "threads", "ms", "efficiency", "attention: idle", "attention: barriers"]
    rows = [[*head, "layers: idle", "layers: barriers", "layers: smaller tasks"]]
    for batch, threads in found:
        now, alone = found[batch, threads], found[batch, 1]
        if threads < 4:
            continue
        total = threads * now.time
        cells = [str(batch), str(threads), f"{1e3 * now.time:.2f}"]
        cells.append(f"{efficiency(found, batch, threads):.0%}")
        for part in now:
            waits = threads * part.barriers
            cells.append(f"{(threads * part.time - part.busy - waits) / total:.0%}")
            cells.append(f"{waits / total:.0%}")
        cells.append(f"{(now.layers.busy - alone.layers.busy) / total:.0%}")
        rows.append(cells)
    return table(rows)


def goals(plan: Found, panels: Found, both: Found) -> str:
    rows = [["batch", "threads", "goal", "plan", "panels cut by rows", "and heads by queries"]]
    for batch, threads, goal in GOALS:
        shares = [f"{efficiency(found, batch, threads):.0%}" for found in (plan, panels, both)]
        rows.append([str(batch), str(threads), f"{goal:.0%}", *shares])
    return table(rows)


def traffic(models: dict[str, Found], weights: dict[str, int]) -> str:
    rows = [["model", "weights, MB", *(f"{p}" for p in THREADS)]]
    for name, found in models.items():
        rates = [f"{weights[name] / found[1, p].time / 1e9:.0f}" for p in THREADS]
        rows.append([name, f"{weights[name] / 1e6:.0f}", *rates])
    return table(rows)


def measured(model: Any) -> float:
    """Seconds of the whole model, for one image on one thread."""
    images = np.ones((1, 3, 224, 224), np.float32)
    vitc.set_num_threads(1)
    with vitc.no_grad():
        return fastest(lambda: model(images), time.process_time, REPEATS)


def report(precision: str, sizes: Sequence[str]) -> str:
    bf16 = precision == "bf16"
    models: dict[str, Found] = {}
    weights, checks, further = {}, [], ""
    for name in (f"vit_{size}" for size in sizes):
        model = vitc.create_model(f"{name}_patch16_224", num_classes=1000).eval()
        model.precision = precision
        lanes = lanes_of(model, bf16)
        models[name] = simulate(lanes, bf16)
        weights[name] = model.params.nbytes // (2 if bf16 else 1)
        checks.append(f"{name} {models[name][1, 1].time / measured(model):.2f}")
        if name == "vit_base":
            panels = simulate(lanes, bf16, panels=True)
            both = simulate(lanes, bf16, panels=True, blocks=True)
            further += f"\nGoals, vit_base:\n\n{goals(models[name], panels, both)}"
            further += f"\nWhere threads x time goes, vit_base:\n\n{losses(models[name])}"
    return (
        f"## {precision}\n\nEfficiency of inference, by threads:\n\n{efficiencies(models)}\n"
        f"Forecast for one thread and image, divided by what it takes: {', '.join(checks)}.\n"
        f"{further}\nGB/s at batch 1, by threads:\n\n{traffic(models, weights)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--precision", nargs="+", default=["float32", "bf16"], choices=("float32", "bf16")
    )
    parser.add_argument("--models", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    parts = [report(precision, args.models) for precision in args.precision]
    text = (
        "# Threads\n\n"
        "Made by `python benchmarks/scaling.py --write`, which describes the model. Costs were "
        f"measured on one thread of\n{processor()} ({_vitc.config()['features']}).\n"
        f"A barrier of two threads took {1e6 * barrier_of_two():.1f} microseconds; "
        "more threads are assumed to take log2(threads) times that.\n\n" + "\n".join(parts)
    )
    if args.write:
        FILE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
