"""Predict the classes of image files.

vitc predict lightning_logs/version_0/checkpoints/epoch=9-val_acc=0.930.ckpt a.jpg b.png
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from vitc import data
from vitc.arrays import Array
from vitc.cli import common
from vitc.files import check_place, replacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="image files, or folders of them"
    )
    parser.add_argument("--csv", metavar="FILE", help="also write all probabilities here")
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    common.apply_run_options(options)
    if options.csv:
        check_place(Path(options.csv))
    model, names = common.trained_model(options)
    paths = common.image_paths(options.images)
    transform, mode = common.evaluation_transform(model), common.mode_of(model)
    images = data.ImageList(paths, transform, mode=mode)
    loader = data.DataLoader(images, options.batch_size, num_workers=options.workers)
    found = common.probabilities(model, loader)
    width = max(len(str(path)) for path in paths)
    for path, row in zip(paths, found, strict=True):
        best = int(row.argmax())
        print(f"{path!s:{width}}  {names[best]}  {common.percent(row[best])}")
    if options.csv:
        write_csv(options.csv, paths, found, names)


def write_csv(
    path: str | Path, images: Sequence[Path | str], probabilities: Array, names: Sequence[str]
) -> None:
    """One row per image: its path, the class, and the probability of each class."""
    with (
        replacing(Path(path)) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["image", "prediction", *names])
        for image, row in zip(images, probabilities, strict=True):
            writer.writerow([image, names[int(row.argmax())], *(f"{p:.6f}" for p in row)])
