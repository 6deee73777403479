"""Duplicates between splits are found, and what is not one is not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.evaluation import duplicates, perceptual_hash, shared_groups


def photograph(seed: int, size: int = 96) -> Image.Image:
    """Smooth structure with some grain."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 255, (6, 6, 3), np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    grain = generator.normal(0, 3, smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """train: five photographs. test: copies of four of them, and one that is new."""
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    train = []
    for seed in range(5):
        train.append(tmp_path / "train" / f"{seed}.png")
        photograph(seed).save(train[-1])
    test = [tmp_path / "test" / name for name in ("a.png", "b.bmp", "c.jpg", "d.png", "new.png")]
    test[0].write_bytes(train[0].read_bytes())
    photograph(1).save(test[1])  # the same pixels in another file
    photograph(2).save(test[2], quality=60)
    photograph(3).resize((70, 70)).point(lambda value: value * 0.8 + 20).save(test[3])
    photograph(99).save(test[4])
    return {"train": train, "test": test}


def test_twins_are_found_with_their_reason(files: dict[str, list[Path]]) -> None:
    found = duplicates(files)
    told = {(Path(p.first[1]).name, Path(p.second[1]).name): p.kind for p in found}
    assert told == {
        ("0.png", "a.png"): "same file",
        ("1.png", "b.bmp"): "same pixels",
        ("2.png", "c.jpg"): "look alike",
        ("3.png", "d.png"): "look alike",
    }
    assert all((p.first[0], p.second[0]) == ("train", "test") for p in found)
    assert [p.distance for p in found][:2] == [0, 0]


def test_a_split_against_itself_only_if_asked(files: dict[str, list[Path]]) -> None:
    one = {"all": files["train"] + files["test"]}
    assert duplicates(one) == []
    assert len(duplicates(one, within=True)) == 4


def test_an_image_is_listed_against_each_of_its_twins(files: dict[str, list[Path]]) -> None:
    files["extra"] = [files["train"][0]]
    pairs = [(p.first[0], p.second[0]) for p in duplicates(files) if p.kind == "same file"]
    assert sorted(pairs) == [("test", "extra"), ("train", "extra"), ("train", "test")]


def test_pictures_of_nothing_do_not_look_alike(tmp_path: Path) -> None:
    paths = []
    for value in (0, 7, 255):
        paths.append(tmp_path / f"{value}.png")
        Image.new("L", (20, 20), value).save(paths[-1])
    assert duplicates({"a": paths[:1], "b": paths[1:]}) == []


def test_embeddings_find_what_hashes_miss(files: dict[str, list[Path]]) -> None:
    generator = np.random.default_rng(0)
    vectors = {name: generator.normal(size=(5, 16)) for name in files}
    vectors["test"][4] = 3 * vectors["train"][4]
    found = duplicates(files, embeddings=vectors)
    last = next(p for p in found if p.kind == "alike to the model")
    assert (last.first[1], last.second[1]) == (str(files["train"][4]), str(files["test"][4]))
    assert last.distance == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match=r"shape \(4, 16\), expected \(5, D\)"):
        duplicates(files, embeddings={**vectors, "test": vectors["test"][:4]})
    with pytest.raises(ValueError, match="embeddings are of the splits train"):
        duplicates(files, embeddings={"train": vectors["train"]})


def test_blocks_of_hashes_miss_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitc.evaluation import leakage

    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 2**63, 50, np.uint64)
    hashes[[3, 17, 44]] = hashes[20]
    whole = leakage._near(hashes, 30)
    monkeypatch.setattr(leakage, "_BLOCK", 7)
    assert leakage._near(hashes, 30) == whole
    brute = [
        (i, j, int(hashes[i] ^ hashes[j]).bit_count())
        for i in range(50)
        for j in range(i + 1, 50)
        if int(hashes[i] ^ hashes[j]).bit_count() <= 30
    ]
    assert sorted(whole) == brute


def test_a_hash_is_of_8_bits_16_bits_and_floats_alike() -> None:
    grey = np.asarray(photograph(5).convert("L"))
    deep = grey.astype(np.uint16) * 257
    assert perceptual_hash(grey) == perceptual_hash(deep) == perceptual_hash(grey / 255.0)
    assert perceptual_hash(grey) == perceptual_hash(Image.fromarray(grey))


def test_a_group_in_two_splits_is_named() -> None:
    groups = {"train": ["p1", "p2", "p2"], "val": ["p3"], "test": ["p3", "p1"]}
    assert shared_groups(groups) == {"p1": ["train", "test"], "p3": ["val", "test"]}
    assert shared_groups({"train": ["a"], "test": ["b"]}) == {}


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    with pytest.raises(OSError, match=r"bad\.png"):
        duplicates({"train": [bad]})
