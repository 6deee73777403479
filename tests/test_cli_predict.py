"""`vitc predict` loses nothing: broken files, closed pipes, odd names; and `python -m vitc`."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    made = vitc.create_model("test_vit", num_classes=2, img_size=32)
    vitc.save_for_timm(made, folder, ["good", "crack"])
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


def test_a_broken_file_is_named_and_the_others_are_done(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "2.png").write_bytes(b"no image")
    table = tmp_path / "p.csv"
    given = ["predict", model, str(photos), "--batch-size", "2", "--csv", str(table)]
    with pytest.warns(UserWarning, match="cannot be read"):
        assert main(given) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5 and "2.png" not in out and "2.png: not an image" in err
    rows = list(csv.DictReader(table.open()))
    assert [Path(row["image"]).stem for row in rows] == list("01345")
    assert all(float(r["good"]) + float(r["crack"]) == pytest.approx(1, abs=2e-6) for r in rows)
    assert main([*given, "--on-error", "raise"]) == 1
    assert "2.png: not an image" in capsys.readouterr().err


def test_a_refused_run_leaves_an_older_table(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "p.csv"
    table.write_text("mine")
    assert main(["predict", "nowhere/at_all", str(photos), "--csv", str(table)]) == 1
    assert main(["predict", model, str(photos / "none.png"), "--csv", str(table)]) == 1
    assert table.read_text() == "mine"
    assert main(["predict", model, str(photos), "--csv", str(tmp_path / "no" / "p.csv")]) == 1
    assert "there is no directory" in capsys.readouterr().err


def test_a_closed_pipe_ends_the_lines_and_not_the_table(
    model: str, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "p.csv"
    words = [sys.executable, "-m", "vitc", "predict", model, str(photos), "--batch-size", "1"]
    program = subprocess.Popen(
        [*words, "--csv", str(table)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None and program.stderr is not None
    program.stdout.readline()
    program.stdout.close()
    assert program.stderr.read() == b"" and program.wait(60) == 0
    assert len(table.read_text().splitlines()) == 7


def test_the_output_of_any_command_may_be_closed() -> None:
    words = f"{sys.executable} -m vitc predict --help"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words.split(), stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert b"Traceback" not in done.stderr


def test_names_need_not_be_utf_8(model: str, photos: Path, tmp_path: Path) -> None:
    odd = os.fsencode(photos) + b"/caf\xe9.png"
    os.rename(photos / "0.png", odd)
    table = tmp_path / "p.csv"
    words = [sys.executable, "-m", "vitc", "predict", model, odd, "--csv", str(table)]
    done = subprocess.run(words, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(odd) and odd in table.read_bytes()


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vitc", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"vitc {vitc.__version__}\n"


@pytest.mark.parametrize("more", [[], ["--preset", "inspection"], ["--img-size", "48"]])
def test_grey_images_are_previewed(
    photos: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "p.png"
    given = ["aug-preview", str(photos), "--grey", "--output", str(output), "--images", "2"]
    assert main([*given, "--copies", "2", *more]) == 0, capsys.readouterr().err
    pixels = np.asarray(Image.open(output).convert("RGB"))
    grey = pixels[..., 0] == pixels[..., 2]  # all but the lines between them
    assert grey.mean() > 0.7 and pixels[grey].std() > 10
