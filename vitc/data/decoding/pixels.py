"""Images of more than 8 bits per value: read whole, given channels, put into a range.

Arrays here are (H, W, C) of the type that the file stores.
"""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc.arrays import Array
from vitc.data.decoding.errors import NoFrame, reading
from vitc.errors import shown

if TYPE_CHECKING:
    from PIL.Image import Image

# "dtype", "minmax", ("percentile", low, high) or (low, high).
ValueRange = str | tuple[str, float, float] | tuple[float, float]
# (name, width, height, bytes per pixel); raises OSError for what is too large.
SizeCheck = Callable[[str, int, int, int], None]

TOP = 65535  # of 16 bits
WORKING = 8  # bytes per value while a range is applied

# Pillow reads colours of 16 bits by their upper bytes alone. Read once more, as if the bytes stood
# the other way round, it gives the lower ones; these are the modes for which it knows both ways.
_TWO_WAYS = ("RGB;16", "RGBA;16", "RGBX;16")

# Modes of 8 bits whose bytes are neither grey nor colours.
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB"}


def check_range(value_range: Any) -> None:
    """Raises `ValueError` naming a bad value_range."""
    match value_range:
        case None | "dtype" | "minmax":
            return
        case ("percentile", int() | float() as low, int() | float() as high):
            if 0 <= low < high <= 100:
                return
        case (int() | float() as low, int() | float() as high) if low < high:
            return
    raise ValueError(
        f'value_range is {shown(value_range)}, expected "dtype", "minmax", ("percentile", low, '
        "high) with 0 <= low < high <= 100, or (low, high)"
    )


def within(values: Array, value_range: ValueRange, name: str) -> Array:
    """uint16 of the same shape: the range from 0 to 65535, what lies outside of it at its ends.

    "dtype" leaves uint8 and uint16 as they are. Values that are no number become 0.
    """
    if value_range == "dtype":
        if values.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f'{name}: values of {values.dtype}; value_range="dtype" is for 8 or 16 bits'
            )
        return np.ascontiguousarray(values)
    low, high = ends(values, value_range)
    if not high > low:
        return np.zeros(values.shape, np.uint16)
    shares = values.astype(np.float64)
    shares -= low
    shares /= high - low
    return to_uint16(shares)


def ends(values: Array, value_range: ValueRange) -> tuple[float, float]:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if isinstance(value_range, tuple) and value_range[0] != "percentile":
        return float(value_range[-2]), float(value_range[-1])
    if not finite.size:
        return 0.0, 0.0
    if value_range == "minmax":
        return float(finite.min()), float(finite.max())
    low, high = np.percentile(finite, [float(share) for share in value_range[1:]])
    return float(low), float(high)


def to_uint16(shares: Array) -> Array:
    """uint16 of shares (float64, which are lost) of the full range, rounded to the nearest."""
    np.nan_to_num(shares, copy=False)
    np.clip(shares, 0, 1, out=shares)
    shares *= TOP
    return np.rint(shares, out=shares).astype(np.uint16)


def with_channels(values: Array, mode: str | None, name: str) -> Array:
    """(H, W, 1) for mode "L", (H, W, 3) for "RGB", as they are for None: grey repeated, colours
    weighted as Pillow does, transparency dropped.

    Raises `ValueError` for a number of channels that has no colours.
    """
    channels = values.shape[2]
    wanted = {"L": 1, "RGB": 3}.get(mode or "", channels)
    colours = {1: 1, 2: 1, 3: 3, 4: 3}.get(channels)
    if wanted == channels:
        return values
    if colours is None or (channels == 2 and mode is None):
        raise ValueError(
            f"{name}: {channels} channels are neither grey nor colour; expected mode=None"
        )
    values = values[:, :, :colours]
    if colours == wanted:
        return values
    return np.repeat(values, 3, axis=2) if colours == 1 else _grey(values)


