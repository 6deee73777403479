"""What `vitc fit` trains on and sets apart, and what the commands that judge make of it."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc.cli import main
from vitc.cli.fit import chosen_monitor, class_weights, resumed
from vitc.cli.splits import find_splits, to_judge
from vitc.models.timm_folder import split_of

SMALL = ["--model", "test_vit", "--img-size", "32", "--batch-size", "8", "--epochs", "1"]


def picture(path: Path, seed: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(level, 30, (36, 36, 3)).clip(0, 255)
    Image.fromarray(noise.astype(np.uint8)).save(path)


def fill(folder: Path, counts: dict[str, int], start: int = 0) -> Path:
    for k, (name, count) in enumerate(counts.items()):
        for i in range(count):
            picture(folder / name / f"{i}.png", start + 1000 * k + i, 60 + 60 * k)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(list(words)) == status
    out, err = capsys.readouterr()
    return err if status else out


# ------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "testing"), ("training", "Validation")]
)
def test_folders_with_the_names_of_splits_are_splits(tmp_path: Path, names: tuple) -> None:
    for i, name in enumerate(names):
        fill(tmp_path / name, {"a": 3, "b": 3 + i}, 10_000 * i)
    found = find_splits(tmp_path, "RGB", None, 0.2)
    assert [len(found.train), len(found.val)] == [6, 7]
    assert (None if found.test is None else len(found.test)) == (8 if len(names) == 3 else None)


def test_a_test_folder_is_kept_for_the_end(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"a": 2, "b": 2}, 50_000)
    found = find_splits(tmp_path, "RGB", None, 0.2)
    assert [len(part) for part in found[:3]] == [16, 4, 4] and "20 %" in found.said


def bad(tmp_path: Path, layout: str) -> Path:
    root = tmp_path / layout
    if layout == "wrapper":
        fill(root / "photos", {"a": 3, "b": 3})
    elif layout == "one class":
        fill(root, {"photos": 4})
    elif layout == "no train":
        fill(root / "val", {"a": 3, "b": 3})
        fill(root / "test", {"a": 3, "b": 3})
    elif layout == "stranger":
        for name in ("train", "val", "extra"):
            fill(root / name, {"a": 3, "b": 3})
    elif layout == "twice":
        for name in ("train", "val", "valid"):
            fill(root / name, {"a": 3, "b": 3})
    elif layout == "few":
        fill(root, {"a": 5, "A": 1})
    elif layout == "classes":
        fill(root / "train", {"a": 3, "b": 3})
        fill(root / "val", {"a": 3, "c": 3})
    return root


LAYOUTS = [
    ("wrapper", "the classes a, b are in .*photos: name that"),
    ("one class", "there is one class, photos: at least 2"),
    ("no train", "has test, val, and nothing to train on"),
    ("stranger", "has the splits train, val, and extra, which is not one"),
    ("twice", "has train, val, valid: two names of one split"),
    ("few", r"class 'A' has 1 image, at least 2 .* \(--val-fraction\); is the name mistyped"),
    ("classes", "those to train on are a, b|classes to train on are a, b, those to validate a, c"),
]


@pytest.mark.parametrize(("layout", "words"), LAYOUTS)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, words: str
) -> None:
    said = run(capsys, "fit", str(bad(tmp_path, layout)), *SMALL, status=1)
    assert re.search(words, said), said
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize("fraction", ["20", "0", "1", "-0.1", "nan"])
def test_a_share_is_named_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fraction: str
) -> None:
    fill(tmp_path / "p", {"a": 5, "b": 5})
    said = run(capsys, "fit", str(tmp_path / "p"), *SMALL, f"--val-fraction={fraction}", status=1)
    assert "--val-fraction is " in said and "more than 0 and less than 1" in said


def manifest(folder: Path, rows: list[list[str]], header: str = "image,label,split") -> Path:
    path = folder / "list.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def test_a_class_without_training_images_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, {"a": 2, "b": 2, "c": 2})
    rows = [[f"{n}/{i}.png", n, "val" if n == "c" else "train"] for n in "abc" for i in range(2)]
    said = run(capsys, "fit", str(manifest(tmp_path, rows)), *SMALL, status=1)
    assert "there are no images of c to train on" in said


def test_groups_too_few_to_set_apart_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    rows = [[f"{n}/{i}.png", n, f"p{i % 2}"] for n in "ab" for i in range(4)]
    path = manifest(tmp_path, rows, "image,label,group")
    said = run(capsys, "fit", str(path), *SMALL, status=1)
    assert "there are 2 groups, at least 5 are needed to set 20 % apart" in said


def test_what_is_passed_over_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fill(tmp_path / "p", {"a": 5, "b": 5})
    (root / "a" / "x.heic").write_bytes(b"")
    (root / "a" / ".DS_Store").write_bytes(b"")
    fill(root, {".ipynb_checkpoints": 1, "__MACOSX": 1})
    (root / "b" / "up").symlink_to(root)
    said = run(capsys, "fit", str(root), *SMALL, "--output", str(tmp_path / "run"))
    assert "8 images to train on, 2 to validate" in said
    (line,) = re.findall("passed over: (.*)", said)
    assert sorted(line.split(", ")) == ["1 .heic", "1 hidden"]


# ------------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with 30 pictures, unevenly, and the output of `vitc fit` on it."""
    import contextlib
    import io

    root = tmp_path_factory.mktemp("my photos")
    fill(root / "p", {"good": 24, "crack": 6})
    text = io.StringIO()
    more = ["--class-weights", "balanced", "--balanced-sampling", "--patience", "3"]
    with contextlib.redirect_stdout(text):
        assert main(["fit", str(root / "p"), *SMALL, *more, "--output", str(root / "run")]) == 0
    return root, text.getvalue()


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("  vitc ")]


