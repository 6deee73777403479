"""A user's program, written for Lightning and timm, runs to its end with its imports changed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitc

PROGRAM = Path(__file__).with_name("lightning_user.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """4 pictures in each of two classes, one of them darker."""
    generator = np.random.default_rng(0)
    for label, top in (("good", 255), ("defect", 120)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(4):
            pixels = generator.integers(0, top, (60, 60, 3), np.uint8)
            Image.fromarray(pixels).resize((240, 260)).save(
                tmp_path / "images" / label / f"{i}.png"
            )
    return tmp_path / "images"


def run(engine: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), engine, str(folder)],
        cwd=folder.parent,
        env={**os.environ, "PYTHONSAFEPATH": "", **environment},
        capture_output=True,
        text=True,
    )


def test_the_program_runs_with_its_imports_changed(folder: Path) -> None:
    """Oracle of the exported model: ONNX Runtime against the model of the best checkpoint, 1e-5."""
    import onnxruntime

    done = run("vitc", folder, EPOCHS="1", BATCH="2")
    assert done.returncode == 0, done.stderr
    assert "train_loss" in done.stdout and "val_acc" in done.stdout
    for words in (
        "accelerator='gpu': vitc computes on the CPU",
        "this process runs their 4 shards of a step in turn",
        "precision=16: CPUs compute in bfloat16, this is 'bf16-mixed'",
    ):
        assert done.stderr.count(words) == 1, (words, done.stderr)
    best = next(folder.parent.glob("lightning_logs/version_0/checkpoints/epoch=*"))
    x = np.random.default_rng(1).standard_normal((3, 3, 224, 224)).astype(np.float32)
    model = vitc.create_model(
        "vit_tiny_patch16_224", num_classes=2, checkpoint_path=best / "model.safetensors"
    ).eval()
    session = onnxruntime.InferenceSession(folder.parent / "vit_model.onnx")
    found = session.run(["output"], {"input": x})[0]
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-5)


@pytest.mark.long
def test_the_program_is_one_of_lightnings(folder: Path) -> None:
    """So that the test above is about a program that does run under the original."""
    done = run("torch", folder, DEVICES="1", EPOCHS="1")
    assert done.returncode == 0, done.stderr
    assert "train_loss" in done.stdout


def test_checkpoint_path_true_names_what_was_meant() -> None:
    with pytest.raises(TypeError, match=r"checkpoint_path is True.*set_grad_checkpointing"):
        vitc.create_model("vit_tiny_patch16_224", checkpoint_path=True)
