"""Where the files of the repository are, for the tests that hold them to a law."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From a path and what stands there to sentences about its breaches.
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


def breaches(law: Law, paths: list[str]) -> list[str]:
    return [breach for path in paths for breach in law(path, (ROOT / path).read_text())]


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program that was installed beside this interpreter, or that is found in PATH."""
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.exists() else shutil.which(name)
    assert program, f"{name} is not installed: pip install '.[test]'"
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)
