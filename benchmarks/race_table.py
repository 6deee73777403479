"""The speed tables of README.md and results/race.md, from the files of `race.py`.

    python benchmarks/race_table.py [--write]

Prints the README's; --write puts it between its marks in README.md, and every row into
results/race.md.
"""

import argparse
from collections.abc import Iterable, Sequence

import race_files
from race_files import RESULTS, Row
from race_workloads import WORKLOADS

PAGE, FULL = RESULTS.parents[1] / "README.md", RESULTS / "race.md"
BEGIN = "<!-- made by benchmarks/race_table.py --write -->"
END = "<!-- end of what is made -->"
KINDS = {"amx": "With AMX", "avx512": "AVX-512, without AMX", "avx2": "AVX2"}
PEERS = {
    "torch": "PyTorch",
    "zentorch": "zentorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


def table(rows: Iterable[Sequence[str]]) -> str:
    """The first row is the head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def form(engine: str, of: str) -> str:
    """What is special about an engine: "compiled" of "torch compiled bf16" in a race of bf16."""
    _, *words = engine.split()
    if of != "float32" and of in words:
        words.remove(of)
    return " ".join(words)


def ratio_of(row: Row, digits: int = 2) -> str:
    """Bold where vitc is the slower."""
    text = f"{row['ratio']:.{digits}f}"
    return f"**{text}**" if row["ratio"] < 1 else text


def ran(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if "left_out" not in row]


def of_package(rows: Iterable[Row], package: str) -> list[Row]:
    return [row for row in ran(rows) if row["engine"].split()[0] == package]


# ---------------------------------------------------------------- the README's


def own_row(rows: list[Row]) -> Row:
    """Of vitc's engine that the others are divided by; if several were, the workload's."""
    own = [row for row in ran(rows) if row["engine"] == row["against"]]
    first = WORKLOADS[own[0]["workload"]].engines[0]
    return next((row for row in own if row["engine"] == first), own[0])


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def own_cell(row: Row, precision: str) -> str:
    share = "" if row["share"] is None else f", {row['share']:.0%}"
    special = form(row["engine"], precision)
    return f"{milliseconds(row['ms'])} ms{share}{' ' * bool(special)}{special}"


def peer_cell(rows: list[Row], package: str, precision: str) -> str:
    """Of the fastest form of a peer."""
    found = of_package(rows, package)
    if not found:
        return "-"
    best = min(found, key=lambda row: row["ratio"])
    special = form(best["engine"], precision)
    return f"{ratio_of(best)}{' ' * bool(special)}{special}"


def by_workload(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """In the order of WORKLOADS."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["workload"], []).append(row)
    return {name: found[name] for name in WORKLOADS if name in found}


def label(workload: str) -> str:
    work = WORKLOADS[workload]
    what = "training step" if work.training else "inference"
    model = work.model.removesuffix("_patch16_224")
    return f"{model}, {work.precision}, {what}, batch {work.batch}"


def said_once(rows: Iterable[Row], key: str) -> str:
    return ", ".join(dict.fromkeys(str(row[key]) for row in rows))


def places(rows: list[Row]) -> str:
    dates = sorted({row["date"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{said_once(rows, 'cpu')}, {said_once(rows, 'threads')} threads, {when}"


def short_table(rows: list[Row]) -> str:
    found = by_workload(rows)
    peers = [p for p in PEERS if of_package(rows, p)]
    lines = [["", "vitc", *(PEERS[p] for p in peers)]]
    for name, of_one in found.items():
        if name.startswith("family"):
            continue
        precision, own = WORKLOADS[name].precision, own_row(of_one)
        compared = [row for row in ran(of_one) if row["against"] == own["engine"]]
        cells = [peer_cell(compared, p, precision) for p in peers]
        lines.append([label(name), own_cell(own, precision), *cells])
    return table(lines)


def files() -> dict[str, list[Row]]:
    """The rows of each kind of processor that was measured."""
    paths = {kind: RESULTS / f"race-{kind}.json" for kind in KINDS}
    return {kind: race_files.read(path) for kind, path in paths.items() if path.exists()}


def short() -> str:
    """A table per kind of processor."""
    parts = [
        f"{KINDS[kind]}: {places(rows)}.\n\n{short_table(rows)}" for kind, rows in files().items()
    ]
    return "\n".join(parts)


# ---------------------------------------------------------------- every row


def full_line(row: Row) -> list[str]:
    share = "-" if row["share"] is None else f"{row['share']:.0%}"
    low, high = row["quartiles"]
    canary = row["canary"]
    disturbed = "-" if canary is None else f"{canary['disturbed']} of {row['rounds']}"
    return [
        *(row["workload"], row["engine"], milliseconds(row["ms"]), share, ratio_of(row, 3)),
        *(f"{low:.3f} {high:.3f}", f"{row['difference']:.0e}", disturbed, row["date"]),
    ]


def full_part(kind: str, rows: list[Row]) -> str:
    head = ["workload", "engine", "ms", "of peak", "ratio", "quartiles", "difference", "disturbed"]
    body = [full_line(row) for of_one in by_workload(rows).values() for row in ran(of_one)]
    text = f"## {KINDS[kind]}\n\n{places(rows)}. {packages(rows)}.\n\n"
    text += table([[*head, "date"], *body])
    missing = dict.fromkeys(
        f"- {row['engine']}: {row['left_out']}" for row in rows if "left_out" in row
    )
    return text + ("\nLeft out:\n\n" + "\n".join(missing) + "\n" if missing else "")


def packages(rows: Iterable[Row]) -> str:
    found = dict.fromkeys(f"{name} {v}" for row in rows for name, v in row["versions"].items())
    commits = dict.fromkeys(row["commit"] for row in rows if row["commit"])
    return ", ".join(found) + (f"; vitc at {', '.join(commits)}" if commits else "")


def full() -> str:
    parts = [full_part(kind, rows) for kind, rows in files().items()]
    return (
        "# The race\n\n"
        "Made by `python benchmarks/race_table.py --write` from race-*.json. `benchmarks/race.py` "
        "describes the method.\nA ratio is the time of an engine divided by that of vitc's first "
        "in the same round: its median, and its quartiles.\nDifference: of the logits or the loss, "
        "from vitc's in float32, of the largest. Disturbed: rounds with a slow canary.\n\n"
        + "\n".join(parts)
    )


def page(text: str) -> str:
    """README.md with its tables made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{short()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text()))
        FULL.write_text(full())
    else:
        print(short())


if __name__ == "__main__":
    main()
