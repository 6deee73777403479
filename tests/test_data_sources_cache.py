"""vitc.data.sources.cache against the dataset it was made of: what comes out is what went
in, when it is written anew, and damage."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.data import (
    ArrayDataset,
    CacheDataset,
    CSVDataset,
    DataLoader,
    ImageFolder,
    Subset,
    WebDataset,
)
from vitc.data import transforms as T
from vitc.data.sources import cache

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for i in range(9):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (10 + i, 21 - i, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Grows by one for each image that is written."""
    seen: list[int] = []
    values = cache._values
    monkeypatch.setattr(cache, "_values", lambda image: seen.append(1) or values(image))
    return seen


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(mode="L"),
        dict(mode="RGBA"),
        dict(mode="L", value_range="minmax"),
        dict(value_range="dtype"),
        dict(mode=None, value_range=(0, 100)),
    ],
    ids=str,
)
@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_those_of_the_source(options: dict, workers: int, folder, tmp_path) -> None:
    source = ImageFolder(folder, **options)
    kept = CacheDataset(source, tmp_path / "a.cache", num_workers=workers)
    assert (kept.classes, kept.targets) == (source.classes, source.targets)
    assert kept.class_to_idx == source.class_to_idx and len(kept) == 9
    for (ours, label), (theirs, expected) in zip(kept, source, strict=False):
        assert label == expected
        assert isinstance(ours, Image.Image) == isinstance(theirs, Image.Image)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        if isinstance(theirs, Image.Image):
            assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
    assert np.array_equal(np.asarray(kept[-1][0]), np.asarray(source[8][0]))
    with pytest.raises(IndexError):
        kept[9]


def test_a_loader_gives_the_bits_of_the_source(folder, tmp_path) -> None:
    chain = T.Compose([T.RandomResizedCrop(8), T.RandomHorizontalFlip(), T.ToTensor()])
    source = ImageFolder(folder, chain)
    kept = CacheDataset(ImageFolder(folder), tmp_path / "a.cache", chain, lambda y: y + 5)
    for (x, y), (a, b) in zip(
        DataLoader(kept, 4, shuffle=True, num_workers=2), DataLoader(source, 4, shuffle=True),
        strict=True,
    ):  # fmt: skip
        assert np.array_equal(x, a) and np.array_equal(y, b + 5)


def test_groups_and_shares_are_kept(folder, tmp_path) -> None:
    table = folder / "list.csv"
    table.write_text("image,x,y,who\na/0.png,0.1,0.9,P1\nb/1.png,1,1,P2\n")
    source = CSVDataset(table, label_column=["x", "y"], group_column="who")
    kept = CacheDataset(source, tmp_path / "a.cache")
    assert kept.targets.dtype == np.float32 and np.array_equal(kept.targets, source.targets)
    assert kept.groups == ["P1", "P2"] and kept.classes == ["x", "y"]
    assert np.array_equal(kept[0][1], source[0][1])


def test_it_is_written_once_and_anew_when_the_source_changes(folder, decoded, tmp_path) -> None:
    path = tmp_path / "a.cache"

    def written(source) -> int:
        before = len(decoded)
        CacheDataset(source, path)
        return len(decoded) - before

    assert [written(ImageFolder(folder)) for _ in range(2)] == [9, 0]
    assert [written(ImageFolder(folder, mode="L")) for _ in range(2)] == [9, 0]
    assert [written(ImageFolder(folder, T.Resize((4, 4)))) for _ in range(2)] == [9, 0]
    os.utime(folder / "a/0.png", ns=(1, 1))
    assert [written(ImageFolder(folder, T.Resize((4, 4)))) for _ in range(2)] == [9, 0]
    (folder / "a/0.png").unlink()
    assert [written(ImageFolder(folder)) for _ in range(2)] == [8, 0]
    assert [written(Subset(ImageFolder(folder), [1, 2])) for _ in range(2)] == [2, 0]
    assert written(Subset(ImageFolder(folder), [2, 1])) == 2
    images = np.zeros((3, 4, 4), np.uint8)
    assert [written(ArrayDataset(images, y)) for y in ([0, 1, 0], [0, 1, 0], [0, 0, 1])] == [
        3,
        0,
        3,
    ]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_cannot_be_read_stays_unreadable(folder, tmp_path) -> None:
    (folder / "a/2.png").write_bytes(b"")
    kept = CacheDataset(ImageFolder(folder, np.asarray), tmp_path / "a.cache")
    with pytest.raises(OSError, match="2.png: not an image"):
        kept[1]
    loader = DataLoader(kept, 1, on_error="skip")
    with pytest.warns(UserWarning, match="1 of 9 samples cannot be read"):
        assert len(list(loader)) == 8
    assert kept.targets == ImageFolder(folder).targets


def test_damage_is_named_and_heads_are_checked(folder, tmp_path) -> None:
    path = tmp_path / "a.cache"
    kept = CacheDataset(ImageFolder(folder), path)
    begin = int(kept._index[3]["offset"])
    assert begin % 64 == 0
    whole = path.read_bytes()

    def spoiled(place: int) -> CacheDataset:
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        return CacheDataset(ImageFolder(folder), path)

    damaged = spoiled(begin + 5)
    assert np.array_equal(np.asarray(damaged[2][0]), np.asarray(kept[2][0]))
    with pytest.raises(OSError, match="a.cache: image 3 is damaged; delete the file"):
        damaged[3]
    for place in (128, 140, len(whole) - 3, 12, 21):
        with pytest.raises(OSError, match="a.cache: the (head of the )?cache is (damaged|cut off)"):
            spoiled(place)
    path.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="the cache is cut off"):
        CacheDataset(ImageFolder(folder), path)
    path.write_bytes(whole[:50])
    assert len(CacheDataset(ImageFolder(folder), path)) == 9  # it is written anew


def test_other_files_are_not_written_over(folder, tmp_path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("years of work")
    with pytest.raises(
        ValueError, match="thesis.txt: this file is not a cache .* not written over"
    ):
        CacheDataset(ImageFolder(folder), path)
    assert path.read_text() == "years of work"


def test_other_images_are_refused_and_leave_nothing(folder, tmp_path) -> None:
    for transform in (T.ToTensor(), lambda image: image.convert("CMYK")):
        with pytest.raises(
            TypeError, match="expected L, RGB, RGBA|give the transform to the cache"
        ):
            CacheDataset(ImageFolder(folder, transform), tmp_path / "a.cache")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_shards_count_by_their_date(tmp_path, decoded) -> None:
    from test_data_sources_webdataset import samples, write

    shard = write(tmp_path / "a.tar", samples(range(3)))
    for expected in (3, 3):
        CacheDataset(WebDataset(shard), tmp_path / "a.cache")
        assert len(decoded) == expected
    os.utime(shard, ns=(1, 1))
    CacheDataset(WebDataset(shard), tmp_path / "a.cache")
    assert len(decoded) == 6
