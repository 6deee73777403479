"""vitc.data.decoding.decode against Pillow: pixels, modes, and files that are no images."""

import io
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image, ImageFile, ImageOps

from vitc.data import open_image
from vitc.data.decoding import decode

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS).resize((150, 101), Image.Resampling.BICUBIC)

# name -> (mode stored, format, options of Image.save)
FILES = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg 4:4:4": ("RGB", "JPEG", dict(subsampling=0)),
    "jpeg 4:2:2": ("RGB", "JPEG", dict(subsampling=1)),
    "jpeg progressive": ("RGB", "JPEG", dict(progressive=True)),
    "jpeg in RGB": ("RGB", "JPEG", dict(keep_rgb=True)),
    "jpeg grey": ("L", "JPEG", {}),
    "jpeg CMYK": ("CMYK", "JPEG", {}),
    "png": ("RGB", "PNG", {}),
    "png grey": ("L", "PNG", {}),
    "png palette": ("P", "PNG", {}),
    "png alpha": ("RGBA", "PNG", {}),
    "png grey alpha": ("LA", "PNG", {}),
    "png 1 bit": ("1", "PNG", {}),
    "bmp": ("RGB", "BMP", {}),
    "tiff": ("RGB", "TIFF", {}),
    "webp": ("RGB", "WEBP", {}),
}
FAST = {name for name in FILES if name.startswith("jpeg") and "CMYK" not in name}


def encoded(mode: str, format: str, options: dict) -> bytes:
    file = io.BytesIO()
    PHOTO.convert(mode).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", None])
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str, mode: str | None) -> None:
    data = encoded(*FILES[name])
    theirs = Image.open(io.BytesIO(data))
    theirs = theirs if mode is None else theirs.convert(mode)
    ours = open_image(data, mode)
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_jpeg_takes_the_fast_way_unless_it_is_cmyk(name: str, monkeypatch) -> None:
    slow = []
    by_pillow = decode.Decoder._by_pillow
    monkeypatch.setattr(
        decode.Decoder, "_by_pillow", lambda *args: slow.append(1) or by_pillow(*args)
    )
    open_image(encoded(*FILES[name]))
    assert (not slow) == (name in FAST)


def test_names_say_nothing_about_the_content(tmp_path: Path) -> None:
    for name, kind in (("a.png", "jpeg"), ("b.jpg", "png")):
        (tmp_path / name).write_bytes(encoded(*FILES[kind]))
    assert open_image(tmp_path / "b.jpg").tobytes() == PHOTO.tobytes()
    assert open_image(str(tmp_path / "a.png")).size == PHOTO.size


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    with pytest.warns(UserWarning, match="EXIF"):
        assert open_image(encoded("RGB", "JPEG", dict(exif=exif))).size == PHOTO.size


