"""Datasets: folders, CSV manifests, arrays, and lists of files without labels.

An item is (image, label), the image a Pillow image unless the transform makes something else of it.
Faults of a folder or manifest are found when the dataset is made, faults of a file when it is read.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import as_array
from vitc.data.decode import open_image
from vitc.errors import nearest

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

# More than this in a manifest are no labels but the numbers of something else, say of patients.
_MOST_CLASSES = 100_000

Sample = tuple[str, int]
Step = Callable[[Any], Any]


class _Files:
    """Labelled image files.

    samples: (path, label). targets: the labels. classes: the name of each label.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        transform: Step | None,
        target_transform: Step | None,
        mode: str | None,
    ) -> None:
        self.samples = self.imgs = list(samples)
        self.targets = [label for _, label in samples]
        self.classes = list(classes)
        self.class_to_idx = {name: label for label, name in enumerate(classes)}
        self.transform, self.target_transform, self.mode = transform, target_transform, mode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, label = self.samples[index]
        image = _transformed(open_image(path, self.mode), self.transform)
        return image, _transformed(label, self.target_transform)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images of {len(self.classes)} classes)"


def _transformed(value: Any, transform: Step | None) -> Any:
    return value if transform is None else transform(value)


# ------------------------------------------------------------------------------- folders


