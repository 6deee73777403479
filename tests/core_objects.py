"""What the objects of csrc/ define and use: the word of the compiler, which no spelling gets round.

Compiled plainly (-O0, -fno-builtin), an object names what its source calls: nothing is folded,
fortified or put in place of something else. What leaves no name is refused on the way: memory on
the stack whose size is not constant.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layout import ROOT, C
from vitc import _vitc

CC = shlex.split(os.environ.get("CC", "gcc"))
ONEDNN = _vitc.config()["onednn"] != "none"
PLAIN = ["-std=gnu11", "-O0", "-fno-builtin", "-fno-pic", "-fno-pie", "-fno-stack-protector"]
REFUSED = ["-Walloca", "-Werror=alloca", "-Wvla", "-Werror=vla"]

_spec = importlib.util.spec_from_file_location("vitc_setup", ROOT / "setup.py")
assert _spec is not None and _spec.loader is not None
setup = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setup)


@dataclass(frozen=True)
class Names:
    """Of one object, those that other objects see, or that it asks others for."""

    defined: frozenset[str]
    used: frozenset[str]


def headers() -> list[str]:
    """Flags that find those of Python, NumPy and oneDNN."""
    folders = [sysconfig.get_path("include"), np.get_include()]
    if ONEDNN:
        root = os.environ.get("VITC_ONEDNN_ROOT")
        found = setup.onednn_from_root(Path(root)) if root else setup.onednn_from_packages()
        folders.append(str(found[0]))
    flags = [flag for folder in folders for flag in ("-isystem", folder)]
    return ["-Icsrc", f"-DVT_ONEDNN={int(ONEDNN)}", *flags]


def compiled(path: str, source: Path, folder: Path) -> Path:
    """The object of a source as if it stood at `path`; AssertionError if the compiler refuses."""
    target = folder / (path.replace("/", ".") + ".o")
    machine = [flag for flag in setup.source_flags(path) if flag.startswith("-m")]
    flags = [*PLAIN, "-fopenmp", *REFUSED, *headers(), *setup.target_flags(machine, CC)]
    command = [*CC, *flags, "-c", str(source), "-o", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{path}: {done.stderr}"
    return target


def names(target: Path) -> Names:
    listed = subprocess.run(["nm", "-g", "-P", target], check=True, capture_output=True, text=True)
    kinds = {spelled(name): kind for name, kind, *_ in map(str.split, listed.stdout.splitlines())}
    used = frozenset(name for name, kind in kinds.items() if kind in "Uvw")
    return Names(frozenset(kinds) - used, used)


def spelled(name: str) -> str:
    """As in a source, which glibc and Python redirect: fscanf, PyArg_ParseTuple."""
    name = re.sub(r"^__isoc\d+_", "", name)
    return re.sub(r"^_(Py\w+)_SizeT$", r"\1", name)


def core(folder: Path) -> dict[str, Names]:
    """All objects of csrc/ but those of tools/, by the path of their source."""
    paths = [path for path in C if path.endswith(".c") and not path.startswith("csrc/tools/")]

    def one(path: str) -> Names:
        return names(compiled(path, ROOT / path, folder))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(paths, pool.map(one, paths), strict=True))
