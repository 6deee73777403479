"""The laws of vitc/: which part may import which; and the tools that read all of the text.

Each law is a function from a file to sentences about its breaches. It is shown to fail on sources
made up for that, and then applied to every file that is there. Those of csrc/: test_laws_c.py.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layout import PYTHON, ROOT, C, Law, breaches, tool

# Parts of vitc/, row by row; a part may import from rows before its own.
ROWS: tuple[tuple[str, ...], ...] = (
    ("_vitc",),
    ("errors", "files", "locks", "names"),
    ("arrays", "checks"),
    ("program", "tape"),
    ("runtime", "parameters"),
    ("engine", "functional"),
    ("models",),
    ("losses", "metrics", "nn", "optim", "data"),
    ("profiling", "scheduler", "utils"),
    ("training",),
    ("callbacks", "loggers"),
    ("distillation", "evaluation", "quantization"),
    ("export",),
    ("onnx",),
    ("serve",),
    ("explain",),
    ("cli",),
    ("__main__",),
)
# Run in a server of their own, as a user's program does.
USERS = ("vitc/export/triton_model.py", "vitc/export/triton_prepare.py")
LONGEST = 800

# Modules and functions that import a module by its name, find one that is loaded, or run a text;
# and where they are used, for what. The names given there are read like those of a statement.
DOORS = {"importlib", "runpy", "pkgutil", "imp", "builtins", "exec", "eval", "__import__"}
HARMLESS = {"importlib.metadata", "importlib.resources"}
OPENED = {
    ("vitc/__init__.py", "importlib"): "what is imported when it is first used",
    ("vitc/cli/__init__.py", "importlib"): "one file per command",
    ("vitc/training/callbacks/progress_bar.py", "sys.modules"): "is this a notebook?",
}

# Files that import from a part below their own, in a function, and what for.
LATE = {
    ("vitc/training/module.py", "onnx"): "to_onnx is a method in Lightning",
}

STYLE = f"--style=file:{ROOT / '.clang-format'}"
FOLDERS = ("vitc", "tests", "csrc", "benchmarks", "setup.py")  # of Python


# ---------------------------------------------------------------------------------------- Python


def statements(node: ast.AST) -> Iterator[str]:
    """Dotted names of what a statement imports; relative ones begin with a dot."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level:
        yield "." * node.level + (node.module or "")
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def by_name(node: ast.AST) -> Iterator[str]:
    """What a call of import_module or __import__ names, up to where that is computed."""
    if not isinstance(node, ast.Call) or not (node.args or node.keywords):
        return
    function = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
    if getattr(function, "id", function) not in ("import_module", "__import__"):
        return
    name = node.args[0] if node.args else node.keywords[0].value
    if isinstance(name, ast.JoinedStr) and name.values:
        name = name.values[0]
    yield name.value if isinstance(name, ast.Constant) else ""


def imported(path: str, text: str) -> Iterator[str]:
    """Names from vitc that a file of it imports, anywhere in it."""
    for node in ast.walk(ast.parse(text, path)):
        for name in (*statements(node), *by_name(node)):
            if name.startswith(".") or name.split(".")[0] == "vitc":
                yield name


def opened(path: str, text: str) -> Iterator[str]:
    """The doors that a file makes use of."""
    for node in ast.walk(ast.parse(text, path)):
        for name in statements(node):
            if name == "sys.modules":
                yield name
            elif not any(f"{name}.".startswith(f"{harmless}.") for harmless in HARMLESS):
                yield from {name.split(".")[0]} & DOORS
        if isinstance(node, ast.Name) and node.id in DOORS | {"__builtins__"}:
            yield node.id
        if isinstance(node, ast.Attribute) and node.attr == "modules":
            yield "sys.modules"


def doors(path: str, text: str) -> Iterator[str]:
    """A module of vitc comes in by a statement that `layers` reads."""
    for name in sorted(set(opened(path, text))):
        if (path, name) not in OPENED:
            yield f"{path} uses {name}, behind which a module may come in unseen"


