"""What `import vitc` costs beyond NumPy, which it needs: paired, in fresh interpreters.

python benchmarks/import_time.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys

CODE = "import time, numpy; t = time.perf_counter(); import vitc; print(time.perf_counter() - t)"
MODEL = CODE.replace("import vitc;", "import vitc; vitc.create_model;")


def milliseconds(code: str, rounds: int) -> list[float]:
    """Of each run after a first one, which may compile Python files."""
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(rounds + 1)
    ]
    return [1e3 * float(run.stdout) for run in runs[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for what, code in (("import vitc", CODE), ("... and vitc.create_model", MODEL)):
        times = milliseconds(code, rounds)
        low, median, high = statistics.quantiles(times, n=4)
        print(f"{what}: {median:.0f} ms beyond NumPy, quartiles {low:.0f} to {high:.0f}")


if __name__ == "__main__":
    main()
