"""vitc against what people use now, side by side on one machine.

    python benchmarks/race.py [--threads 2] [--rounds 15] [--only tiny ...] [--engines torch ...]
                              [--clock wall] [--out FILE.json]

One process per engine, started one by one, warmed up, and checked to give nearly the same logits as
vitc in float32. In each round the engines take turns in a random order, and those that wait are
stopped (SIGSTOP), so that their spinning threads cost nothing. Shared machines drift; so the figure
that counts is the ratio of the times of one round, and its median and quartiles over the rounds.
The first engine of a workload is the one that the others are divided by: above 1, it is the faster.
`--clock cpu` is for machines with other work: the time that a process computes or spins.

Before each turn a canary runs: a fixed product in a process that has nothing to do with the
engines. A round is disturbed if one of its canaries took 1.25 times the fastest of the race or
longer. Disturbed rounds are counted, not left out.

Beside each time is its share of the peak: the operations that vitc's plan has for the model,
divided by the time and by what `peak.c` reaches in registers, on as many threads, with the widest
instructions for the precision of the workload (measured before the rounds and after them, the
better). With `--clock cpu` there is no such share.

The rows go into results/race-KIND.json, KIND being the widest of amx, avx512 and avx2 that vitc
uses (VITC_ISA narrows it; torch and OpenVINO are held to the same). Rows of other workloads and
engines stay there. An engine that does not start, or gives other logits, is a row with its reason.
`race_table.py` makes the README's table from these files.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import race_files
import race_machine
from race_engines import STARTS, Task, canary, packages
from race_workloads import CLASSES, README, WORKLOADS, Workload

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CANARY, CANARY_CALLS, DISTURBED = "canary", 3, 1.25
MARK = "@race "  # before what a worker says; libraries print other lines


# ---------------------------------------------------------------- in the process of one engine


def say(value: Any) -> None:
    print("\n" + MARK + json.dumps(value), flush=True)


def worker(engine: str, task: Task, clock: str) -> None:
    """Say what the first call gave, or why there is none; then time a slice for each line of
    input."""
    try:
        run = canary(task.threads) if engine == CANARY else STARTS[engine](task)
        first = run().astype(float).ravel()[:CLASSES].tolist()
        run()
    except Exception as error:
        say(f"{type(error).__name__}: {error}"[:300])
        return
    say(first)
    for _ in sys.stdin:
        times = []
        for _ in range(CANARY_CALLS if engine == CANARY else task.work.calls):
            start = CLOCKS[clock]()
            run()
            times.append(CLOCKS[clock]() - start)
        say(statistics.median(times))


# ---------------------------------------------------------------- the race


class Failed(Exception):
    """An engine takes no part; says why."""


class Settings(NamedTuple):
    threads: int
    rounds: int
    clock: str
    engines: Sequence[str]  # those whose name contains one of these


class Engine:
    """A process, stopped but in its turn."""

    def __init__(self, name: str, workload: str, weights: str, settings: Settings) -> None:
        command = [sys.executable, __file__, "--worker", name, "--only", workload]
        command += ["--threads", str(settings.threads), "--weights", weights]
        command += ["--clock", settings.clock]
        environment = {**os.environ, **({} if name.startswith("vitc") else race_machine.held())}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.first = self._answer()
        if isinstance(self.first, str):
            self.close()
            raise Failed(self.first)
        self.process.send_signal(signal.SIGSTOP)

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise Failed(f"its process ended with status {self.process.wait()}")

    def slice(self) -> float:
        """Seconds of a call."""
        self.process.send_signal(signal.SIGCONT)
        print("go", file=self.process.stdin, flush=True)
        seconds = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return float(seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Race:
    """One workload: engines that run, and why others do not."""

    def __init__(self, name: str, weights: str, settings: Settings) -> None:
        self.work, self.settings = WORKLOADS[name], settings
        self.engines: dict[str, Engine] = {}
        self.failed: dict[str, str] = {}
        self.differences: dict[str, float] = {}
        try:
            exact = Engine("vitc", name, weights, settings)
            exact.close()
            for engine in self._wanted():
                try:
                    self._enter(engine, name, weights, exact.first)
                except Failed as failure:
                    if engine == self.work.engines[0]:
                        raise SystemExit(f"{name}: {engine}: {failure}") from None
                    self.failed[engine] = str(failure)
            self.canary = Engine(CANARY, name, weights, settings)
        except BaseException:
            self.close()
            raise

    def _wanted(self) -> list[str]:
        first, *others = self.work.engines
        wanted = self.settings.engines
        return [first, *(e for e in others if not wanted or any(w in e for w in wanted))]

    def _enter(self, engine: str, name: str, weights: str, exact: list[float]) -> None:
        process = Engine(engine, name, weights, self.settings)
        largest = max(map(abs, exact))
        found = max(abs(a - b) for a, b in zip(exact, process.first, strict=True)) / largest
        if not found <= self.work.tolerance:
            process.close()
            raise Failed(f"it differs from vitc in float32 by {found:.1e} of the largest value")
        self.engines[engine] = process
        self.differences[engine] = float(f"{found:.1e}")

    def run(self) -> tuple[dict[str, list[float]], list[list[float]]]:
        """Seconds per round of each engine, and of the canaries of each round."""
        times: dict[str, list[float]] = {engine: [] for engine in self.engines}
        canaries = []
        for _ in range(self.settings.rounds):
            canaries.append([])
            for engine in random.sample(list(self.engines), len(self.engines)):
                canaries[-1].append(self.canary.slice())
                times[engine].append(self.engines[engine].slice())
        return times, canaries

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()
        if hasattr(self, "canary"):
            self.canary.close()


def summary(values: Sequence[float], digits: int) -> tuple[float, list[float]]:
    """The median, and the quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return round(median, digits), [round(low, digits), round(high, digits)]


