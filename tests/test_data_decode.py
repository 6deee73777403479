"""vitc.data.decode against Pillow: pixels, modes, and files that are no images."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from vitc.data import decode, open_image

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
    monkeypatch.setattr(
        decode, "_decode_by_pillow", lambda data, _: slow.append(1) or Image.open(io.BytesIO(data))
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
