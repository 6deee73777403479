"""Quantise a model, or compare what its precisions cost and bring.

MODEL is what `vitc export` takes; a bare name is measured with random weights. DATA are labelled
images: a folder with one folder of images per class, or a CSV manifest. --calibration names images
like those that the model is for, without labels, best from its training data.

    vitc quantize --table runs/best.ckpt photos/val --calibration photos/train
    vitc quantize runs/best.ckpt --output small.safetensors
    vitc quantize runs/best.ckpt --mode static --calibration photos/train --output small.safetensors
    vitc quantize runs/best.ckpt photos/val --mode static --calibration photos/train \\
        --max-drop 0.005 --output small.safetensors --report report.md
"""

import argparse
import os
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.cli import common
from vitc.files import check_place, flush_tree, move
from vitc.models.timm_folder import write_folder
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights.local_dir import WEIGHT_FILES
from vitc.quantization import MODES, Calibration, calibrate, quantize, report
from vitc.quantization.comparison import Comparison, compare
from vitc.quantization.images import Images, calibration_images
from vitc.quantization.methods import METHODS
from vitc.quantization.table import DISAGREEMENT, DROP, Table, first_batch, measure
from vitc.quantization.validation import Validation
from vitc.tape import no_grad
from vitc.training.tools.estimate import size

FILE, PAGE, CACHE = ".safetensors", ".md", ".json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    add = parser.add_argument
    add("data", metavar="DATA", nargs="?", help="labelled images")
    add("--table", action="store_true", help="compare the precisions")
    add("--output", metavar="PATH", help="write the 8-bit model: a .safetensors file, or a folder")
    add("--mode", choices=MODES, default="dynamic", help="of the 8-bit model (default: dynamic)")
    add(
        "--calibration",
        metavar="IMAGES",
        help="a folder of images, a .npy file of prepared ones, or what --save-calibration wrote",
    )
    add("--save-calibration", metavar="FILE", help="keep what was learned of them, .json")
    add("--method", choices=METHODS, help="how ranges are chosen (default: minmax)")
    add(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="layers that stay in float, such as 'blocks.0.*'; may be given several times",
    )
    add(
        "--max-drop",
        type=float,
        metavar="SHARE",
        help="of the accuracy on DATA that may be lost, 0.005 is half a point: the worst layers "
        "stay in float until that holds; with --table, what the recommended mode may lose",
    )
    add("--report", metavar="FILE", help="write the table, or all layers, as a page .md and .json")
    add("--repeats", type=int, default=20, metavar="N", help="timed calls (default: 20)")
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    common.apply_run_options(options)
    _check(options)
    model, names, random = common.stored_model(options)
    if random:
        print(f"{options.source}: {random}")
    images, learned = _learned(model, options)
    validation = _validation(model, names or [], options)
    if options.table:
        found = table(model, learned, validation, options)
        print(found)
        if learned is None or not learned.ranges:
            print("int8 static is measured with --calibration IMAGES")
        if options.report:
            print(*found.save(Path(options.report)), sep="\n")
    if options.output:
        small = _small(model, learned, validation, options)
        print(f"{write(small, Path(options.output))}{random and f', {random}'}")
        _tell(model, small, images, validation, options)


def _check(options: argparse.Namespace) -> None:
    """Raises what can be known before anything is computed."""
    if not (options.table or options.output):
        raise ValueError("say what to do: --table, --output FILE, or both")
    if options.repeats < 1:
        raise ValueError(f"--repeats is {options.repeats}, expected 1 or more")
    if options.mode == "static" and not options.calibration:
        raise ValueError("--mode static needs --calibration IMAGES")
    for name in ("method", "save_calibration"):
        if getattr(options, name) and not _of_images(options):
            raise ValueError(f"--{name.replace('_', '-')} needs --calibration IMAGES")
    if options.max_drop is not None and not (options.data or options.table):
        raise ValueError("--max-drop needs DATA, labelled images")
    if options.report and not (options.table or options.data or _of_images(options)):
        raise ValueError("--report needs DATA or --calibration IMAGES")
    for name, ending in (("report", PAGE), ("save_calibration", CACHE)):
        path = getattr(options, name)
        if path and Path(path).suffix != ending:
            raise ValueError(f"--{name.replace('_', '-')} is {path}, expected a file{ending}")
        if path:
            check_place(Path(path))
    if options.output:
        check_output(Path(options.output))


def _of_images(options: argparse.Namespace) -> bool:
    """Whether there are images to calibrate with, and not only what was learned of them."""
    given = options.calibration
    return bool(given) and Path(given).suffix.lower() != CACHE


