"""The README: its program runs, its commands exist."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from vitc.cli import COMMANDS

README = Path(__file__).parents[1] / "README.md"


def test_the_fifteen_lines_run(tmp_path: Path, monkeypatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    generator = np.random.default_rng(0)
    for name in ("good", "bad"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            pixels = generator.integers(0, 256, (60, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, str(README), "exec"), {"__name__": "readme"})
    assert os.listdir("lightning_logs/version_0/checkpoints") == ["epoch=9-step=10.ckpt"]


def test_every_command_is_one_of_ours() -> None:
    text = README.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    spans = re.findall(r"`([^`\n]+)`", text)
    found = {name for span in blocks + spans for name in re.findall(r"\bvitc ([a-z-]+)", span)}
    assert found == set(COMMANDS)
