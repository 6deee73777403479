"""Write a picture of what augmentation does to your images, to look at before training.

A row per image: the image, then what training would see of it in as many epochs. DIR is a folder of
images, or of class folders, of which every class is shown in turn.

    vitc aug-preview photos/ --output preview.png --vflip 0.5
"""

import argparse
from pathlib import Path
from typing import Any

from vitc import checks, data
from vitc.cli import common
from vitc.models import create_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DIR", help="folder of images, or a single one")
    add("--output", default="preview.png", metavar="FILE", help="default: preview.png")
    add("--model", default="vit_tiny_patch16_224", metavar="NAME", help="whose input it is")
    add("--img-size", type=int, metavar="PIXELS", help="default: the model's own")
    add("--grey", action="store_true", help="one channel instead of three")
    add("--images", type=int, default=4, metavar="N", help="rows (default: 4)")
    add("--copies", type=int, default=7, metavar="N", help="draws per image (default: 7)")
    add("--seed", type=int, default=0)
    common.add_augmentation_options(parser)


def run(options: argparse.Namespace) -> None:
    given = dict(img_size=options.img_size, in_chans=1 if options.grey else 3)
    settings = data.resolve_data_config(given, _prepared(options.model, given["in_chans"]))
    transform = common.training_transform(settings, options)
    found = common.image_paths([options.data])
    if Path(options.output).resolve() in {path.resolve() for path in found}:
        raise ValueError(f"{options.output} is one of the images: give another --output")
    chosen = spread(found, options.images)
    mode = "L" if options.grey else "RGB"
    images = [data.open_image(path, mode) for path in chosen]
    picture = data.preview(transform, images, options.copies, options.seed, options.output)
    print(f"{options.output}: {picture.width} x {picture.height} pixels, of")
    for path in chosen:
        print(f"  {path}")
    print(transform)


def _prepared(name: str, channels: int) -> dict[str, Any]:
    """The pretrained_cfg of a model with so many channels, whose mean and std are as `fit` has
    them."""
    model = create_model(name, in_chans=channels, num_classes=2)
    return dict(model.default_cfg)


def spread(paths: list[Path], count: int) -> list[Path]:
    """count of the paths, from all folders in turn and from each at equal distances."""
    checks.integer("--images", count, 1)
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    rounds = -(-count // len(folders))
    shown = [
        [found[i * len(found) // n] for i in range(n)]
        for found in folders.values()
        for n in [min(rounds, len(found))]
    ]
    in_turn = [row[turn] for turn in range(rounds) for row in shown if turn < len(row)]
    return in_turn[:count]
