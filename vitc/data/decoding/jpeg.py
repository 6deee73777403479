"""What the headers of a JPEG say, read before anything decodes it (ISO 10918-1, B.2; 14495-1)."""

import re
import struct
from collections.abc import Iterator

from vitc.data.decoding.errors import Unreadable

MAGIC = b"\xff\xd8\xff"
# A progressive JPEG comes in a dozen scans; each costs a pass over the whole image.
MOST_SCANS = 500

_START_OF_SCAN, _APP1, _FILL = 0xDA, 0xE1, 0xFF
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # the last one is JPEG-LS
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")
_ORIENTATION = 0x0112
_SIZE = struct.Struct(">HHB")  # of a frame: height, width, components


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, begin, end) of the segments' contents, up to the first scan."""
    place = 2
    while data.startswith(b"\xff\xd8") and place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == _FILL:
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        yield marker, place + 4, end
        if marker == _START_OF_SCAN:
            return
        place = end


def size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and number of components by the first frame header."""
    for marker, begin, _ in segments(data):
        if marker in _FRAMES and begin + 6 <= len(data):
            height, width, components = _SIZE.unpack_from(data, begin + 1)
            return width, height, components
    return None


def check_scans(data: bytes, name: str) -> None:
    """Raises `Unreadable` for a JPEG that is small and yet takes hours.

    Where the first scan holds all components, libjpeg refuses a second one. Looking for scans
    everywhere would cost 5 % of decoding.
    """
    progressive, components = False, 0
    for marker, begin, _ in segments(data):
        if marker in _FRAMES and begin + 6 <= len(data):
            progressive, components = marker in _PROGRESSIVE, data[begin + 5]
        if marker == _START_OF_SCAN and (
            progressive or data[begin : begin + 1] < bytes([components])
        ):
            scans = data.count(bytes((0xFF, _START_OF_SCAN)))
            if scans > MOST_SCANS:
                raise Unreadable(f"{name}: a JPEG of {scans} scans, expected {MOST_SCANS} at most")


def orientation(data: bytes) -> int:
    """How EXIF says that the camera was turned, 1 for not at all; where it does not, XMP."""
    by_exif = by_xmp = None
    for marker, begin, end in segments(data):
        if marker == _APP1 and data.startswith(_EXIF, begin) and by_exif is None:
            by_exif = _of_exif(data[begin:end])
        elif marker == _APP1 and data.startswith(_XMP, begin):
            found = _XMP_ORIENTATION.search(data, begin, end)
            by_xmp = int(found[1]) if found else by_xmp
    return by_exif or by_xmp or 1


def _of_exif(content: bytes) -> int | None:
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(content)
        return int(exif[_ORIENTATION]) if _ORIENTATION in exif else None
    except Exception:  # of damage of any kind; the pixels are there all the same
        return None