class ImageFolder(_Files):
    """One folder per class, searched with all folders below it: torchvision's ImageFolder.

    Classes and files are in torchvision's order (that of their names as strings), and files count
    by extension (`IMG_EXTENSIONS`), in upper or lower case. mode: see `open_image`; "L" for grey
    models.

    Raises `FileNotFoundError` or `NotADirectoryError` naming the folder if it does not exist, has
    no folders in it, or one of those has no images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Step | None = None,
        target_transform: Step | None = None,
        *,
        mode: str | None = "RGB",
    ) -> None:
        self.root = os.path.expanduser(root)
        classes = _class_folders(self.root)
        samples = [
            (path, label)
            for label, name in enumerate(classes)
            for path in _images_below(os.path.join(self.root, name))
        ]
        super().__init__(samples, classes, transform, target_transform, mode)


def _class_folders(root: str) -> list[str]:
    layout = "expected a folder with one folder of images per class"
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root}: there is no such folder; {layout}")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{root}: this is a file; {layout}")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not names:
        raise FileNotFoundError(f"{root}: there are no folders in it; {layout}")
    return names


def _images_below(folder: str) -> list[str]:
    paths = [
        os.path.join(place, name)
        for place, _, names in sorted(os.walk(folder, followlinks=True), key=itemgetter(0))
        for name in sorted(names)
        if name.lower().endswith(IMG_EXTENSIONS)
    ]
    if not paths:
        expected = ", ".join(IMG_EXTENSIONS)
        raise FileNotFoundError(
            f"{folder}: there are no images in it; expected files in {expected}"
        )
    return paths


# ------------------------------------------------------------------------------- manifests


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


class CSVDataset(_Files):
    """Images listed in a CSV file with a header.

    path: of the CSV file. root: what the paths in it are relative to, None for its own folder.
    image_column, label_column, split_column: names in its header. split: take only the rows that
    have this in split_column, None to take all. mode: see `open_image`.
    classes: names in the order of their labels, which start from 0; the label column may hold names
    or these numbers. None: those of the whole file, of all splits: the numbers up to the largest if
    the column holds only numbers, else the names, sorted. Two files need the same classes.

    Raises `ValueError` naming file and line for an unknown column, split or class and for an empty
    field, and `FileNotFoundError` for an image that does not exist.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        transform: Step | None = None,
        image_column: str = "image",
        label_column: str = "label",
        split: str | None = None,
        split_column: str = "split",
        classes: Sequence[str] | None = None,
        *,
        target_transform: Step | None = None,
        mode: str | None = "RGB",
    ) -> None:
        self.path = os.path.expanduser(path)
        self.root = os.path.dirname(self.path) if root is None else os.path.expanduser(root)
        self.split = split
        columns = [image_column, label_column, *([] if split is None else [split_column])]
        rows = list(_rows(self.path, columns))
        names = _names(rows, self.path) if classes is None else [str(name) for name in classes]
        chosen = [row for row in rows if split is None or row.split == split]
        if not chosen:
            raise ValueError(f"{self.path}: no rows{self._of_split(rows)}")
        labels = _labels(names)
        samples = [(self._existing(row), self._label(row, labels)) for row in chosen]
        super().__init__(samples, names, transform, target_transform, mode)

    def _of_split(self, rows: Sequence[_Row]) -> str:
        if not rows:
            return " below the header"
        return f" of split {self.split!r}; {nearest(str(self.split), {row.split for row in rows})}"

    def _existing(self, row: _Row) -> str:
        path = os.path.join(self.root, row.path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{self.path}, line {row.line}: there is no file {path}")
        return path

    def _label(self, row: _Row, labels: dict[str, int]) -> int:
        if row.label not in labels:
            known = nearest(row.label, labels)
            raise ValueError(f"{self.path}, line {row.line}: {row.label!r} is no class; {known}")
        return labels[row.label]


def _rows(path: str, columns: Sequence[str]) -> Iterator[_Row]:
    """The rows of a CSV file: the columns of the image, the label and perhaps the split."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            header = reader.fieldnames or []
            for name in columns:
                if name not in header:
                    known = nearest(name, header)
                    raise ValueError(f"{path}, line 1: there is no column {name!r}; {known}")
            for fields in reader:
                yield _row(fields, columns, f"{path}, line {reader.line_num}", reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: this is no CSV file in UTF-8: {error}") from error


def _row(fields: dict[str, str | None], columns: Sequence[str], place: str, line: int) -> _Row:
    values = [(fields[name] or "").strip() for name in columns]
    for name, value in zip(columns, values, strict=True):
        if not value:
            raise ValueError(f"{place}: column {name!r} is empty")
    image, label, *split = values
    return _Row(line, image, label, split[0] if split else "")


def _names(rows: Sequence[_Row], path: str) -> list[str]:
    """The names of the labels in a whole file."""
    names = {row.label for row in rows}
    if not all(map(str.isdecimal, names)):
        return sorted(names)
    highest = max(map(int, names), default=-1)
    if highest >= _MOST_CLASSES:
        raise ValueError(
            f"{path}: the labels go up to {highest}; numbers are labels counted from 0, pass the "
            "names as classes= if these are names"
        )
    return [str(label) for label in range(highest + 1)]


def _labels(names: Sequence[str]) -> dict[str, int]:
    """What the label column may hold -> the label: names, and numbers if no name is one."""
    labels = {name: label for label, name in enumerate(names)}
    if not any(map(str.isdecimal, names)):
        labels |= {str(label): label for label in range(len(names))}
    return labels


# ------------------------------------------------------------------------------- arrays


class ArrayDataset:
    """Images in memory.

    images: uint8 (N, H, W) or (N, H, W, C) with C = 1, 3 or 4, which become Pillow images of `mode`
    (None: as they are) before the transform; or floating point (N, C, H, W), which go to the
    transform, or out if it is None, as they are.
    labels: N whole numbers from 0 (or what else a loss takes, one per image). classes: the name of
    each label, None for the numbers themselves.

    Raises `ValueError` or `TypeError` naming shape or dtype where they do not fit.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        transform: Step | None = None,
        *,
        classes: Sequence[str] | None = None,
        mode: str | None = "RGB",
    ) -> None:
        self.images, self.targets = as_array(images), as_array(labels)
        _check_images(self.images)
        if len(self.images) != len(self.targets):
            raise ValueError(f"{len(self.images)} images have {len(self.targets)} labels")
        self.transform, self.mode = transform, mode
        self.classes = _classes(self.targets, classes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.images[index]
        if image.dtype == np.uint8:
            image = _from_array(image, self.mode)
        label = self.targets[index]
        whole = label.dtype.kind in "iub" and label.ndim == 0
        return _transformed(image, self.transform), int(label) if whole else label

    def __repr__(self) -> str:
        return f"ArrayDataset({len(self)} images of {len(self.classes)} classes)"


def _check_images(images: Any) -> None:
    shape = images.shape
    if images.dtype == np.uint8:
        if len(shape) != 3 and not (len(shape) == 4 and shape[3] in (1, 3, 4)):
            raise ValueError(
                f"images of uint8 have shape {shape}, expected (N, H, W) or (N, H, W, C) with "
                "C = 1, 3 or 4"
            )
    elif images.dtype.kind != "f":
        raise TypeError(f"images have dtype {images.dtype}, expected uint8 or floating point")
    elif len(shape) != 4:
        raise ValueError(f"images of {images.dtype} have shape {shape}, expected (N, C, H, W)")


def _classes(labels: Any, classes: Sequence[str] | None) -> list[str]:
    """The names of the labels. Raises `ValueError` for whole numbers that have none."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        return list(classes or ())
    low, high = int(labels.min()), int(labels.max())
    names = [str(label) for label in range(high + 1)] if classes is None else list(classes)
    if low < 0 or high >= len(names):
        raise ValueError(f"labels go from {low} to {high}, expected 0 to {len(names) - 1}")
    return names


def _from_array(pixels: Any, mode: str | None) -> Any:
    from PIL import Image

    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    image = Image.fromarray(pixels[:, :, 0] if grey else pixels)
    return image if mode in (None, image.mode) else image.convert(mode)


# ------------------------------------------------------------------------------- predictions


class ImageList:
    """Files to predict on: an item is the image alone. mode: see `open_image`.

    Raises `FileNotFoundError` naming the first path that is no file.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        transform: Step | None = None,
        *,
        mode: str | None = "RGB",
    ) -> None:
        self.paths = [os.path.expanduser(path) for path in paths]
        for path in self.paths:
            if not Path(path).is_file():
                raise FileNotFoundError(f"{path}: there is no such file")
        self.transform, self.mode = transform, mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return _transformed(open_image(self.paths[index], self.mode), self.transform)

    def __repr__(self) -> str:
        return f"ImageList({len(self)} images)"
