"""Which images a command trains on, and which it sets apart."""

import argparse
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import data
from vitc.cli import common
from vitc.data.sources.datasets import hidden
from vitc.errors import listed, shown
from vitc.files import replacing
from vitc.models.timm_folder import split_of

# What folders, and rows of a manifest, of a split are called.
NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LEAST = 2  # classes, and images of a class to train on
_SPLIT = {name: split for split, names in NAMES.items() for name in names}


class Splits(NamedTuple):
    """Datasets without transforms. test: None if there is none. said: how they came about."""

    train: Any
    val: Any
    test: Any
    said: str


def find_splits(path: Path, mode: str, val: str | None, fraction: float) -> Splits:
    """The splits of the data at path. val: of another place. fraction: what is set apart from the
    training images where nothing else is to validate on.

    Raises `ValueError` for folders that are neither classes nor splits, for fewer than two classes,
    and for classes that nothing is there to train on; `OSError` for what cannot be read.
    """
    parts = _parts(path)
    if val is not None and "val" in parts:
        raise ValueError(f"{path} has images to validate on: without --val")
    wholes = {split: _open(path, mode, name) for split, name in parts.items()}
    if val is not None:
        wholes["val"] = common.labelled_images(val, None, mode)
    said = f"the splits of {path}" if parts.keys() - {"all"} else f"{path}"
    if "val" not in wholes:
        name = parts.get("train", parts.get("all"))
        again = _open(path, mode, name)  # another data set, for its own transform
        own = wholes.pop("all", wholes.get("train"))
        wholes["train"], wholes["val"] = set_apart(own, again, fraction)
        said += f", {100 * fraction:g} % of the training images set apart (--val-fraction)"
    elif "all" in wholes:
        wholes["train"] = wholes.pop("all")
    found = Splits(wholes["train"], wholes["val"], wholes.get("test"), said)
    _check_classes(found)
    return found


def _parts(path: Path) -> dict[str, str | None]:
    """split -> its name at path, which is that of a folder or of rows; {"all": None} if the images
    are in one."""
    if path.suffix.lower() == ".npz" and path.is_file():
        there = {name.removesuffix("_images") for name in np.load(path).files}
    elif path.suffix.lower() in common.MANIFESTS and path.is_file():
        there = common.values(path, "split")
    elif path.is_dir():
        there = {e.name for e in path.iterdir() if e.is_dir() and not hidden(e.name)}
    else:
        return {"all": None}  # opening it says what is wrong
    found = {_SPLIT[name.lower()]: name for name in sorted(there) if name.lower() in _SPLIT}
    known = {name for name in there if name.lower() in _SPLIT}
    if "train" not in found:
        if known and (known == there or not path.is_dir()):
            raise ValueError(f"{path} has {listed(sorted(known))}, and nothing to train on")
        return {"all": None}
    if len(known) > len(found):
        raise ValueError(f"{path} has {listed(sorted(known))}: two names of one split")
    if path.is_dir() and known != there:
        raise ValueError(
            f"{path} has the splits {listed(sorted(known))}, and {listed(sorted(there - known))}, "
            "which is not one"
        )
    return {split: found[split] for split in NAMES if split in found}


def _open(path: Path, mode: str, name: str | None) -> Any:
    if path.is_dir() and name is not None:
        return common.labelled_images(path / name, None, mode)
    if path.is_dir():
        _refuse_a_wrapper(path)
    return common.labelled_images(path, None, mode, name)


def _refuse_a_wrapper(path: Path) -> None:
    """A folder with one folder, in which the classes are, as archives make them."""
    inside = [e for e in path.iterdir() if e.is_dir() and not hidden(e.name)]
    if len(inside) == 1:
        below = sorted(e.name for e in inside[0].iterdir() if e.is_dir() and not hidden(e.name))
        if len(below) >= LEAST:
            raise ValueError(
                f"{path} has one folder only; the classes {listed(below)} are in {inside[0]}: "
                "name that"
            )


def set_apart(whole: Any, again: Any, fraction: float) -> tuple[Any, Any]:
    """(train, val) of the same images in two data sets, in proportion from every class, groups
    together. Raises `ValueError` where that cannot be."""
    if not 0 < fraction < 1:
        raise ValueError(f"--val-fraction is {fraction:g}, expected more than 0 and less than 1")
    groups, targets = getattr(whole, "groups", None), np.asarray(whole.targets)
    _check_counts(whole, targets, groups, fraction)
    train, val = (
        data.train_test_split(part, fraction, targets, seed=0, groups=groups)[i]
        for i, part in enumerate((whole, again))
    )
    return train, val


