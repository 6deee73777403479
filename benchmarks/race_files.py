"""The files of `race.py`: a list of rows, each complete in itself, one line per row."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    return json.loads(path.read_text()) if path.exists() else []


def merge(path: Path, rows: Iterable[Row]) -> None:
    """Put rows in the place of those of the same workload and engine; others stay."""
    found = {(row["workload"], row["engine"]): row for row in (*read(path), *rows)}
    lines = ",\n".join(json.dumps(row) for row in found.values())
    fresh = path.with_suffix(".new")
    fresh.write_text(f"[\n{lines}\n]\n")
    os.replace(fresh, path)


def line(row: Row) -> str:
    start = f"{row['workload']}: {row['engine']:22}"
    if "left_out" in row:
        return f"{start} left out: {row['left_out']}"
    share = "" if row["share"] is None else f" ({row['share']:.0%} of peak)"
    low, high = row["quartiles"]
    canary = row["canary"]
    return (
        f"{start} {row['ms']:9.2f} ms{share}, ratio {row['ratio']:.2f} [{low:.2f}, {high:.2f}], "
        f"difference {row['difference']:.0e}, "
        f"{canary['disturbed']} of {row['rounds']} rounds disturbed"
    )
