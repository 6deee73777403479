"""DICOM images by pydicom: stored values to units, units to a window, a window to 16 bits.

The way of the standard (PS3.3 C.11.1, C.11.2, C.7.6.3): unused bits are cut off, the modality
(rescale slope and intercept, or a table) makes units such as Hounsfield's of what is stored, and a
window of interest makes shares of black and white of these. MONOCHROME1 is turned over, so that
more is brighter, and padding around the image is black.

Needs the extra `medical`: pydicom, with the decoders of pylibjpeg for compressed files.
"""

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.data.decoding import jpeg, pixels
from vitc.data.decoding.errors import NoFrame, Unreadable, reading
from vitc.errors import shown

Window = tuple[float, float]  # centre, width

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SIZ = struct.Struct(">4I")  # right, bottom, left, top
_RLE = "1.2.840.10008.1.2.5"
_SIGNATURE = slice(128, 132)


def is_dicom(data: bytes) -> bool:
    return data[_SIGNATURE] == b"DICM"


def check_windows(windows: Sequence[Window] | None) -> None:
    """Raises `ValueError` naming what is not a window."""
    for window in windows or ():
        if len(window) != 2 or not float(window[1]) > 0:
            raise ValueError(
                f"window {shown(window)}, expected (centre, width) with a width above 0"
            )
    if windows is not None and not len(windows):
        raise ValueError("windows is empty, expected (centre, width), one per channel, or None")


def decode(
    data: bytes,
    name: str,
    frame: int,
    check: pixels.SizeCheck,
    windows: Sequence[Window] | None = None,
    value_range: pixels.ValueRange | None = None,
) -> Array:
    """A frame as (H, W, C): uint16 from black to white, or the colours of a colour image as stored.

    windows: (centre, width) in units, one channel each. None: value_range, of units, or of the
    bits stored if it is "dtype". None as well: the file's own window or table, and for a file
    without one the range of its units.

    Raises `OSError` naming the file if it cannot be read, `IndexError` for a frame that it does not
    have, `ImportError` naming the extra without pydicom.
    """
    with reading(name):
        header = _header(io.BytesIO(data), name)
        _check_frame(header, name, frame)
        working = int(header.get("SamplesPerPixel", 1)) * pixels.WORKING
        check(name, int(header.Columns), int(header.Rows), working)
        _check_codestream(header, name, frame)
        return _frame(header, frame, windows, value_range, name)


class About(NamedTuple):
    """What a file says of itself before its pixels. patient: PatientID, what the images of a
    patient have in common."""

    frames: int
    height: int
    width: int
    patient: str


def about(file: BinaryIO, name: str) -> About:
    """Reads up to the pixels. Raises as `decode`."""
    with reading(name):
        tags = ["NumberOfFrames", "Rows", "Columns", "PatientID"]
        header = _header(file, name, tags)
        height, width = (int(header.get(tag) or 0) for tag in ("Rows", "Columns"))
        return About(_count(header), height, width, str(header.get("PatientID") or ""))


# ------------------------------------------------------------------------------- the file


def _header(file: BinaryIO, name: str, tags: list[str] | None = None) -> Any:
    """All of a file, or these tags of those before the pixels."""
    try:
        import pydicom
    except ImportError:
        raise ImportError(f'{name}: DICOM needs pydicom: pip install "vitc[medical]"') from None
    if _DEFLATED in file.read(1024):  # nothing says how large it will be
        raise Unreadable(f"{name}: deflated DICOM files are not read")
    file.seek(0)
    return pydicom.dcmread(file, specific_tags=tags, stop_before_pixels=tags is not None)


def _count(header: Any) -> int:
    return max(1, int(header.get("NumberOfFrames") or 1))


def _check_frame(header: Any, name: str, frame: int) -> None:
    for tag in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelData"):
        if tag not in header:
            raise Unreadable(f"{name}: this DICOM file has no image: it has no {tag}")
    count = _count(header)
    if not 0 <= frame < count:
        raise NoFrame(name, frame, count)


def _check_codestream(header: Any, name: str, frame: int) -> None:
    """Raises `Unreadable` where what is compressed claims another size than the file around it, by
    which a decoder would take memory."""
    if not header.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    from pydicom.encaps import get_frame

    data = get_frame(header.PixelData, frame, number_of_frames=_count(header))
    jpeg.check_scans(data, name)
    claimed = _size_of_jpeg2000(data) or jpeg.size(data)
    size = (int(header.Columns), int(header.Rows), int(header.get("SamplesPerPixel", 1)))
    if claimed is not None and claimed != size:
        raise Unreadable(
            f"{name}: its pixels are compressed as (width, height, channels) {claimed}, its header "
            f"says {size}"
        )


