"""DICOM: windows and bits by the formulas of PS3.3 on files that pydicom writes, and the compressed
files that come with pydicom against what it decodes."""

import io
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from vitc.data import DataLoader, DicomFolder, open_image

UNITS = np.random.default_rng(0).integers(-1024, 3072, (6, 9), dtype=np.int16)


def dicom(stored: np.ndarray, **tags) -> bytes:
    """A file with these stored values, (H, W) or (frames, H, W)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * stored.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    if stored.ndim == 3:
        ds.NumberOfFrames = len(stored)
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.PixelData = stored.tobytes()
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def top(shares: np.ndarray) -> np.ndarray:
    return np.rint(65535 * np.clip(shares, 0, 1))


def grey(data: bytes, **options) -> np.ndarray:
    image = open_image(data, "L", **options)
    assert image.dtype == np.uint16 and image.shape[2] == 1
    return image[:, :, 0]


# ------------------------------------------------------------------------------- windows


def linear(x, c, w):
    return np.where(x <= c - 0.5 - (w - 1) / 2, 0, np.where(x > c - 0.5 + (w - 1) / 2, 1,
                    (x - (c - 0.5)) / (w - 1) + 0.5))  # fmt: skip


def exact(x, c, w):
    return np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 1, (x - c) / w + 0.5))


def sigmoid(x, c, w):
    return 1 / (1 + np.exp(-4 * (x - c) / w))


FUNCTIONS = {"LINEAR": linear, "LINEAR_EXACT": exact, "SIGMOID": sigmoid}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("window", [(40, 400), (-600, 1500), (1023.5, 1)])
def test_windows_follow_the_standard(name: str, window: tuple[float, float]) -> None:
    stored = (UNITS.astype(np.int64) + 1024).astype(np.uint16)
    rescale = dict(RescaleSlope="1", RescaleIntercept="-1024")
    given = dict(WindowCenter=str(window[0]), WindowWidth=str(window[1]), VOILUTFunction=name)
    expected = top(FUNCTIONS[name](UNITS.astype(float), *window)) if window[1] > 1 else None
    data = dicom(stored, **rescale, **given)
    ours = grey(data)
    if expected is not None:
        assert np.array_equal(ours, expected)
    ds = pydicom.dcmread(io.BytesIO(data))
    with np.errstate(over="ignore"):
        theirs = apply_voi_lut(ds.pixel_array.astype(float) - 1024, ds)
    # pydicom's go from the least unit to the greatest, which are 65535 apart.
    assert np.max(np.abs(ours - (theirs + 1024))) <= 1
    assert np.array_equal(
        grey(dicom(stored, **rescale, VOILUTFunction=name), windows=[window]), ours
    )


def test_several_windows_are_channels() -> None:
    windows = [(-600, 1500), (40, 400), (400, 1800)]
    image = open_image(dicom(UNITS), windows=windows)
    assert image.shape == (6, 9, 3)
    for channel, window in enumerate(windows):
        assert np.array_equal(image[:, :, channel], top(linear(UNITS.astype(float), *window)))
    assert open_image(dicom(UNITS), None, windows=windows[:2]).shape == (6, 9, 2)
    for bad in ([], [(40, 0)], [(1, 2, 3)]):
        with pytest.raises(ValueError, match="window"):
            open_image(dicom(UNITS), windows=bad)


def test_of_several_windows_in_the_file_it_is_the_first() -> None:
    several = dicom(UNITS, WindowCenter=["40", "0"], WindowWidth=["400", "10"])
    assert np.array_equal(grey(several), grey(dicom(UNITS), windows=[(40, 400)]))


def test_without_a_window_it_is_the_whole_range_or_the_one_given() -> None:
    units = UNITS.astype(float)
    low, high = units.min(), units.max()
    assert np.array_equal(grey(dicom(UNITS)), top((units - low) / (high - low)))
    windowed = dicom(UNITS, WindowCenter="40", WindowWidth="400")
    assert np.array_equal(grey(windowed, value_range="minmax"), grey(dicom(UNITS)))
    assert np.array_equal(grey(windowed, value_range=(-100, 900)), top((units + 100) / 1000))
    assert np.array_equal(grey(windowed, value_range="dtype"), UNITS.astype(int) + 32768)


def test_a_table_of_interest_takes_the_place_of_a_window() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], (np.arange(256) ** 2).astype("<u2").tobytes()
    stored = np.arange(54, dtype=np.uint8).reshape(6, 9) * 5
    data = dicom(stored, VOILUTSequence=[table])
    assert np.array_equal(grey(data), stored.astype(int) ** 2)


# ------------------------------------------------------------------------------- bits


def test_monochrome1_is_turned_over() -> None:
    window = dict(WindowCenter="40", WindowWidth="400")
    turned = grey(dicom(UNITS, PhotometricInterpretation="MONOCHROME1", **window))
    assert np.array_equal(turned, 65535 - grey(dicom(UNITS, **window)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_bits_above_those_stored_do_not_count(dtype) -> None:
    clean = UNITS if dtype == np.int16 else UNITS.view(np.uint16) & 0x0FFF
    assert clean.min() >= -2048 and clean.max() < 4096
    bits = 13 if dtype == np.int16 else 12
    noise = np.random.default_rng(1).integers(0, 8, UNITS.shape).astype(np.uint16) << bits
    stored = ((clean.view(np.uint16) & (2**bits - 1)) | noise).view(dtype)
    data = dicom(stored, BitsStored=bits, HighBit=bits - 1)
    assert np.array_equal(grey(data), grey(dicom(np.ascontiguousarray(clean))))
    whole = clean.astype(float) + (2 ** (bits - 1) if dtype == np.int16 else 0)
    assert np.array_equal(grey(data, value_range="dtype"), top(whole / (2**bits - 1)))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(kind: str) -> None:
    padded = np.pad(UNITS, 2, constant_values=-3000)
    padded[0, 0] = -2990
    data = dicom(
        padded,
        PhotometricInterpretation=kind,
        PixelPaddingValue=-3000,
        PixelPaddingRangeLimit=-2990,
    )
    image = grey(data)
    assert np.array_equal(image[2:-2, 2:-2], grey(dicom(UNITS, PhotometricInterpretation=kind)))
    image[2:-2, 2:-2] = 0
    assert not image.any()


def test_frames_are_read_one_by_one() -> None:
    stack = np.stack([UNITS, UNITS + 1, UNITS[::-1]])
    data = dicom(stack)
    for frame, units in enumerate(stack):
        assert np.array_equal(grey(data, frame=frame), grey(dicom(np.ascontiguousarray(units))))
    with pytest.raises(IndexError, match="there is no frame 3, it has 3"):
        open_image(data, frame=3)


# ------------------------------------------------------------------------------- compressed

COMPRESSED = [
    "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_16.dcm", "MR_small_bigendian.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files_are_those_that_pydicom_decodes(name: str) -> None:
    data = Path(get_testdata_file(name)).read_bytes()
    ds = pydicom.dcmread(io.BytesIO(data))
    values = ds.pixel_array.astype(float)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    units = values * slope + intercept
    if "PixelPaddingValue" in ds:
        units = np.where(values == ds.PixelPaddingValue, 0, units)
    assert np.array_equal(grey(data, value_range=(0, 900)), top(units / 900))


def test_lossless_files_are_equal_to_the_plain_one() -> None:
    plain = grey(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        assert np.array_equal(grey(Path(get_testdata_file(name)).read_bytes()), plain)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_colours_stay_as_they_are(name: str) -> None:
    data = Path(get_testdata_file(name)).read_bytes()
    image = open_image(data)
    assert image.dtype == np.uint8
    assert np.array_equal(image, pydicom.dcmread(io.BytesIO(data)).pixel_array)


# ------------------------------------------------------------------------------- faults


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    data, path = dicom(UNITS), tmp_path / "a.dcm"

    def refused(content: bytes, message: str, **options) -> None:
        path.write_bytes(content)
        with pytest.raises(OSError, match=f"a.dcm: {message}"):
            open_image(path, **options)

    refused(data[:-20], "the image cannot be read")
    refused(data[:200], "the image cannot be read|this DICOM file has no image")
    refused(dicom(UNITS, VOILUTFunction="CURVE", WindowCenter="1", WindowWidth="9"), ".*'CURVE'")
    refused(dicom(UNITS, Rows=60000, Columns=60000), "its header says 60000 x 60000 pixels")
    refused(data, "its header says 9 x 6 pixels", max_pixels=53)
    refused(Path(get_testdata_file("rtplan.dcm")).read_bytes(), "this DICOM file has no image")
    refused(Path(get_testdata_file("image_dfl.dcm")).read_bytes(), "deflated")


# How each way of compressing notes a height and a width of its own: (marker, its distance, bytes).
CLAIMS = {
    "MR_small_jp2klossless.dcm": (b"\xff\x4f\xff\x51", 8, 4),
    "JPGExtended.dcm": (b"\xff\xc1", 5, 2),
    "MR_small_jpeg_ls_lossless.dcm": (b"\xff\xf7", 5, 2),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_compressed_pixels_do_not_claim_another_size(name: str) -> None:
    """With 60,000 x 60,000 in its place, the decoder of JPEG 2000 took 7 GB."""
    data = bytearray(Path(get_testdata_file(name)).read_bytes())
    marker, distance, width = CLAIMS[name]
    place = data.index(marker, 512) + distance
    data[place : place + 2 * width] = (60_000).to_bytes(width, "big") * 2
    with pytest.raises(OSError, match=r"compressed as .* .60000, 60000, 1., its header says"):
        open_image(bytes(data))


def test_without_pydicom_the_extra_is_named(monkeypatch) -> None:
    data = dicom(UNITS)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r'needs pydicom: pip install "vitc\[medical\]"'):
        open_image(data)


# ------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, (kind, patient) in enumerate([("a", "P1"), ("a", "P2"), ("b", "P1")]):
        place = tmp_path / kind / patient
        place.mkdir(parents=True)
        frames = np.stack([UNITS + i, UNITS - i]) if i == 1 else UNITS + i
        (place / f"IM{i}").write_bytes(dicom(frames, PatientID=patient))
        (place / "DICOMDIR").write_text("no image")
    return tmp_path


def test_folders_find_files_by_content_frames_and_patients(folder: Path) -> None:
    data = DicomFolder(folder, mode="L")
    assert [Path(path).name for path, _ in data.samples] == ["IM0", "IM1", "IM1", "IM2"]
    assert (data.targets, data.classes) == ([0, 0, 0, 1], ["a", "b"])
    assert data.groups == ["P1", "P2", "P2", "P1"]
    assert data.frames == [0, 0, 1, 0]
    for i, units in enumerate([UNITS, UNITS + 1, UNITS - 1, UNITS + 2]):
        assert np.array_equal(data[i][0][:, :, 0], grey(dicom(units)))
    assert DicomFolder(folder, windows=[(0, 9), (5, 9), (7, 9)])[0][0].shape == (6, 9, 3)


def test_a_broken_file_is_no_matter_before_it_is_read(folder: Path) -> None:
    path = folder / "a/P1/IM0"
    path.write_bytes(path.read_bytes()[:140])
    loader = DataLoader(DicomFolder(folder), 1, on_error="skip")
    with pytest.warns(UserWarning, match="1 of 4 samples cannot be read.*\n.*IM0"):
        assert sum(len(y) for _, y in loader) == 3


def test_a_folder_without_dicom_is_named(folder: Path) -> None:
    (folder / "c").mkdir()
    with pytest.raises(FileNotFoundError, match="c: there are no DICOM files in it"):
        DicomFolder(folder)