def _grey(values: Array) -> Array:
    """Pillow's sum for "L", which rounds: weights of 16 bits that add up to 65536."""
    weights = (19595, 38470, 7471)
    if values.dtype.kind == "f":
        return np.asarray(values @ np.array(weights, values.dtype) / 65536)[:, :, None]
    total: Array = values.astype(np.int64) @ np.array(weights)
    return ((total + 0x8000) >> 16).astype(values.dtype)[:, :, None]


# ------------------------------------------------------------------------------- Pillow


def bytes_per_pixel(image: "Image") -> int:
    """What Pillow allocates for a pixel."""
    if image.mode.startswith("I;16"):
        return 2
    return 1 if image.mode in ("1", "L", "P") else 4


def from_pillow(image: "Image", data: bytes, frame: int) -> tuple[Array, int]:
    """The pixels of an opened image, whose file is data, and how it is turned (EXIF).

    Values of more than 8 bits keep them all; a palette becomes colours.
    """
    raw = _raw_mode(image)
    if raw == "LA;16B":
        # Grey and transparency, 16 bits each, take the place of four bytes in a row.
        image = _read_as("RGBA", data, frame)
        four = np.asarray(image).astype(np.uint16)
        values = four[:, :, 0::2] << 8 | four[:, :, 1::2]
    elif raw.startswith(_TWO_WAYS):
        kind, order = raw[:-1], raw[-1]
        big = order == "B" or (order == "N" and sys.byteorder == "big")
        image, other = (_read_as(kind + end, data, frame) for end in ("BL" if big else "LB"))
        values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(other)
    else:
        image.load()
        plain = _PLAIN.get(image.mode)
        values = np.asarray(image.convert(plain) if plain else image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    orientation = int(image.getexif().get(0x0112, 1))
    return values.reshape(*values.shape[:2], -1), orientation


def _raw_mode(image: Any) -> str:
    """How Pillow says the pixels stand in the file, "" where it does not."""
    arguments = [tile.args for tile in image.tile[:1]]
    first = arguments[0] if arguments else ""
    first = first[0] if isinstance(first, tuple) and first else first
    return first if isinstance(first, str) else ""


def _read_as(raw: str, data: bytes, frame: int) -> "Image":
    """The image as Pillow reads it if told that its pixels stand in the file like raw."""
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.seek(frame)
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]
    image.load()
    return image


# ------------------------------------------------------------------------------- tifffile


_SEPARATE = 2  # planes of one channel each


def pillow_knows(data: bytes) -> bool:
    """Whether Pillow has a mode for this TIFF; it has none for floating point in several channels
    or for more than four channels."""
    from PIL import Image, UnidentifiedImageError

    try:
        Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, SyntaxError):
        return False
    except Exception:
        return True  # and it will say what is wrong with it
    return True


@contextmanager
def _pages(data: bytes, name: str) -> Iterator[Any]:
    """The pages of a TIFF file that Pillow has no mode for."""
    try:
        import tifffile
    except ImportError:
        raise ImportError(
            f'{name}: a TIFF of this kind needs tifffile: pip install "vitc[medical]"'
        ) from None
    with reading(name), tifffile.TiffFile(io.BytesIO(data)) as file:
        if not len(file.pages):
            raise ValueError("it has no pages")
        yield file.pages


def tifffile_frames(data: bytes, name: str) -> int:
    with _pages(data, name) as pages:
        return len(pages)


def from_tifffile(data: bytes, name: str, frame: int, check: SizeCheck) -> Array:
    """The pixels of a page."""
    with _pages(data, name) as pages:
        if not 0 <= frame < len(pages):
            raise NoFrame(name, frame, len(pages))
        page = pages[frame]
        height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
        check(name, width, height, channels * WORKING)
        values = np.asarray(page.asarray())
        if page.planarconfig == _SEPARATE and channels > 1:
            return np.moveaxis(values.reshape(channels, height, width), 0, -1)
        return values.reshape(height, width, channels)
