"""A copy of vitc whose extension is built under a sanitizer, for an interpreter that is not."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vitc import _vitc

ROOT = Path(__file__).parents[1]


def vitc_under(sanitizer: str, folder: Path, **build: str) -> dict[str, str]:
    """Builds it in folder; the environment in which Python imports it.

    sanitizer: as VITC_SANITIZE. build: more of what setup.py is asked for.
    """
    libraries = _runtimes(sanitizer)
    if not libraries or sys.platform != "linux":
        pytest.skip(f"the compiler does not bring -fsanitize={sanitizer}")
    environment = {**os.environ, "VITC_SANITIZE": sanitizer, "VITC_WERROR": "1", **build}
    if _vitc.config()["onednn"] == "none":
        environment["VITC_ONEDNN"] = "0"
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    subprocess.run(
        [*command, "--build-lib", folder / "lib", "--build-temp", folder / "temp"],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    built = shutil.ignore_patterns("*.so", "_lib", "__pycache__")
    shutil.copytree(ROOT / "vitc", folder / "lib/vitc", ignore=built, dirs_exist_ok=True)
    return {"PYTHONPATH": str(folder / "lib"), "LD_PRELOAD": libraries}


def _runtimes(sanitizer: str) -> str:
    """What Python must load first, so that a checked extension finds it."""
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    short = {"address": "asan", "undefined": "ubsan", "thread": "tsan"}
    names = [f"lib{short[part]}.so" for part in sanitizer.split(",")]
    ask = [subprocess.check_output([*compiler, f"-print-file-name={n}"], text=True) for n in names]
    return " ".join(path.strip() for path in ask if Path(path.strip()).is_absolute())
