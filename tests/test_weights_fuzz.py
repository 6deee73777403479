"""Every damaged weight file gives a ValueError that names it, whatever bytes were changed.

Files of each format are mutated from a seed: bytes changed, ranges cut out, doubled or replaced.
What still reads is to be as large as the file at most (twice, for bfloat16).
"""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from test_weights_formats import flax

from vitc.models import create_model
from vitc.models.weights import load_file

# The standard library warns of escapes in the text of pickles.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}


def _torch(zipped: bool) -> bytes:
    file = io.BytesIO()
    content = {"state_dict": STATE, "lr": [0.1, None, True], "metric": np.float64(3.0)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _npz(write: Callable[..., None]) -> bytes:
    model = create_model("test_vit", num_classes=2, depth=1, embed_dim=4, img_size=32)
    file = io.BytesIO()
    write(file, **flax(dict(model.state_dict()), 2, "old"))
    return file.getvalue()


SEEDS: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: safetensors.torch.save(STATE, {"format": "pt"}),
    "torch": lambda: _torch(True),
    "torch, old": lambda: _torch(False),
    "npz": lambda: _npz(np.savez),
    "npz, compressed": lambda: _npz(np.savez_compressed),
}


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    out = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        begin = int(draw.integers(0, len(out)))
        end = min(begin + int(draw.choice([1, 2, 4, 8, 64])), len(out))
        kind = draw.integers(0, 5)
        if kind == 0:
            out[begin] ^= 1 << int(draw.integers(0, 8))
        elif kind == 1:
            out[begin:end] = draw.bytes(end - begin)
        elif kind == 2:
            out[begin:end] = bytes([int(draw.choice([0, 0x7F, 0x80, 0xFF]))]) * (end - begin)
        elif kind == 3:
            del out[begin:end]
        else:
            out[begin:begin] = out[begin:end]
        if not out:
            break
    return bytes(out) if draw.random() > 0.1 else bytes(out[: int(draw.integers(0, len(out) + 1))])


def in_the_tail(content: bytes, draw: np.random.Generator) -> bytes:
    """Changes where a zip file keeps its directory, or what is in the first kilobyte."""
    place = max(len(content) - 900, 0) if draw.random() < 0.5 else 0
    part = mutated(content[place : place + 900], draw)
    return content[:place] + part + content[place + 900 :]


def fuzz(name: str, folder: Path, seconds: float, least: int = 0) -> tuple[int, int]:
    """How many files were tried, and how many were refused."""
    content, path = SEEDS[name](), folder / "damaged.bin"
    draw = np.random.default_rng(len(name))
    end, tried, refused = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end or tried < least:
        change = mutated if draw.random() < 0.5 else in_the_tail
        text = change(content, draw)
        path.write_bytes(text)
        tried += 1
        try:
            held = load_file(path)
        except ValueError as error:
            assert "damaged.bin" in str(error)
            refused += 1
        else:
            sizes = [v.nbytes for v in held.values()]
            assert max(sizes, default=0) <= 4 * len(text) + (64 << 20) * ("compressed" in name)
    return tried, refused


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str, fuzz_seconds: float) -> None:
    path = tmp_path / "whole.bin"
    path.write_bytes(SEEDS[name]())
    assert load_file(path)
    tried, refused = fuzz(name, tmp_path, fuzz_seconds / len(SEEDS), least=50)
    assert refused > tried / 10


def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    for name in SEEDS:
        content = SEEDS[name]()
        for length in range(0, len(content) - 1, max(len(content) // 60, 1)):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"cut\.bin"):
                load_file(path)


def test_zip_files_are_what_was_fuzzed() -> None:
    assert zipfile.is_zipfile(io.BytesIO(SEEDS["torch"]()))
    assert not zipfile.is_zipfile(io.BytesIO(SEEDS["torch, old"]()))
