"""What a profile found: rows, their table, and the losses in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vitc.profiling.names import pattern, starred

WAITING, OUTSIDE = "waiting", "outside"  # rows of no step
_LOSSES = 3  # are named
_SMALL = 0.005  # of the pass: steps that take less are one row of the table
_HEAD = ("operation", "layers", "sizes", "steps", "ms", "share", "GFLOP/s", "of peak", "MB read",
         "MB written", "lost ms")  # fmt: skip
_LEFT = 3  # columns that begin at the left


class Peaks(NamedTuple):
    """What the processor did at most. products: operations per second by precision. memory: bytes
    per second."""

    products: Mapping[str, float]
    memory: float

    def compared(self, row: "Row") -> "Row":
        """The row with what its work would take at these rates, and what it takes beyond that."""
        multiplying = row.flops / self.products[row.precision] if row.flops else 0.0
        least = max(multiplying, (row.read + row.written) / self.memory)
        lost = max(0.0, row.seconds - least)
        return row._replace(multiplying=multiplying, least=least, lost=lost)


class Row(NamedTuple):
    """A step of the plan, or steps that are alike; all numbers are per pass.

    kind: the operation, or "waiting", "outside", "cross_entropy", "adamw". way: "forward", "again"
    (recomputed for backward), "backward", "accumulate" (gradients of parameters), "pack" (weights
    for products); "" for what is no step. layers: dotted, a star for numbers that differ. sizes:
    rows x columns of an image's input and output. precision: of its products, "" if it has none.
    seconds: of all threads, divided by their number. flops: a multiply-add is two. read, written:
    bytes from and to memory, without what stays in a thread's own strip. multiplying: seconds that
    flops would take at the peak. least: the same, or what the bytes take of memory if that is more.
    lost: seconds beyond least.
    """

    kind: str
    way: str = ""
    layers: str = ""
    sizes: str = ""
    precision: str = ""
    steps: int = 1
    tasks: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    read: float = 0.0
    written: float = 0.0
    multiplying: float = 0.0
    least: float = 0.0
    lost: float = 0.0

    @property
    def name(self) -> str:
        """The operation and, if it is not forward, the way."""
        return f"{self.kind}, {self.way}" if self.way not in ("", "forward") else self.kind


_NUMBERS = Row._fields[Row._fields.index("steps") :]


class Profile(NamedTuple):
    """What `vitc.profile` found. seconds: of a pass. passes: how many the means are over. steps: a
    row for each step in the order of the plan, and then for what is no step."""

    model: str
    precision: str
    batch: int
    threads: int
    train: bool
    passes: int
    seconds: float
    peaks: Peaks
    steps: list[Row]

    @property
    def rows(self) -> list[Row]:
        """Steps of the same operation, way and sizes, of layers that differ in their numbers, as
        one; the longest first, and last what is no step of the plan."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.steps:
            key = (row.kind, row.way, starred(row.layers), row.sizes, row.precision)
            groups.setdefault(key, []).append(row)
        rows = [_together(group) for group in groups.values()]
        return sorted(rows, key=lambda row: (row.way == "", -row.seconds))

    @property
    def losses(self) -> list[str]:
        """The three rows that lose most time, and why, in words."""
        rows = sorted(self.rows, key=lambda row: -row.lost)[:_LOSSES]
        return [self._told(row) for row in rows if row.lost > 0]

    def _told(self, row: Row) -> str:
        name = " ".join(filter(None, (row.name, row.layers)))
        head = f"{name}: {_ms(row.lost)} ms, {_percent(row.lost / self.seconds)} of the pass"
        return f"{head}: {self._why(row)}"

    def _why(self, row: Row) -> str:
        if row.kind == WAITING:
            return "threads without a task before the end of a phase"
        if row.kind == OUTSIDE:
            return "copies of inputs and outputs, and Python, on one thread"
        if row.multiplying and row.multiplying == row.least:
            peak = f"{self.peaks.products[row.precision] / 1e9:.0f} GFLOP/s in {row.precision}"
            return f"at {_percent(row.multiplying / row.seconds)} of the peak of {peak}"
        if row.least:
            moved = (row.read + row.written) / 1e6
            rate = f"{self.peaks.memory / 1e9:.1f} GB/s"
            return f"its {moved:.1f} MB would take {_ms(row.least)} ms at {rate}"
        return "it multiplies no matrices, and nothing of it has to go to memory"

    def table(self, *, layers: bool = False) -> str:
        """The table as text, with a total and the largest losses. layers: a row for each layer, in
        the order in which they run; else steps of the same kind share one, and those below 0.5 %
        of the time are added up."""
        rows = self.steps if layers else self._without_small()
        cells = [_HEAD, *(self._cells(row) for row in rows), self._cells(self._total())]
        title, said = self._title(), self.losses
        losses = ["", "most is lost in", *(f"  {i}. {text}" for i, text in enumerate(said, 1))]
        return "\n".join([*title, "", *_aligned(cells), *(losses if said else [])])

    def __str__(self) -> str:
        return self.table()

    def _without_small(self) -> list[Row]:
        small = [row for row in self.rows if row.way and row.seconds < _SMALL * self.seconds]
        kept = [row for row in self.rows if row not in small]
        if len(small) < 2:
            return self.rows
        place = sum(row.way != "" for row in kept)
        others = _sum(small, Row("others", "forward", f"{len(small)} rows below 0.5 %"))
        return [*kept[:place], others, *kept[place:]]

    def _total(self) -> Row:
        return _sum(self.steps, Row("total"))

    def _title(self) -> list[str]:
        work = "a training step" if self.train else "a prediction"
        images = "1 image" if self.batch == 1 else f"{self.batch} images"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        peaks = [
            f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in self.peaks.products.items()
        ]
        return [
            f"{self.model}, {self.precision}: {work} of {images} on {threads} takes "
            f"{_ms(self.seconds)} ms",
            f"peak here: {', '.join((*peaks, f'{self.peaks.memory / 1e9:.1f} GB/s from memory'))}",
        ]

    def _cells(self, row: Row) -> tuple[str, ...]:
        rate = f"{row.flops / row.seconds / 1e9:.0f}" if row.flops else ""
        return (
            row.name,
            row.layers,
            row.sizes,
            str(row.steps) if row.way else "",
            _ms(row.seconds),
            _percent(row.seconds / self.seconds),
            rate,
            _percent(row.multiplying / row.seconds) if row.flops else "",
            _megabytes(row.read),
            _megabytes(row.written),
            _ms(row.lost),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: seconds, operations and bytes, per pass; rates per second."""
        own = {n: getattr(self, n) for n in self._fields if n not in ("peaks", "steps")}
        peaks = {"products": dict(self.peaks.products), "memory": self.peaks.memory}
        lists = {name: [r._asdict() for r in getattr(self, name)] for name in ("rows", "steps")}
        return {**own, "peaks": peaks, **lists, "losses": self.losses}


def _together(rows: Sequence[Row]) -> Row:
    return _sum(rows, rows[0]._replace(layers=pattern(row.layers for row in rows)))


def _sum(rows: Sequence[Row], named: Row) -> Row:
    """A row with this name and the sums of all numbers."""
    return named._replace(**{name: sum(getattr(row, name) for row in rows) for name in _NUMBERS})


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        sides = [str.ljust] * _LEFT + [str.rjust] * (len(line) - _LEFT)
        padded = (side(c, w) for side, c, w in zip(sides, line, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines


def _ms(seconds: float) -> str:
    """Milliseconds, with three digits that say something."""
    return f"{1e3 * seconds:.{1 if seconds >= 0.01 else 2}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.2f}" if count else ""