def _size_of_jpeg2000(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and channels by the segment SIZ (ISO 15444-1, A.5.1)."""
    begin = data.find(b"\xff\x4f\xff\x51", 0, 1024)
    if begin < 0:
        return None
    right, bottom, left, top = _SIZ.unpack_from(data, begin + 8)
    return right - left, bottom - top, int.from_bytes(data[begin + 40 : begin + 42])


# ------------------------------------------------------------------------------- the pixels


def _frame(
    header: Any,
    frame: int,
    windows: Sequence[Window] | None,
    value_range: pixels.ValueRange | None,
    name: str,
) -> Array:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    # pylibjpeg's decoder of RLE panics on damage, which nothing can catch but a bare except.
    plugin = "pydicom" if header.file_meta.TransferSyntaxUID == _RLE else ""
    stored = pixel_array(header, index=frame, decoding_plugin=plugin)
    kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)
    if stored.ndim == 3:
        return pixels.within(stored, value_range or "dtype", name)
    padding = _padding(stored, header)
    if windows is None and value_range == "dtype":
        shares = [_stored_share(stored, header)]
    else:
        units = apply_modality_lut(stored, header)
        shares = _shares(units, padding, header, windows, value_range)
    image = np.stack([1 - s if kind == "MONOCHROME1" else s for s in shares], axis=2)
    image[padding] = 0
    return pixels.to_uint16(image)


def _padding(stored: Array, header: Any) -> Array:
    """Where there is no image (C.7.5.1.1.2)."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = header.get("PixelPaddingRangeLimit", value)
    low, high = sorted((int(value), int(limit)))
    return (stored >= low) & (stored <= high)


def _stored_share(stored: Array, header: Any) -> Array:
    bits, signed = int(header.BitsStored), bool(header.get("PixelRepresentation", 0))
    low = -(2 ** (bits - 1)) if signed else 0
    return np.asarray((stored.astype(np.float64) - low) / (2**bits - 1))


def _shares(
    units: Array,
    padding: Array,
    header: Any,
    windows: Sequence[Window] | None,
    value_range: pixels.ValueRange | None,
) -> list[Array]:
    """Per channel the share of white, not yet clipped."""
    if windows is not None:
        function = _FUNCTIONS[_function(header)]
        return [function(units.astype(np.float64), *map(float, window)) for window in windows]
    if value_range is not None:
        return [_ranged(units, padding, value_range)]
    if header.get("VOILUTSequence"):
        return [_by_table(units, header)]
    if "WindowCenter" in header and "WindowWidth" in header:
        window = (_first(header.WindowCenter), _first(header.WindowWidth))
        check_windows([window])
        return [_FUNCTIONS[_function(header)](units.astype(np.float64), *window)]
    return [_ranged(units, padding, "minmax")]


def _first(value: Any) -> float:
    """Of a tag that may hold several windows."""
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _ranged(units: Array, padding: Array, value_range: pixels.ValueRange) -> Array:
    low, high = pixels.ends(units[~padding], value_range)
    shares = units.astype(np.float64) - low
    return shares / (high - low) if high > low else np.zeros_like(shares)


def _by_table(units: Array, header: Any) -> Array:
    from pydicom.pixels import apply_voi

    bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
    whole = units if units.dtype.kind in "iu" else np.rint(units).astype(np.int32)
    return np.asarray(apply_voi(whole, header) / (2**bits - 1))


# ------------------------------------------------------------------------------- windows


def _linear(units: Array, centre: float, width: float) -> Array:
    """C.11.2.1.2.1: half a unit off the centre, one off the width."""
    if width <= 1:
        return np.where(units > centre - 0.5, 1.0, 0.0)
    return (units - (centre - 0.5)) / (width - 1) + 0.5


def _linear_exact(units: Array, centre: float, width: float) -> Array:
    """C.11.2.1.3.2."""
    return (units - centre) / width + 0.5


def _sigmoid(units: Array, centre: float, width: float) -> Array:
    """C.11.2.1.3.1."""
    return 1 / (1 + np.exp(np.clip(-4 * (units - centre) / width, -700, 700)))


_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _function(header: Any) -> str:
    name = str(header.get("VOILUTFunction") or "LINEAR")
    if name not in _FUNCTIONS:
        raise ValueError(f"VOILUTFunction is {shown(name)}, expected {', '.join(_FUNCTIONS)}")
    return name
