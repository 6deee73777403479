"""WebDataset: tar files of tarfile and of GNU tar, and what is wrong with some."""

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.data import DataLoader, WebDataset
from vitc.data.sources.webdataset import expand

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (7, 9, 11, 3), dtype=np.uint8)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(path: Path, members: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def samples(indices, prefix: str = "") -> list[tuple[str, bytes]]:
    return [
        member
        for i in indices
        for member in (
            (f"{prefix}{i:04}.png", png(PIXELS[i])),
            (f"{prefix}{i:04}.cls", b"%d\n" % (i % 3)),
        )
    ]


@pytest.mark.parametrize(
    ("format", "prefix"),
    [
        *((format, prefix) for format in FORMATS for prefix in ("", "a/b/", "long/" * 18)),
        *((format, "very-long-" * 20 + "/") for format in FORMATS[1:]),  # too long for ustar
    ],
)
def test_samples_are_those_that_were_written(format: int, prefix: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", samples(range(7), prefix), format)
    data = WebDataset(path)
    assert (len(data), data.targets) == (7, [i % 3 for i in range(7)])
    assert data.classes == ["0", "1", "2"] and data.class_to_idx["2"] == 2
    assert data.samples[3] == (f"{path}: {prefix}0003.png", 0)
    for i in np.random.default_rng(1).permutation(7):
        image, label = data[i]
        assert np.array_equal(np.asarray(image), PIXELS[i]) and label == i % 3


def test_tars_of_gnu_tar_are_read(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("there is no tar")
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    for name, data in samples(range(3)):
        (folder / name).write_bytes(data)
    subprocess.run(["tar", "--sort=name", "-cf", "a.tar", folder.name], cwd=tmp_path, check=True)
    data = WebDataset(tmp_path / "a.tar")
    assert data.targets == [0, 1, 2] and np.array_equal(np.asarray(data[2][0]), PIXELS[2])


def test_shards_are_joined_in_order_and_read_by_threads(tmp_path: Path) -> None:
    for shard, indices in enumerate((range(3), range(3, 5), range(5, 7))):
        write(tmp_path / f"s-{shard + 8:02}.tar", samples(indices))
    data = WebDataset(f"{tmp_path}/s-{{08..10}}.tar", np.asarray)
    assert data.targets == [i % 3 for i in range(7)]
    loader = DataLoader(data, 2, num_workers=3, shuffle=True, seed=1)
    seen = np.concatenate([x for x, _ in loader])
    assert sorted(map(bytes, seen)) == sorted(map(bytes, PIXELS))
    assert repr(data) == "WebDataset(7 images of 3 classes)"


def test_labels_may_stand_in_json_beside_other_things(tmp_path: Path) -> None:
    members = [
        ("a.jpg.txt", b"no part of it"),
        ("x/7.json", json.dumps({"label": 2, "kind": 1}).encode()),
        ("x/7.txt", b"a caption"),
        ("x/7.PNG", png(PIXELS[0])),
        ("x/notes", b"skipped"),
    ]
    path = write(tmp_path / "a.tar", members[1:])
    assert WebDataset(path).targets == [2]
    data = WebDataset(path, label_key="kind", classes=["ok", "bad"], target_transform=lambda y: -y)
    assert data.targets == [1] and data[0][1] == -1
    with pytest.raises(ValueError, match="labels go from 0 to 2, expected to 1"):
        WebDataset(path, classes=["ok", "bad"])


def test_braces_stand_for_numbers() -> None:
    assert expand("a{08..11}.tar") == ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]
    assert expand("{1..2}-{0..1}") == ["1-0", "1-1", "2-0", "2-1"]
    assert expand("{a}") == ["{a}"]
    for bad in ("{3..1}", "{0..999999999999}"):
        with pytest.raises(ValueError, match="a range of shards that is empty or too long"):
            expand(bad)


def test_what_is_wrong_with_a_tar_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"

    def refused(message: str, members=None) -> None:
        if members is not None:
            write(path, members)
        with pytest.raises(OSError, match=f"a.tar: {message}"):
            WebDataset(path)[0]

    image = png(PIXELS[0])
    refused("1.png: its sample has no label", [("1.png", image), ("2.cls", b"1")])
    refused("2.cls: its sample has no image", [("2.cls", b"1")])
    refused("1.cls: no label can be read", [("1.png", image), ("1.cls", b"one")])
    refused("1.cls: its label is -1", [("1.png", image), ("1.cls", b"-1")])
    refused("1.json: no label .*KeyError.*label", [("1.png", image), ("1.json", b"{}")])
    refused("1.json: no label", [("1.png", image), ("1.json", b'{"label": 1.5}')])
    refused("1.json: no label", [("1.png", image), ("1.json", b"[" * 100_000)])
    refused("1.cls: it has 1048577 bytes", [("1.png", image), ("1.cls", b"1" * (2**20 + 1))])
    refused("1.png: image of .* cannot be read", [("1.png", image[:60]), ("1.cls", b"1")])
    refused("there are no samples", [])
    refused("there are no samples", [("notes", b"")])
    write(path, samples(range(3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * 512 + 100])
    refused("0000.png: the file ends within it|this is not a tar|0000.cls")
    path.write_bytes(whole[:1000])
    refused("0000.png: the file ends within it")
    path.write_bytes(b"")
    refused("this is not a tar file")
    path.write_bytes(image * 3)
    refused("no header of a tar file at byte 0; expected plain tar")
    for size in (b"77777777777\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"-0000000001\0"):
        header = bytearray(whole[:512])
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        path.write_bytes(bytes(header) + whole[512:])
        refused("0000.png: the file ends within it|no header of a tar file")
    with pytest.raises(FileNotFoundError, match="none.tar"):
        WebDataset(tmp_path / "none.tar")
