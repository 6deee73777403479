"""Files to Pillow images: JPEG through simplejpeg, everything else through Pillow.

simplejpeg (libjpeg-turbo) is the faster way to the same pixels. Whatever it does not take without
complaint goes to Pillow, which has the last word; so the result is always that of Pillow alone.
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG = b"\xff\xd8\xff"

# simplejpeg's name of what a JPEG stores -> (what to ask it for, Pillow's mode). CMYK stays with
# Pillow, which knows that Adobe stores it inverted.
_COLOURS = {"Gray": ("GRAY", "L"), "YCbCr": ("RGB", "RGB"), "RGB": ("RGB", "RGB")}


def open_image(source: str | os.PathLike[str] | bytes, mode: str | None = "RGB") -> "Image":
    """The image in a file, or in the bytes of one, as a loaded Pillow image.

    mode: a Pillow mode to convert to, such as "RGB" or "L"; None leaves the image as stored. What
    the file is, is read from its first bytes; its name does not matter. Of a file with several
    images it is the first. Equals torchvision's `default_loader`: transparency is dropped, and the
    orientation noted in EXIF is not applied.

    Raises `FileNotFoundError` for a missing file, `OSError` naming the file and the reason for one
    that is truncated or no image, and `ValueError` where a conversion would clip values above 255
    (16 bits per pixel), which torchvision does silently.
    """
    if isinstance(source, str | os.PathLike):
        name, data = os.fspath(source), Path(source).read_bytes()
    else:
        name, data = f"image of {len(source)} bytes", bytes(source)
    image = _decode_jpeg(data) if data.startswith(_JPEG) else None
    if image is None:
        image = _decode_by_pillow(data, name)
    if mode is None or image.mode == mode:
        return image
    _refuse_clipping(image, mode, name)
    return image.convert(mode)


def _decode_jpeg(data: bytes) -> "Image | None":
    """The image, or None if it is to be left to Pillow: CMYK, huge, damaged, or of a rare kind."""
    import simplejpeg
    from PIL import Image

    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(data)
        if stored not in _COLOURS or height * width > (Image.MAX_IMAGE_PIXELS or height * width):
            return None
        colours, mode = _COLOURS[stored]
        # Strict: simplejpeg fills up a truncated file with grey otherwise.
        pixels = simplejpeg.decode_jpeg(data, colours, strict=True)
    except ValueError:
        return None
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)


def _decode_by_pillow(data: bytes, name: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        reason = "it is empty" if not data else f"it begins with {data[:8]!r}"
        raise OSError(f"{name}: not an image in a format that Pillow reads; {reason}") from None
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise nearly every type
        raise OSError(f"{name}: the image cannot be read: {error}") from error
    return image


def _refuse_clipping(image: "Image", mode: str, name: str) -> None:
    """Raises `ValueError` if converting 16 or 32 bits per pixel to 8 would lose values."""
    if image.mode[0] not in "IF" or mode[0] in "IF":
        return
    low, high = np.min(np.asarray(image)), np.max(np.asarray(image))
    if image.mode == "F" or low < 0 or high > 255:
        raise ValueError(
            f"{name}: its values go from {low} to {high} (mode {image.mode}), mode {mode!r} would "
            'clip them at 255; open it with mode="F" and scale it in a transform of your own'
        )
