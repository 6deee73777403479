"""Sources of samples: folders against torchvision's, manifests, arrays, and their faults."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oracle  # noqa: F401  makes torchvision importable

# isort: split
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torchvision.datasets import ImageFolder as TorchvisionFolder

from vitc.data import ArrayDataset, CSVDataset, ImageFolder, ImageList, NpzDataset, Subset
from vitc.data.sources.npz import NpzFile

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


def test_folders_are_read_in_timms_order(folder: Path) -> None:
    """timm takes .png, .jpg and .jpeg alone, and what lies in root itself as a class of its own."""
    for path in (*folder.glob("**/*.bmp"), *folder.glob("**/*.webp"), *folder.glob("**/*.tiff")):
        path.unlink()
    ours, theirs = ImageFolder(folder, class_order="timm"), ReaderImageFolder(str(folder))
    assert ours.classes == list(theirs.class_to_idx) == ["", "a", "a2", "a-a", "b"]
    assert ours.samples == theirs.samples
    assert ours.class_to_idx == theirs.class_to_idx
    assert [Path(path).name for path, label in ours.samples if label == 4] == [
        "1.jpg", "2.png", "10.PNG"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="class_order is 'tim'; did you mean 'timm'"):
        ImageFolder(folder, class_order="tim")


def test_given_classes_fix_the_labels_of_folders(folder: Path) -> None:
    data = ImageFolder(folder, classes=["b", "c", "a2", "a10", "B"])
    assert sorted(set(data.targets)) == [0, 2, 3, 4] and data.class_to_idx["a10"] == 3
    with pytest.raises(
        ValueError, match="x.tiff: its folder 'a10' is not a class; known: B, a2, b"
    ):
        ImageFolder(folder, classes=["b", "a2", "B"])


def test_pages_of_a_file_are_samples_if_asked_for(folder: Path) -> None:
    pages = [Image.fromarray(GREY + np.uint8(i)) for i in range(3)]
    pages[0].save(folder / "a10/y.tiff", save_all=True, append_images=pages[1:])
    assert len(ImageFolder(folder)) == 11
    data = ImageFolder(folder, np.asarray, mode="L", all_frames=True)
    assert len(data) == 13 and data.targets[1:5] == [1] * 4
    assert [Path(path).name for path, _ in data.samples[1:5]] == ["x.tiff"] + ["y.tiff"] * 3
    for i in range(3):
        assert np.array_equal(data[2 + i][0], GREY + np.uint8(i))
    (folder / "a10/x.tiff").write_bytes(b"")
    assert len(ImageFolder(folder, all_frames=True)) == 13


def test_folders_take_the_options_of_the_decoder(folder: Path) -> None:
    array = ImageFolder(folder, mode="L", value_range=(0, 255))[0][0]
    assert (array.dtype, array.shape) == (np.uint16, (9, 11, 1))
    with pytest.raises(OSError, match="x.webp: its header says 11 x 9 pixels"):
        ImageFolder(folder, max_pixels=98)[0]
    with pytest.raises(TypeError, match="exiff"):
        ImageFolder(folder, exiff=True)


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


def test_further_columns_are_facts_of_each_sample(folder: Path) -> None:
    path = manifest(folder, "image,label,site,lot\nb/2.png,a, north ,7\nb/1.jpg,b,,8\n")
    data = CSVDataset(path, fact_columns=["site", "lot"])
    assert data.facts == {"site": ["north", ""], "lot": ["7", "8"]}
    assert Subset(data, [1]).facts == {"site": [""], "lot": ["8"]}
    assert CSVDataset(path).facts == {}
    with pytest.raises(ValueError, match="no column 'side'; did you mean 'site'"):
        CSVDataset(path, fact_columns=["side"])


def test_numbers_are_labels_themselves(folder: Path) -> None:
    text = "file,y\n2.png,10\n1.jpg,0\n10.PNG,2\n"
    path = manifest(folder, text)
    data = CSVDataset(path, root=folder / "b", image_column="file", label_column="y")
    assert data.targets == [10, 0, 2]
    assert data.classes == [str(i) for i in range(11)]
    manifest(folder, text.replace("10\n", "4711471147\n"))
    with pytest.raises(ValueError, match="labels go up to 4711471147"):
        CSVDataset(path, root=folder / "b", image_column="file", label_column="y")
    manifest(folder, text.replace("10\n", "9" * 5000 + "\n"))  # more than int() takes
    with pytest.raises(ValueError, match="list.csv: the labels go up to 99999"):
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
    with pytest.raises(ValueError, match="list.csv, line 2: 'good' is not a class; .*'goods'"):
        CSVDataset(path, classes=["goods", "bad"])
    manifest(folder, "image,label\nb/2.png,1\nb/1.jpg,0\n")
    with pytest.raises(ValueError, match="line 3: '0' is not a class"):
        CSVDataset(path, classes=["2", "1"])


def test_columns_of_shares_are_labels(folder: Path) -> None:
    text = "image\tdent\tscratch\nb/2.png\t1\t1\nb/1.jpg\t0.25\t0.75\n"
    path = folder / "list.tsv"
    path.write_text(text)
    data = CSVDataset(path, label_column=["dent", "scratch"])
    assert data.classes == ["dent", "scratch"]
    assert data.targets.dtype == np.float32 and data.targets.tolist() == [[1, 1], [0.25, 0.75]]
    assert data[1][1].tolist() == [0.25, 0.75]
    assert CSVDataset(path, label_column=["scratch"]).targets.tolist() == [[1], [0.75]]
    for bad in ("1.5", "-0.1", "nan", "x"):
        path.write_text(text.replace("0.25", bad))
        with pytest.raises(ValueError, match=f"line 3: column 'dent' is '{bad}', expected .* to 1"):
            CSVDataset(path, label_column=["dent", "scratch"])
    with pytest.raises(ValueError, match="classes with a list of label columns"):
        CSVDataset(path, label_column=["dent"], classes=["dent"])


def test_groups_and_weights_are_columns(folder: Path) -> None:
    text = (
        "image,label,split,patient,w\nb/2.png,a,train,P1,2\nb/1.jpg,b,test,P2,0\n"
        "b/10.PNG,a,train,P1,0.5\n"
    )
    path = manifest(folder, text)
    data = CSVDataset(path, split="train", group_column="patient", weight_column="w")
    assert data.groups == ["P1", "P1"] and data.weights.tolist() == [2, 0.5]
    assert not hasattr(CSVDataset(path), "groups") and not hasattr(CSVDataset(path), "weights")
    for bad in ("-1", "inf", "many"):
        manifest(folder, text.replace(",0.5", f",{bad}"))
        with pytest.raises(
            ValueError, match=f"line 4: column 'w' is '{bad}', expected a number fr"
        ):
            CSVDataset(path, weight_column="w")


def test_a_row_may_mean_one_image_of_several_in_a_file(folder: Path) -> None:
    pages = [Image.fromarray(GREY + np.uint8(i)) for i in range(3)]
    pages[0].save(folder / "y.tiff", save_all=True, append_images=pages[1:])
    text = "image,label,page\ny.tiff,a,2\nb/2.png,a,0\ny.tiff,b,1\n"
    path = manifest(folder, text)
    data = CSVDataset(path, frame_column="page", mode="L")
    assert data.frames == [2, 0, 1]
    for i, value in enumerate(data.frames):
        assert np.array_equal(np.asarray(data[i][0]), GREY + np.uint8(value))
    assert np.array_equal(np.asarray(CSVDataset(path, mode="L")[0][0]), GREY)
    for bad in ("-1", "1.0", "²", "9" * 5000):
        manifest(folder, text.replace("a,2", f"a,{bad}"))
        with pytest.raises(ValueError, match="line 2: column 'page' is .*expected an integer"):
            CSVDataset(path, frame_column="page")
    manifest(folder, text.replace("a,2", "a,3"))
    with pytest.raises(IndexError, match="y.tiff: there is no frame 3, it has 3"):
        CSVDataset(path, frame_column="page")[0]


def test_a_group_in_two_splits_is_refused_by_name(folder: Path) -> None:
    text = "image,label,split,patient\nb/2.png,a,train,P1\nb/1.jpg,b,test,P1\n"
    path = manifest(folder, text)
    for split in ("train", None):
        with pytest.raises(ValueError, match="list.csv: the group 'P1' .* 'train' and 'test'"):
            CSVDataset(path, split=split, group_column="patient")
    manifest(folder, text.replace("split", "part"))
    assert CSVDataset(path, group_column="patient").groups == ["P1", "P1"]


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
    with pytest.raises(ValueError, match="10.PNG: this is not a CSV file in UTF-8"):
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
        (np.zeros((3, 2), np.uint16), [0] * 3, ValueError, r"uint16 have shape \(3, 2\)"),
        (np.zeros((3, 2, 2, 2), np.uint8), [0] * 3, ValueError, "C = 1, 3 or 4"),
        (np.zeros((3, 2, 2), np.float32), [0] * 3, ValueError, r"expected \(N, C, H, W\)"),
        (np.zeros((3, 2, 2), np.int64), [0] * 3, TypeError, "images have dtype int64"),
        (np.zeros((3, 2, 2), np.uint8), [0, -1, 3], ValueError, "labels go from -1 to 3"),
        (np.zeros((3, 2, 2), np.uint8), [0, 1, 10**9], ValueError, "labels go up to 1000000000"),
    ],
)
def test_arrays_that_do_not_fit_are_named(images, labels, error, message) -> None:
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels)


def test_labels_without_a_class_are_named() -> None:
    with pytest.raises(ValueError, match="from 0 to 2, expected 0 to 1"):
        ArrayDataset(np.zeros((3, 2, 2), np.uint8), [0, 2, 1], classes=["a", "b"])


def test_arrays_of_16_bits_or_many_channels_stay_arrays() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (3, 9, 11), dtype=np.uint16)
    image, _ = ArrayDataset(deep, [0] * 3, mode="L")[1]
    assert np.shares_memory(image, deep) and np.array_equal(image[:, :, 0], deep[1])
    assert ArrayDataset(deep, [0] * 3)[1][0].shape == (9, 11, 3)
    many = np.zeros((3, 9, 11, 7), np.uint8)
    assert np.shares_memory(ArrayDataset(many, [0] * 3, mode=None)[0][0], many)
    with pytest.raises(ValueError, match=r"\(3, 9, 11, 7\), expected C = 1, 3 or 4, or mode=None"):
        ArrayDataset(many, [0] * 3)


# ------------------------------------------------------------------------------- .npz


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


@pytest.mark.parametrize("save_npz", [np.savez, np.savez_compressed])
def test_npz_files_are_those_of_medmnist(save_npz, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 3), dtype=np.uint8)
    labels = rng.integers(0, 2, (20, 14))
    path = tmp_path / "a.npz"
    arrays = dict(train_images=images, train_labels=labels[:, :1], val_images=images[:5, ..., 0])
    save_npz(path, **arrays, val_labels=labels[:5], test_images=np.asfortranarray(images[:, 0]))
    train, val = NpzDataset(path), NpzDataset(path, "val", mode="L")
    assert is_mapped(train.images) == (save_npz is np.savez)
    assert not train.images.flags.writeable and np.array_equal(train.images, images)
    assert train.targets.tolist() == labels[:, 0].tolist() and train.classes == ["0", "1"]
    assert train[3][0].tobytes() == images[3].tobytes() and type(train[3][1]) is int
    assert val.targets.dtype == np.float32 and val.targets.tolist() == labels[:5].tolist()
    assert len(val.classes) == 14 and val[4][0].tobytes() == images[4, ..., 0].tobytes()
    assert repr(train) == "NpzDataset(20 images of 2 classes)"
    half = tmp_path / "half.npz"
    save_npz(half, a_images=images[:2], a_labels=[0, 1], b_images=images[:1], b_labels=[3])
    assert NpzDataset(half, "a").classes == NpzDataset(half, "b").classes == ["0", "1", "2", "3"]
    with pytest.raises(ValueError, match="there is no array 'vla_images'; did you mean 'val_im"):
        NpzDataset(path, "vla")
    assert np.array_equal(NpzFile(str(path), 10**9).array("test_images"), images[:, 0])


def test_what_is_wrong_with_an_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def refused(message: str, **options) -> None:
        with pytest.raises(OSError, match=f"a.npz: {message}"):
            NpzDataset(path, **options)

    path.write_bytes(b"PK\3\4 no zip")
    refused("not an .npz file, or a damaged one")
    images, labels = np.zeros((1000, 9, 9), np.uint8), np.zeros((1000, 1), int)
    np.savez_compressed(path, train_images=images, train_labels=labels)
    refused("not an .npz file.* of [0-9]+ bytes that expands to 89256", max_bytes=89_255)
    np.savez(path, train_images=np.array([{}]), train_labels=labels)
    refused("the array 'train_images' cannot be read: it holds an array of object")
    np.savez(path, train_images=images, train_labels=labels)
    for cut in (300, 40_000, 90_000):
        path.write_bytes(path.read_bytes()[:cut])
        refused("not an .npz file")
    np.savez(path, train_images=images, train_labels=labels)
    data = path.read_bytes().replace(b"(1000, 9, 9)", b"(9999, 9, 9)")
    path.write_bytes(data)
    refused("the array 'train_images' .* ends behind the file")
    np.savez(path, train_images=images, train_labels=labels - 1)
    with pytest.raises(ValueError, match="a.npz, train: labels go from -1 to -1"):
        NpzDataset(path)
    with pytest.raises(FileNotFoundError, match="none.npz"):
        NpzDataset(tmp_path / "none.npz")