# ------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "jpeg grey", "jpeg CMYK", "png"])
def test_truncated_files_are_named(kind: str, tmp_path: Path) -> None:
    data, path = encoded(*FILES[kind]), tmp_path / "cut.jpg"
    end = len(data) - (40 if kind == "png" else 0)  # Pillow does not read the last bytes of a PNG
    for length in (3, 30, end // 2, end - 2, end - 1):
        path.write_bytes(data[:length])
        with pytest.raises(OSError, match="cut.jpg: .+"):
            open_image(path)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "it is empty"), (b"hello world", "it begins with b'hello wo'")]
)
def test_what_is_no_image_is_named(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(data)
    with pytest.raises(OSError, match=f"notes.jpg: not an image .+; {reason}"):
        open_image(path)
    with pytest.raises(OSError, match=f"image of {len(data)} bytes: not an image"):
        open_image(data)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        open_image(tmp_path / "none.jpg")


def test_what_pillow_forgives_is_forgiven() -> None:
    """Rubbish between two markers is a warning of libjpeg, on which simplejpeg stops."""
    data = encoded(*FILES["jpeg"])
    odd = data[:2] + b"\xff\xfe\x00\x04ab" + b"??" + data[2:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(odd)
    assert open_image(odd).tobytes() == Image.open(io.BytesIO(odd)).tobytes()


def test_huge_images_are_left_to_pillows_limit(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PHOTO.width * PHOTO.height // 2 - 1)
    with pytest.raises(OSError, match="decompression bomb"):
        open_image(encoded(*FILES["jpeg"]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_image(encoded(*FILES["jpeg"])).size == PHOTO.size


def test_the_switch_of_pillow_for_truncated_files_is_obeyed(monkeypatch) -> None:
    data = encoded(*FILES["jpeg"])[:-200]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert open_image(data).tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_values_above_255_are_not_clipped_in_silence() -> None:
    def stored(values: list[int]) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.array([values], np.uint16)).save(file, "PNG")
        return file.getvalue()

    with pytest.raises(ValueError, match="go from 0 to 40000 .mode I;16.* mode 'RGB' would clip"):
        open_image(stored([0, 300, 40000]))
    assert np.asarray(open_image(stored([0, 300, 40000]), "F")).tolist() == [[0, 300, 40000]]
    assert open_image(stored([0, 300, 40000]), None).mode == "I;16"
    assert np.asarray(open_image(stored([0, 255]), "L")).tolist() == [[0, 255]]


# ------------------------------------------------------------------------------- limits


def test_headers_are_held_to_the_limits_before_anything_is_allocated() -> None:
    def png(width: int, height: int) -> bytes:
        """A header that promises an image, and next to nothing behind it."""
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
            for k, d in chunks
        )

    jpeg = bytearray(encoded(*FILES["jpeg"]))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    for data in (png(2**31 - 1, 2**31 - 1), png(20_000, 9_000), bytes(jpeg)):
        for value_range in (None, "dtype"):
            with pytest.raises(OSError, match="bytes: .+(bomb|max_pixels)"):
                open_image(data, max_pixels=10**8, value_range=value_range)
    with pytest.raises(OSError, match="decoding takes 320000000 bytes, expected 1000000"):
        open_image(png(10_000, 8_000), max_bytes=10**6)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_limits_are_reached_and_not_passed(tmp_path: Path) -> None:
    data, path = encoded(*FILES["png"]), tmp_path / "a.png"
    path.write_bytes(data)
    pixels = PHOTO.width * PHOTO.height
    for source in (data, path, encoded(*FILES["jpeg"])):
        assert open_image(source, max_pixels=pixels).size == PHOTO.size
        with pytest.raises(OSError, match=f"150 x 101 pixels, expected {pixels - 1} at most"):
            open_image(source, max_pixels=pixels - 1)
    assert open_image(path, max_bytes=4 * pixels).size == PHOTO.size
    with pytest.raises(OSError, match=f"a.png: the file takes {len(data)} bytes, expected 99"):
        open_image(path, max_bytes=99)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encoded("RGB", "JPEG", dict(progressive=True))
    last = data.rindex(b"\xff\xda")
    many = data[:last] + data[last:-2] * 500 + data[-2:]
    with pytest.raises(OSError, match=r"a JPEG of \d+ scans, expected 500 at most"):
        open_image(many)
    plain = encoded("RGB", "JPEG", {})
    first = plain.index(b"\xff\xda")
    alone = plain[: first + 2] + b"\0\x08\x01\x01\0\0\x3f\0" + plain[first + 14 :]
    with pytest.raises(OSError, match="a JPEG of 50[0-9] scans"):  # one component in each
        open_image(alone[:-2] + alone[first:-2] * 500 + alone[-2:])
    complete = plain[:-2] + plain[first:-2] * 500 + plain[-2:]
    with pytest.raises(OSError, match="broken data stream"):  # at the second one
        open_image(complete)


def test_a_jpeg_that_ends_within_a_header_is_named() -> None:
    data = encoded(*FILES["jpeg progressive"])
    first = data.index(b"\xff\xda")
    for end in range(first + 20):
        with pytest.raises(OSError, match=f"image of {end} bytes: "):
            open_image(data[:end])


# ------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_sets_images_upright_as_pillow_does(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded("RGB", format, dict(exif=exif))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    image = open_image(data, exif=True)
    assert (image.size, image.tobytes()) == (expected.size, expected.tobytes())
    array = open_image(data, exif=True, value_range="dtype")
    assert array.dtype == np.uint8 and np.array_equal(array, np.asarray(expected))


def test_jpeg_notes_its_orientation_in_two_ways() -> None:
    """Pillow's transposition is the oracle; EXIF comes before XMP, and may be without it."""
    exif, other = Image.Exif(), Image.Exif()
    exif[0x0112], other[0x010F] = 8, "Maker"
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for options in (dict(xmp=xmp), dict(xmp=xmp, exif=other), dict(xmp=xmp, exif=exif)):
        data = encoded("RGB", "JPEG", options)
        image = open_image(data, exif=True)
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert image.size == (PHOTO.height, PHOTO.width)
        assert image.tobytes() == expected.tobytes()
        array = open_image(data, exif=True, value_range="dtype")
        assert np.array_equal(array, np.asarray(expected))


def test_ignored_orientations_are_counted_and_told_once(recwarn) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoder = decode.Decoder()
    for format in ("JPEG", "PNG", "JPEG"):
        decoder(encoded("RGB", format, dict(exif=exif)))
    decoder(encoded(*FILES["jpeg"]))
    assert decoder.turned == 3
    (warning,) = recwarn
    assert "the camera was turned (orientation 6), which is ignored" in str(warning.message)


# ------------------------------------------------------------------------------- 16 bits


def png16(values: np.ndarray) -> bytes:
    """(H, W, C) uint16 as a PNG whose rows take turns with the five filters."""
    height, width, channels = values.shape
    size = 2 * channels
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    out, above = b"", np.zeros(width * size, int)
    for y, row in enumerate(rows):
        left, corner = (np.r_[np.zeros(size, int), line[:-size]] for line in (row, above))
        near = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
        best = np.choose(np.argmin(near, axis=0), [left, above, corner])
        guess = [0 * row, left, above, (left + above) // 2, best][y % 5]
        out += bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
        for k, d in ((b"IHDR", header), (b"IDAT", zlib.compress(out)), (b"IEND", b""))
    )


def tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


DEEP = np.random.default_rng(1).integers(0, 65536, (12, 17, 7), dtype=np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_16_bits(channels: int) -> None:
    values = DEEP[:, :, :channels]
    data = png16(values)
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert channels == 1 or np.array_equal(shown[..., 0], values[..., 0] >> 8)  # Pillow's own
    image = open_image(data, None, value_range="dtype")
    assert image.dtype == np.uint16 and np.array_equal(image, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_tiff_keeps_16_bits(channels: int, compression: str | None, order: str) -> None:
    """The oracle of reading is tifffile, which has written it."""
    values = DEEP[:, :, :channels]
    kind = "rgb" if channels in (3, 4) else "minisblack"
    data = tiff(
        values[:, :, 0] if channels == 1 else values,
        byteorder=order, compression=compression, photometric=kind, planarconfig="contig",
    )  # fmt: skip
    assert np.array_equal(open_image(data, None, value_range="dtype"), values)


def test_tiff_of_floats_and_planes() -> None:
    values = DEEP[:, :, :3].astype(np.float32) - 20000
    for data in (
        tiff(values, photometric="rgb"),
        tiff(np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate"),
    ):
        image = open_image(data, value_range=(-20000, 45535))
        assert np.array_equal(image, DEEP[:, :, :3])
    with pytest.raises(ValueError, match="values of float32; value_range=.dtype. is for 8 or 16"):
        open_image(tiff(values[:, :, 0]), value_range="dtype")


def test_pages_of_a_tiff_are_frames() -> None:
    pages = np.moveaxis(DEEP, 2, 0)
    data = tiff(pages, photometric="minisblack")
    assert decode.Decoder().frames(data) == 7
    for i, page in enumerate(pages):
        assert np.array_equal(open_image(data, "L", value_range="dtype", frame=i)[..., 0], page)
    with pytest.raises(IndexError, match="there is no frame 7, it has 7"):
        open_image(data, frame=7)
    floats = tiff(np.stack([DEEP[..., :5]] * 2).astype(np.float32), planarconfig="contig")
    assert np.array_equal(open_image(floats, None, value_range=(0, 65535), frame=1), DEEP[..., :5])
    assert decode.Decoder().frames(floats) == 2 and decode.Decoder().shape(floats) == (12, 17)
    with pytest.raises(IndexError, match="there is no frame 2, it has 2"):
        open_image(floats, value_range="minmax", frame=2)


def test_without_tifffile_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    data = tiff(DEEP, planarconfig="contig")
    with pytest.raises(ImportError, match=r'needs tifffile: pip install "vitc\[medical\]"'):
        open_image(data, None, value_range="dtype")


def test_ranges_by_their_definitions() -> None:
    values = DEEP[:, :, 0] // 20 + 100
    data = png16(values[:, :, None])

    def stretched(low: float, high: float) -> np.ndarray:
        return np.rint(65535 * np.clip((values.astype(float) - low) / (high - low), 0, 1))

    cases = {
        "minmax": (values.min(), values.max()),
        ("percentile", 5, 90): np.percentile(values, [5, 90]),
        (200, 3000.5): (200, 3000.5),
        (0, 65535): (0, 65535),
    }
    for value_range, ends in cases.items():
        image = open_image(data, "L", value_range=value_range)
        assert (image.dtype, image.shape) == (np.uint16, (12, 17, 1))
        assert np.array_equal(image[:, :, 0], stretched(*ends))
    flat = png16(np.full((2, 2, 1), 7, np.uint16))
    assert not open_image(flat, value_range="minmax").any()
    dark = Image.fromarray(np.array([[0, 51, 255]], np.uint8))
    file = io.BytesIO()
    dark.save(file, "PNG")
    assert open_image(file.getvalue(), "L", value_range=(0, 255)).ravel().tolist() == [
        0, 13107, 65535
    ]  # fmt: skip


def test_modes_of_16_bits_are_pillows_of_8() -> None:
    for channels in (1, 2, 3, 4):
        deep = png16(DEEP[:, :, :channels])
        rgb, grey = (open_image(deep, mode, value_range="dtype") for mode in ("RGB", "L"))
        assert (rgb.shape[2], grey.shape[2]) == (3, 1)
        assert np.array_equal(
            rgb, np.broadcast_to(DEEP[:, :, : 3 if channels > 2 else 1], rgb.shape)
        )
        weighted = DEEP[:, :, :3].astype(float) @ (0.299, 0.587, 0.114)
        expected = weighted if channels > 2 else DEEP[:, :, 0]
        assert np.max(np.abs(grey[:, :, 0] - expected)) < 1.5  # the weights have 16 bits
    for name, (stored, format, options) in FILES.items():
        for mode in ("RGB", "L"):
            data = encoded(stored, format, options)
            array = open_image(data, mode, value_range="dtype")
            assert np.array_equal(array.squeeze(), np.asarray(open_image(data, mode))), name
    with pytest.raises(ValueError, match="7 channels are neither grey nor colour"):
        open_image(tiff(DEEP, photometric="minisblack", planarconfig="contig"), value_range="dtype")


@pytest.mark.parametrize("bad", ["max", (3, 3), ("percentile", 5), ("percentile", -1, 50), 7, (1,)])
def test_ranges_that_are_none_are_named(bad) -> None:
    with pytest.raises(ValueError, match="value_range is .+, expected"):
        open_image(b"", value_range=bad)


def test_other_modes_have_no_range() -> None:
    with pytest.raises(ValueError, match="mode is 'HSV', expected 'L', 'RGB' or None"):
        open_image(b"", "HSV", value_range="dtype")


@pytest.mark.parametrize("mode", ["RGB", "L", None])
@pytest.mark.parametrize("stored", ["RGB", "L", "CMYK"])
def test_jpegs_as_arrays_are_pillows(stored: str, mode: str | None) -> None:
    """Oracle: Pillow's own decoder, to the bit."""
    noise = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(stored).save(file := io.BytesIO(), "JPEG", quality=90)
    image = Image.open(io.BytesIO(file.getvalue()))
    if stored == "CMYK":
        image = image.convert("RGB")
    expected = np.atleast_3d(np.asarray(image if mode is None else image.convert(mode)))
    assert np.array_equal(decode.Decoder(mode, value_range="dtype")(file.getvalue()), expected)
