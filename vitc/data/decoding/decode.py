"""Files to images: JPEG through simplejpeg, DICOM through pydicom, everything else through Pillow.

simplejpeg (libjpeg-turbo) is the faster way to the same pixels. Whatever it does not take without
complaint goes to Pillow, which has the last word; so the result is always that of Pillow alone.

What a file is, is read from its first bytes, its size from its header; nothing is allocated before
both are known to be within the limits.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import numpy as np

from vitc.arrays import Array
from vitc.data.decoding import dicom, jpeg, pixels
from vitc.data.decoding.errors import NoFrame, Unreadable, reading
from vitc.errors import shown
from vitc.locks import Lock

if TYPE_CHECKING:
    from PIL.Image import Image

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# simplejpeg's name of what a JPEG stores -> (what to ask it for, Pillow's mode). CMYK stays with
# Pillow, which knows that Adobe stores it inverted.
_COLOURS = {"Gray": ("GRAY", "L"), "YCbCr": ("RGB", "RGB"), "RGB": ("RGB", "RGB")}

# A Pillow image, or pixels.
_Image = TypeVar("_Image")

_counting = Lock()

_ORIENTATION = 0x0112  # EXIF
# How to set an image upright: as Pillow's transposition, and for arrays (swap the axes first, then
# mirror these).
_UPRIGHT: dict[int, tuple[str, bool, tuple[int, ...]]] = {
    2: ("FLIP_LEFT_RIGHT", False, (1,)),
    3: ("ROTATE_180", False, (0, 1)),
    4: ("FLIP_TOP_BOTTOM", False, (0,)),
    5: ("TRANSPOSE", True, ()),
    6: ("ROTATE_270", True, (1,)),
    7: ("TRANSVERSE", True, (0, 1)),
    8: ("ROTATE_90", True, (0,)),
}


class Decoding(TypedDict, total=False):
    """The options of `Decoder` besides mode, as datasets take and pass them on."""

    exif: bool
    value_range: pixels.ValueRange | None
    windows: Sequence[dicom.Window] | None
    max_pixels: int
    max_bytes: int


@dataclass
class Decoder:
    """A file, or the bytes of one, to an image.

    mode: a Pillow mode to convert to, such as "RGB" or "L"; None leaves the image as stored.
    exif: set photographs upright that their camera has noted to be turned. timm and torchvision do
    not, so neither is it done by default; the first such file is then named in a warning, and
    `turned` counts them.

    value_range: None gives a Pillow image, 8 bits per value, and refuses to clip what has more.
    Anything else gives an array (H, W, C) and keeps 16 bits: "dtype" the values as stored, uint8 or
    uint16; the others uint16 (H, W, C) with 0 and 65535 for the ends of the range: "minmax" of each
    image, ("percentile", low, high) of each image, or (low, high), say (0, 4095) for a camera of
    12 bits. mode is then "L", "RGB" or None.

    windows: of DICOM files, (centre, width) in their units, one channel each; None takes the
    file's own (see `vitc.data.decoding.dicom`).

    max_pixels, max_bytes: the largest image, and the most bytes that a file or decoding one takes
    (8 per value where a value_range is applied); Pillow's own limit (`PIL.Image.MAX_IMAGE_PIXELS`)
    holds as well.
    """

    mode: str | None = "RGB"
    _: KW_ONLY
    exif: bool = False
    value_range: pixels.ValueRange | None = None
    windows: Sequence[dicom.Window] | None = None
    max_pixels: int = 1 << 28
    max_bytes: int = 1 << 30
    turned: int = field(default=0, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        pixels.check_range(self.value_range)
        dicom.check_windows(self.windows)
        if self.value_range is not None and self.mode not in (None, "L", "RGB"):
            raise ValueError(
                f"mode is {shown(self.mode)}, expected 'L', 'RGB' or None with value_range"
            )

    def __call__(self, source: str | os.PathLike[str] | bytes, frame: int = 0) -> Any:
        """The image: of Pillow, loaded, or an array (H, W, C), see `value_range`.

        frame: which image of a file with several. DICOM files give arrays, always.

        Raises `FileNotFoundError` for a missing file, `OSError` naming the file and the reason for
        one that is truncated, not an image or too large, `IndexError` for a frame that is not
        there, and `ValueError` where a conversion would clip values above 255, which torchvision
        does silently.
        """
        name, data = self._read(source)
        if dicom.is_dicom(data):
            windowed = dicom.decode(data, name, frame, self._check, self.windows, self.value_range)
            return pixels.with_channels(windowed, self.mode, name)
        if self.value_range is not None:
            return self._deep(data, name, frame, self.value_range)
        image = self._jpeg(data, name) if data.startswith(jpeg.MAGIC) and frame == 0 else None
        image = self._by_pillow(data, name, frame) if image is None else image
        if self.mode is None or image.mode == self.mode:
            return image
        _refuse_clipping(image, self.mode, name)
        return image.convert(self.mode)

    def frames(self, source: str | os.PathLike[str] | bytes) -> int:
        """How many images a file holds. Raises as reading it does."""
        name, data = self._read(source)
        if dicom.is_dicom(data):
            return dicom.about(io.BytesIO(data), name).frames
        if data.startswith(_TIFF) and not pixels.pillow_knows(data):
            return pixels.tifffile_frames(data, name)
        with _opened(data, name) as image:
            return int(getattr(image, "n_frames", 1))

    def shape(self, source: str | os.PathLike[str] | bytes, frame: int = 0) -> tuple[int, int]:
        """Height and width of the image that reading gives, from its header alone."""
        name, data = self._read(source)
        if dicom.is_dicom(data):
            return dicom.about(io.BytesIO(data), name)[1:3]
        if data.startswith(_TIFF) and not pixels.pillow_knows(data):
            return pixels.from_tifffile(data, name, frame, self._check).shape[:2]
        with _opened(data, name, frame) as image:
            height, width = image.height, image.width
            turned = image.getexif().get(_ORIENTATION, 1) if self.exif else 1
        swapped = image.format != "TIFF" and _UPRIGHT.get(turned, ("", False))[1]
        return (width, height) if swapped else (height, width)

    # --------------------------------------------------------------------------- limits

    def _read(self, source: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
        """A name for messages, and the bytes."""
        if not isinstance(source, str | os.PathLike):
            name, size = f"image of {len(source)} bytes", len(source)
            self._check_bytes(name, "the file", size)
            return name, bytes(source)
        name = os.fspath(source)
        with open(source, "rb") as file:
            self._check_bytes(name, "the file", os.fstat(file.fileno()).st_size)
            return name, file.read()

    def _check(self, name: str, width: int, height: int, bytes_per_pixel: int) -> None:
        """Raises `OSError` for an image that is too large, by what its header says."""
        if width * height > self.max_pixels:
            raise Unreadable(
                f"{name}: its header says {width} x {height} pixels, expected {self.max_pixels} "
                "at most (max_pixels)"
            )
        self._check_bytes(name, "decoding", width * height * bytes_per_pixel)

    def _check_bytes(self, name: str, what: str, size: int) -> None:
        if size > self.max_bytes:
            raise Unreadable(
                f"{name}: {what} takes {size} bytes, expected {self.max_bytes} at most (max_bytes)"
            )

    # --------------------------------------------------------------------------- formats

    def _jpeg(self, data: bytes, name: str) -> "Image | None":
        """The image, or None if it is to be left to Pillow."""
        from PIL import Image

        found = self._jpeg_pixels(data, name)
        if found is None:
            return None
        values, mode = found
        size = values.shape[1], values.shape[0]
        image = Image.frombuffer(mode, size, values, "raw", mode, 0, 1)
        return self._upright(image, jpeg.orientation(data), name, _turned_image)

    def _jpeg_pixels(self, data: bytes, name: str) -> tuple[Array, str] | None:
        """Pixels (H, W, C) and Pillow's mode, or None if the image is to be left to Pillow: CMYK,
        huge, damaged, or of a rare kind."""
        import simplejpeg
        from PIL import Image

        jpeg.check_scans(data, name)
        try:
            height, width, stored, _ = simplejpeg.decode_jpeg_header(data)
            if stored not in _COLOURS:
                return None
            self._check(name, width, height, 3)
            if width * height > (Image.MAX_IMAGE_PIXELS or width * height):
                return None
            colours, mode = _COLOURS[stored]
            # Strict: simplejpeg fills up a truncated file with grey otherwise.
            return simplejpeg.decode_jpeg(data, colours, strict=True), mode
        except ValueError:
            return None

    def _by_pillow(self, data: bytes, name: str, frame: int) -> "Image":
        jpeg.check_scans(data, name)
        with _opened(data, name, frame) as image:
            self._check(name, image.width, image.height, pixels.bytes_per_pixel(image))
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
        return self._upright(image, orientation, name, _turned_image)

    def _deep(self, data: bytes, name: str, frame: int, value_range: pixels.ValueRange) -> Array:
        """An image with all its bits, as (H, W, C) within a range."""
        if data.startswith(_TIFF) and not pixels.pillow_knows(data):
            values, orientation = pixels.from_tifffile(data, name, frame, self._check), 1
        elif (
            data.startswith(jpeg.MAGIC) and frame == 0 and (found := self._jpeg_pixels(data, name))
        ):
            values, orientation = found[0], jpeg.orientation(data)
            height, width, channels = values.shape
            self._check(name, width, height, channels * pixels.WORKING)
        else:
            jpeg.check_scans(data, name)
            with _opened(data, name, frame) as image:
                working = len(image.getbands()) * pixels.WORKING
                self._check(name, image.width, image.height, working)
                values, orientation = pixels.from_pillow(image, data, frame)
        values = self._upright(values, orientation, name, _turned_array)
        return pixels.within(pixels.with_channels(values, self.mode, name), value_range, name)

    def _upright(
        self, image: _Image, orientation: int, name: str, turn: Callable[..., _Image]
    ) -> _Image:
        if orientation not in _UPRIGHT:
            return image
        with _counting:
            self.turned += 1
            first = self.turned == 1
        if self.exif:
            return turn(image, *_UPRIGHT[orientation])
        if first:
            warnings.warn(
                f"{name}: EXIF says that the camera was turned (orientation {orientation}), which "
                "is ignored as timm and torchvision do; exif=True sets images upright",
                stacklevel=4,
            )
        return image


def open_image(
    source: str | os.PathLike[str] | bytes,
    mode: str | None = "RGB",
    *,
    frame: int = 0,
    **decoding: Unpack[Decoding],
) -> Any:
    """The image in a file, or in the bytes of one; options and errors are those of `Decoder`.

    By default it equals torchvision's `default_loader`: transparency is dropped, the orientation
    noted in EXIF is not applied, and of a file with several images it is the first.
    """
    return Decoder(mode, **decoding)(source, frame)


# ------------------------------------------------------------------------------- Pillow


@contextmanager
def _opened(data: bytes, name: str, frame: int = 0) -> Iterator["Image"]:
    """The image with its header read, not its pixels; failures within are `Unreadable`."""
    from PIL import Image, UnidentifiedImageError

    with reading(name):
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            reason = "it is empty" if not data else f"it begins with {data[:8]!r}"
            raise Unreadable(
                f"{name}: not an image in a format that Pillow reads; {reason}"
            ) from None
        if frame:
            count = getattr(image, "n_frames", 1)
            if not 0 < frame < count:
                raise NoFrame(name, frame, count)
            image.seek(frame)
        yield image


def _turned_image(image: "Image", method: str, swap: bool, mirrored: tuple[int, ...]) -> "Image":
    from PIL.Image import Transpose

    return image.transpose(Transpose[method])


def _turned_array(values: Array, method: str, swap: bool, mirrored: tuple[int, ...]) -> Array:
    return np.flip(values.swapaxes(0, 1) if swap else values, mirrored)


def _refuse_clipping(image: "Image", mode: str, name: str) -> None:
    """Raises `ValueError` if converting 16 or 32 bits per pixel to 8 would lose values."""
    if image.mode[0] not in "IF" or mode[0] in "IF":
        return
    low, high = np.min(np.asarray(image)), np.max(np.asarray(image))
    if image.mode == "F" or low < 0 or high > 255:
        raise ValueError(
            f"{name}: its values go from {low} to {high} (mode {image.mode}), mode {shown(mode)} "
            'would clip them at 255; value_range="dtype", "minmax" or (low, high) keeps them'
        )