def _check_counts(whole: Any, targets: Any, groups: Any, fraction: float) -> None:
    unit, least = ("groups", max(2, round(1 / fraction))) if groups else ("images", LEAST)
    for label, name in enumerate(whole.classes):
        own = np.flatnonzero(targets == label)
        count = len({groups[i] for i in own}) if groups else len(own)
        if count and not groups and count < least:
            raise ValueError(
                f"class {shown(name)} has {count} image, at least {least} are needed to set some "
                "apart (--val-fraction); is the name mistyped?"
            )
    if groups and len(set(groups)) < least:
        raise ValueError(
            f"there are {len(set(groups))} {unit}, at least {least} are needed to set "
            f"{100 * fraction:g} % apart (--val-fraction)"
        )
    if not groups and round(len(targets) * fraction) < len(set(targets.tolist())):
        raise ValueError(
            f"{100 * fraction:g} % of {len(targets)} images are fewer than the "
            f"{len(set(targets.tolist()))} classes: a larger --val-fraction is needed"
        )


def _check_classes(splits: Splits) -> None:
    train, counts = splits.train, class_counts(splits.train)
    if len(train.classes) < LEAST:
        raise ValueError(
            f"there is one class, {listed(train.classes)}: at least {LEAST} are needed; expected "
            "one folder of images per class"
        )
    for name, other in (("validate", splits.val), ("test", splits.test)):
        if other is not None and other.classes != train.classes:
            raise ValueError(
                f"the classes to train on are {listed(train.classes)}, those to {name} "
                f"{listed(other.classes)}"
            )
    none = [name for name, count in counts.items() if not count]
    if none:
        raise ValueError(f"there are no images of {listed(none)} to train on")


def class_counts(images: Any) -> dict[str, int]:
    """class -> its number of images."""
    counts = Counter(np.asarray(images.targets).tolist())
    return {name: counts[label] for label, name in enumerate(images.classes)}


# ---------------------------------------------------------------------------------- to judge


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that judges a model by labelled images."""
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of class folders, a CSV or TSV manifest, or an .npz")
    add("--split", metavar="NAME", help="only these images (default: test, else val, else all)")
    add("--all", action="store_true", help="also images that the model was trained on")


def to_judge(
    options: argparse.Namespace,
    model: Any,
    names: list[str],
    others: Sequence[Any] = (),
    facts: Sequence[str] = (),
) -> tuple[Any, str]:
    """(images as the model wants them, what to say of the choice). Images that it or one of the
    others was trained on, by their own records, are left out unless the user wants all. names: of
    the model's classes. facts: further columns of a manifest. Raises `ValueError` for images of
    other classes, and if nothing is left."""
    path, name = Path(options.data), options.split
    parts = _parts(path) if name is None else {}
    if parts and "all" not in parts:
        name = next((parts[split] for split in ("test", "val") if split in parts), None)
        if name is None:
            raise ValueError(f"{path} has images to train on only; --split names others")
    place, split = (path / name, None) if name and path.is_dir() else (path, name)
    images = common.labelled_images(place, None, common.mode_of(model), split, facts)
    common.as_labels(images, names)
    said = f"{len(images)} images" + (f" of {path}, {name}" if name is not None else "")
    trained = {digest for m in (model, *others) for digest in split_of(m).get("train", ())}
    seen = [digest in trained for digest in digests(images)] if trained else []
    images.transform = common.evaluation_transform(model)
    if not trained or options.all:
        return images, said
    if all(seen):
        raise ValueError(f"the model was trained on all {said}: name others, or --all")
    if not any(seen):
        return images, f"{said}, none of which the model was trained on"
    unseen = data.Subset(images, np.flatnonzero(~np.array(seen)))
    return unseen, f"{said}; {sum(seen)} that the model was trained on are left out"


# ---------------------------------------------------------------------------------- identity


def digests(images: Any, workers: int = 2) -> list[str]:
    """The first 16 digits of the SHA-256 of each image's file, or of its pixels."""
    paths = paths_of(images)
    if paths is None:
        return [_of_pixels(images[i][0]) for i in range(len(images))]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(_of_file, paths))


def paths_of(images: Any) -> list[str] | None:
    """The file of each image, None for images in arrays."""
    samples = getattr(images, "samples", None)
    return None if samples is None else [path for path, _ in samples]


def _of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _of_pixels(image: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def write_split(path: Path, splits: Splits, found: Mapping[str, Sequence[str]]) -> None:
    """A manifest of all images: image, label, split, sha256, and group if there are groups. found:
    the digests of each split. `vitc validate CHECKPOINT SPLIT.csv --split val` takes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    grouped = hasattr(splits.train, "groups")
    writer.writerow(["image", "label", "split", "sha256", *(["group"] if grouped else [])])
    for name, own in found.items():
        images = getattr(splits, name)
        paths = paths_of(images) or [f"{name} {i}" for i in range(len(images))]
        for i, (file, digest) in enumerate(zip(paths, own, strict=True)):
            row = [str(Path(file).resolve()) if paths_of(images) else file]
            row += [images.classes[int(images.targets[i])], name, digest]
            writer.writerow([*row, images.groups[i]] if grouped else row)
    with replacing(path) as unfinished:
        unfinished.write_text(text.getvalue(), encoding="utf-8")
