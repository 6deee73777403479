"""Builds the programs of csrc/tools/ as setup.py builds the extension: test runners and run_file.

    python csrc/tools/build.py FOLDER

puts the programs into FOLDER. The flags and the environment variables are those of setup.py:
VITC_SANITIZE=address,undefined and the like give a checked build, each in a folder of its own.
"""

import importlib.util
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load_setup() -> ModuleType:
    """setup.py as a module; it reads the environment when it is loaded."""
    spec = importlib.util.spec_from_file_location("vitc_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def core_sources() -> list[str]:
    """The core without its glue to Python and to Triton."""
    outside = {"py", "tools", "triton"}
    sources = (ROOT / "csrc").rglob("*.c")
    return sorted(str(s.relative_to(ROOT)) for s in sources if s.parent.name not in outside)


def build(folder: Path, compiler: list[str]) -> None:
    """Compiles everything once and links each runner with the core."""
    setup = load_setup()
    staged = folder / "_lib"
    flags = ["-Icsrc", *setup.common_flags(), *setup.stage_libraries(staged, compiler)]
    libraries = [*setup.library_flags(staged), f"-Wl,-rpath,{staged}", "-lm", "-lpthread"]

    def run(arguments: list[str]) -> None:
        subprocess.run([*compiler, *arguments], cwd=ROOT, check=True)

    def compile_one(source: str) -> str:
        target = str(folder / source.replace("/", ".")) + ".o"
        own = setup.target_flags(setup.source_flags(source), compiler)
        run([*flags, *own, "-c", source, "-o", target])
        return target

    runners = sorted(str(s.relative_to(ROOT)) for s in (ROOT / "csrc/tools").glob("*.c"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = dict(zip(runners, pool.map(compile_one, runners), strict=True))
        core = list(pool.map(compile_one, core_sources()))
    for runner, own in objects.items():
        # test_cpu.c holds its own copy of base/cpu.c.
        others = core if Path(runner).stem != "test_cpu" else [o for o in core if "status" in o]
        program = str(folder / Path(runner).stem)
        run([*setup.link_flags(), own, *others, *libraries, "-o", program])


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    build(target, shlex.split(os.environ.get("CC", "gcc")))
