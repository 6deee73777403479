"""What a race says of where it was run: processor, instruction level, versions, measured peaks."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What holds libraries of other makers to the level that VITC_ISA names. ONNX Runtime cannot be
# held: its own products look at the processor alone.
HELD = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
}


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


def kind() -> str:
    """The widest of amx, avx512 and avx2 that vitc may use here; else ref."""
    from vitc import _vitc

    config = _vitc.config()
    if config["isa"] != "native":
        return str(config["isa"])
    return "amx" if "amx-tile" in config["features"].split() else str(config["best_isa"])


def held() -> dict[str, str]:
    """Variables of the environment of an engine's process."""
    return HELD.get(os.environ.get("VITC_ISA", ""), {})


def commit() -> str:
    """Of the checkout, with a + if tracked files differ from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--abbrev=9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def versions(*names: str) -> dict[str, str]:
    """Of the packages that are installed."""
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in installed}


def place() -> dict[str, str]:
    return {"cpu": processor(), "python": platform.python_version()}


class Peak:
    """What peak.c reaches, in GFLOP/s."""

    def __init__(self, folder: str, level: str, precision: str, threads: int) -> None:
        program, compiler = f"{folder}/peak", os.environ.get("CC", "cc")
        self._command = [program, level, precision, str(threads)] if level != "ref" else []
        if self._command:
            build = [compiler, "-O2", "-fopenmp", "-o", program, str(HERE / "peak.c")]
            subprocess.run(build, check=True)

    def measure(self) -> float:
        """0: of plain C."""
        if not self._command:
            return 0.0
        return float(subprocess.run(self._command, capture_output=True, check=True).stdout)
