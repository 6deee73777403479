"""Settings of the process: threads and seed; and what this build runs on this machine."""

import operator
import platform
import random
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from vitc import __version__, _vitc
from vitc.tape import clock

_threads: int | None = None
_MOST_THREADS = 1024  # the core's limit: beyond, a slip of the keyboard would exhaust the system


def set_num_threads(threads: int) -> None:
    """Sets the number of threads of every later call. It never changes a bit of a result.

    Raises `ValueError` for a number below 1 or above 1024.
    """
    global _threads
    threads = operator.index(threads)
    if not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"the number of threads is {threads}, expected 1 to {_MOST_THREADS}")
    _threads = threads


def get_num_threads() -> int:
    """The number of threads in use; until it is set, what the core finds right for this machine."""
    return _vitc.default_threads() if _threads is None else _threads


def seed_everything(seed: int | None = None, workers: bool = False) -> int:
    """Seeds weights, dropout, order and augmentation of what is made from now on; Lightning's name.

    Also seeds Python's `random` and NumPy's global generator. None: a seed is drawn. workers: means
    nothing here, loaders are always seeded. Returns the seed.

    Raises `ValueError` for one outside of 0 to 2**32 - 1.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else operator.index(seed)
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed is {seed}, expected 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)
    clock.restart(seed)
    return seed


def machine() -> dict[str, str]:
    """What the bits of a result depend on, besides vitc itself: equal here, equal there."""
    c = _vitc.config()
    return {
        "isa": c["isa"],
        "features": c["features"],
        "onednn": c["onednn"],
        "libc": "-".join(platform.libc_ver()),
    }


def show_config(file: TextIO | None = None) -> None:
    """Prints what runs here: versions, instruction set, threads, and the level of every kernel."""
    print(config_text(), file=file)


def config_text() -> str:
    """What `show_config` prints."""
    c = _vitc.config()
    isa = c["isa"] if c["isa"] != "native" else f"native ({c['best_isa']} kernels)"
    rows = {
        "version": f"{__version__} (Python {platform.python_version()}, NumPy {np.__version__})",
        "oneDNN": _onednn(c),
        "instruction set": f"{isa}; VITC_ISA may be {', '.join(c['isas'])}",
        "CPU features": c["features"] or "none that the kernels use",
        "threads": f"{get_num_threads()} ({'OpenMP' if c['openmp'] else 'built without OpenMP'})",
    }
    for of, levels in (("kernels", c["kernels"]), ("images", c["image_kernels"])):
        for level in dict.fromkeys(levels.values()):
            rows[f"{level} {of}"] = ", ".join(k for k, v in levels.items() if v == level)
    rows["float64"] = "ref kernels, plain C products"
    rows["products"] = ", ".join(f"{name} by {engine}" for name, engine in engines().items())
    rows["caches"] = _caches(c["machine"]["caches"])
    rows["rows of a tile"] = _tile_rows(c["machine"])
    rows["bits"] = (
        "of a result are the same for any number of threads, any cut of a batch, after a resume "
        "and in every process; another instruction set, oneDNN or C library gives others"
    )
    return "\n".join(["vitc", *(_row(name, value) for name, value in rows.items())])


def engines() -> dict[str, str]:
    """What multiplies 64 x 768 by 768 x 768 here, by precision; other sizes may differ."""
    size, dtypes = 768, {"float32": "float32", "bfloat16": "float32", "float64": "float64"}
    found = {}
    for name, dtype in dtypes.items():
        rows: list[Any] = [("weight", (size, size))]
        found[name] = _engine("linear", rows, dtype, bf16=name == "bfloat16")
    rows = [("weight", (size, size), "int8"), ("scale", (size,)), ("bias", (size,))]
    return found | {"int8": _engine("linear_int8", rows, "float32")}


def _engine(kind: str, rows: list[Any], dtype: str, **options: bool) -> str:
    size = rows[0][1][1]
    operations: list[Any] = [(kind, [0], list(range(len(rows))), {})]
    shapes = [row[1] for row in rows]
    program = _vitc.Program([(64, size)], shapes, operations, [1])
    steps = _vitc.Plan(program, _vitc.Params(rows, dtype), **options).steps
    return next(str(step["engine"]) for step in steps if step["engine"])


def _onednn(c: dict[str, Any]) -> str:
    if c["onednn"] == "none":
        return "none: plain C products, slow but correct"
    return c["onednn"] if c["isa"] != "ref" else f"{c['onednn']}, not used at this level"


def _caches(sizes: Sequence[int]) -> str:
    known = [f"L{i} {size // 1024} KiB" for i, size in enumerate(sizes, 1) if size]
    return ", ".join(known) or "the system does not tell"


def _tile_rows(machine: dict[str, Any]) -> str:
    rows = ", ".join(f"{name} {sizes['rows']}" for name, sizes in machine["tiles"].items())
    where = machine["source"]
    return f"{rows} ({where if where == 'built in' else f'from {where}'})"


def _row(name: str, value: str) -> str:
    """A name and its value in two columns; a long value is wrapped in its own column."""
    lines = textwrap.wrap(value, 76, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), " " * 19).replace(" " * 19, f"  {name:<17}", 1)
