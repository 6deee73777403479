"""How far inference would scale: a simulation of the plan on 1 to 64 threads.

    python benchmarks/scaling.py [--precision float32 bf16] [--models tiny base] [--write]

Phases, lanes and steps are those of the model's own plan. What each kind of task costs is measured
here on one thread: a program that runs the step several times over, each time with other
parameters, less the same with one such step; the fastest of many. A phase with several tasks ends
in a barrier. Its cost is measured with two threads, and assumed to grow with log2(threads).

Tasks go to threads as the executor hands them out: one by one, in order, to whoever is free. A lane
of strips is run in the better of two ways, as the plan would choose:

- strips: whole images, or units of at most 64 rows, go through all steps of the lane
- columns: stretch after stretch, with a barrier behind each. A linear layer and what treats every
  element alike behind it is dealt out by groups of 32 columns and more, for the rows of all images;
  with fewer groups than threads, by rows too. Other steps are dealt out by units of rows

Two further ways are no part of the plan, and shown for what they would give: rows are shared by as
many tasks as are soonest done, whatever the number of groups ("better pieces"); and heads of
attention are cut into as many blocks of queries as an image has units.

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
PANEL, UNIT, HIGHEST = 32, 64, 256  # columns; rows of a unit and of a strip, at most
ALIKE = {"activation", "add", "affine", "multiply", "scale"}  # treat every element alike
GROUP_BYTES, TASKS_PER_THREAD = 256 << 10, 4  # of a group of columns, as in csrc/run/columns.c
LEAST_CALLS, LEAST_SECONDS = 7, 0.1  # of a measurement
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


def fastest(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Of the calls of a while, which other programs may disturb."""
    call()
    times: list[float] = []
    while len(times) < LEAST_CALLS or sum(times) < LEAST_SECONDS:
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
    return fastest(lambda: run.forward(images), time.process_time)


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


def on_rows(step: Step, rows: int, columns: int, bf16: bool) -> float:
    """Of a strip or panel, whose height is that of a whole image or of its units (the last one may
    be lower). Other steps than linear ones are measured on all rows."""
    all_rows = math.prod(step.shape[:-1])
    if not step.is_linear:
        return cost(step, bf16) * rows / all_rows
    height = rows if rows == all_rows else units(all_rows)[0]
    return cost(step.cut(height, columns), bf16) * rows / height


def phases_of_heads(heads: int, threads: int, phases: int = 200) -> float:
    """Seconds of a program of tiny phases with as many tasks as there are heads."""
    rows = (2, 12)
    listed: list[tuple[str, Sequence[int], Sequence[int], dict[str, Any]]] = []
    for start in range(0, 3 * phases, 3):  # a value; behind it attention, and twice concat
        listed.append(("attention", (start,), (), {"heads": heads}))
        listed.append(("concat", (start + 1, start + 1), (), {}))
        listed.append(("concat", (start + 2, start + 1), (), {}))
    program = _vitc.Program([rows], [(1,)], listed, [3 * phases])
    plan = _vitc.Plan(program, _vitc.Params([("unused", (1,))]))
    images = [np.ones((1, *rows), np.float32)]
    forward = partial(_vitc.Run(plan, 1, threads).forward, images)
    return fastest(forward, time.perf_counter) / phases


@cache
def barrier_of_two() -> float:
    """Seconds that a phase of two tasks takes longer on two threads than the one task that each of
    them has."""
    both = phases_of_heads(2, 1)
    one = (phases_of_heads(4, 1) - both) / 2
    return max(phases_of_heads(2, 2) - (both - one), 0.0)


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


NOTHING = Spent(0.0, 0.0, 0.0)


def phase(tasks: Sequence[float], threads: int) -> Spent:
    """One by one, in order, to the thread that is free first. One task needs no barrier."""
    used = min(threads, len(tasks))
    wait = barrier(used) if used > 1 else 0.0
    ends = [0.0] * used
    for task in tasks:
        heapq.heappush(ends, heapq.heappop(ends) + task)
    return Spent(max(ends) + wait, sum(tasks), wait)


def cut(total: int, size: int) -> list[int]:
    """Pieces of this size, the last one with what is left."""
    return [min(size, total - start) for start in range(0, total, size)]


def units(rows: int) -> list[int]:
    """As csrc/plan/tiling.c cuts them: equal ones of at most 64 rows."""
    return cut(rows, math.ceil(rows / math.ceil(rows / UNIT)))


class Machine(NamedTuple):
    """threads: that it has. bf16: precision of products. pieces, blocks: whether rows are shared in
    the best way, and heads cut into blocks of queries."""

    threads: int
    bf16: bool
    pieces: bool = False
    blocks: bool = False


def stretches(lane: Lane) -> list[list[Step]]:
    """As csrc/plan/stretches.c cuts a lane."""
    found: list[list[Step]] = []
    for step in lane.steps:
        alike = step.kind in ALIKE and found and found[-1][0].shape[-1] == step.shape[-1]
        by_rows = not step.is_linear and found and not found[-1][0].is_linear
        if alike or by_rows:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def by_rows(steps: list[Step], heights: list[int], images: int, m: Machine) -> Spent:
    """A task takes a strip of an image through all steps."""
    tasks = [sum(on_rows(s, height, s.shape[-1], m.bf16) for s in steps) for height in heights]
    return phase(tasks * images, m.threads)


