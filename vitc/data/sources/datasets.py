"""Datasets of files: a folder per class, folders of DICOM, and lists of files without labels.

An item is (image, label), the image a Pillow image (or an array, see `Decoder`) unless the
transform makes something else of it. Faults of a folder are found when the dataset is made, faults
of a file when it is read.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from vitc.data.decoding import dicom
from vitc.data.decoding.decode import Decoder, Decoding
from vitc.errors import nearest, shown
from vitc.names import natural

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

# Whole numbers above this are no labels but the numbers of something else, say of patients.
MOST_CLASSES = 100_000

Sample = tuple[str, Any]
Step = Callable[[Any], Any]


class Files:
    """Labelled image files.

    samples: (path, label). targets: the labels. classes: the name of each label. frames: which
    image of its file each sample is. decode: the `Decoder` that reads them.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        transform: Step | None,
        target_transform: Step | None,
        decode: Decoder,
        frames: Sequence[int] | None = None,
    ) -> None:
        self.samples = self.imgs = list(samples)
        self.targets: Any = [label for _, label in samples]
        self.classes = list(classes)
        self.class_to_idx = {name: label for label, name in enumerate(classes)}
        self.transform, self.target_transform, self.decode = transform, target_transform, decode
        self.frames = [0] * len(samples) if frames is None else list(frames)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, label = self.samples[index]
        image = transformed(self.decode(path, self.frames[index]), self.transform)
        return image, transformed(label, self.target_transform)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images of {len(self.classes)} classes)"


def transformed(value: Any, transform: Step | None) -> Any:
    return value if transform is None else transform(value)


def _each_frame(samples: Sequence[Sample], decode: Decoder) -> tuple[list[Sample], list[int]]:
    """A sample for every image of every file, and which of them it is."""
    each = [(sample, frame) for sample in samples for frame in range(_count(sample[0], decode))]
    return [sample for sample, _ in each], [frame for _, frame in each]


def _count(path: str, decode: Decoder) -> int:
    try:
        return decode.frames(path)
    except OSError:  # reading it says why, where a loader may pass over it
        return 1


# ------------------------------------------------------------------------------- folders


class ImageFolder(Files):
    """One folder per class, searched with all folders below it.

    class_order: "torchvision" takes the folders in root as classes, in the order of their names as
    strings (1, 10, 2); "timm" the innermost folders, in natural order (1, 2, 10). Files are in the
    same order. They count by extension (`IMG_EXTENSIONS`), in upper or lower case. skip_hidden:
    pass over files and folders whose name begins with "." and `__MACOSX`, which both of them take.
    left_out: how many files were passed over, by extension, and entries as "hidden".
    classes: names in the order of their labels, None for those found; the parts of one data set
    need the same. all_frames: every page of a TIFF file, not the first alone; each file is opened
    to count them. mode, decoding: the options of `Decoder`.

    Raises `FileNotFoundError` or `NotADirectoryError` naming the folder if it does not exist, has
    no folders in it, or one of those has no images, `OSError` naming one that cannot be read, and
    `ValueError` for a folder that is none of classes.
    """

    left_out: Counter[str]

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Step | None = None,
        target_transform: Step | None = None,
        *,
        class_order: str = "torchvision",
        classes: Sequence[str] | None = None,
        all_frames: bool = False,
        skip_hidden: bool = False,
        mode: str | None = "RGB",
        **decoding: Unpack[Decoding],
    ) -> None:
        if class_order not in _FINDERS:
            raise ValueError(
                f"class_order is {shown(class_order)}; {nearest(class_order, _FINDERS)}"
            )
        self.root, decode = os.path.expanduser(root), Decoder(mode, **decoding)
        skip = hidden if skip_hidden else _nothing
        self.left_out = Counter()
        search = partial(_images_below, self.left_out, skip)
        found, names = _FINDERS[class_order](self.root, search, skip)
        samples, names = _labelled(found, names, classes)
        frames = None
        if all_frames:
            samples, frames = _each_frame(samples, decode)
        super().__init__(samples, names, transform, target_transform, decode, frames)


