"""What a model is (precision, 8 bits, classes, preparation of images) is kept by whatever writes
it, and comes back from whatever reads it: every writer with every reader, in each precision.
"""

import csv
import json
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitc
from oracle import images, redrawn
from vitc import _vitc
from vitc.cli import main
from vitc.export.stored import open_model, read_folder
from vitc.models.model import Model
from vitc.models.timm_folder import labels_of, write_folder
from vitc.program import load as load_program

LABELS = ["crack", "good", "other"]
MEAN = (0.25, 0.5, 0.75)
PRECISIONS = [
    "fp32",
    pytest.param(
        "bf16",
        marks=pytest.mark.skipif(not _vitc.config()["bf16"], reason="no bfloat16 at this level"),
    ),
    "int8",
]


@pytest.fixture(scope="module")
def trained() -> Model:
    """What a script has made: its own size, classes and preparation."""
    model = vitc.create_model("test_vit", img_size=48, num_classes=3, depth=2).eval()
    model.load_state_dict(redrawn(model.shapes, "float32"))
    model.pretrained_cfg |= {"mean": MEAN, "label_names": LABELS, "crop_pct": 0.8}
    return model


def in_precision(model: Model, precision: str) -> Model:
    twin = vitc.quantize(model) if precision == "int8" else deepcopy(model)
    twin.precision = "bf16" if precision == "bf16" else "float32"
    return twin


def as_file(model: Model, folder: Path) -> Path:
    model.save(folder / "model.safetensors")
    return folder / "model.safetensors"


def as_folder(model: Model, folder: Path) -> Path:
    write_folder(folder, model, None)
    return folder


def as_checkpoint(model: Model, folder: Path) -> Path:
    """Of a trainer whose own precision is another one."""
    module = vitc.Classifier("test_vit", class_names=LABELS, img_size=48, depth=2)
    module.model = model
    trainer = vitc.Trainer(max_epochs=1, logger=False, enable_progress_bar=False)
    trainer.predict(module, [np.zeros((1, 3, 48, 48), np.float32)])
    trainer.save_checkpoint(folder / "model.ckpt", weights_only=True)
    return folder / "model.ckpt"


def as_served(model: Model, folder: Path) -> Path:
    return vitc.export.triton(model, folder, backend="python") / "1"


def as_written_by_the_command(model: Model, folder: Path) -> Path:
    """It writes 8 bits; other models pass through `write_folder`, which it uses."""
    if not model.quantized:
        return as_folder(model, folder)
    float32 = vitc.create_model("test_vit", img_size=48, num_classes=3, depth=2)
    float32.load_state_dict(redrawn(float32.shapes, "float32"))
    float32.pretrained_cfg |= model.pretrained_cfg
    float32.save(folder / "float.safetensors")
    small = folder / "small"
    assert main(["quantize", str(folder / "float.safetensors"), "--output", str(small)]) == 0
    return small


def opened(path: Path, folder: Path) -> Model:
    return open_model(str(path)).model


def by_name(path: Path, folder: Path) -> Model:
    return vitc.create_model(f"local-dir:{path}", pretrained=True).eval()


def served(path: Path, folder: Path) -> Model:
    options = ["--backend", "python", "--name", "served"]
    assert main(["export", "triton", str(path), str(folder), *options]) == 0
    assert (folder / "served" / "labels.txt").read_text().split() == LABELS
    return read_folder(folder / "served" / "1").model


def exported_again(path: Path, folder: Path) -> Model:
    open_model(str(path)).model.save(folder / "again.safetensors")
    return open_model(str(folder / "again.safetensors")).model