def group_of(step: Step, m: Machine) -> int:
    """Columns of a task."""
    panels = math.ceil(step.shape[-1] / PANEL)
    bytes_of_panel = step.shapes[0][-1] * PANEL * (2 if m.bf16 else 4)
    fitting = max(1, GROUP_BYTES // bytes_of_panel)
    return PANEL * min(fitting, max(1, panels // (TASKS_PER_THREAD * m.threads)))


def by_columns(steps: list[Step], heights: list[int], images: int, pieces: int,
               m: Machine) -> Spent:  # fmt: skip
    """pieces: tasks that share the units of all images, for one group of columns."""
    product, *others = steps
    rows, all_units = sum(heights), heights * images
    shares = np.array_split(all_units, pieces) if pieces > 1 else [[rows] * images]

    def column(height: int) -> float:
        panel = on_rows(product, height, PANEL, m.bf16) / PANEL
        return panel + sum(on_rows(s, height, 0, m.bf16) / s.shape[-1] for s in others)

    per_column = [sum(column(int(height)) for height in share) for share in shares]
    widths = cut(product.shape[-1], group_of(product, m))
    return phase([width * seconds for width in widths for seconds in per_column], m.threads)


class Forecast(NamedTuple):
    """attention; products: lanes in strips, and stretches by columns; rows: stretches by rows."""

    attention: Spent = NOTHING
    products: Spent = NOTHING
    rows: Spent = NOTHING

    @property
    def time(self) -> float:
        return sum(part.time for part in self)

    @staticmethod
    def sum(forecasts: Iterable["Forecast"]) -> "Forecast":
        return Forecast(*map(Spent.sum, zip(*forecasts, strict=True)))


def in_columns(lane: Lane, images: int, m: Machine) -> Forecast:
    """One wave: where strips are more than threads, they are better run for themselves."""
    heights = units(lane.rows)

    def run(steps: list[Step]) -> Forecast:
        if not steps[0].is_linear:
            return Forecast(rows=by_rows(steps, heights, images, m))
        most = len(heights) * images
        groups = math.ceil(steps[0].shape[-1] / group_of(steps[0], m))
        counts = [min(max(1, m.threads // groups), most)]
        counts += range(1, most + 1) if m.pieces else []
        ways = (by_columns(steps, heights, images, n, m) for n in counts)
        return Forecast(products=min(ways, key=lambda spent: spent.time))

    return Forecast.sum(map(run, stretches(lane)))


def best(lane: Lane, images: int, m: Machine) -> Forecast:
    """In the way that the plan would choose."""
    if lane.tasks:
        (step,) = lane.steps
        tasks = lane.tasks * (len(units(step.shape[-2])) if m.blocks else 1)
        return Forecast(phase([cost(step, m.bf16) / tasks] * tasks * images, m.threads))
    cuts = [units(lane.rows)] + [[lane.rows]] * (lane.rows <= HIGHEST)
    ways = [Forecast(products=by_rows(lane.steps, heights, images, m)) for heights in cuts]
    if any(step.is_linear for step in lane.steps):
        ways.append(in_columns(lane, images, m))
    return min(ways, key=lambda way: way.time)


def forecast(lanes: list[Lane], images: int, m: Machine) -> Forecast:
    return Forecast.sum(best(lane, images, m) for lane in lanes)


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
    waits = [f"{part}: waiting" for part in Forecast._fields]
    rows = [["batch", "threads", "ms", "efficiency", *waits, "barriers", "smaller tasks"]]
    for (batch, threads), now in found.items():
        if threads < 4:
            continue
        total = threads * now.time
        shares = [efficiency(found, batch, threads)]
        for part in now:
            shares.append((threads * (part.time - part.barriers) - part.busy) / total)
        shares.append(threads * sum(part.barriers for part in now) / total)
        alone = sum(part.busy for part in found[batch, 1])
        shares.append((sum(part.busy for part in now) - alone) / total)
        cells = [str(batch), str(threads), f"{1e3 * now.time:.2f}"]
        rows.append(cells + [f"{share:.0%}".replace("-0%", "0%") for share in shares])
    return table(rows)


def goals(plan: Found, pieces: Found, both: Found) -> str:
    rows = [["batch", "threads", "goal", "plan", "better pieces", "and blocks of queries"]]
    for batch, threads, goal in GOALS:
        shares = [f"{efficiency(found, batch, threads):.0%}" for found in (plan, pieces, both)]
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
        return fastest(lambda: model(images), time.process_time)


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
            pieces = simulate(lanes, bf16, pieces=True)
            both = simulate(lanes, bf16, pieces=True, blocks=True)
            further += f"\nGoals, vit_base:\n\n{goals(models[name], pieces, both)}"
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
