"""`vitc quantize` on a small trained model, and the table that it prints."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc
from vitc import _vitc
from vitc.cli import main
from vitc.export.stored import open_model
from vitc.quantization import Calibration
from vitc.quantization.comparison import Comparison
from vitc.quantization.table import Row, Table
from vitc.tape import clock, no_grad

BF16 = ["bf16"] if _vitc.config()["bf16"] else []


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, Path]:
    """A checkpoint, and the photographs: bright and dark ones."""
    root = tmp_path_factory.mktemp("quantize")
    generator = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 50)):
        folder = root / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            noise = generator.normal(level, 20, (40, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.png")
    options = ["--model", "test_vit", "--img-size", "32", "--epochs", "2", "--batch-size", "8"]
    assert main(["fit", str(root / "photos"), *options, "--output", str(root / "run")]) == 0
    (checkpoint,) = (root / "run").rglob("epoch*.ckpt")
    clock.seed = 0
    clock.begin(0)
    return str(checkpoint), root / "photos"


@pytest.fixture(autouse=True)
def few_images_are_enough():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "40 images to calibrate with are few")
        yield


def words_of(line: str) -> list[str]:
    return re.split(r"\s{2,}", line)


def test_the_table_compares_every_precision(trained, tmp_path: Path, capsys) -> None:
    checkpoint, photos = trained
    page = tmp_path / "table.md"
    arguments = [checkpoint, str(photos), "--calibration", str(photos), "--report", str(page)]
    capsys.readouterr()
    assert main(["quantize", "--table", *arguments, "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert words_of(lines[0]) == [
        *("mode", "latency", "throughput", "size", "memory"),
        *("accuracy", "lost, points", "same class"),
    ]
    modes = ["fp32", *BF16, "int8 dynamic", "int8 static"]
    assert [words_of(line)[0] for line in lines[1 : len(modes) + 1]] == modes
    for line in lines[1 : len(modes) + 1]:
        _, latency, throughput, size, memory, *_ = words_of(line)
        assert latency.endswith(" ms") and throughput.endswith(" img/s")
        assert 0.1 < float(size.split()[0]) < 3 and 20 < float(memory.split()[0]) < 500
    assert words_of(lines[1])[5:] == [
        *("100.00 %", "0.00 (-4.67 to +4.67)", "100.00 % (91.24 to 100.00)")
    ]
    said = next(line for line in lines if line.startswith("recommended: "))
    assert any(said.startswith(f"recommended: {mode}: ") for mode in modes)
    content = json.loads(page.with_suffix(".json").read_text())
    assert [row["mode"] for row in content["rows"]] == modes
    assert content["rows"][0]["bytes"] > 1.5 * content["rows"][-1]["bytes"]
    assert content["rows"][-1]["comparison"]["images"] == 40 and content["limit"] == 0.005
    assert f"Recommended: **{content['recommended']}**" in page.read_text()


def test_without_images_classes_of_noise_are_compared(capsys) -> None:
    assert main(["quantize", "test_vit", "--table", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "test_vit: with random weights" in out and "accuracy" not in out
    assert "int8 static is measured with --calibration IMAGES" in out
    assert "same class" in out and "recommended: " in out


def test_a_static_model_is_written_and_read(trained, tmp_path: Path, capsys) -> None:
    checkpoint, photos = trained
    small, cache, page = (str(tmp_path / n) for n in ("small.safetensors", "c.json", "report.md"))
    arguments = [checkpoint, str(photos), "--mode", "static", "--calibration", str(photos)]
    options = ["--output", small, "--save-calibration", cache, "--method", "mse", "--report", page]
    assert main(["quantize", *arguments, *options, "--exclude", "blocks.0.*"]) == 0
    out = capsys.readouterr().out
    assert f"{cache}: learned from 40 images" in out and f"{small}: " in out
    assert "in float: blocks.0.attn.qkv, blocks.0.attn.proj, blocks.0.mlp.fc1" in out
    assert page in out and "# test_vit, int8 static" in Path(page).read_text()
    assert Calibration.load(cache).method.name == "mse"
    model = open_model(small).model
    assert model.quantized == "static" and open_model(small).labels == ["bright", "dark"]
    capsys.readouterr()
    assert main(["validate", small, str(photos)]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split()[1]) > 90
    # from what was learned, the same model
    again = str(tmp_path / "again.safetensors")
    told = [checkpoint, "--mode", "static", "--calibration", cache, "--exclude", "blocks.0.*"]
    assert main(["quantize", *told, "--output", again]) == 0
    assert Path(again).read_bytes() == Path(small).read_bytes()


def test_max_drop_is_told_of(trained, tmp_path: Path, capsys) -> None:
    checkpoint, photos = trained
    small = str(tmp_path / "small")
    arguments = [checkpoint, str(photos), "--max-drop", "0.05", "--output", small]
    assert main(["quantize", *arguments]) == 0
    out = capsys.readouterr().out
    assert "accuracy on 40 images: 100.0 %, lost 0.00 points (-4.67 to +4.67)" in out
    assert "in float" not in out
    assert main(["predict", small, str(photos / "dark" / "3.png")]) == 0
    assert " dark " in capsys.readouterr().out


def test_workers_are_those_that_were_asked_for(trained, capsys, monkeypatch) -> None:
    checkpoint, photos = trained
    asked = set()

    def noted(*arguments, original=vitc.data.DataLoader, **options):
        asked.add(options["num_workers"])
        return original(*arguments, **options)

    monkeypatch.setattr(vitc.data, "DataLoader", noted)
    told = ["--table", checkpoint, str(photos), "--repeats", "1", "--workers", "0"]
    assert main(["quantize", *told, "--calibration", str(photos)]) == 0
    assert asked == {0}


REFUSED = [
    (["--table", "--repeats", "0"], "--repeats is 0, expected 1 or more"),
    ([], "--table, --output FILE, or both"),
    (["--output", "a.safetensors", "--mode", "static"], "--mode static needs --calibration IMAGES"),
    (["--output", "a.safetensors", "--method", "mse"], "--method needs --calibration IMAGES"),
    (["--table", "--save-calibration", "c.json"], "--save-calibration needs --calibration"),
    (["--output", "a.safetensors", "--max-drop", "0.1"], "--max-drop needs DATA"),
    (["--output", "a.safetensors", "--report", "a.md"], "--report needs DATA or --calibration"),
    (["--table", "--report", "a.txt"], "--report is a.txt, expected a file.md"),
    (["--table", "--report", "nowhere/a.md"], "there is no directory nowhere"),
    (["--output", "nowhere/a.safetensors"], "there is no directory nowhere"),
    (["--output", "a.safetensors", "--exclude", "b"], "exclude: 'b' fits no layer"),
    (["--output", "a.safetensors", "--calibration", "no"], "no: there is no such file or folder"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_other_options_are_refused(options, words: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quantize", "test_vit", *options]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- recommendations


def row(mode: str, throughput: float, **comparison) -> Row:
    counted = dict(images=1000, agreeing=1000, error=0.0, **comparison)
    return Row(mode, 1 / throughput, throughput, int(1e8 / throughput), None, Comparison(**counted))


def labelled(mode: str, throughput: float, lost: int, won: int = 0) -> Row:
    return row(mode, throughput, right_before=900, right=900 - lost + won, lost=lost, won=won)


def table(*rows: Row, limit: float = 0.005) -> Table:
    return Table("test_vit", 2, 32, list(rows), limit)


def test_the_fastest_that_loses_little_enough_is_recommended() -> None:
    rows = [labelled("fp32", 10, 0), labelled("dynamic", 20, 3), labelled("static", 25, 9)]
    best, why = table(*rows).recommended()
    assert best.mode == "dynamic"
    assert why.startswith("2.00 times the images per second of fp32, 50 % of its size, 0.30 (")
    assert why.endswith("; more images would say that more surely")
    best, why = table(*rows, limit=0.01).recommended()
    assert best.mode == "static"


def test_float_is_recommended_where_nothing_is_faster_and_as_good() -> None:
    best, why = table(labelled("fp32", 10, 0), labelled("static", 25, 60)).recommended()
    assert best.mode == "fp32"
    assert why.endswith("loses at most 0.5 points is faster by 5 % (static lose more)")
    best, why = table(labelled("fp32", 10, 0), labelled("static", 10.4, 0)).recommended()
    assert best.mode == "fp32" and why.endswith("faster by 5 %")


def test_without_labels_the_agreement_counts() -> None:
    off = Row("static", 0.01, 90, 10, 10, Comparison(1000, 980, 0.1))
    rows = [row("fp32", 10), row("dynamic", 20), off]
    best, why = table(*rows, limit=0.01).recommended()
    assert best.mode == "dynamic" and "the same class for 100.00 %" in why
    assert [line[0] for line in table(*rows).cells()] == ["mode", "fp32", "dynamic", "static"]
    assert "accuracy" not in str(table(*rows)) and "10 MB" not in str(table(*rows))


def test_quantised_files_are_what_they_were(trained, tmp_path: Path) -> None:
    """The promise of the page: what is written is what was measured."""
    checkpoint, photos = trained
    model = open_model(checkpoint).model
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    small = vitc.quantize(model, "static", calibration=photos)
    small.save(tmp_path / "s.safetensors")
    with no_grad():
        assert np.array_equal(open_model(str(tmp_path / "s.safetensors")).model(x), small(x))
