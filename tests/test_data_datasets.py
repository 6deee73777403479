"""vitc.data.datasets: folders against torchvision's, manifests, arrays, and their faults."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oracle  # noqa: F401  makes torchvision importable

# isort: split
from torchvision.datasets import ImageFolder as TorchvisionFolder

from vitc.data import ArrayDataset, CSVDataset, ImageFolder, ImageList

GREY = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GREY + np.uint8(value)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = (
        "b/2.png", "b/10.PNG", "b/1.jpg", "b/z/3.bmp", "b/a-a/3.png", "b/a/3.png", "B/x.webp",
        "a10/x.tiff", "a2/x.jpeg", "a2/.hidden.png",
    )  # fmt: skip
    for value, name in enumerate(names):
        save(tmp_path / name, value)
    (tmp_path / "b/notes.txt").write_text("")
    (tmp_path / "notes.jpg").write_text("")
    return tmp_path


# ------------------------------------------------------------------------------- folders


def test_folders_are_read_in_torchvisions_order(folder: Path) -> None:
    ours, theirs = ImageFolder(folder), TorchvisionFolder(str(folder))
    assert ours.classes == theirs.classes == ["B", "a10", "a2", "b"]
    assert ours.samples == theirs.samples
    assert (ours.class_to_idx, ours.targets) == (theirs.class_to_idx, theirs.targets)
    assert (len(ours), str(ours.root)) == (len(theirs), theirs.root)
    for mine, other in zip(ours, theirs, strict=False):
        assert mine[0].tobytes() == other[0].tobytes()
        assert (mine[0].mode, mine[1]) == ("RGB", other[1])


def test_folders_give_the_mode_asked_for_and_apply_the_transforms(folder: Path) -> None:
    data = ImageFolder(folder, np.asarray, lambda label: label + 5, mode="L")
    pixels, label = data[1]
    assert data.samples[1][0].endswith("x.tiff")
    assert np.array_equal(pixels, GREY + np.uint8(7))
    assert label == 6
    assert repr(data) == "ImageFolder(10 images of 4 classes)"


def test_what_is_wrong_with_a_folder_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder; expected"):
        ImageFolder(folder / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"notes.jpg: this is a file"):
        ImageFolder(folder / "notes.jpg")
    with pytest.raises(FileNotFoundError, match="a2: there are no folders in it; expected"):
        ImageFolder(folder / "a2")
    (folder / "c").mkdir()
    with pytest.raises(FileNotFoundError, match=r"c: there are no images .+ \.jpg, \.jpeg"):
        ImageFolder(folder)


def test_lists_give_images_alone(folder: Path) -> None:
    paths = [folder / "b/2.png", str(folder / "b/1.jpg")]
    data = ImageList(paths, np.asarray, mode="L")
    assert len(data) == 2 and np.array_equal(data[0], GREY)
    assert ImageList(iter(paths))[1].mode == "RGB"
    with pytest.raises(FileNotFoundError, match="none.png"):
        ImageList([*paths, folder / "none.png"])


# ------------------------------------------------------------------------------- manifests


def manifest(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_manifests_give_names_sorted_and_paths_beside_them(folder: Path) -> None:
    path = manifest(folder, 'image,label\nb/2.png,scratch\n"b/10.PNG",dent\nb/1.jpg, scratch \n')
    data = CSVDataset(path, mode="L")
    assert data.classes == ["dent", "scratch"]
    assert data.targets == [1, 0, 1]
    assert data.samples[0] == (str(folder / "b/2.png"), 1)
    assert np.array_equal(np.asarray(data[1][0]), GREY + np.uint8(1))


def test_numbers_are_labels_themselves(folder: Path) -> None:
    text = "file,y\n2.png,10\n1.jpg,0\n10.PNG,2\n"
    path = manifest(folder, text)
    data = CSVDataset(path, root=folder / "b", image_column="file", label_column="y")
    assert data.targets == [10, 0, 2]
    assert data.classes == [str(i) for i in range(11)]
    manifest(folder, text.replace("10\n", "4711471147\n"))
    with pytest.raises(ValueError, match="labels go up to 4711471147"):
        CSVDataset(path, root=folder / "b", image_column="file", label_column="y")


def test_splits_share_the_classes_of_the_whole_file(folder: Path) -> None:
    path = manifest(
        folder, "image,label,split\nb/2.png,c,train\nb/1.jpg,b,test\nb/10.PNG,a,train\n"
    )
    train, test = CSVDataset(path, split="train"), CSVDataset(path, split="test")
    assert train.classes == test.classes == ["a", "b", "c"]
    assert (train.targets, test.targets) == ([2, 0], [1])
    assert len(CSVDataset(path)) == 3
    with pytest.raises(ValueError, match="no rows of split 'tain'; did you mean 'train'?"):
        CSVDataset(path, split="tain")


def test_given_classes_fix_the_labels(folder: Path) -> None:
    path = manifest(folder, "image,label\nb/2.png,good\nb/1.jpg,0\n")
    assert CSVDataset(path, classes=["bad", "ugly", "good"]).targets == [2, 0]
    with pytest.raises(ValueError, match="list.csv, line 2: 'good' is no class; .*'goods'"):
        CSVDataset(path, classes=["goods", "bad"])
    manifest(folder, "image,label\nb/2.png,1\nb/1.jpg,0\n")
    with pytest.raises(ValueError, match="line 3: '0' is no class"):
        CSVDataset(path, classes=["2", "1"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "line 1: there is no column 'image'"),
        ("image;label\na;b\n", ValueError, "no column 'image'; .*'image;label'"),
        ("image,lable\nb/2.png,a\n", ValueError, "no column 'label'; did you mean 'lable'"),
        ("image,label\n", ValueError, "no rows below the header"),
        ("image,label\nb/2.png,a\nb/1.jpg,\n", ValueError, "line 3: column 'label' is empty"),
        ("image,label\nb/2.png,a\nb/1.jpg\n", ValueError, "line 3: column 'label' is empty"),
        ("image,label\nb/2.png,a\nb/none.png,a\n", FileNotFoundError, "line 3: there is no file"),
        ("image,label\nb/2.png,a\n\nb,a\n", FileNotFoundError, "line 4: there is no file"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_named(folder, text, error, message) -> None:
    with pytest.raises(error, match=f"list.csv.*{message}"):
        CSVDataset(manifest(folder, text))


def test_a_manifest_that_is_no_text_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="10.PNG: this is no CSV file in UTF-8"):
        CSVDataset(folder / "b/10.PNG")
    with pytest.raises(FileNotFoundError, match="none.csv"):
        CSVDataset(folder / "none.csv")


# ------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("shape", [(3, 9, 11), (3, 9, 11, 1), (3, 9, 11, 3), (3, 9, 11, 4)])
@pytest.mark.parametrize("mode", ["RGB", "L", None])
def test_arrays_become_images(shape: tuple[int, ...], mode: str | None) -> None:
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image, label = ArrayDataset(images, [4, 0, 1], mode=mode)[0]
    pixels = images[0, ..., 0] if shape[-1] == 1 else images[0]
    expected = Image.fromarray(pixels)
    expected = expected if mode is None else expected.convert(mode)
    assert (image.mode, image.tobytes()) == (expected.mode, expected.tobytes())
    assert label == 4 and type(label) is int


def test_floating_point_is_passed_through() -> None:
    images = np.random.default_rng(1).standard_normal((3, 2, 4, 5))
    soft = np.full((3, 2), 0.5)
    image, label = ArrayDataset(images, soft)[2]
    assert np.shares_memory(image, images) and np.array_equal(image, images[2])
    assert np.array_equal(label, soft[2])
    doubled, _ = ArrayDataset(images, soft, lambda x: 2 * x)[2]
    assert np.array_equal(doubled, 2 * images[2])


def test_arrays_have_classes_and_targets() -> None:
    images = np.zeros((3, 2, 2), np.uint8)
    data = ArrayDataset(images, np.array([2, 0, 2]))
    assert (len(data), data.classes) == (3, ["0", "1", "2"])
    assert data.targets.tolist() == [2, 0, 2]
    assert ArrayDataset(images, [1, 0, 1], classes=["ok", "bad"]).class_to_idx == {
        "ok": 0,
        "bad": 1,
    }


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (np.zeros((3, 2, 2), np.uint8), [0, 1], ValueError, "3 images have 2 labels"),
        (np.zeros((3, 2), np.uint8), [0, 1, 0], ValueError, r"shape \(3, 2\), expected \(N, H, W"),
        (np.zeros((3, 2, 2, 2), np.uint8), [0] * 3, ValueError, "C = 1, 3 or 4"),
        (np.zeros((3, 2, 2), np.float32), [0] * 3, ValueError, r"expected \(N, C, H, W\)"),
        (np.zeros((3, 2, 2), np.int64), [0] * 3, TypeError, "images have dtype int64"),
        (np.zeros((3, 2, 2), np.uint8), [0, -1, 3], ValueError, "labels go from -1 to 3"),
    ],
)
def test_arrays_that_do_not_fit_are_named(images, labels, error, message) -> None:
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels)


def test_labels_without_a_class_are_named() -> None:
    with pytest.raises(ValueError, match="from 0 to 2, expected 0 to 1"):
        ArrayDataset(np.zeros((3, 2, 2), np.uint8), [0, 2, 1], classes=["a", "b"])
