"""The study as data, the page, and `vitc evaluate` from images to the report."""

import csv
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc.cli import main
from vitc.evaluation import Predictions, compare, intervals
from vitc.evaluation import report as reports
from vitc.evaluation.study import comparison, plain, study


def drawn(n: int = 60, classes: int = 2, seed: int = 0, **more) -> Predictions:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    return Predictions(p, labels, [f"class {k}" for k in range(classes)], **more)


def content(predictions: Predictions, **more) -> dict:
    subject = {"title": "a on b", "made": "Today.", "facts": {"model": "a"}}
    found = study(predictions, resamples=100, by=[*predictions.columns])
    return {"subject": subject, "study": found, "leakage": None, "comparison": None, **more}


# ------------------------------------------------------------------------------------- the study


@pytest.mark.parametrize("classes", [2, 4])
def test_a_study_is_json_and_holds_what_it_was_given(classes: int) -> None:
    p = drawn(classes=classes, columns={"site": ["n", "s"] * 30})
    found = study(p, by=["site"], resamples=100)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    own = intervals(p, resamples=100)["brier"]
    assert [found["figures"]["brier"][k] for k in ("value", "low", "high")] == list(own)
    assert np.sum(found["confusion"]) == 60
    rows = found["per_class"].values()
    assert [row["images"] for row in rows] == np.sum(found["confusion"], axis=1).tolist()
    assert [row["found"] for row in rows] == np.diag(found["confusion"]).tolist()
    assert {v: part["images"] for v, part in found["by"]["site"].items()} == {"n": 30, "s": 30}
    assert len(found["calibration"]["temperatures"]) == 5
    assert study(p, by=["site"], resamples=100) == found


def test_several_labels_have_no_confusion() -> None:
    generator = np.random.default_rng(0)
    p = Predictions(generator.random((50, 3)), generator.integers(0, 2, (50, 3)), list("abc"))
    found = study(p, resamples=100)
    assert found["confusion"] is None and "exact_match" in found["figures"]
    text = reports.page(content(p), p.ids)
    assert "all labels right" in text and "Sets that hold" not in text


def test_what_was_set_aside_decides_temperature_and_sets() -> None:
    found = study(drawn(), held_out=drawn(seed=1), resamples=100)
    assert found["calibration"]["from"] == "images set aside"
    assert len(found["calibration"]["temperatures"]) == 1
    assert all(row["threshold"] is not None for row in found["conformal"]["sets"])


def test_one_unit_has_neither_calibration_nor_sets() -> None:
    found = study(drawn(n=20, groups=["p"] * 20), resamples=100)
    assert found["calibration"] is None and found["conformal"] is None
    assert "no interval" in reports.page(content(drawn(n=20, groups=["p"] * 20)), ["x"] * 20)


def test_a_column_is_named_or_refused() -> None:
    p = drawn(columns={"site": ["x"] * 60, "serial": [str(i) for i in range(60)]})
    with pytest.raises(ValueError, match="no column 'side'.*site"):
        study(p, by=["side"])
    with pytest.raises(ValueError, match="'serial' has 60 values, at most 50"):
        study(p, by=["serial"])


def test_plain_has_no_nan() -> None:
    assert plain({"a": np.float64(math.nan), 1: (np.int64(2), np.array([math.inf, 1.0]))}) == {
        "a": None,
        "1": [2, [None, 1.0]],
    }


# ------------------------------------------------------------------------------------- the page

HOSTILE = '<script>alert("x")</script>'


def test_names_cannot_bring_in_markup() -> None:
    n = 60
    p = drawn(ids=[HOSTILE] * n, columns={HOSTILE: [HOSTILE] * n})
    p = Predictions(p.probabilities, p.labels, [HOSTILE, "$x_1$ & co"], p.ids, None, p.columns)
    pictures = [reports.picture(HOSTILE, HOSTILE, np.zeros((8, 8), np.uint8))]
    text = reports.page(content(p), p.ids, [(HOSTILE, pictures)])
    assert "<script" not in text and "&lt;script&gt;" in text


def test_the_page_needs_nothing_else() -> None:
    text = reports.page(content(drawn()), drawn().ids)
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "@import" not in text
    assert "default-src 'none'" in text


def test_the_page_says_what_is_wrong() -> None:
    p = Predictions(np.tile([0.9, 0.1], (30, 1)), np.array([0] * 20 + [1] * 10), ["a", "b"])
    text = reports.page(content(p), p.ids)
    for words in ("Not one image of b was found", "training images were not given", "undefined"):
        assert words in text, words
    pair = {"first": ["training", "x.png"], "second": ["evaluated", "y.png"], "kind": "same file"}
    leak = {"pairs": [{**pair, "distance": 0.0}], "groups": ["p1"], "grouped": True}
    text = reports.page(content(p, leakage=leak), p.ids)
    assert "1 of these images are" in text and "1 groups are in both" in text
    clean = {"pairs": [], "groups": [], "grouped": False}
    assert "No image of the training data" in reports.page(content(p, leakage=clean), p.ids)