def disturbance(canaries: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What is known of the machine: of all canaries, and how many rounds had a slow one."""
    every = [1e3 * seconds for slices in canaries for seconds in slices]
    median, quartiles = summary(every, 3)
    slow = sum(1e3 * max(slices) >= DISTURBED * min(every) for slices in canaries)
    return {
        "ms": median,
        "quartiles": quartiles,
        "fastest": round(min(every), 3),
        "disturbed": slow,
    }


def rows_of(race: Race, times: dict[str, list[float]], canaries: Sequence[Sequence[float]],
            operations: float, peak: float) -> list[dict[str, Any]]:  # fmt: skip
    """A row per engine. operations: of one call. peak: in GFLOP/s, 0 if unknown."""
    rows, first = [], race.work.engines[0]
    canary = disturbance(canaries)
    for engine, seconds in times.items():
        ms, spread = summary([1e3 * s for s in seconds], 3)
        ratios = [b / a for a, b in zip(times[first], seconds, strict=True)]
        ratio, quartiles = summary(ratios, 3)
        known = peak > 0 and race.settings.clock == "wall"
        row = {
            "engine": engine,
            "ms": ms,
            "ms_quartiles": spread,
            "share": round(operations / ms / 1e6 / peak, 3) if known else None,
            "against": first,
            "ratio": ratio,
            "quartiles": quartiles,
            "difference": race.differences[engine],
            "peak_gflops": peak or None,
            "canary": canary,
        }
        rows.append(row)
    return rows + [{"engine": e, "left_out": reason} for e, reason in race.failed.items()]


def save_weights(work: Workload, folder: str) -> tuple[str, float]:
    """Weights drawn anew, as in the tests: what timm draws would make every answer the same. And
    the operations of a call, a multiply-add being two."""
    import vitc
    from oracle import redrawn

    model = vitc.create_model(work.model, num_classes=CLASSES)
    model.load_state_dict(redrawn(model.shapes, "float32"))
    path = f"{folder}/{work.model}.safetensors"
    model.save(path)
    model.train(work.training)
    flops = sum(model.run_flops(training=work.training, mode=work.training))
    return path, work.batch * float(flops)


def measure(name: str, settings: Settings) -> list[dict[str, Any]]:
    """The rows of one workload."""
    work, kind = WORKLOADS[name], race_machine.kind()
    with tempfile.TemporaryDirectory() as folder:
        weights, operations = save_weights(work, folder)
        peak = race_machine.Peak(folder, kind, work.precision, settings.threads)
        race = Race(name, weights, settings)
        try:
            before = peak.measure()
            times, canaries = race.run()
        finally:
            race.close()
        best = max(before, peak.measure())
    about = {
        "rounds": settings.rounds,
        "threads": settings.threads,
        "clock": settings.clock,
        "isa": kind,
        **race_machine.place(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": race_machine.commit(),
    }
    return [
        {"workload": name, **row, **about}
        | {"versions": race_machine.versions("vitc", *packages(row["engine"]))}
        for row in rows_of(race, times, canaries, operations, best)
    ]


def chosen(wanted: Sequence[str]) -> list[str]:
    """The workloads of these names, or else those whose names contain one of them."""
    exact = [name for name in WORKLOADS if name in wanted]
    return exact or [name for name in WORKLOADS if any(w in name for w in wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="at least 2 (default 15)")
    parser.add_argument("--only", nargs="+", help="workloads whose name contains one of these; "
                        "without it, those of the README")  # fmt: skip
    parser.add_argument("--engines", nargs="+", default=[], help="engines whose name contains one "
                        "of these, beside vitc's first")  # fmt: skip
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--out", type=Path, help="file of the figures, instead of results/race-*")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        task = Task(WORKLOADS[args.only[0]], args.threads, args.weights)
        worker(args.worker, task, args.clock)
        return
    names = chosen(args.only) if args.only else README
    if not names:
        parser.error(f"no workload has such a name; there are: {', '.join(WORKLOADS)}")
    if args.rounds < 2:
        parser.error("--rounds: quartiles need two or more")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that engines that wait end too
    settings = Settings(args.threads, args.rounds, args.clock, args.engines)
    out = args.out or race_files.RESULTS / f"race-{race_machine.kind()}.json"
    for name in names:
        rows = measure(name, settings)
        for row in rows:
            print(race_files.line(row), flush=True)
        race_files.merge(out, rows)


if __name__ == "__main__":
    main()
