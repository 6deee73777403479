"""Files that are whole or not there, on the disk before they have their name, and readable by whom
the process says; and commands that write over nothing they did not write."""

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc.cli import main
from vitc.data.sources.cache import CacheDataset
from vitc.files import move, replacing

MODEL = dict(num_classes=2, img_size=32, depth=1)


def model():
    return vitc.create_model("test_vit", **MODEL).eval()


class Pictures:
    targets = (0, 1)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        return Image.new("RGB", (8, 8)), index


WRITERS = {
    "model.safetensors": lambda path: model().save(path),
    "model.onnx": lambda path: vitc.export.onnx(model(), path),
    "model.vitc": lambda path: vitc.export.program(model(), path),
    "config.json": lambda path: vitc.save_for_timm(model(), path.parent),
    "images.cache": lambda path: CacheDataset(Pictures(), path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_of_the_process(tmp_path: Path, name: str, mask: int) -> None:
    before = os.umask(mask)
    try:
        WRITERS[name](tmp_path / name)
    finally:
        os.umask(before)
    assert name in os.listdir(tmp_path)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, name: str) -> None:
    """And its name, before the writer returns."""
    told: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        told.append(("flushed", os.fstat(descriptor).st_ino))

    def renamed(source: Path, target: Path) -> None:
        replace(source, target)
        told.append(("named", os.stat(target).st_ino))

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    WRITERS[name](tmp_path / name)
    place = told.index(("named", (tmp_path / name).stat().st_ino))
    assert told[place - 1] == ("flushed", told[place][1])
    assert told[place + 1] == ("flushed", tmp_path.stat().st_ino)


def test_a_write_that_fails_leaves_what_was_there_and_names_the_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"Input/output error.*a\.txt"), replacing(path) as new:
            new.write_text("after")
    with pytest.raises(OSError, match=r"No space left.*a\.txt"), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]
    for place, error in ((tmp_path, IsADirectoryError), (path / "b", FileNotFoundError)):
        with pytest.raises(error, match="directory"), replacing(place):
            raise AssertionError("it was known before")


def test_a_folder_does_not_take_a_name_that_is_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match="b"):
        move(tmp_path / "a", tmp_path / "b")
    move(tmp_path / "a", tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


# ------------------------------------------------------------------------------- the user's


def test_a_model_is_not_saved_over_other_files(tmp_path: Path) -> None:
    for name, text in (("config.json", '{"editor": "mine"}'), ("model.safetensors", "mine")):
        (tmp_path / name).write_text(text)
        with pytest.raises(FileExistsError, match=name):
            vitc.save_for_timm(model(), tmp_path)
        assert (tmp_path / name).read_text() == text and os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(FileExistsError, match="is a checkpoint, whose files are not changed"):
        vitc.save_for_timm(model(), tmp_path)
    folder = tmp_path / "new"
    for _ in range(2):
        vitc.save_for_timm(model(), folder)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]


def test_what_is_fetched_replaces_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    vitc.save_for_timm(model(), tmp_path / "hub")
    found = sorted((tmp_path / "hub").iterdir())
    monkeypatch.setattr("vitc.cli.models.fetched_files", lambda _: found)
    command = ["models", "fetch", "test_vit", str(tmp_path / "mine")]
    for _ in range(2):
        assert main(command) == 0
    (tmp_path / "mine" / "config.json").unlink()
    (tmp_path / "mine" / "model.safetensors").write_text("mine")
    assert main(command) == 1
    assert "model.safetensors is there already" in capsys.readouterr().err
    assert os.listdir(tmp_path / "mine") == ["model.safetensors"]
    (tmp_path / "mine" / "model.safetensors").unlink()
    (tmp_path / "mine" / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert main(command) == 1 and not (tmp_path / "elsewhere").exists()


def test_a_preview_does_not_replace_the_image_it_shows(tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "preview.png"
    Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(path)
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    assert main(["aug-preview", "preview.png"]) == 1
    assert "is one of the images" in capsys.readouterr().err and path.read_bytes() == before


def test_a_cache_has_no_file_but_its_own(tmp_path: Path) -> None:
    mine = tmp_path / f"images.cache.{os.getpid()}.part"
    mine.write_text("mine")
    CacheDataset(Pictures(), tmp_path / "images.cache")
    assert mine.read_text() == "mine"


def test_a_table_that_has_no_place_is_known_before_predicting(tmp_path: Path, capsys) -> None:
    command = ["predict", str(tmp_path / "no.ckpt"), str(tmp_path / "no.png"), "--csv"]
    assert main([*command, str(tmp_path / "nowhere" / "a.csv")]) == 1
    assert "there is no directory" in capsys.readouterr().err