WRITERS = (as_file, as_folder, as_checkpoint, as_served, as_written_by_the_command)
READERS = (opened, by_name, served, exported_again)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("write", WRITERS)
def test_every_reader_finds_what_every_writer_kept(
    write: Callable[[Model, Path], Path], precision: str, trained: Model, tmp_path: Path
) -> None:
    model = in_precision(trained, precision)
    (tmp_path / "written").mkdir()
    path = write(model, tmp_path / "written")
    if write is as_file and precision == "bf16":  # where all weights are rounded
        model.load(path)
    x = images(3, model)
    for read in READERS:
        (tmp_path / read.__name__).mkdir()
        found = read(path, tmp_path / read.__name__)
        assert (found.precision, found.quantized) == (model.precision, model.quantized), read
        assert labels_of(found) == LABELS and found.num_classes == 3, read
        assert found.default_cfg["mean"] == MEAN and found.default_cfg["crop_pct"] == 0.8, read
        assert found.default_cfg["input_size"] == (3, 48, 48), read
        if read is exported_again and precision == "bf16":
            model.load(tmp_path / read.__name__ / "again.safetensors")
        np.testing.assert_array_equal(np.asarray(found(x)), np.asarray(model(x)), str(read))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_commands_read_the_file(
    precision: str, trained: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions are those of the model in Python, and the other formats keep its classes."""
    model = in_precision(trained, precision)
    path, photos = as_file(model, tmp_path), tmp_path / "photos"
    model.load(path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 60, 50, 3)).astype(np.uint8)
    for name, image in zip(LABELS, pixels, strict=True):
        (photos / name).mkdir(parents=True)
        Image.fromarray(image).save(photos / name / "a.png")
    assert main(["predict", str(path), str(photos), "--csv", str(tmp_path / "found.csv")]) == 0
    with (tmp_path / "found.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[2:] == LABELS
    transform = vitc.data.create_transform(**vitc.data.resolve_data_config(model=model))
    x = np.stack([transform(Image.fromarray(image)) for image in pixels])
    with vitc.no_grad():
        expected = vitc.functional.softmax(model(x))
    np.testing.assert_allclose(np.array(rows)[:, 2:].astype(float), expected, atol=1e-6)

    assert main(["validate", str(path), str(photos)]) == 0
    assert "3 images" in capsys.readouterr().out
    assert main(["export", "program", str(path), str(tmp_path / "m.vitc")]) == 0
    assert json.loads(load_program(tmp_path / "m.vitc").notes["labels"]) == LABELS


def test_a_run_in_bf16_leaves_a_checkpoint_in_float32(tmp_path: Path) -> None:
    """What a trainer computes in is the trainer's; what a model is set to is the model's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # without bfloat16 it computes in float32
        for own in ("float32", "bf16"):
            module = vitc.Classifier("test_vit", 3, img_size=32, depth=1)
            module.model.precision = own
            trainer = vitc.Trainer(
                max_steps=1, precision="bf16-mixed", logger=False, enable_progress_bar=False,
                default_root_dir=tmp_path / own,
            )  # fmt: skip
            batch = np.zeros((2, 3, 32, 32), np.float32), np.array([0, 1])
            trainer.fit(module, [batch])
            path = trainer.checkpoint_callback.best_model_path
            assert read_folder(path).model.precision == module.model.precision
            assert vitc.Classifier.load_from_checkpoint(path).model.precision == (
                module.model.precision
            )


def test_the_same_model_gives_the_same_file(trained: Model, tmp_path: Path) -> None:
    written = set()
    for i in range(8):
        trained.save(tmp_path / f"{i}.safetensors")
        written.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(written) == 1


# ------------------------------------------------------------------------------- foreign files


def test_files_that_do_not_say_what_they_hold(trained: Model, tmp_path: Path, capsys) -> None:
    """The architecture is named, or the file is refused; timm's script and Lightning say it."""
    state = {name: torch.tensor(value) for name, value in trained.state_dict().items()}
    bare, script = tmp_path / "bare.pth", tmp_path / "last.pth.tar"
    torch.save(state, bare)
    with pytest.raises(ValueError, match=r"bare.pth does not say what model it holds"):
        open_model(str(bare))
    with pytest.raises(ValueError, match="head is for 3 classes"):
        open_model(str(bare), "test_vit", depth=2)
    found = open_model(str(bare), "test_vit", num_classes=3, img_size=48, depth=2).model
    x = images(2, trained)
    np.testing.assert_array_equal(np.asarray(found(x)), np.asarray(trained(x)))

    full = vitc.create_model("test_vit", num_classes=3)
    state = {name: torch.tensor(value) for name, value in full.state_dict().items()}
    torch.save({"arch": "test_vit", "state_dict": state, "epoch": 3}, script)
    options = [str(tmp_path / "m.vitc"), "--num-classes", "3"]
    assert main(["export", "program", str(script), *options]) == 0
    lightning = tmp_path / "epoch=3.ckpt"
    kept = {"architecture": "test_vit", "class_names": LABELS, "img_size": 160}
    inner = {f"model.{name}": value for name, value in state.items()}
    torch.save({"state_dict": inner, "hyper_parameters": kept}, lightning)
    assert open_model(str(lightning)).labels == LABELS
    capsys.readouterr()
    assert main(["predict", str(bare), "a.jpg"]) == 1
    assert "does not say what model it holds" in capsys.readouterr().err


def test_random_weights_are_told_of(tmp_path: Path, capsys) -> None:
    assert main(["export", "program", "test_vit", str(tmp_path / "m.vitc")]) == 0
    assert "with random weights; trained: test_vit.r160_in1k" in capsys.readouterr().out
    assert main(["predict", "test_vit", "a.jpg"]) == 1
    assert "test_vit is a model with random weights" in capsys.readouterr().err
    assert main(["quantize", "test_vit", "--output", str(tmp_path / "small")]) == 0
    assert "with random weights" in capsys.readouterr().out
    for name, words in (
        ("test_vitt", "did you mean 'test_vit'"),
        ("runs/best.ckpt", "runs/best.ckpt: there is no such file"),
        ("best.ckpt", "there is no file, no folder and no model 'best.ckpt'"),
        ("local-dir:nowhere", "nowhere/config.json: there is no such file"),
    ):
        assert main(["export", "program", name, str(tmp_path / "n.vitc")]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "n.vitc").exists()
    before = sorted(tmp_path.iterdir())
    assert main(["quantize", "test_vit", "--output", str(tmp_path / "small")]) == 1
    assert "is there already" in capsys.readouterr().err and sorted(tmp_path.iterdir()) == before
