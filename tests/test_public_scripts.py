"""Programs in the style of public ones, written for Lightning, run under vitc with nothing changed
but their imports, and tell the same."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import Lightning, Vitc, same, seen
from PIL import Image

import vitc

SCRIPTS = Path(__file__).with_name("scripts")
# What an import becomes; names that are imported stay as they are.
IMPORTS = {
    "lightning_fabric": "vitc",
    "pytorch_lightning": "vitc",
    "pytorch_lightning.callbacks": "vitc.callbacks",
    "pytorch_lightning.loggers": "vitc.loggers",
    "pytorch_lightning.tuner": "vitc",
    "timm": "vitc",
    "timm.data": "vitc.data",
    "timm.loss": "vitc.losses",
    "torch": "vitc",
    "torch.nn.functional": "vitc.functional",
    "torch.optim": "vitc.optim",
    "torch.optim.lr_scheduler": "vitc.optim.lr_scheduler",
    "torch.utils.data": "vitc.data",
    "torchmetrics": "vitc.metrics",
    "torchvision": "vitc.data",
    "torchvision.datasets": "vitc.data",
}


def ported(source: str) -> str:
    """The program with its imports changed."""

    def change(match: re.Match[str]) -> str:
        word, name, alias = match.groups()
        if name not in IMPORTS:
            return match[0]
        if word == "import" and not alias:
            alias = f" as {name}"
        return f"{word} {IMPORTS[name]}{alias or ''}"

    source = re.sub(r"^(from|import) ([\w.]+)( as \w+)?", change, source, flags=re.MULTILINE)
    return re.sub(r"^(from vitc import) Fabric\b", r"\1 Run as Fabric", source, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two classes, one of them darker, and weights to begin with."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for label, top in (("defect", 120), ("good", 255)):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, top, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{i}.png")
    return tmp_path


CLASSES = {"folder": 2, "plateau": 2, "mixup": 3, "fabric": 2, "backbone": 2}


@pytest.mark.parametrize(("name", "classes"), CLASSES.items())
def test_a_public_program(name: str, classes: int, folder: Path) -> None:
    vitc.seed_everything(3)
    model = vitc.create_model("test_vit", num_classes=classes, img_size=32)
    vitc.save_for_timm(model, folder / "start")
    weights = str(folder / "start" / "model.safetensors")
    source = (SCRIPTS / f"{name}.py").read_text()
    found = []
    for engine, text in ((Lightning, source), (Vitc, ported(source))):
        program: dict[str, Any] = {"__name__": name}
        exec(compile(text, name, "exec"), program)
        found.append(seen(engine, partial(run, program["main"], weights), folder))
    assert found[0]
    differing = same(*found)
    assert not differing, "\n".join(differing[:20])


def run(main: Any, weights: str, engine: Any, path: Path) -> Any:
    for part in ("train", "val"):
        (path / part).symlink_to(path.parent / part)
    return main(str(path), weights)


def test_imports_are_all_that_is_changed() -> None:
    assert {script.stem for script in SCRIPTS.glob("*.py")} == CLASSES.keys()
    for script in SCRIPTS.glob("*.py"):
        before, after = script.read_text().splitlines(), ported(script.read_text()).splitlines()
        changed = [a for a, b in zip(before, after, strict=True) if a != b]
        assert len(changed) > 5
        assert all(re.match("(from|import) ", line) for line in changed)
        assert not any(re.match(r"(from|import) (\w*torch|timm)", line) for line in after)
