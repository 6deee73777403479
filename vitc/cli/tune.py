"""Measure how high the tiles of a thread should be on this machine, by precision.

Times a model with tiles of several heights, in turn, on one image, on a batch and in training, and
names the fastest. --output writes that into the file which VITC_MACHINE names. Only times change:
the bits of a result never depend on tiles.

    vitc tune --output machine.txt
    VITC_MACHINE=machine.txt vitc predict ...
"""

import argparse
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from vitc import _vitc, checks
from vitc.errors import shown
from vitc.files import check_place, replacing
from vitc.models.factory import create_model
from vitc.quantization import quantize
from vitc.runtime import get_num_threads, set_num_threads

PRECISIONS = ("float32", "bfloat16", "int8")
BUILT_IN = 256
HEIGHTS = (BUILT_IN, 64, 128, 512, 1024)  # in rows; tiles are whole units of at most 64
LEAST_GAIN, MOST_LOSS = 0.02, 0.01  # what another height must bring on average, and may cost once
LEAST_ROUNDS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default="vit_small_patch16_224", metavar="NAME", help="to be timed")
    add(
        "--precision", nargs="+", choices=PRECISIONS, metavar="P", help="default: what is fast here"
    )
    add("--batch-size", type=int, default=8, metavar="N", help="default: 8")
    add("--threads", type=int, metavar="N", help="default: all processors")
    add("--seconds", type=float, default=3.0, metavar="S", help="per measurement (default: 3)")
    add("--output", metavar="FILE", help="write the heights for VITC_MACHINE")


def run(options: argparse.Namespace) -> None:
    checks.integer("--batch-size", options.batch_size, 2)
    checks.number("--seconds", options.seconds, 0)
    lines = _lines_of(options.output) if options.output else []
    if options.threads is not None:
        set_num_threads(options.threads)
    found = {}
    print(f"{options.model}, threads: {get_num_threads()}; milliseconds, and how they change")
    for precision in dict.fromkeys(options.precision or _fast()):
        measured = measure(options, precision)
        found[precision] = best(measured)
        print(table(precision, measured, found[precision]))
    print("the bits of results are the same at every height")
    if options.output:
        _write(Path(options.output), merged(lines, found))
        print(f"{options.output}: use it with VITC_MACHINE={options.output}")


def _fast() -> list[str]:
    return [p for p in PRECISIONS if p != "bfloat16" or _vitc.config()["bf16"]]


# ------------------------------------------------------------------------------------- measuring


class Times(NamedTuple):
    """Of one kind of work: seconds at the built-in height, and the ratio of each other height."""

    seconds: float
    ratios: Mapping[int, float]


def measure(options: argparse.Namespace, precision: str) -> dict[str, Times]:
    """By kind of work. Heights that cut this model like one before them are left out."""
    model = create_model(options.model).eval()
    model = quantize(model) if precision == "int8" else model
    works = {"1 image": (1, False), f"{options.batch_size} images": (options.batch_size, False)}
    if precision != "int8":
        works[f"training {options.batch_size}"] = (options.batch_size, True)
    return {
        name: _times(_runs(model, precision, *work), options.seconds)
        for name, work in works.items()
    }


def _runs(model: Any, precision: str, batch: int, training: bool) -> dict[int, Any]:
    """What to call for each height."""
    program, calls, known = model.program(), {}, set()
    x = np.random.default_rng(0).standard_normal((batch, *program.inputs[0].inner), np.float32)
    for height in HEIGHTS:
        options: Any = dict(training=training, bf16=precision == "bfloat16", tile_rows=height)
        plan = _vitc.Plan(program.core, model.params, **options)
        cut = tuple(step["tile_rows"] for step in plan.steps)
        if cut not in known:
            calls[height] = _call(_vitc.Run(plan, batch, get_num_threads()), x, training)
        known.add(cut)
    return calls


def _call(run: _vitc.Run, x: Any, training: bool) -> Any:
    def once() -> None:
        outputs = run.forward([x])
        if training:
            run.backward([np.ones_like(output) for output in outputs])

    return once


def _times(calls: Mapping[int, Any], seconds: float) -> Times:
    """Medians over rounds in which every height has its turn, so that all see the same load."""
    for call in calls.values():
        call()
    rounds: list[dict[int, float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < LEAST_ROUNDS or time.perf_counter() < end:
        order = list(calls)[:: -1 if len(rounds) % 2 else 1]
        rounds.append({height: _seconds(calls[height]) for height in order})
    others = [height for height in calls if height != BUILT_IN]
    ratios = {h: median(r[h] / r[BUILT_IN] for r in rounds) for h in others}
    return Times(median(r[BUILT_IN] for r in rounds), ratios)


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best(measured: Mapping[str, Times]) -> int:
    """The height that is fastest on average, if it pays and makes nothing clearly slower."""
    heights: dict[float, int] = {}
    for height in HEIGHTS[1:]:
        ratios = [times.ratios[height] for times in measured.values() if height in times.ratios]
        if len(ratios) == len(measured) and max(ratios) <= 1 + MOST_LOSS:
            heights[float(np.exp(np.mean(np.log(ratios))))] = height
    gain = min(heights, default=1.0)
    return heights[gain] if gain <= 1 - LEAST_GAIN else BUILT_IN


def table(precision: str, measured: Mapping[str, Times], chosen: int) -> str:
    """A line for the built-in height, one for each other, and the choice."""
    heights = list(dict.fromkeys(h for times in measured.values() for h in times.ratios))
    lines = [f"{precision:14}" + "".join(f"{name:>14}" for name in measured)]
    cells = "".join(f"{1e3 * times.seconds:14.2f}" for times in measured.values())
    lines.append(f"{f'  rows {BUILT_IN}':14}{cells}")
    for height in heights:
        cells = "".join(f"{_change(times, height):>14}" for times in measured.values())
        lines.append(f"{f'  rows {height}':14}{cells}")
    return "\n".join([*lines, f"  {setting(precision, chosen)}"])


def _change(times: Times, height: int) -> str:
    ratio = times.ratios.get(height)
    return "the same" if ratio is None else f"{100 * (ratio - 1):+.1f} %"


# ------------------------------------------------------------------------------------- the file


def setting(precision: str, rows: int) -> str:
    return f"{precision}.rows = {rows}"


_SETTING = re.compile(r"\s*(\w+)\.(rows|panel|block)\s*=\s*\d+\s*")


def _lines_of(path: str) -> list[str]:
    """Of the file that is there. Raises `ValueError` if it is not one for VITC_MACHINE."""
    check_place(Path(path))
    if not Path(path).exists():
        return []
    try:
        lines = Path(path).read_text().splitlines()
    except UnicodeDecodeError:
        lines = ["not a text"]
    settings = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    others = [line for line in settings if not _SETTING.fullmatch(line)]
    if others or not settings:
        why = f"it holds the line {shown(others[0])}" if others else "it has no setting"
        raise ValueError(f"{path} is not a file for VITC_MACHINE and is not overwritten: {why}")
    return lines


def merged(lines: Iterable[str], found: Mapping[str, int]) -> list[str]:
    """The lines, with the rows of these precisions replaced or added."""
    kept = [line for line in lines if not _sets(line, found)]
    return [*kept, *(setting(precision, rows) for precision, rows in found.items())]


def _sets(line: str, found: Mapping[str, int]) -> bool:
    match = _SETTING.fullmatch(line)
    return match is not None and match[2] == "rows" and match[1] in found


def _write(path: Path, lines: list[str]) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text("".join(f"{line}\n" for line in lines))