def test_the_page_shows_a_comparison() -> None:
    compared = comparison(compare(drawn(), drawn(), resamples=100))
    text = reports.page(content(drawn(), comparison={"other": "old", **compared}), drawn().ids)
    assert "Compared with old" in text and "McNemar" in text and "DeLong" in text


def test_a_picture_is_scaled_and_overlaid() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    lain = reports.overlaid(image, np.eye(2))
    assert lain.shape == (8, 8, 3)
    assert lain[0, 0].sum() > lain[0, 7].sum()  # bright where the map is high


# ------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 40 pictures in three splits, with a group and a site each, and two models."""
    root = tmp_path_factory.mktemp("evaluate")
    (root / "i").mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for i in range(40):
        coarse = Image.fromarray(generator.integers(0, 255, (5, 5), np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(root / "i" / f"{i}.png")
        split = "test" if i % 2 else "train"
        label, site = "crack" if i % 3 else "good", "ns"[i % 4 // 2]
        rows.append([f"i/{i}.png", label, split, f"part{i}", site])
    with (root / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", "split", "group", "site"], *rows])
    for seed in (0, 1):
        vitc.seed_everything(seed)
        model = vitc.create_model("test_vit", num_classes=2, in_chans=1, img_size=32)
        vitc.save_for_timm(model, root / f"model{seed}", ["crack", "good"])
    return root


def command(place: Path, *more: str) -> int:
    given = [str(place / "model0"), str(place / "m.csv"), "--split", "test", "--resamples", "100"]
    return main(["evaluate", *given, *more])


def test_from_a_model_to_the_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    more = ["--train-split", "train", "--by", "site", "--positive", "crack", "--output", str(out)]
    assert command(place, *more, "--compare", str(place / "model1")) == 0
    said = capsys.readouterr().out
    assert said.startswith("20 images of 20 groups\naccuracy") and said.endswith("report.html\n")
    found = json.loads((out / "report.json").read_text())
    assert found["study"]["classes"] == ["good", "crack"] and found["leakage"]["pairs"] == []
    assert set(found["study"]["by"]["site"]) == {"n", "s"}
    assert found["comparison"]["other"].endswith("model1")
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert len(rows) == 20 and set(rows[0]) >= {"image", "label", "good", "crack", "group", "site"}
    right = np.mean([row["label"] == row["prediction"] for row in rows])
    assert found["study"]["figures"]["accuracy"]["value"] == right
    figures = list(csv.DictReader((out / "figures.csv").open()))
    assert {row["value"] for row in figures} == {"", "n", "s"}
    text = (out / "report.html").read_text()
    assert text.count("<img") >= 20 and "Surest wrong answers" in text
    again = place / "again"
    assert command(place, *more[:-1], str(again)) == 0
    for name in ("predictions.csv", "figures.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_a_leak_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = place / "leak"
    shutil.copytree(place / "i", other / "i")
    shutil.copy(other / "i" / "1.png", other / "i" / "0.png")  # of the test part
    text = (place / "m.csv").read_text().replace("part0,", "part3,")
    (other / "m.csv").write_text(text)
    out = str(other / "out")
    given = [str(place / "model0"), str(place / "m.csv"), "--split", "test", "--resamples", "100"]
    assert main(["evaluate", *given, "--train", str(other / "m.csv"), "--output", out]) == 1
    assert "the group" in capsys.readouterr().err  # torn within the manifest
    (other / "m.csv").write_text(text.replace("split,", "part,"))
    assert main(["evaluate", *given, "--train", str(other / "m.csv"), "--output", out]) == 0
    assert "20 of these images are, or look like, images of the training" in capsys.readouterr().out


WRONG = [
    (["--by", "side"], "there is no column 'side'"),
    (["--resamples", "10"], "resamples is 10"),
    (["--train-split", "test"], "are both 'test'"),
    (["--positive", "dent"], "the positive class is 'dent'"),
    (["--split", "tset"], "did you mean 'test'"),
    (["--compare", "nowhere/at_all"], "no such file"),
]


@pytest.mark.parametrize(("more", "words"), WRONG)
def test_a_refusal_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    out = place / "refused"
    assert command(place, *more, "--output", str(out)) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_of_other_files_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("notes.txt", "mine"), ("report.json", "[1]")):
        out = place / f"full_{name}"
        out.mkdir()
        (out / name).write_text(text)
        assert command(place, "--output", str(out)) == 1
        assert "holds other files" in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == [name]
    assert command(place, "--output", str(place / "no" / "where")) == 1
    assert "there is no directory" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    """It renders without a message on the console, as wide as the window and not wider."""
    p = drawn(columns={"site": ["n", "s"] * 30})
    pictures = [reports.picture("a", "b", np.zeros((8, 8), np.uint8), np.eye(2))]
    content_ = content(p)
    reports.write(tmp_path, content_, p, [("Pictures", pictures)])
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    for width in (1300, 400):
        size, shot = f"--window-size={width},3000", f"--screenshot={tmp_path / 'shot.png'}"
        page = f"file://{tmp_path / 'report.html'}"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            ["chromium", *flags, size, shot, profile, page],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "CONSOLE" not in done.stderr
        pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
        assert pixels.shape[1] == width and pixels.std() > 5
