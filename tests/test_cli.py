"""The command line on small folders of generated photographs."""

import argparse
import csv
import importlib
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitc.cli import COMMANDS, main
from vitc.cli import fit as fit_command
from vitc.cli import tune as tune_command
from vitc.cli.splits import find_splits
from vitc.tape import clock

SMALL = ["--model", "test_vit", "--img-size", "32", "--epochs", "2", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def _fresh():
    yield
    clock.seed = 0
    clock.begin(0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Bright and dark images, which a model can tell apart."""
    generator = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 50)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            noise = generator.normal(level, 20, (40, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
    return tmp_path / "photos"


def checkpoint_of(output: Path) -> Path:
    (found,) = (output / "lightning_logs" / "version_0" / "checkpoints").glob("epoch*.ckpt")
    return found


def test_fit_validate_and_predict(photos: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    with warnings.catch_warnings(action="error"):  # small data is no reason for one
        assert main(["fit", str(photos), *SMALL, "--output", str(output), "--lr", "2e-3"]) == 0
    rows = list(csv.DictReader((output / "lightning_logs/version_0/metrics.csv").open()))
    assert [r["step"] for r in rows if r["train_loss_step"]] == ["3", "7"]
    out, err = capsys.readouterr()
    assert "32 images to train on, 8 to validate: " in out and "  bright  16 and 4" in out
    assert "memory: " in out and "epoch 2/2: " in err
    checkpoint = checkpoint_of(output)
    assert f"vitc predict {checkpoint} IMAGE..." in out

    assert main(["validate", str(checkpoint), str(photos)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "40 images; 32 that the model was trained on are left out"
    assert [line.split()[0] for line in lines[1:4]] == [
        "accuracy",
        "balanced",
        "AUROC",
    ]
    accuracy = float(lines[1].split()[1])
    found = [int(line.split()[1]) for line in lines[4:]]
    assert accuracy == pytest.approx(100 * sum(found) / 8, abs=0.06) and accuracy > 90
    assert main(["validate", str(checkpoint), str(photos), "--all"]) == 0
    assert capsys.readouterr().out.startswith("40 images\n")

    table = tmp_path / "p.csv"
    image = str(photos / "dark" / "3.jpg")
    assert (
        main(["predict", str(checkpoint), image, str(photos / "bright"), "--csv", str(table)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21 and lines[0].split()[:2] == [image, "dark"]
    rows = list(csv.DictReader(table.open()))
    assert rows[0]["prediction"] == "dark" and list(rows[0]) == [
        "image",
        "prediction",
        "bright",
        "dark",
    ]
    assert float(rows[0]["bright"]) + float(rows[0]["dark"]) == pytest.approx(1, abs=2e-6)


def test_fit_augments_as_asked(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    drawn = []

    def recorded(images, *rest, original=fit_command.data.DataLoader, **options):
        whole = images.dataset
        drawn.append((repr(whole.transform), repr(options.get("collate_fn"))))
        return original(images, *rest, **options)

    monkeypatch.setattr(fit_command.data, "DataLoader", recorded)
    output = ["--output", str(tmp_path / "run")]
    policy = ["--aa", "rand-m9-mstd0.5-inc1", "--reprob", "0.3", "--mixup", "0.8", "--cutmix", "1"]
    assert main(["fit", str(photos), *SMALL, *output, *policy]) == 0
    (train, mixing), (val, plain) = drawn
    assert "name=SolarizeIncreasing, p=0.5, m=9, mstd=0.5" in train
    assert "RandomErasing(p=0.3, mode=const" in train and "Random" not in val
    assert "mixup_alpha=0.8, cutmix_alpha=1.0" in mixing and "num_classes=2" in mixing
    assert plain == "None"

    preset = ["--preset", "inspection"]
    assert main(["fit", str(photos), *SMALL, *output, *preset, "--grey"]) == 0
    assert "RandomDihedral()" in drawn[2][0] and drawn[2][1] == "None"
    capsys.readouterr()
    assert main(["fit", str(photos), *SMALL, *preset, "--vflip", "0.5"]) == 1
    assert "without --aa, --reprob and --vflip" in capsys.readouterr().err
    assert main(["fit", str(photos), *SMALL, "--aa", "random-m9"]) == 1
    assert "'random-m9' is not a policy; did you mean 'rand'" in capsys.readouterr().err


def test_grey_images_and_folders_of_their_own(photos: Path, tmp_path: Path, capsys) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "train").symlink_to(photos)
    (both / "val").symlink_to(photos)
    assert main(["fit", str(both), *SMALL, "--grey", "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "40 images to train on, 40 to validate" in out and "input 1 x 32 x 32" in out
    assert "40 images are among those to train on and those set apart" in out
    assert main(["predict", str(checkpoint_of(tmp_path / "run")), str(photos / "dark/0.png")]) == 0


def test_a_manifest_with_splits(photos: Path, tmp_path: Path, capsys) -> None:
    manifest = photos / "list.csv"
    rows = [
        f"{name}/{i}.{'jpg' if i % 2 else 'png'},{name},{'val' if i > 15 else 'train'}"
        for name in ("bright", "dark")
        for i in range(20)
    ]
    manifest.write_text("image,label,split\n" + "\n".join(rows) + "\n")
    assert main(["fit", str(manifest), *SMALL, "--output", str(tmp_path / "run")]) == 0
    assert "32 images to train on, 8 to validate" in capsys.readouterr().out
    checkpoint = str(checkpoint_of(tmp_path / "run"))
    assert main(["validate", checkpoint, str(manifest), "--split", "val"]) == 0
    assert capsys.readouterr().out.startswith("8 images")


def test_fit_goes_on_from_a_checkpoint(photos: Path, tmp_path: Path, capsys) -> None:
    short = [*SMALL[:4], "--epochs", "1", "--batch-size", "8"]
    assert main(["fit", str(photos), *short, "--output", str(tmp_path / "a")]) == 0
    checkpoint = str(checkpoint_of(tmp_path / "a"))
    options = [*SMALL, "--output", str(tmp_path / "b"), "--resume", checkpoint]
    assert main(["fit", str(photos), *options]) == 0
    assert "epoch 1/2" not in capsys.readouterr().err.split("epoch 1/1")[1]


def test_errors_are_one_sentence_on_stderr(photos: Path, tmp_path: Path, capsys) -> None:
    def fails(*arguments: str) -> str:
        assert main(list(arguments)) == 1
        out, err = capsys.readouterr()
        assert err.startswith("vitc: ") and "Traceback" not in err
        return err

    assert "nowhere" in fails("fit", str(tmp_path / "nowhere"))
    assert "'vit_tinny'" in fails("fit", str(photos), "--model", "vit_tinny")
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("fit", str(tmp_path / "empty"))
    assert "nowhere" in fails("validate", str(tmp_path / "nowhere"), str(photos))
    assert "not a checkpoint" in fails("predict", str(photos), str(photos / "dark/0.png"))
    (photos / "dark" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    assert "broken.jpg" in fails("fit", str(photos), *SMALL, "--output", str(tmp_path / "run"))
    arrays = {f"{split}_images": np.zeros((4, 8, 8), np.int32) for split in ("train", "val")}
    labels = {f"{split}_labels": np.arange(4) % 2 for split in ("train", "val")}
    np.savez(tmp_path / "wide.npz", **arrays, **labels)
    assert "images have dtype int32" in fails("fit", str(tmp_path / "wide.npz"), *SMALL)


def test_an_error_of_ours_has_a_traceback(photos: Path, capsys, monkeypatch) -> None:
    def broken(options: argparse.Namespace) -> None:
        {}["missing"]

    monkeypatch.setattr(fit_command, "run", broken)
    assert main(["fit", str(photos)]) == 70
    err = capsys.readouterr().err
    assert "KeyError: 'missing'" in err and "in broken" in err
    assert err.splitlines()[-1].startswith("vitc: this is an error in vitc")


@pytest.mark.parametrize("before", [True, False])
def test_a_traceback_can_be_asked_for(before: bool, tmp_path: Path, capsys) -> None:
    words = ["fit", str(tmp_path / "nowhere")]
    words.insert(0 if before else 2, "--traceback")
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.splitlines()[-1].startswith("vitc: ")


def test_the_help_says_of_every_command_what_its_module_does(capsys) -> None:
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"vitc.cli.{name.replace('-', '_')}")
        assert (module.__doc__ or "").splitlines()[0] == summary
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert summary in capsys.readouterr().out


def test_help_and_version_import_no_command() -> None:
    program = (
        "import contextlib, sys; from vitc.cli import main\n"
        "with contextlib.suppress(SystemExit): main([sys.argv[1]])\n"
        "print(*(name for name in sys.modules if name.startswith('vitc.')), file=sys.stderr)"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", program, option], capture_output=True, text=True
        )
        assert set(done.stderr.split()) <= {"vitc.cli", "vitc.errors", "vitc._vitc"}, done.stderr


def test_classes_that_differ_are_named(photos: Path, tmp_path: Path, capsys) -> None:
    assert main(["fit", str(photos), *SMALL, "--output", str(tmp_path / "run")]) == 0
    other = tmp_path / "other"
    (other / "red").mkdir(parents=True)
    (other / "red" / "a.png").write_bytes((photos / "dark" / "0.png").read_bytes())
    assert main(["validate", str(checkpoint_of(tmp_path / "run")), str(other)]) == 1
    assert "the images also red" in capsys.readouterr().err
    assert main(["fit", str(photos), *SMALL, "--val", str(other)]) == 1
    assert "those to validate red" in capsys.readouterr().err


def test_the_parts_of_a_split_do_not_share_their_transform(photos: Path) -> None:
    train, val, test, _ = find_splits(photos, "RGB", None, 0.25)
    assert test is None
    assert train.dataset is not val.dataset
    assert not set(train.indices) & set(val.indices) and len(train) + len(val) == 40


# ------------------------------------------------------------------------------- the demo


def stand_in(monkeypatch) -> None:
    """Generated cells in place of the photographs: defects are dark stripes."""
    generator = np.random.default_rng(0)
    images = generator.normal(150, 15, (64, 300, 300)).clip(0, 255).astype(np.uint8)
    defect = np.tile([0.0, 1.0, 1 / 3, 1.0], 16)
    images[defect > 0.5, 100:160] = 20
    module = types.ModuleType("elpv_dataset.utils")
    module.load_dataset = lambda: (images, defect, np.tile(["mono", "poly"], 32))
    monkeypatch.setitem(sys.modules, "elpv_dataset", types.ModuleType("elpv_dataset"))
    monkeypatch.setitem(sys.modules, "elpv_dataset.utils", module)


def test_the_demo_trains_reports_and_writes(monkeypatch, tmp_path: Path, capsys) -> None:
    stand_in(monkeypatch)
    output = tmp_path / "demo"
    assert main(["demo", "--epochs", "1", "--batch-size", "16", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in out and "Deitsch" in out
    assert "On 16 photographs it has not seen" in out
    for row in ("more frequent class", "logistic regression", "this Vision Transformer"):
        assert row in out
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert len(rows) == 16 and list(rows[0])[2:] == ["functional", "defective"]
    assert Image.open(output / "attention.png").size[0] > 500
    checkpoint = checkpoint_of(output)
    assert f"vitc predict {checkpoint} IMAGE..." in out
    image = tmp_path / "cell.png"
    Image.fromarray(np.full((300, 300), 150, np.uint8)).save(image)
    assert main(["predict", str(checkpoint), str(image)]) == 0


def test_the_demo_says_what_it_lacks(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    assert main(["demo", "--output", str(tmp_path)]) == 1
    assert 'pip install "vitc[demo]"' in capsys.readouterr().err


def test_fit_takes_files_with_splits_and_passes_over_broken_images(
    photos: Path, tmp_path: Path, capsys
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 28, 28), dtype=np.uint8)
    labels = np.arange(24)[:, None] % 2
    arrays = tmp_path / "a.npz"
    np.savez(
        arrays, train_images=images[:16], train_labels=labels[:16],
        val_images=images[16:], val_labels=labels[16:],
    )  # fmt: skip
    output = ["--output", str(tmp_path / "run"), "--grey", "--aa", "rand-m5"]
    assert main(["fit", str(arrays), *SMALL, *output, "--epochs", "1"]) == 0
    assert "16 images to train on, 8 to validate: the splits of" in capsys.readouterr().out
    checkpoint = str(checkpoint_of(tmp_path / "run"))
    assert main(["validate", checkpoint, str(arrays), "--split", "val"]) == 0
    assert "8 images" in capsys.readouterr().out
    assert main(["validate", checkpoint, str(arrays)]) == 0
    assert "8 images of " in capsys.readouterr().out
    assert main(["validate", checkpoint, str(arrays), "--split", "train"]) == 1
    assert "the model was trained on all 16 images" in capsys.readouterr().err

    rows = [f"{path}\t{path.parent.name}\n" for path in sorted(photos.rglob("*.*"))]
    table = tmp_path / "list.tsv"
    splits = ("val", "train", "train")
    lines = [f"{row.strip()}\t{splits[i % 3]}\n" for i, row in enumerate(rows)]
    table.write_text("image\tlabel\tsplit\n" + "".join(lines))
    for broken in ("dark/3.jpg", "bright/7.jpg"):  # 5 % of them
        (photos / broken).write_bytes(b"")
    again = ["--output", str(tmp_path / "again"), "--epochs", "1"]
    assert main(["fit", str(table), *SMALL, *again]) == 1
    assert "3.jpg: not an image" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="samples cannot be read") as told:
        assert main(["fit", str(table), *SMALL, *again, "--on-error", "skip"]) == 0
    text = "".join(str(warning.message) for warning in told)
    assert text.count("not an image") == 2 and "dark/3.jpg" in text and "bright/7.jpg" in text
    assert "26 images to train on, 14 to validate" in capsys.readouterr().out


def test_groups_of_a_manifest_are_kept_together(photos: Path, tmp_path: Path, capsys) -> None:
    table = tmp_path / "list.csv"
    rows = [
        f"{path},{path.parent.name},P{int(path.stem) // 4}" for path in sorted(photos.rglob("*.*"))
    ]
    table.write_text("\n".join(["image,label,group", *rows]))
    options = cli_options(["fit", str(table), "--val-fraction", "0.2"])
    train, val, _, _ = find_splits(Path(options.data), "RGB", options.val, options.val_fraction)
    assert len(train) + len(val) == 40 and set(val.targets) == {0, 1}
    assert len(set(train.groups)) + len(set(val.groups)) == 5
    torn = [f"{row},{('train', 'val')[i % 2]}" for i, row in enumerate(rows)]
    table.write_text("\n".join(["image,label,group,split", *torn]))
    assert main(["fit", str(table), *SMALL]) == 1
    assert "is in two splits, 'train' and 'val'" in capsys.readouterr().err


def cli_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    fit_command.add_arguments(parser)
    return parser.parse_args(arguments[1:])


# ------------------------------------------------------------------------------------------ tune

TUNE = ["tune", "--model", "test_vit", "--batch-size", "2", "--threads", "1", "--seconds", "0"]


def test_tune_prints_a_table_and_writes_what_the_core_reads(tmp_path: Path, capsys) -> None:
    file = tmp_path / "machine"
    assert main([*TUNE, "--precision", "float32", "int8", "--output", str(file)]) == 0
    out = capsys.readouterr().out
    assert "float32" in out and "1 image" in out and "training 2" in out
    assert "the bits of results are the same" in out and f"VITC_MACHINE={file}" in out
    chosen = re.findall(r"^  (\w+\.rows = \d+)$", out, re.MULTILINE)
    assert file.read_text().splitlines() == chosen and len(chosen) == 2
    program = "from vitc import _vitc; print(_vitc.config()['machine'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "VITC_MACHINE": str(file)},
        capture_output=True,
        text=True,
    )
    assert f"'source': '{file}'" in done.stdout, done.stderr
    for line in chosen:
        name, rows = re.fullmatch(r"(\w+)\.rows = (\d+)", line).groups()
        assert f"'{name}': {{'rows': {rows}," in done.stdout


def test_tune_changes_its_own_lines_alone(tmp_path: Path, capsys) -> None:
    file = tmp_path / "machine"
    file.write_text("# mine\nfloat32.rows = 104\n\nint8.rows=104\nint8.block = 2\n")
    assert main([*TUNE, "--precision", "int8", "--output", str(file)]) == 0
    *kept, last = file.read_text().splitlines()
    assert kept == ["# mine", "float32.rows = 104", "", "int8.block = 2"]
    assert re.fullmatch(r"int8\.rows = \d+", last)


@pytest.mark.parametrize("content", [b"", b"# notes\n", b"float32.rows = 64\nhello\n", b"\xff\xfe"])
def test_tune_overwrites_no_other_file(content: bytes, tmp_path: Path, capsys) -> None:
    file = tmp_path / "notes"
    file.write_bytes(content)
    assert main([*TUNE, "--output", str(file)]) == 1
    told = capsys.readouterr()
    assert "is not a file for VITC_MACHINE and is not overwritten" in told.err and told.out == ""
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch-size", "1"], "--batch-size is 1, expected 2 or more"),
        (["--seconds", "-1"], "--seconds is -1.0, expected 0 or more"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--threads", "0"], "number of threads is 0"),
        (["--model", "test_vitt"], "test_vit"),
        (["--output", "nowhere/file"], "there is no directory nowhere"),
    ],
)
def test_tune_says_what_is_wrong_first(options: list[str], words: str, capsys) -> None:
    assert main([*TUNE, *options]) == 1
    told = capsys.readouterr()
    assert words in told.err and "float32" not in told.out


def times(*ratios: float | None) -> tune_command.Times:
    return tune_command.Times(1.0, {r: x for r, x in zip((64, 128), ratios, strict=True) if x})


@pytest.mark.parametrize(
    ("measured", "rows"),
    [
        ([times(0.9, 0.8), times(0.9, 0.95)], 128),
        ([times(0.9, 0.8), times(0.9, 1.02)], 64),  # it makes one kind of work slower
        ([times(0.985, 0.995), times(0.985, 0.995)], 256),  # too little to be sure of
        ([times(None, 0.95), times(0.5, 0.9)], 128),  # 64 is not measured everywhere
        ([times(None, None)], 256),
    ],
)
def test_tune_chooses_what_pays_everywhere(measured: list[tune_command.Times], rows: int) -> None:
    assert tune_command.best({str(i): t for i, t in enumerate(measured)}) == rows
