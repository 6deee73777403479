"""Every damaged image, manifest, shard, array file and cache is read or refused by name, in bounded
time and memory, whatever bytes were changed.

`python tests/test_data_fuzz.py SECONDS` takes longer and prints a table.
"""

import faulthandler
import io
import resource
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).parent))  # for the program

from test_data_decoding_decode import png16
from test_data_decoding_dicom import UNITS, dicom
from test_data_sources_webdataset import samples, write
from test_weights_fuzz import mutated

from vitc.data import CacheDataset, CSVDataset, Decoder, ImageFolder, NpzDataset, WebDataset

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60))
DEEP = RNG.integers(0, 65536, (10, 12, 5), dtype=np.uint16)
SLOWEST = 5.0  # seconds that one file may take


def saved(format: str, mode: str = "RGB", **options) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        PHOTO.convert(mode).save(file, format, **options)
        return file.getvalue()

    return make


def tiff(values: np.ndarray, **options) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, values, **options)
        return file.getvalue()

    return make


def of_pydicom(name: str) -> Callable[[], bytes]:
    return lambda: Path(get_testdata_file(name)).read_bytes()


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": saved("JPEG"),
    "jpeg, progressive": saved("JPEG", progressive=True),
    "jpeg, CMYK": saved("JPEG", "CMYK"),
    "png": saved("PNG"),
    "png, palette": saved("PNG", "P"),
    "png, 16 bit": lambda: png16(DEEP[:, :, :3]),
    "bmp": saved("BMP"),
    "gif": saved("GIF", "P"),
    "webp": saved("WEBP"),
    "tiff": saved("TIFF"),
    "tiff, LZW": saved("TIFF", compression="tiff_lzw"),
    "tiff, 16 bit": tiff(DEEP[:, :, :3], photometric="rgb", compression="zlib"),
    "tiff, floats": tiff(DEEP.astype(np.float32), planarconfig="contig"),
    "dicom": lambda: dicom(UNITS, WindowCenter="40", WindowWidth="400"),
    "dicom, RLE": of_pydicom("MR_small_RLE.dcm"),
    "dicom, JPEG 2000": of_pydicom("MR_small_jp2klossless.dcm"),
}


def image_reader(folder: Path, data: bytes, name: str) -> None:
    """Reads with all bits and with 8; not every image can be read in both ways."""
    faults = []
    for options in (dict(value_range="minmax"), dict(exif=True)):
        try:
            Decoder(None, max_pixels=10**6, max_bytes=10**8, **options)(folder / name)
        except (OSError, ValueError) as error:
            assert name in str(error), error
            faults.append(error)
    if len(faults) == 2:
        raise faults[0]


def manifest_reader(folder: Path, data: bytes, name: str) -> None:
    CSVDataset(folder / name, group_column="group", weight_column="weight", label_column=["a", "b"])


def label_reader(folder: Path, data: bytes, name: str) -> None:
    CSVDataset(folder / name, frame_column="frame", split="train")


def shard_reader(folder: Path, data: bytes, name: str) -> None:
    dataset = WebDataset(folder / name, max_pixels=10**6)
    for index in range(min(len(dataset), 3)):
        dataset[index]


def npz_reader(folder: Path, data: bytes, name: str) -> None:
    dataset = NpzDataset(folder / name, max_bytes=10**7)
    assert dataset.images.nbytes <= max(len(data), 10**7)
    if len(dataset):
        dataset[len(dataset) - 1]


def cache_reader(folder: Path, data: bytes, name: str) -> None:
    dataset = CacheDataset(ImageFolder(folder / "photos"), folder / name)
    for index in range(len(dataset)):
        dataset[index]


def _manifest(folder: Path) -> bytes:
    (folder / "1.png").write_bytes(b"")
    rows = [f"1.png,0.5,1,train,P{i},{i}\n" for i in range(9)]
    return ("image,a,b,split,group,weight\n" + "".join(rows)).encode()


def _labels(folder: Path) -> bytes:
    _manifest(folder)
    rows = [f"1.png,{i % 4},{i},train\n" for i in range(9)]
    return ("image,label,frame,split\n" + "".join(rows)).encode()


