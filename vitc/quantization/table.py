"""What each precision costs and brings: one table, on this machine and these images."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.models.model import Model
from vitc.quantization.comparison import Comparison
from vitc.quantization.report import percent, points, write_page
from vitc.runtime import get_num_threads
from vitc.tape import no_grad

FASTER = 1.05  # what is worth another precision
DROP, DISAGREEMENT = 0.005, 0.01  # at most, of accuracy or else of classes
# What a program of its own does with a model: it loads it, runs it, and says what it holds.
_PROGRAM = """
import sys
import numpy as np
import vitc
vitc.set_num_threads(int(sys.argv[2]))
model = vitc.create_model(f"local-dir:{sys.argv[1]}", checkpoint_path=sys.argv[1]).eval()
x = np.zeros((1, *model.default_cfg["input_size"]), np.float32)
with vitc.no_grad():
    for _ in range(3):
        model(x)
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


class Row(NamedTuple):
    """latency: seconds for one image. throughput: images per second in batches. bytes: of the file.
    resident: bytes that a process which only runs this model holds, None where that is not known.
    comparison: with the first row."""

    mode: str
    latency: float
    throughput: float
    bytes: int
    resident: int | None
    comparison: Comparison


class Table(NamedTuple):
    """rows: the first is the model as it was. labelled: whether accuracies were compared. limit:
    what may be lost of the accuracy, or else of the agreement."""

    architecture: str
    threads: int
    batch: int
    rows: list[Row]
    limit: float

    @property
    def labelled(self) -> bool:
        return self.rows[0].comparison.lost is not None

    def recommended(self) -> tuple[Row, str]:
        """The row to take, and why."""
        first = self.rows[0]
        fine = [row for row in self.rows if _lost(row) <= self.limit]
        best = max(fine, key=lambda row: row.throughput)
        if best is first or best.throughput < FASTER * first.throughput:
            kept = [row for row in self.rows if row not in fine]
            why = f"nothing else that loses at most {100 * self.limit:g} points is faster by 5 %"
            return first, why + (f" ({', '.join(row.mode for row in kept)} lose more)" * bool(kept))
        why = (
            f"{best.throughput / first.throughput:.2f} times the images per second of "
            f"{first.mode}, {100 * best.bytes / first.bytes:.0f} % of its size, {self._loss(best)}"
        )
        drop = best.comparison.drop
        if drop is not None and drop.high > self.limit:
            why += "; more images would say that more surely"
        return best, why

    def _loss(self, row: Row) -> str:
        """In words."""
        if row.comparison.drop is None:
            return f"the same class for {percent(row.comparison.agreement)} of the images"
        return f"{points(row.comparison.drop)} points of accuracy lost"

    def cells(self) -> list[list[str]]:
        """The table as text, with its head."""
        quality = ["accuracy", "lost, points"] if self.labelled else []
        head = ["mode", "latency", "throughput", "size", "memory", *quality, "same class"]
        return [head, *(self._cells(row) for row in self.rows)]

    def _cells(self, row: Row) -> list[str]:
        c = row.comparison
        quality = []
        if c.accuracy is not None and c.drop is not None:
            quality = [f"{100 * c.accuracy.value:.2f} %", points(c.drop)]
        memory = "" if row.resident is None else f"{row.resident / 1e6:.0f} MB"
        return [
            row.mode,
            f"{1e3 * row.latency:.1f} ms",
            f"{row.throughput:.1f} img/s",
            f"{row.bytes / 1e6:.1f} MB",
            memory,
            *quality,
            percent(c.agreement),
        ]

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        row, why = self.recommended()
        return "\n".join([*lines, "", f"recommended: {row.mode}: {why}"])

    def markdown(self) -> str:
        head, *rows = self.cells()
        row, why = self.recommended()
        lines = [f"# {self.architecture}: what each precision costs", ""]
        lines += [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
        lines += [
            "",
            f"Recommended: **{row.mode}**: {why}.",
            "",
            f"{self.rows[0].comparison.images} images; {self.threads} threads; latency: the median "
            f"of single images; throughput: in batches of {self.batch}; memory: resident, of a "
            "process that runs this model alone. Intervals are of 95 %: Wilson's for shares, "
            "Agresti and Min's for the paired difference.",
        ]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: seconds, bytes and shares."""
        row, why = self.recommended()
        rows = [{**r._asdict(), "comparison": r.comparison.as_dict()} for r in self.rows]
        own = {name: getattr(self, name) for name in ("architecture", "threads", "batch", "limit")}
        return {**own, "rows": rows, "recommended": row.mode, "why": why}

    def save(self, page: Path) -> tuple[Path, Path]:
        """Writes a page in Markdown, and beside it the same as `.json`; returns both paths."""
        return write_page(page, self.markdown(), self.as_dict())


def _lost(row: Row) -> float:
    drop = row.comparison.drop
    return 1 - row.comparison.agreement.value if drop is None else drop.value


def measure(
    models: Mapping[str, Model],
    comparisons: Mapping[str, Comparison],
    images: Array,
    *,
    repeats: int,
    limit: float,
) -> Table:
    """The table of models that were made of the first one. images: a batch of them (N, C, H, W)."""
    with no_grad():
        latencies = _seconds(models, images[:1], repeats)
        batches = _seconds(models, images, max(1, repeats // 5))
    rows = []
    for mode, model in models.items():
        size, resident = _stored(model)
        speed = len(images) / batches[mode]
        rows.append(Row(mode, latencies[mode], speed, size, resident, comparisons[mode]))
    name = next(iter(models.values())).name
    return Table(name, get_num_threads(), len(images), rows, limit)


def _seconds(models: Mapping[str, Model], images: Array, repeats: int) -> dict[str, float]:
    """The median time of a call; the models take turns, so that what else the machine does falls
    on all of them."""
    for model in models.values():
        model(images)
    times: dict[str, list[float]] = {mode: [] for mode in models}
    for _ in range(repeats):
        for mode, model in models.items():
            start = time.perf_counter()
            model(images)
            times[mode].append(time.perf_counter() - start)
    return {mode: median(found) for mode, found in times.items()}


def _stored(model: Model) -> tuple[int, int | None]:
    """The bytes of a model's file, and those that a process with it holds in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        size = path.stat().st_size
        if not os.path.exists("/proc/self/status"):
            return size, None
        command = [sys.executable, "-c", _PROGRAM, str(path), str(get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return size, 1024 * int(done.stdout) if done.returncode == 0 else None


def first_batch(model: Model, count: int) -> Array:
    """(count, C, H, W): noise in the shape of the model's images."""
    (port,) = model.program().inputs
    generator = np.random.default_rng(0)
    return generator.standard_normal((count, *port.outer)).astype(np.float32)
