"""Opening ViT-B from a .safetensors file in the page cache, and its first result; timm beside it.

python benchmarks/opening.py [--model vit_base_patch16_224] [--rounds 7]

Each round opens the file once in each, in turn, in one process; the machine should be quiet.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vitc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import torch

from oracle import timm  # makes timm importable beside a torch for CPUs


def open_vitc(name: str, path: Path) -> Callable[[np.ndarray], Any]:
    model = vitc.create_model(name, checkpoint_path=path).eval()

    def predict(x: np.ndarray) -> Any:
        with vitc.no_grad():
            return model(x)

    return predict


def open_timm(name: str, path: Path) -> Callable[[np.ndarray], Any]:
    model = timm.create_model(name, checkpoint_path=str(path)).eval()

    def predict(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x))

    return predict


def timed(opened: Callable[..., Any], name: str, path: Path) -> tuple[float, float]:
    """Milliseconds until the model is open, and until the first result."""
    x = np.zeros((1, 3, 224, 224), np.float32)
    start = time.perf_counter()
    predict = opened(name, path)
    ready = time.perf_counter()
    predict(x)
    return 1e3 * (ready - start), 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        vitc.create_model(options.model).save(path)
        rounds = [
            (timed(open_vitc, options.model, path), timed(open_timm, options.model, path))
            for _ in range(options.rounds + 1)
        ][1:]
    for i, what in enumerate(("open", "first result")):
        ours, theirs = ([pair[j][i] for pair in rounds] for j in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"| {what} | {statistics.median(ours):.0f} ms | {statistics.median(theirs):.0f} ms "
              f"| {ratio:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
