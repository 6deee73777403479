"""Quantise a model, or compare what its precisions cost and bring.

MODEL is what `vitc export` takes; a bare name is measured with random weights. With DATA (a folder
with one folder of images per class, or a CSV manifest) the table has the accuracy that a precision
costs, without it how far its logits agree with those of float32.

    vitc quantize --table runs/best.ckpt photos/
    vitc quantize runs/best.ckpt --output small.safetensors
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.cli import common
from vitc.files import check_place, flush_tree, move
from vitc.models.timm_folder import write_folder
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights.local_dir import WEIGHT_FILES
from vitc.quantization import quantize
from vitc.tape import no_grad
from vitc.training.tools.estimate import size

FILE = ".safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    parser.add_argument("data", metavar="DATA", nargs="?", help="labelled images for the table")
    parser.add_argument("--table", action="store_true", help="compare the precisions")
    parser.add_argument(
        "--output", metavar="PATH", help="write the 8-bit model: a .safetensors file, or a folder"
    )
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="timed calls")
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    common.apply_run_options(options)
    if not options.table and not options.output:
        raise ValueError("say what to do: --table, --output FILE, or both")
    model, names, random = common.stored_model(options)
    if options.output:
        check_output(Path(options.output))
    if random:
        print(f"{options.source}: {random}")
    if options.table:
        print(table(model, names or [], options))
    if options.output:
        print(f"{write(quantize(model), Path(options.output))}{random and f', {random}'}")


def check_output(path: Path) -> None:
    """Raises `OSError` where `write` could not write."""
    if path.suffix != FILE and os.path.lexists(path):
        raise FileExistsError(f"{path} is there already: give another folder, or a file{FILE}")
    check_place(path)


def write(model: VisionTransformer, path: Path) -> str:
    """Writes a file that describes the model wholly, or a new folder; returns what to say of it."""
    if path.suffix == FILE:
        model.save(path)
        return f"{path}: {size(path.stat().st_size)}"
    with tempfile.TemporaryDirectory(prefix=".vitc", dir=path.parent) as scratch:
        folder = Path(scratch) / path.name
        folder.mkdir()
        write_folder(folder, model, None)
        flush_tree(folder)
        move(folder, path)
    return f"{path}: {size((path / WEIGHT_FILES[0]).stat().st_size)}"


# ------------------------------------------------------------------------------------- the table


class Row(NamedTuple):
    """One line: milliseconds for one image, images per second in batches, bytes on disk, and the
    quality against float32."""

    mode: str
    latency: float
    throughput: float
    bytes: int
    quality: str


def precisions() -> dict[str, Callable[[VisionTransformer], VisionTransformer]]:
    """What there is on this machine: a name, and how to make the model of it."""
    made: dict[str, Callable[[VisionTransformer], VisionTransformer]] = {"fp32": lambda m: m}
    if _vitc.config()["bf16"]:
        made["bf16"] = _as_bf16
    return {**made, "int8 dynamic": quantize}


def _as_bf16(model: VisionTransformer) -> VisionTransformer:
    from copy import deepcopy

    twin = deepcopy(model)
    twin.precision = "bf16"
    return twin


def table(model: VisionTransformer, names: list[str], options: argparse.Namespace) -> str:
    images, labels = _images(model, names, options)
    rows, reference = [], np.empty(0)
    with no_grad():
        for mode, make in precisions().items():
            twin = make(model)
            logits = _logits(twin, images, options.batch_size)
            reference = logits if mode == "fp32" else reference
            rows.append(
                Row(
                    mode,
                    1e3 * _seconds(twin, images[:1], options.repeats),
                    _throughput(twin, images, options),
                    _bytes(twin),
                    _quality(logits, reference, labels),
                )
            )
    title = "accuracy" if labels is not None else "agreement with fp32"
    lines = [f"{'mode':14}{'latency':>11}{'throughput':>14}{'size':>10}  {title}"]
    lines += [
        f"{r.mode:14}{r.latency:8.1f} ms{r.throughput:8.1f} img/s{size(r.bytes):>10}  {r.quality}"
        for r in rows
    ]
    return "\n".join(lines)


def _images(
    model: VisionTransformer, names: list[str], options: argparse.Namespace
) -> tuple[Array, Array | None]:
    """Prepared images, and their labels if the user gave some; else noise."""
    if options.data is None:
        shape = (max(options.batch_size, 32), *model.default_cfg["input_size"])
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32), None
    transform, mode = common.evaluation_transform(model), common.mode_of(model)
    found = common.labelled_images(options.data, transform, mode)
    labels = common.as_labels(found, names)
    return np.stack([found[i][0] for i in range(len(found))]), labels


def _logits(model: Any, images: Array, batch: int) -> Array:
    parts = [np.array(model(images[i : i + batch])) for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def _seconds(model: Any, images: Array, repeats: int) -> float:
    """The median time of a call."""
    model(images)
    times = []
    for _ in range(max(repeats, 1)):
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return median(times)


def _throughput(model: Any, images: Array, options: argparse.Namespace) -> float:
    batch = images[: options.batch_size]
    return len(batch) / _seconds(model, batch, max(options.repeats // 5, 1))


def _bytes(model: VisionTransformer) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        return path.stat().st_size


def _quality(logits: Array, reference: Array, labels: Array | None) -> str:
    """Accuracy and its change, or how often the class is the same and how near the logits are."""
    if labels is not None:
        right, before = (float(np.mean(x.argmax(axis=1) == labels)) for x in (logits, reference))
        return f"{common.percent(right)} ({100 * (right - before):+.1f})"
    same = float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1)))
    norms = np.linalg.norm(logits, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = float(np.mean(np.sum(logits * reference, axis=1) / np.maximum(norms, 1e-12)))
    return f"{common.percent(same)} of classes, cosine {cosine:.4f}"