def _learned(
    model: VisionTransformer, options: argparse.Namespace
) -> tuple[Images | None, Calibration | None]:
    if not options.calibration:
        return None, None
    if not _of_images(options):
        return None, Calibration.load(options.calibration)
    images = calibration_images(model, options.calibration, workers=options.workers)
    mode = "static" if options.table else options.mode
    found = calibrate(model, images, mode=mode, method=options.method or "minmax")
    if options.save_calibration:
        found.save(options.save_calibration)
        print(f"{options.save_calibration}: learned from {found.images} images")
    return images, found


def _validation(
    model: VisionTransformer, names: list[str], options: argparse.Namespace
) -> Validation | None:
    if options.data is None:
        return None
    transform, mode = common.evaluation_transform(model), common.mode_of(model)
    images = common.labelled_images(options.data, transform, mode)
    common.as_labels(images, names)  # which names the classes that are not the model's
    return Validation(model, images, names, workers=options.workers)


# ------------------------------------------------------------------------------------- the model


def _small(
    model: VisionTransformer,
    learned: Calibration | None,
    validation: Validation | None,
    options: argparse.Namespace,
) -> VisionTransformer:
    controlled: dict[str, Any] = {}
    if options.max_drop is not None and validation is not None:
        controlled = dict(max_drop=options.max_drop, validation=validation)
    return quantize(model, options.mode, calibration=learned, exclude=options.exclude, **controlled)


def _tell(
    model: VisionTransformer,
    small: VisionTransformer,
    images: Images | None,
    validation: Validation | None,
    options: argparse.Namespace,
) -> None:
    """What became of the model, in a few lines and, if asked for, on a page."""
    left = [n for n in model.int8_weights() if small.state_dict()[n].dtype != np.int8]
    if left:
        layers = ", ".join(name.removesuffix(".weight") for name in left)
        print(f"in float: {layers}")
    if options.report and not options.table:
        seen = images or calibration_images(model, _only_images(model, options))
        found = report(model, small, seen, validation)
        print(*found.save(Path(options.report)), sep="\n")
    elif validation is not None:
        before, after = validation.logits(model), validation.logits(small)
        print(_said(compare(before, after, validation.labels)))


def _only_images(model: VisionTransformer, options: argparse.Namespace) -> Any:
    transform, mode = common.evaluation_transform(model), common.mode_of(model)
    return common.labelled_images(options.data, transform, mode)


def _said(c: Comparison) -> str:
    assert c.drop is not None and c.accuracy is not None
    lost = f"{100 * c.drop.value:.2f} points ({100 * c.drop.low:+.2f} to {100 * c.drop.high:+.2f})"
    return f"accuracy on {c.images} images: {common.percent(c.accuracy.value)}, lost {lost}"


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


def table(
    model: VisionTransformer,
    learned: Calibration | None,
    validation: Validation | None,
    options: argparse.Namespace,
) -> Table:
    """Of all precisions that there are; static needs to have learned something."""
    models = precisions(model, learned, options.exclude)
    count = max(1, options.batch_size)
    if validation is None:
        batch = first_batch(model, max(count, 32))
        logits = {mode: _logits(twin, batch, count) for mode, twin in models.items()}
        limit = DISAGREEMENT if options.max_drop is None else options.max_drop
    else:
        batch = validation.first(count)
        logits = {mode: validation.logits(twin) for mode, twin in models.items()}
        limit = DROP if options.max_drop is None else options.max_drop
    labels = None if validation is None else validation.labels
    before = logits["fp32"]
    comparisons = {mode: compare(before, found, labels) for mode, found in logits.items()}
    return measure(models, comparisons, batch[:count], repeats=options.repeats, limit=limit)


def precisions(
    model: VisionTransformer, learned: Calibration | None, exclude: list[str]
) -> dict[str, VisionTransformer]:
    """The model in every precision that there is on this machine."""
    made = {"fp32": model}
    if _vitc.config()["bf16"]:
        made["bf16"] = deepcopy(model)
        made["bf16"].precision = "bf16"
    made["int8 dynamic"] = quantize(model, exclude=exclude)
    if learned is not None and learned.ranges:
        made["int8 static"] = quantize(model, "static", calibration=learned, exclude=exclude)
    return made


def _logits(model: VisionTransformer, images: Array, batch: int) -> Array:
    with no_grad():
        parts = [np.array(model(images[i : i + batch])) for i in range(0, len(images), batch)]
    return np.concatenate(parts)