def row(part: str) -> int:
    return next((i for i, parts in enumerate(ROWS) if part in parts), -1)


def late(path: str, text: str) -> set[str]:
    """The names from vitc that a file imports in functions only."""
    tree = ast.parse(text, path)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    early = {
        x for n in ast.walk(tree) if id(n) not in inside for x in (*statements(n), *by_name(n))
    }
    return set(imported(path, text)) - early


def layers(path: str, text: str) -> Iterator[str]:
    own = path.split("/")[1].removesuffix(".pyi").removesuffix(".py")
    if own == "__init__" or path in USERS:
        return
    if row(own) < 0:
        yield f"{path} stands in no row of the layout"
    for name in imported(path, text):
        part = name.split(".")[1] if "." in name.strip(".") else ""
        if name.startswith("."):
            yield f"{path} imports {name}: names are written in full"
        elif not part:
            yield f"{path} imports vitc, which stands for all parts"
        elif (path, part) in LATE and name in late(path, text):
            continue
        elif part not in ("__version__", own) and not -1 < row(part) < row(own):
            yield f"{path} imports {name}, which is not above it"


def length(path: str, text: str) -> Iterator[str]:
    if (lines := text.count("\n")) > LONGEST:
        yield f"{path} has {lines} lines"


# ---------------------------------------------------------------------------------------- proofs

# A law, a path, a source that breaks it, and what is said about it.
BREACHES: list[tuple[Law, str, str, str]] = [
    (layers, "vitc/tape.py", "from vitc.models import create_model", "not above it"),
    (layers, "vitc/models/a.py", "def f():\n    from vitc.training import trainer", "not above it"),
    (layers, "vitc/data/loader.py", "from vitc import optim", "not above it"),
    (layers, "vitc/training/module.py", "from vitc.onnx import export", "not above it"),
    (layers, "vitc/training/module.py", "def f():\n    from vitc import export", "not above it"),
    (layers, "vitc/training/run.py", "def f():\n    from vitc.onnx import x", "not above it"),
    (layers, "vitc/serve/http.py", "import vitc.cli.fit", "not above it"),
    (layers, "vitc/nn.py", "import vitc", "stands for all"),
    (layers, "vitc/models/a.py", "from . import model", "in full"),
    (layers, "vitc/surprise.py", "", "no row"),
    (layers, "vitc/nn.py", "import_module('vitc.training')", "not above it"),
    (layers, "vitc/nn.py", "importlib.import_module(name=f'vitc.export.{x}')", "not above it"),
    (layers, "vitc/nn.py", "__import__('vitc.training')", "not above it"),
    (layers, "vitc/nn.py", "importlib.import_module('.training', 'vitc')", "in full"),
    (doors, "vitc/nn.py", "import importlib as i\ni.import_module('vitc' + x)", "importlib"),
    (doors, "vitc/nn.py", "from importlib import import_module", "importlib"),
    (doors, "vitc/nn.py", "from importlib.util import find_spec", "importlib"),
    (doors, "vitc/nn.py", "import importlib.machinery", "importlib"),
    (doors, "vitc/nn.py", "load = __import__", "__import__"),
    (doors, "vitc/nn.py", "exec('import vitc.training')", "exec"),
    (doors, "vitc/nn.py", "eval(x)", "eval"),
    (doors, "vitc/nn.py", "__builtins__['exec'](x)", "__builtins__"),
    (doors, "vitc/nn.py", "import runpy", "runpy"),
    (doors, "vitc/nn.py", "import sys\nx = sys.modules['vitc.training']", "sys.modules"),
    (doors, "vitc/nn.py", "import sys as s\nx = s.modules", "sys.modules"),
    (doors, "vitc/nn.py", "from sys import modules as m", "sys.modules"),
    (length, "vitc/a.py", "x = 1\n" * 801, "801 lines"),
]


