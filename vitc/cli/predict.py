"""Predict the classes of image files.

vitc predict lightning_logs/version_0/checkpoints/epoch=9-val_acc=0.930.ckpt a.jpg b.png

A line, and a row of --csv, is written as soon as its batch is done. A file that cannot be read is
named on stderr and has no prediction; the exit status is then 1.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from vitc import data
from vitc.arrays import Array
from vitc.cli import common
from vitc.files import check_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    add("--csv", metavar="FILE", help="also write all probabilities here")
    add(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="what becomes of files that cannot be read (default: skip)",
    )
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> int:
    common.apply_run_options(options)
    target = Path(options.csv).expanduser() if options.csv else None
    if target is not None:
        check_place(target)
    model, names = common.trained_model(options)
    paths = common.image_paths(options.images)
    images = _Numbered(paths, common.evaluation_transform(model), common.mode_of(model))
    loader = data.DataLoader(
        images, options.batch_size, num_workers=options.workers, on_error=options.on_error
    )
    bar = tqdm(total=len(paths), unit="image", disable=None if sys.stderr else True, leave=False)
    with bar, Table(target, names) as table:
        width = max(len(str(path)) for path in paths)
        for numbers, found in _batches(model, loader):
            for number, row in zip(numbers, found, strict=True):
                best = int(row.argmax())
                say(f"{paths[number]!s:{width}}  {names[best]}  {common.percent(row[best])}")
                table.add(str(paths[number]), row)
            table.flush()
            bar.update(len(numbers))
    for reason in loader.unreadable.values():
        print(f"vitc: {reason}", file=sys.stderr)
    return 1 if loader.unreadable else 0


class _Numbered(data.ImageList):
    """Items are (image, its number), so that it is known which ones a batch has."""

    def __init__(self, paths: Sequence[Path], transform: Any, mode: str) -> None:
        super().__init__(paths, transform, mode=mode)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return super().__getitem__(index), index


def _batches(model: Any, loader: data.DataLoader) -> Iterator[tuple[Array, Array]]:
    """(numbers of the images, their probabilities) of each batch."""
    for images, numbers in loader:
        yield np.asarray(numbers), common.probabilities(model, [images])


class Table:
    """A CSV file of predictions: a row per image with its path, the class, and the probability of
    each class. path: None writes nothing."""

    def __init__(self, path: Path | None, names: Sequence[str]) -> None:
        self.file = (
            None
            if path is None
            else path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        )
        self.names = list(names)
        self._write(["image", "prediction", *names])

    def add(self, image: str, probabilities: Array) -> None:
        chosen = self.names[int(probabilities.argmax())]
        self._write([image, chosen, *(f"{p:.6f}" for p in probabilities)])

    def _write(self, row: Sequence[str]) -> None:
        if self.file is not None:
            csv.writer(self.file).writerow(row)

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()


def say(text: str) -> None:
    """Prints a line. Once nobody reads the output any more, as behind `| head`, it is let go."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
