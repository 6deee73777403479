"""What several commands share: options, the user's images, and the model."""

import argparse
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitc import data
from vitc.arrays import Array
from vitc.data.sources.datasets import IMG_EXTENSIONS
from vitc.errors import listed, shown
from vitc.export.stored import Stored, open_model
from vitc.functional import softmax
from vitc.models.vision_transformer import VisionTransformer
from vitc.runtime import set_num_threads
from vitc.tape import no_grad

MANIFESTS = (".csv", ".tsv")


def add_run_options(parser: argparse.ArgumentParser, batch_size: int = 32) -> None:
    """Options of every command that runs a model."""
    parser.add_argument("--batch-size", type=int, default=batch_size, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that load images (default: 2)"
    )


def add_augmentation_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that augments."""
    add = parser.add_argument
    add("--preset", choices=data.PRESETS, help="augmentation for images of a field")
    add("--aa", metavar="POLICY", help="timm's, such as rand-m9-mstd0.5-inc1 (default: none)")
    add("--reprob", type=float, default=0.0, metavar="P", help="probability of random erasing")
    add("--vflip", type=float, default=0.0, metavar="P", help="probability of upside down")


def training_transform(settings: Mapping[str, Any], options: argparse.Namespace) -> Any:
    """How images are augmented for a model whose `resolve_data_config` gave these settings."""
    if options.preset:
        if options.aa or options.reprob or options.vflip:
            raise ValueError("--preset is a whole augmentation: without --aa, --reprob and --vflip")
        return data.create_preset(options.preset, **settings)
    given = dict(auto_augment=options.aa, re_prob=options.reprob, vflip=options.vflip)
    return data.create_transform(**settings, is_training=True, **given)


def apply_run_options(options: argparse.Namespace) -> None:
    if options.threads is not None:
        set_num_threads(options.threads)


def labelled_images(
    path: str | Path,
    transform: Any,
    mode: str,
    split: str | None = None,
    facts: Sequence[str] = (),
) -> Any:
    """The data set at path: a CSV or TSV manifest, one split of an .npz file as MedMNIST's, or a
    folder with one folder of images per class. facts: further columns of a manifest."""
    path = Path(path)
    if path.suffix.lower() in MANIFESTS:
        group = "group" if "group" in columns(path) else None
        return data.CSVDataset(
            path,
            transform=transform,
            mode=mode,
            split=split,
            group_column=group,
            fact_columns=facts,
        )
    if facts:
        raise ValueError(
            f"{path}: only a CSV or TSV manifest has columns such as {shown(facts[0])}"
        )
    if path.suffix.lower() == ".npz":
        if split is None:
            raise ValueError(f"{path}: which of its splits? Expected --split train, val or test")
        return data.NpzDataset(path, split, transform, mode=mode)
    return data.ImageFolder(path, transform=transform, mode=mode, skip_hidden=True)


def columns(path: Path) -> list[str]:
    """The names in the header of a manifest."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return re.split("[,\t]", file.readline().strip())


def values(path: Path, column: str) -> set[str]:
    """The values of a column of a manifest, none if it has no such column."""
    dialect = "excel-tab" if path.suffix.lower() == ".tsv" else "excel"
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file, dialect=dialect)
        return {(row.get(column) or "").strip() for row in rows} - {""}


def image_paths(given: Sequence[str]) -> list[Path]:
    """The files, and those below the folders. Raises `FileNotFoundError` for what is absent."""
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
            if not below:
                raise FileNotFoundError(f"{path}: there are no image files in this folder")
            found += below
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: there is no such file")
    return found


def as_labels(images: Any, names: list[str]) -> Array:
    """The labels of a data set as a model with these class names numbers them.

    Raises `ValueError` naming the classes that the model does not know.
    """
    unknown = [name for name in images.classes if name not in names]
    if unknown:
        raise ValueError(
            f"the model has the classes {listed(names) or 'none'}, the images also "
            f"{listed(unknown)}"
        )
    place = np.array([names.index(name) for name in images.classes])
    labels: Array = place[np.asarray(images.targets)]
    return labels


def mode_of(model: Any) -> str:
    """How images are decoded for a model: in colour, or grey."""
    channels = model.default_cfg["input_size"][0]
    if channels not in (1, 3):
        raise ValueError(f"the model takes {channels} channels, image files give 1 or 3")
    return "L" if channels == 1 else "RGB"


def evaluation_transform(model: Any) -> Any:
    """How a model's images are prepared, read from what its checkpoint keeps."""
    return data.create_transform(**data.resolve_data_config(model=model))


def add_model_options(parser: argparse.ArgumentParser, *, name: str = "MODEL") -> None:
    """The model that a command works on, and what a bare weight file does not say."""
    parser.add_argument(
        "source",
        metavar=name,
        help="a checkpoint; a folder or file with a model; NAME.TAG, hf-hub:OWNER/NAME or "
        "local-dir:PATH with their weights",
    )
    add = parser.add_argument
    add("--model", default="", metavar="NAME", help="of the architecture of a bare weight file")
    add("--num-classes", type=int, metavar="N", help="of its head (default: the architecture's)")
    add("--img-size", type=int, metavar="PIXELS", help="to make the model for (default: its own)")


def stored_model(options: argparse.Namespace) -> Stored:
    """The model that these options name."""
    given = {name: getattr(options, name) for name in ("num_classes", "img_size")}
    given = {name: value for name, value in given.items() if value is not None}
    return open_model(options.source, options.model, **given)


def trained_model(options: argparse.Namespace) -> tuple[VisionTransformer, list[str]]:
    """The same, and the names of its classes, by default their numbers. Raises `ValueError` for
    random weights, and for a model without classes."""
    found = stored_model(options)
    if found.random:
        raise ValueError(f"{options.source} is a model {found.random}: name a trained one")
    if not found.model.num_classes:
        raise ValueError(f"{options.source} is a model without classes")
    return found.model, found.labels or [*map(str, range(found.model.num_classes))]


def probabilities(model: VisionTransformer, loader: Iterable[Any]) -> Array:
    """(images, classes), for all images of a loader."""
    parts = []
    with no_grad():
        for batch in loader:
            images = batch[0] if isinstance(batch, tuple | list) else batch
            parts.append(softmax(model(images)))
    return np.concatenate(parts)


def judged(model: VisionTransformer, loader: Iterable[Any]) -> tuple[Array, Array]:
    """(probabilities (images, classes), labels (images,)) of all images that the loader gives."""
    labels: list[Array] = []

    def images() -> Iterator[Any]:
        for batch, own in loader:
            labels.append(np.asarray(own))
            yield batch

    found = probabilities(model, images())
    return found, np.concatenate(labels)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