@pytest.mark.parametrize(("law", "path", "text", "words"), BREACHES)
def test_a_breach_is_seen(law: Law, path: str, text: str, words: str) -> None:
    told = list(law(path, text))
    assert told and all(words in sentence for sentence in told)


ALLOWED = [
    (layers, "vitc/nn.py", "from vitc import __version__, _vitc\nimport numpy\n"),
    (layers, "vitc/cli/fit.py", "from vitc.cli.common import x\nfrom vitc.training import y\n"),
    (layers, "vitc/cli/a.py", "importlib.import_module(f'vitc.cli.{x}')"),
    (layers, "vitc/training/module.py", "def f():\n    from vitc.onnx import export"),
    (layers, "vitc/nn.py", "import_module('sklearn.metrics')"),
    (doors, "vitc/cli/__init__.py", "import importlib"),
    (doors, "vitc/a.py", "from importlib.resources import files\nmodel.eval(), re.compile('')"),
    (length, "vitc/a.py", "x = 1\n" * 800),
]


@pytest.mark.parametrize(("law", "path", "text"), ALLOWED)
def test_what_is_allowed_is_no_breach(law: Law, path: str, text: str) -> None:
    assert list(law(path, text)) == []


def test_no_file_is_too_long() -> None:
    assert len(C) > 60 and len(PYTHON) > 20
    assert breaches(length, [*C, *PYTHON]) == []


@pytest.mark.parametrize("law", [layers, doors])
def test_the_python_side_keeps_the_law(law: Law) -> None:
    assert breaches(law, [path for path in PYTHON if path.startswith("vitc/")]) == []


def test_every_exception_is_made_use_of() -> None:
    used = {
        (path, name) for path, name in OPENED if name in opened(path, (ROOT / path).read_text())
    }
    assert used == OPENED.keys()
    for path, part in LATE:
        names = late(path, (ROOT / path).read_text())
        assert any(name.split(".")[1] == part for name in names)


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
        "import vitc; vitc.create_model('test_vit', depth=1); vitc.optim, vitc.functional, "
        "vitc.nn, vitc.metrics.Accuracy('binary')([1], [0])"
    )
    assert newly_loaded(used) == {"vitc", "numpy"}


def test_more_would_be_seen() -> None:
    assert "PIL" in newly_loaded("import vitc, PIL.Image")


# ---------------------------------------------------------------------------------------- tools


def test_c_is_formatted(tmp_path: Path) -> None:
    def badly_formatted() -> str:
        copies = map(str, sorted(tmp_path.glob("*.c")))
        done = tool("clang-format", STYLE, "--dry-run", "-Werror", *copies)
        return done.stderr if done.returncode else ""

    for path in C:  # copies, because clang-format knows no language for .inc
        (tmp_path / f"{path.replace('/', '.')}.c").write_text((ROOT / path).read_text())
    assert badly_formatted() == ""
    (tmp_path / "a.inc.c").write_text("int  x ;\n")
    assert "a.inc.c:1:4: error" in badly_formatted()


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
    (tmp_path / "a.py").write_text("import vitc\n\nx: int = vitc.__version__\ndef f(x): ...\n")
    told = tool("mypy", cache, str(tmp_path / "a.py")).stdout
    assert "[assignment]" in told and "[no-untyped-def]" in told


def test_the_stub_describes_the_extension(tmp_path: Path) -> None:
    def findings(path: Path) -> str:
        command = [sys.executable, "-m", "mypy.stubtest", "--concise", "vitc._vitc"]
        told = {**os.environ, "MYPYPATH": str(path)}
        done = subprocess.run(command, cwd="/", env=told, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert findings(ROOT) == ""
    (tmp_path / "vitc").mkdir()
    (tmp_path / "vitc/__init__.pyi").touch()
    (tmp_path / "vitc/_vitc.pyi").write_text("def softmax(x: object) -> object: ...\n")
    assert 'softmax is inconsistent, stub parameter "x" should be positional' in findings(tmp_path)