def _npz(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    images = np.zeros((20, 8, 8), np.uint8)
    save(file, train_images=images, train_labels=np.zeros((20, 1), int))
    return file.getvalue()


def _cache(folder: Path) -> bytes:
    (folder / "photos/a").mkdir(parents=True, exist_ok=True)
    for i in range(3):
        PHOTO.save(folder / f"photos/a/{i}.png")
    CacheDataset(ImageFolder(folder / "photos"), folder / "whole.cache")
    return (folder / "whole.cache").read_bytes()


Reader = Callable[[Path, bytes, str], None]
# name -> (the whole file, what reads it)
KINDS: dict[str, tuple[Callable[[Path], bytes], Reader]] = {
    **{name: (lambda _, make=make: make(), image_reader) for name, make in IMAGES.items()},
    "manifest": (_manifest, manifest_reader),
    "manifest, labels": (_labels, label_reader),
    "tar": (lambda folder: write(folder / "w.tar", samples(range(3))).read_bytes(), shard_reader),
    "npz": (lambda _: _npz(np.savez), npz_reader),
    "npz, compressed": (lambda _: _npz(np.savez_compressed), npz_reader),
    "cache": (_cache, cache_reader),
}


def mended(png: bytes) -> bytes:
    """With checksums that are right again, so that the damage is met behind them."""
    out, place = bytearray(png), 8
    while place + 12 <= len(out):
        end = place + 8 + int.from_bytes(out[place : place + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(out)


def fuzz(name: str, folder: Path, seconds: float, least: int = 0, seed: int = 0) -> Counter:
    """How many files were read and how many refused; "slowest" in microseconds."""
    make, read = KINDS[name]
    whole, found = make(folder), Counter(slowest=0)
    draw = np.random.default_rng([seed, len(name)])
    end = time.monotonic() + seconds
    while time.monotonic() < end or found["read"] + found["refused"] < least:
        head = draw.random() < 0.5  # where most of what can go wrong is
        cut = min(len(whole), 400) if head else len(whole)
        data = mutated(whole[:cut], draw) + whole[cut:]
        data = mended(data) if name.startswith("png") and draw.random() < 0.7 else data
        (folder / "damaged.bin").write_bytes(data)
        begin = time.monotonic()
        try:
            read(folder, data, "damaged.bin")
        except (OSError, ValueError) as error:
            assert "damaged.bin" in str(error) or "1.png" in str(error), error
            found["refused"] += 1
        else:
            found["read"] += 1
        found["slowest"] = max(found["slowest"], int(1e6 * (time.monotonic() - begin)))
        assert found["slowest"] < 1e6 * SLOWEST, data
    return found


# What decoders say of damage, and what Pillow and pydicom warn of, is not the matter here.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_refused_by_name(name: str, tmp_path: Path, fuzz_seconds: float) -> None:
    make, read = KINDS[name]
    (tmp_path / "damaged.bin").write_bytes(make(tmp_path))
    read(tmp_path, make(tmp_path), "damaged.bin")
    found = fuzz(name, tmp_path, fuzz_seconds / len(KINDS), least=20)
    assert found["refused"] > 0 and found["read"] + found["refused"] >= 20


HOSTILE = """
import resource, sys, warnings
from pathlib import Path
from PIL import Image
import pydicom.pixels, tifffile
from vitc.data import Decoder

warnings.simplefilter("ignore")
decode = Decoder(max_pixels=10**8)
decode(sys.argv[1]); Decoder(value_range="dtype")(sys.argv[1])  # everything is loaded
here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (here + (100 << 20),) * 2)
for path in sys.argv[2:]:
    for decoder in (decode, Decoder(value_range="minmax", max_pixels=10**8)):
        try:
            decoder(path)
        except OSError as error:
            print(path in str(error), error)
"""


def test_hostile_headers_take_no_memory(tmp_path: Path) -> None:
    """Headers that promise gigabytes, in a process that has 100 MB left."""
    huge = 60_000
    jpeg = bytearray(saved("JPEG")())
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = huge.to_bytes(2, "big") * 2
    png = bytearray(saved("PNG")())
    png[16:24] = huge.to_bytes(4, "big") * 2
    bmp = bytearray(saved("BMP")())
    bmp[18:26] = huge.to_bytes(4, "little") * 2
    files = {
        "a.jpg": bytes(jpeg),
        "a.png": bytes(png),
        "a.bmp": bytes(bmp),
        "a.dcm": dicom(UNITS, Rows=huge, Columns=huge),
        "a.tiff": tiff(np.zeros((8, 8, 7), np.float32), planarconfig="contig")().replace(
            b"\x08\x00\x00\x00\x01\x01", huge.to_bytes(4, "little") + b"\x01\x01", 1
        ),
    }
    whole = tmp_path / "whole.png"
    whole.write_bytes(saved("PNG")())
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, whole, *(tmp_path / name for name in files)],
        capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 2 * len(files) and all(line.startswith("True ") for line in lines), lines


def main(seconds: float, folder: Path) -> None:
    """A table, and for a decoder that does not return a traceback instead."""
    warnings.simplefilter("ignore")
    start = peak()
    columns = ("files", "read", "refused", "slowest, ms", "memory, MB")
    print(f"{'damaged':20}" + "".join(f"{name:>13}" for name in columns))
    for name in KINDS:
        faulthandler.dump_traceback_later(seconds / len(KINDS) + 60, exit=True)
        found = fuzz(name, folder, seconds / len(KINDS), seed=1)
        row = (found["read"] + found["refused"], found["read"], found["refused"])
        print(f"{name:20}" + "".join(f"{n:13}" for n in row), end="")
        print(f"{found['slowest'] / 1000:13.1f}{peak() - start:13}", flush=True)
    print("no other exception, no crash; memory: more than in the beginning, at most until then")


def peak() -> int:
    """MB of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        main(float(sys.argv[1]), Path(folder))
