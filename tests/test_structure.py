"""The laws of the layout: who may include or import whom, and what may be called where.

The oracle is the text itself. Each law is a function from a file to sentences about its breaches;
it is shown to fail on sources made up for that, and then applied to every file that is there.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Rooms of csrc/, each of which may include those before it; tools/ stands outside.
ROOMS = ("base", "kernels", "linalg", "ops", "program", "optim", "image", "py")
# The arithmetic is pure: of base/ it knows types, random words and which CPU this is.
ARITHMETIC = {"base/dtype.h", "base/rng.h", "base/cpu.h"}
ALLOCATORS = "malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|alloca|mmap"
LOUD = "exit|_exit|abort|printf|vprintf|fprintf|vfprintf|puts|fputs|putchar|perror|assert"

# Parts of vitc/, row by row; a part may import from rows before its own.
ROWS: tuple[tuple[str, ...], ...] = (
    ("_vitc",),
    ("errors", "files", "locks"),
    ("arrays",),
    ("program", "tape"),
    ("runtime", "parameters"),
    ("engine", "functional"),
    ("models",),
    ("losses", "nn", "optim", "data"),
    ("training",),
    ("callbacks", "loggers"),
    ("distillation", "quantization"),
    ("export",),
    ("onnx",),
    ("serve",),
    ("explain",),
    ("cli",),
)
# Runs in a server of its own, as a user's program does.
USER = "vitc/export/triton_model.py"
LONGEST = 800

Law = Callable[[str, str], Iterator[str]]


def sources(*suffixes: str, under: str = ".") -> list[str]:
    """Paths from the root, without what was built."""
    found = (ROOT / under).rglob("*")
    paths = (path.relative_to(ROOT) for path in found if path.suffix in suffixes)
    hidden = {"build", "dist"}
    return sorted(
        str(path)
        for path in paths
        if not any(part.startswith(".") or part in hidden for part in path.parts)
    )


C = sources(".c", ".h", ".inc", under="csrc")
PYTHON = sources(".py", ".pyi")
FOLDERS = ("vitc", "tests", "csrc", "benchmarks", "setup.py")  # of Python


# ---------------------------------------------------------------------------------------- C


def room(path: str) -> str:
    return path.split("/")[1]


def code(text: str) -> str:
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.DOTALL)


def includes(text: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, flags=re.MULTILINE)


def called(names: str, text: str) -> list[str]:
    return re.findall(rf"\b({names})\s*\(", code(text))


def directions(path: str, text: str) -> Iterator[str]:
    """A room includes rooms above it; image/ only base/; kernels/ little of base/."""
    own = room(path)
    for header in includes(text):
        other = header.split("/")[0]
        if own == "tools" or (other not in ROOMS and other != "tools"):
            continue
        if other == "tools" or ROOMS.index(other) > ROOMS.index(own):
            yield f"{path} includes {header}, which is not above it"
        if own == "image" and other not in ("image", "base"):
            yield f"{path} includes {header}, but image/ knows only base/"
        if own == "kernels" and other == "base" and header not in ARITHMETIC:
            yield f"{path} includes {header}, but the arithmetic is pure"


def foreign_headers(path: str, text: str) -> Iterator[str]:
    """Python.h in py/, NumPy in py/array.c, oneDNN in linalg/."""
    for header in includes(text):
        if header == "Python.h" and room(path) != "py":
            yield f"{path} includes Python.h"
        if header.startswith("numpy/") and path != "csrc/py/array.c":
            yield f"{path} includes {header}"
        if "dnnl" in header and room(path) != "linalg":
            yield f"{path} includes {header}"
    for name in set(re.findall(r"\bdnnl_\w+|\bDNNL_\w+", code(text))):
        if room(path) != "linalg":
            yield f"{path} speaks of {name}"
    for name in set(re.findall(r"\bPy[A-Z_]\w+", code(text))):
        if room(path) != "py":
            yield f"{path} speaks of {name}"


def allocation(path: str, text: str) -> Iterator[str]:
    if room(path) in ("base", "tools"):
        return
    for name in called(ALLOCATORS, text):
        yield f"{path} calls {name}"


def threads(path: str, text: str) -> Iterator[str]:
    if path == "csrc/base/parallel.c":
        return
    if re.search(r"#\s*pragma\s+omp|_Pragma\s*\(\s*\"omp", text):
        yield f"{path} has a pragma of OpenMP"
    for name in {*called(r"omp_\w+", text), *(h for h in includes(text) if h == "omp.h")}:
        yield f"{path} uses {name}"


def silence(path: str, text: str) -> Iterator[str]:
    """The core neither ends the process nor prints."""
    if room(path) in ("py", "tools"):
        return
    for name in called(LOUD, text):
        yield f"{path} calls {name}"
    for name in re.findall(r"\b(stdout|stderr)\b", code(text)):
        yield f"{path} writes to {name}"


# ---------------------------------------------------------------------------------------- Python


def imported(path: str, text: str) -> Iterator[str]:
    """Dotted names of what a file of vitc imports from vitc, anywhere in it."""
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "vitc")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module == "vitc":
            yield from (f"vitc.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vitc."):
            yield str(node.module)


def row(part: str) -> int:
    return next((i for i, parts in enumerate(ROWS) if part in parts), -1)


def layers(path: str, text: str) -> Iterator[str]:
    own = path.split("/")[1].removesuffix(".pyi").removesuffix(".py")
    if own == "__init__" or path == USER:
        return
    if row(own) < 0:
        yield f"{path} stands in no row of the layout"
    for name in imported(path, text):
        part = name.split(".")[1] if "." in name.strip(".") else ""
        if name.startswith("."):
            yield f"{path} imports {name}: names are written in full"
        elif not part:
            yield f"{path} imports vitc, which stands for all parts"
        elif part not in ("__version__", own) and not -1 < row(part) < row(own):
            yield f"{path} imports {name}, which is not above it"


def length(path: str, text: str) -> Iterator[str]:
    if (lines := text.count("\n")) > LONGEST:
        yield f"{path} has {lines} lines"


# ---------------------------------------------------------------------------------------- proofs

# A law, a path, a source that breaks it, and what is said about it.
BREACHES: list[tuple[Law, str, str, str]] = [
    (directions, "csrc/kernels/a.c", '#include "linalg/matmul.h"', "not above it"),
    (directions, "csrc/base/a.h", '#include "kernels/kernels.h"', "not above it"),
    (directions, "csrc/program/a.c", '#  include "optim/optim.h"', "not above it"),
    (directions, "csrc/ops/a.c", '#include "tools/check.h"', "not above it"),
    (directions, "csrc/image/a.c", '#include "ops/op.h"', "only base"),
    (directions, "csrc/kernels/a.inc", '#include "base/memory.h"', "pure"),
    (foreign_headers, "csrc/program/a.c", "#include <Python.h>", "Python.h"),
    (foreign_headers, "csrc/py/module.c", "#include <numpy/arrayobject.h>", "numpy"),
    (foreign_headers, "csrc/ops/a.c", '#include "oneapi/dnnl/dnnl.h"', "dnnl"),
    (foreign_headers, "csrc/ops/a.c", "dnnl_stream_t s;", "dnnl_stream_t"),
    (foreign_headers, "csrc/ops/a.c", "PyObject *o;", "PyObject"),
    (allocation, "csrc/ops/a.c", "void *p = malloc(3);", "malloc"),
    (allocation, "csrc/py/a.c", "free (p);", "free"),
    (threads, "csrc/ops/a.c", "#pragma omp parallel for\n", "pragma"),
    (threads, "csrc/ops/a.c", '_Pragma("omp simd")', "pragma"),
    (threads, "csrc/py/a.c", "omp_set_num_threads(1);", "omp_set_num_threads"),
    (silence, "csrc/ops/a.c", 'fprintf(file, "x");', "fprintf"),
    (silence, "csrc/base/a.c", "if (x) abort();", "abort"),
    (silence, "csrc/linalg/a.c", "assert(x > 0);", "assert"),
    (silence, "csrc/linalg/a.c", "fflush(stderr);", "stderr"),
    (layers, "vitc/tape.py", "from vitc.models import create_model", "not above it"),
    (layers, "vitc/models/a.py", "def f():\n    from vitc.training import trainer", "not above it"),
    (layers, "vitc/data/loader.py", "from vitc import optim", "not above it"),
    (layers, "vitc/serve/http.py", "import vitc.cli.fit", "not above it"),
    (layers, "vitc/nn.py", "import vitc", "stands for all"),
    (layers, "vitc/models/a.py", "from . import model", "in full"),
    (layers, "vitc/surprise.py", "", "no row"),
    (length, "vitc/a.py", "x = 1\n" * 801, "801 lines"),
]


@pytest.mark.parametrize(("law", "path", "text", "words"), BREACHES)
def test_a_breach_is_seen(law: Law, path: str, text: str, words: str) -> None:
    told = list(law(path, text))
    assert told and all(words in sentence for sentence in told)


ALLOWED = [
    (directions, "csrc/py/a.c", '#include "program/run.h"\n#include <stdio.h>\n'),
    (directions, "csrc/tools/test_a.c", '#include "base/cpu.c"\n#include "tools/check.h"\n'),
    (allocation, "csrc/ops/a.c", '/* malloc(3) */ vt_free(x); s = "free(x)"; // free(x)\n'),
    (silence, "csrc/base/a.c", 'snprintf(text, 3, "exit(1)"); _Static_assert(1, "");'),
    (layers, "vitc/nn.py", "from vitc import __version__, _vitc\nimport numpy\n"),
    (layers, "vitc/cli/fit.py", "from vitc.cli.common import x\nfrom vitc.training import y\n"),
    (length, "vitc/a.py", "x = 1\n" * 800),
]


@pytest.mark.parametrize(("law", "path", "text"), ALLOWED)
def test_what_is_allowed_is_no_breach(law: Law, path: str, text: str) -> None:
    assert list(law(path, text)) == []


@pytest.mark.parametrize("law", [directions, foreign_headers, allocation, threads, silence, length])
def test_the_core_keeps_the_law(law: Law) -> None:
    assert len(C) > 60
    assert [breach for path in C for breach in law(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize("law", [layers, length])
def test_the_python_side_keeps_the_law(law: Law) -> None:
    paths = [path for path in PYTHON if law is length or path.startswith("vitc/")]
    assert len(paths) > 20
    assert [breach for path in paths for breach in law(path, (ROOT / path).read_text())] == []


def test_the_rooms_are_those_of_the_readme_in_its_order() -> None:
    text = (ROOT / "csrc/README.md").read_text()
    assert re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE) == [*ROOMS, "tools"]
    there = {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir()}
    assert there <= {*ROOMS, "tools"}


# ---------------------------------------------------------------------------------------- imports


def newly_loaded(statement: str) -> set[str]:
    """Top-level modules outside of the standard library that a statement brings into a process."""
    program = (
        f"import sys; before = set(sys.modules)\n{statement}\n"
        "loaded = {n for n in set(sys.modules) - before if hasattr(sys.modules[n], '__file__')}\n"
        "print(*{name.split('.')[0] for name in loaded})"
    )
    loaded = subprocess.check_output([sys.executable, "-c", program], cwd="/", text=True).split()
    return {name for name in loaded if name not in sys.stdlib_module_names}


def test_import_loads_numpy_and_the_extension_and_no_more() -> None:
    assert newly_loaded("import vitc") <= {"vitc", "numpy"}
    used = (
        "import vitc; vitc.create_model('test_vit', depth=1); vitc.optim, vitc.functional, vitc.nn"
    )
    assert newly_loaded(used) == {"vitc", "numpy"}


def test_more_would_be_seen() -> None:
    assert "PIL" in newly_loaded("import vitc, PIL.Image")


# ---------------------------------------------------------------------------------------- tools


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program that was installed beside this interpreter, or that is found in PATH."""
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.exists() else shutil.which(name)
    assert program, f"{name} is not installed: pip install '.[test]'"
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_c_is_formatted(tmp_path: Path) -> None:
    paths = [path for path in C if not path.endswith(".inc")]  # these are all macros
    done = tool("clang-format", "--dry-run", "-Werror", *paths)
    assert done.returncode == 0, done.stderr
    (tmp_path / "a.c").write_text("int  x ;\n")
    assert tool("clang-format", "--dry-run", "-Werror", str(tmp_path / "a.c")).returncode != 0


def test_python_is_formatted(tmp_path: Path) -> None:
    done = tool("ruff", "format", "--check", *FOLDERS)
    assert done.returncode == 0, done.stdout
    (tmp_path / "a.py").write_text("x  = 1\n")
    assert tool("ruff", "format", "--check", str(tmp_path)).returncode != 0


def test_python_has_no_lint(tmp_path: Path) -> None:
    done = tool("ruff", "check", *FOLDERS)
    assert done.returncode == 0, done.stdout
    (tmp_path / "a.py").write_text("import os\n")
    assert tool("ruff", "check", str(tmp_path)).returncode != 0


def test_types_are_right(tmp_path: Path) -> None:
    cache = f"--cache-dir={tmp_path / 'cache'}"
    done = tool("mypy", cache)
    assert done.returncode == 0, done.stdout
    (tmp_path / "a.py").write_text("import vitc\n\nx: int = vitc.__version__\n")
    assert "Incompatible types" in tool("mypy", cache, str(tmp_path / "a.py")).stdout
