"""Files that are made to cost time or memory: read in 5 seconds and 200 MB for a megabyte of file.

The attacks that were found are the seeds of a fuzz: as they are, mutated, and in any order of
instructions. Each runs in a process of its own that may use no more.
"""

import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_weights_fuzz import mutated

import vitc.models.weights
from vitc.models.weights import load_file

SECONDS, BYTES = 5, 200 << 20  # for a file of a megabyte at most
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
LEAVES = b"\x80\x02N" + b"2\x86" * 60  # a tuple of 2^60
PRIME = (1 << 61) - 1  # all multiples have the hash 0


def legacy(version: bytes, content: bytes = b"\x80\x02}.", keys: bytes = b"\x80\x02].") -> bytes:
    return MAGIC + version + b"\x80\x02}." + content + keys


def zipped(program: bytes, method: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as file:
            file.writestr("archive/data.pkl", program)

    return write


def plain(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def colliding(count: int) -> bytes:
    keys = (b"\x8a\x0b" + (k * PRIME).to_bytes(11, "little") + b"N" for k in range(1, count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


def floats(count: int) -> bytes:
    """Keys of floating point whose hashes are 2^k for few k."""
    keys = (b"G" + struct.pack(">d", 2.0 ** (k % 2000 - 1000)) + b"N" for k in range(count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


def compressed_npy(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        np.savez_compressed(path.with_suffix(".npz"), **{"embedding/kernel": np.zeros(size)})
        path.with_suffix(".npz").rename(path)

    return write


def header(content: Any) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


MB = 1 << 20
ATTACKS: dict[str, Callable[[Path], Any]] = {
    "version": plain(legacy(LEAVES + b".")),
    "content": plain(legacy(b"\x80\x02M\xe9\x03.", LEAVES + b".")),
    "keys": plain(legacy(b"\x80\x02M\xe9\x03.", keys=b"\x80\x02](" + LEAVES[2:] + b"e.")),
    "tuple as key": zipped(b"\x80\x02}" + LEAVES[2:] + b"Ns."),
    "tuple as name": zipped(LEAVES + b"2\x93."),
    "tuple as storage": zipped(b"\x80\x02(" + LEAVES[2:] + b"NNNNtQ."),
    "tuple as part": zipped(
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x04"
        + LEAVES[2:] + b"tQ."
    ),
    "tuple as dtype": zipped(
        b"\x80\x02cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n" + LEAVES[2:] + b"\x85RN\x86R."
    ),
    "tuple as shape": zipped(
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
        b"ctorch\nFloatStorage\nX\x01\x00\x00\x000NK\x04tQK\x00" + LEAVES[2:] + b")tRs."
    ),
    "colliding keys": zipped(colliding(60_000)),
    "colliding keys, packed": zipped(colliding(400_000), zipfile.ZIP_DEFLATED),
    "colliding floats": zipped(floats(90_000)),
    "colliding places": zipped(
        b"\x80\x02}" + b"".join(b"p%d\n" % (k * PRIME) for k in range(40_000))
    ),
    "packed lists": zipped(b"\x80\x02" + b"]" * 60_000_000 + b".", zipfile.ZIP_DEFLATED),
    "lists": zipped(b"\x80\x02" + b"]" * MB + b"."),
    "dictionaries": zipped(b"\x80\x02" + b"}" * MB + b"."),
    "remembered lists": zipped(b"\x80\x04" + b"]\x94" * (MB // 2) + b"."),
    "full dictionaries": zipped(b"\x80\x02" + b"}NNs" * (MB // 4) + b"."),
    "marks": zipped(b"\x80\x02" + b"(" * MB + b"."),
    "objects": zipped(b"\x80\x02cargparse\nNamespace\nq\x01" + b"h\x01)R" * (MB // 5) + b"."),
    "unknown objects": zipped(b"\x80\x02cos\nsystem\nq\x01" + b"h\x01)R" * (MB // 5) + b"."),
    "nested lists": zipped(b"\x80\x02]" + b"]" * (MB // 2) + b"a" * (MB // 2) + b"."),
    "long bytes again": zipped(
        b"\x80\x02c_codecs\nencode\nq\x01X\x00\x00\x08\x00" + b"a" * (MB // 2)
        + b"X\x06\x00\x00\x00latin1\x86q\x02" + b"h\x01h\x02R" * 90_000 + b"."
    ),
    "arrays again": zipped(
        b"\x80\x04cnumpy._core.numeric\n_frombuffer\nq\x01(B\x00\x00\x08\x00" + b"a" * (MB // 2)
        + b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85RJ\x00\x00\x08\x00\x85X\x01\x00\x00\x00Ctq\x02}("
        + b"".join(b"M" + k.to_bytes(2, "little") + b"h\x01h\x02R" for k in range(30_000)) + b"u."
    ),
    "list of itself": zipped(b"\x80\x02]q\x01" + b"(" + b"h\x01" * 500_000 + b"e."),
    "decimal": zipped(b"I" + b"9" * MB + b"\n."),
    "packed arrays": compressed_npy(500 << 17),
    "open brackets": plain(header(b"[" * MB)),
    "open braces": plain(header(b'{"a":' * (MB // 5))),
    "many entries": plain(header({f"a{i}": 1 for i in range(60_000)})),
    "long name": plain(header({"\x1b" * (MB // 6): {"dtype": [], "shape": 3}})),
    "index": plain(json.dumps({"weight_map": {f"k{i}": f"f{i}" for i in range(40_000)}}).encode()),
    "index of itself": plain(json.dumps({"weight_map": {"a": "attack.bin"}}).encode()),
}  # fmt: skip

# Reads a file within limits; what it raises must be a ValueError or OSError with its name.
READER = """
import resource, sys, time, warnings
from vitc.models.weights import load_file
warnings.simplefilter("ignore")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    begin = time.process_time()
    try:
        load_file(path)
    except (ValueError, OSError) as error:
        text = str(error)
        assert path in text or isinstance(error, OSError), text[:300]
        assert len(text) < 3000 and "\\x1b" not in text, text[:300]
    seconds = time.process_time() - begin
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{seconds} {kilobytes << 10}")
"""


def costs(*paths: Path) -> list[tuple[float, int]]:
    """Seconds and bytes of reading each, the bytes being the most so far."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, paths)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [(float(a), int(b)) for a, b in map(str.split, done.stdout.splitlines())]


@pytest.mark.parametrize("name", ATTACKS)
def test_no_file_costs_more_than_it_may(tmp_path: Path, name: str) -> None:
    path = tmp_path / "attack.bin"
    ATTACKS[name](path)
    assert path.stat().st_size < 1.2 * MB
    ((seconds, taken),) = costs(path)
    assert seconds <= SECONDS and taken <= BYTES, (seconds, taken)


def test_mutated_attacks_cost_no_more(tmp_path: Path, fuzz_seconds: float) -> None:
    small = [n for n in ATTACKS if n.startswith("tuple")]
    small += ["version", "content", "keys", "long name", "index of itself"]
    paths = []
    for i in range(int(20 * fuzz_seconds)):
        path = tmp_path / f"attack{i}.bin"
        ATTACKS[small[i % len(small)]](path)
        path.write_bytes(mutated(path.read_bytes()[: 64 << 10], np.random.default_rng(i)))
        paths.append(path)
    assert all(s <= SECONDS and b <= BYTES for s, b in costs(*paths))


def test_pickles_of_any_instructions_cost_no_more(tmp_path: Path, fuzz_seconds: float) -> None:
    """Programs of random instructions that are known, with doubling ones among them."""
    words = [bytes([c]) for c in b"N2\x85\x86\x87)]}(tlaesu0RbQo\x81\x8f\x90\x91\x92\x93\x94"]
    words += [
        b"h\x00",
        b"q\x00",
        b"q\x01",
        b"h\x01",
        b"K\x05",
        b"X\x01\x00\x00\x00a",
        b"cos\nsystem\n",
    ]
    words += [b"ccollections\nOrderedDict\n", b"cargparse\nNamespace\n"]
    paths = []
    for i in range(int(20 * fuzz_seconds)):
        draw = np.random.default_rng(1000 + i)
        count = int(draw.choice([10, 100, 2000]))
        chosen = [words[k] for k in draw.integers(0, len(words), count)]
        program = b"\x80\x02" + b"N2\x86" * int(draw.integers(0, 60)) + b"".join(chosen) + b"."
        paths.append(tmp_path / f"attack{i}.bin")
        (zipped(program) if i % 2 else plain(legacy(program)))(paths[-1])
    assert all(s <= SECONDS and b <= BYTES for s, b in costs(*paths))


def test_other_compressions_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        zipped(pickle.dumps({"a": 1}, 2), method)(path)
        with pytest.raises(ValueError, match=rf"m\.pth.*compressed by method {method}, expected"):
            load_file(path)


def test_a_file_that_is_rewritten_does_not_end_the_process(tmp_path: Path) -> None:
    """Copies are what load_file gives; views, by option, would end it with SIGBUS."""
    script = """
import sys, numpy as np
from vitc.models.weights import load_file
mapped = len(sys.argv) > 2
np.savez(sys.argv[1], **{"patch_embed.proj.weight": np.ones((64, 3, 64, 64), np.float32)})
held = load_file(sys.argv[1], mapped=mapped)
open(sys.argv[1], "r+b").truncate(0)
print(held["patch_embed.proj.weight"].sum())
"""
    path = str(tmp_path / "m.npz")
    safe = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert safe.stdout.strip() == str(float(64 * 3 * 64 * 64)), safe.stderr
    views = subprocess.run([sys.executable, "-c", script, path, "mapped"], capture_output=True)
    assert views.returncode != 0
    assert "SIGBUS" in (vitc.models.weights.load_file.__doc__ or "")


def test_a_compressed_pickle_is_small_or_no_larger_than_its_file(tmp_path: Path) -> None:
    """torch.save compresses none."""
    path = tmp_path / "m.pth"
    zipped(b"\x80\x02" + b"N0" * (MB // 2) + b"N.", zipfile.ZIP_DEFLATED)(path)
    with pytest.raises(ValueError, match=r"m\.pth.*data\.pkl' expands to 1048580 bytes"):
        load_file(path)