class DicomFolder(Files):
    """DICOM files in one folder per class, searched with all folders below it.

    Files count by their content; a file with several frames gives a sample for each. groups: the
    PatientID of every sample, for splits that keep a patient's images together. classes, mode,
    decoding: as of `ImageFolder`, above all windows. Images are arrays (H, W, C), see
    `vitc.data.decoding.dicom`.

    Raises as `ImageFolder` does, and `ImportError` naming the extra without pydicom.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Step | None = None,
        target_transform: Step | None = None,
        *,
        classes: Sequence[str] | None = None,
        mode: str | None = "RGB",
        **decoding: Unpack[Decoding],
    ) -> None:
        self.root, decode = os.path.expanduser(root), Decoder(mode, **decoding)
        found, names = _by_folder(self.root, _dicom_below, _nothing)
        files, names = _labelled(found, names, classes)
        each = list(zip(files, map(_about, [path for path, _ in files]), strict=True))
        samples = [sample for sample, about in each for _ in range(about.frames)]
        frames = [frame for _, about in each for frame in range(about.frames)]
        self.groups = [about.patient for _, about in each for _ in range(about.frames)]
        super().__init__(samples, names, transform, target_transform, decode, frames)


# ------------------------------------------------------------------------------- what is there

Found = list[tuple[str, str]]  # (path, class)
Search = Callable[[str], list[str]]
Skip = Callable[[str], bool]  # by the name of a file or folder


def _by_folder(root: str, search: Search, skip: Skip) -> tuple[Found, list[str]]:
    """Files and classes as torchvision orders them: a class is a folder in root."""
    names = _class_folders(root, skip)
    found = [(path, name) for name in names for path in search(os.path.join(root, name))]
    return found, names


def _by_leaf(root: str, search: Search, skip: Skip) -> tuple[Found, list[str]]:
    """Files and classes as timm orders them: a class is the folder that a file is in."""
    _class_folders(root, skip)
    paths = sorted(search(root), key=natural)
    found = [(path, _leaf(path, root)) for path in paths]
    return found, sorted({name for _, name in found}, key=natural)


_FINDERS = {"torchvision": _by_folder, "timm": _by_leaf}


def _leaf(path: str, root: str) -> str:
    """The folder of a file, "" if it is root itself."""
    return os.path.basename(os.path.dirname(os.path.relpath(path, root)))


def _labelled(
    found: Found, names: list[str], classes: Sequence[str] | None
) -> tuple[list[Sample], list[str]]:
    """The samples, and the names of their labels."""
    names = names if classes is None else [str(name) for name in classes]
    labels = {name: label for label, name in enumerate(names)}
    for path, name in found:
        if name not in labels:
            raise ValueError(
                f"{path}: its folder {shown(name)} is not a class; {nearest(name, names)}"
            )
    return [(path, labels[name]) for path, name in found], names


def _class_folders(root: str, skip: Skip) -> list[str]:
    layout = "expected a folder with one folder of images per class"
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root}: there is no such folder; {layout}")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{root}: this is a file; {layout}")
    names = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and not skip(entry.name)
    )
    if not names:
        raise FileNotFoundError(f"{root}: there are no folders in it; {layout}")
    return names


def hidden(name: str) -> bool:
    """True for what no user has put there: hidden files, and what macOS packs beside them."""
    return name.startswith(".") or name == "__MACOSX"


def _nothing(name: str) -> bool:
    return False


def _images_below(left_out: Counter[str], skip: Skip, folder: str) -> list[str]:
    paths = []
    for path in _files_below(folder, skip, left_out):
        extension = os.path.splitext(path)[1].lower()
        if extension in IMG_EXTENSIONS:
            paths.append(path)
        else:
            left_out[extension or "without extension"] += 1
    if not paths:
        expected = ", ".join(IMG_EXTENSIONS)
        raise FileNotFoundError(
            f"{folder}: there are no images in it; expected files in {expected}"
        )
    return paths


def _dicom_below(folder: str) -> list[str]:
    paths = [path for path in _files_below(folder, _nothing, Counter()) if _begins_as_dicom(path)]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: there are no DICOM files in it; expected DICM after 128 bytes of a file"
        )
    return paths


def _about(path: str) -> dicom.About:
    try:
        with open(path, "rb") as file:
            return dicom.about(file, path)
    except OSError:  # reading it says why, where a loader may pass over it
        return dicom.About(1, 0, 0, "")


def _begins_as_dicom(path: str) -> bool:
    with open(path, "rb") as file:
        return dicom.is_dicom(file.read(132))


def _files_below(folder: str, skip: Skip, left_out: Counter[str]) -> Iterator[str]:
    """All files, folder by folder in the order of their paths. A link to a folder is followed,
    unless it leads to one that it is in."""
    above = tuple(map(str, Path(os.path.realpath(folder)).parents))
    yield from sorted(_walk(folder, above, skip, left_out), key=os.path.split)


def _walk(folder: str, above: tuple[str, ...], skip: Skip, left_out: Counter[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if skip(entry.name):
                left_out["hidden"] += 1
            elif entry.is_dir():
                yield from _walk(entry.path, (*above, real), skip, left_out)
            elif entry.is_file():
                yield entry.path


# ------------------------------------------------------------------------------- predictions


class ImageList:
    """Files to predict on: an item is the image alone. mode, decoding: the options of `Decoder`.

    Raises `FileNotFoundError` naming the first path that is not a file.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        transform: Step | None = None,
        *,
        mode: str | None = "RGB",
        **decoding: Unpack[Decoding],
    ) -> None:
        self.paths = [os.path.expanduser(path) for path in paths]
        for path in self.paths:
            if not Path(path).is_file():
                raise FileNotFoundError(f"{path}: there is no such file")
        self.transform, self.decode = transform, Decoder(mode, **decoding)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return transformed(self.decode(self.paths[index]), self.transform)

    def __repr__(self) -> str:
        return f"ImageList({len(self)} images)"
