"""Show where the time of a model goes, beside what the processor can do.

MODEL is what `vitc export` takes; the weights of a bare name are random, which takes the same time.

    vitc profile vit_base_patch16_224 --precision bfloat16
    vitc profile vit_tiny_patch16_224 --train --batch-size 16 --json profile.json

The table has a row for steps that are alike: their time, its share, operations per second and their
share of the peak, bytes from and to memory, and what is lost: time beyond what the operations would
take at the peak, or the bytes of memory. The rows add up to the time of a pass. Peak and memory are
measured just before, for about a third of a second each.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from vitc import checks
from vitc.cli import common
from vitc.cli.tune import PRECISIONS
from vitc.files import check_place, replacing
from vitc.profiling import Profile, profile
from vitc.quantization import quantize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    add = parser.add_argument
    add("--batch-size", type=int, default=1, metavar="N", help="images of a pass (default: 1)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="default: that of the model; int8 quantises one that is not, dynamically",
    )
    add("--train", action="store_true", help="a step of training: forward, backward, AdamW")
    add("--threads", type=int, metavar="N", help="default: all processors")
    add("--seconds", type=float, default=3.0, metavar="S", help="to run passes (default: 3)")
    add("--layers", action="store_true", help="a row for each layer, in the order of the steps")
    add("--json", metavar="FILE", help="also write all rows here")


def run(options: argparse.Namespace) -> None:
    checks.integer("--batch-size", options.batch_size, 1)
    checks.finite("--seconds", options.seconds, 0)
    if options.json:
        check_place(Path(options.json))
    if options.train and options.precision == "int8":
        raise ValueError("--train and --precision int8: a quantised model is not trained")
    common.apply_run_options(options)
    model = _in_precision(common.stored_model(options).model, options.precision)
    found = profile(model, options.batch_size, train=options.train, seconds=options.seconds)
    print(found.table(layers=options.layers))
    if options.json:
        _write(Path(options.json), found)


def _in_precision(model: Any, precision: str | None) -> Any:
    if precision == "int8":
        return model if model.quantized else quantize(model)
    if precision:
        model.precision = "bf16" if precision == "bfloat16" else "float32"
    return model


def _write(path: Path, found: Profile) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(found.as_dict(), indent=1) + "\n")
    print(f"{path}: {len(found.rows)} rows, {len(found.steps)} steps")