def test_fit_says_what_there_is_and_how_it_ended(trained: tuple[Path, str]) -> None:
    root, said = trained
    lines = said.splitlines()
    assert lines[0].startswith("24 images to train on, 6 to validate: ")
    assert {"  crack  5 and 1", "  good   19 and 5"} == set(lines[1:3])
    assert "validation, 6 images:" in said and "balanced accuracy" in said
    assert re.search(r"  crack  [01] of 1 found", said)
    checkpoints = root / "run" / "lightning_logs" / "version_0" / "checkpoints"
    assert (checkpoints / "last.ckpt").is_dir()
    assert len([*checkpoints.glob("epoch=0-val_auroc=*.ckpt")]) == 1


def test_every_command_that_fit_prints_runs(
    trained: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, said = trained
    monkeypatch.chdir(tmp_path)
    found = commands(said)
    assert [words[0] for words in found] == ["validate", "evaluate", "predict"]
    picture_ = str(next((root / "p" / "good").glob("*.png")))
    for words in found:
        given = [picture_ if word == "IMAGE..." else word for word in words]
        assert main(given) == 0
    out = capsys.readouterr().out
    assert out.startswith("30 images; 24 that the model was trained on are left out\n")
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert report["study"]["images"] == 6
    (timm_line,) = re.findall(r"timm\.create_model\((.*), pretrained=True\)", said)
    assert vitc.create_model(eval(timm_line)).num_classes == 2


def test_the_split_is_written_and_kept_with_the_model(trained: tuple[Path, str]) -> None:
    root, _ = trained
    folder = root / "run" / "lightning_logs" / "version_0"
    rows = list(csv.DictReader((folder / "split.csv").open()))
    assert len(rows) == 30 and {row["split"] for row in rows} == {"train", "val"}
    (best,) = (folder / "checkpoints").glob("epoch*.ckpt")
    model = vitc.create_model(f"local-dir:{best}")
    for split in ("train", "val"):
        assert split_of(model)[split] == [r["sha256"] for r in rows if r["split"] == split]
    assert main(["validate", str(best), str(folder / "split.csv")]) == 0


def test_every_writer_keeps_the_split(trained: tuple[Path, str], tmp_path: Path) -> None:
    (best,) = (trained[0] / "run").rglob("epoch*.ckpt")
    model = vitc.create_model(f"local-dir:{best}").eval()
    vitc.quantize(model).save(tmp_path / "small.safetensors")
    vitc.save_for_timm(model, tmp_path / "folder")
    options = {"data": str(trained[0] / "p"), "split": None, "all": False}
    from argparse import Namespace

    from vitc.export.stored import open_model

    for name in ("small.safetensors", "folder"):
        stored = open_model(str(tmp_path / name))
        images, said = to_judge(Namespace(**options), stored.model, stored.labels)
        assert len(images) == 6 and "24 that the model" in said


def test_a_split_that_is_not_one_is_ignored(tmp_path: Path) -> None:
    model = vitc.create_model("test_vit", num_classes=2)
    vitc.save_for_timm(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong in ("train", ["a"], {"train": 3}, {"train": [1]}):
        (tmp_path / "config.json").write_text(json.dumps({**config, "split": wrong}))
        assert split_of(vitc.create_model(f"local-dir:{tmp_path}")) == {}


def test_resuming_compares_classes_and_images(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = trained
    last = next((root / "run").rglob("last.ckpt"))
    renamed = fill(tmp_path / "renamed", {"good": 24, "dent": 6})
    said = run(capsys, "fit", str(renamed), *SMALL, "--resume", str(last), status=1)
    assert "has the classes crack, good, the images dent, good" in said
    other = fill(tmp_path / "other", {"good": 24, "crack": 6}, 77_000)
    said = run(capsys, "fit", str(other), *SMALL, "--resume", str(last), status=1)
    assert "was trained on other images than these" in said


def test_the_command_that_resumes_keeps_its_options() -> None:
    words = ["vitc", "fit", "my photos", "--lr", "1e-3", "--resume", "a.ckpt", "--epochs=3"]
    assert resumed(words, "b c.ckpt") == (
        "vitc fit 'my photos' --lr 1e-3 --epochs=3 --resume 'b c.ckpt'"
    )
    assert resumed(["vitc", "fit", "p", "--resume=a"], "b") == "vitc fit p --resume b"


def test_the_best_epoch_is_chosen_by_what_says_something(tmp_path: Path) -> None:
    two = find_splits(fill(tmp_path / "two", {"a": 5, "b": 5}), "RGB", None, 0.2)
    three = find_splits(fill(tmp_path / "three", dict.fromkeys("abc", 5)), "RGB", None, 0.2)
    assert chosen_monitor(None, two) == "val_auroc" and chosen_monitor(None, three) == "val_loss"
    assert chosen_monitor("val_acc", two) == "val_acc"
    fill(tmp_path / "gap" / "train", {"a": 3, "b": 3})
    fill(tmp_path / "gap" / "val", {"a": 3})
    (tmp_path / "gap" / "val" / "b").mkdir()
    gap = tmp_path / "gap"
    rows = [[f"train/{n}/{i}.png", n, "train"] for n in "ab" for i in range(3)]
    rows += [[f"val/a/{i}.png", "a", "val"] for i in range(3)]
    found = find_splits(manifest(gap, rows), "RGB", None, 0.2)
    assert chosen_monitor(None, found) == "val_loss"
    with pytest.raises(ValueError, match="--monitor val_auroc needs images of every class"):
        chosen_monitor("val_auroc", found)


def test_class_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 19 + [1] * 5 + [2] * 3)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights({"a": 19, "b": 5, "c": 3}) == pytest.approx(theirs)


def test_no_epochs_give_no_closing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "p", {"a": 5, "b": 5})
    given = [str(tmp_path / "p"), *SMALL[:-1], "0", "--output", str(tmp_path / "run")]
    said = run(capsys, "fit", *given)
    assert said.endswith("nothing was trained\n") and "vitc validate" not in said


def test_the_classifier_can_be_tested(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 3, 32, 32)).astype(np.float32)
    labels = np.arange(12) % 2
    module = vitc.Classifier("test_vit", 2, img_size=32, figures=["auroc", "balanced_accuracy"])
    trainer = vitc.Trainer(logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    (found,) = trainer.test(module, [(images[:6], labels[:6]), (images[6:], labels[6:])])
    assert {"test_loss", "test_acc", "test_auroc", "test_balanced_accuracy"} <= set(found)
    with vitc.no_grad():
        logits = np.asarray(module.eval()(images))
    from sklearn.metrics import roc_auc_score

    assert found["test_auroc"] == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    with pytest.raises(ValueError, match="figures is 'auc'"):
        vitc.Classifier("test_vit", 2, figures=["auc"])
