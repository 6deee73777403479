"""Pillow images and arrays as the C core sees them: pixels (H, W, C) or (H, W).

An operation takes either and gives back what it got. Pillow images are copied in and out, so a
chain of operations is faster on arrays; the pixels are the same.
"""

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from vitc import _vitc
from vitc.arrays import Array
from vitc.errors import shown

if TYPE_CHECKING:
    from PIL.Image import Image

_ALPHA = {"LA": "La", "RGBA": "RGBa"}  # modes with transparency, and with it multiplied in
_MODES = ("L", "RGB", "F", "I;16", "CMYK", "YCbCr", "HSV", *_ALPHA)


def is_array(img: Any) -> TypeGuard[Array]:
    """Whether img is an image as an array. Raises `TypeError` for what is not an image at all."""
    if not isinstance(img, np.ndarray):
        if not hasattr(img, "getbands"):
            raise TypeError(f"expected an array or a Pillow image, got {type(img).__name__}")
        return False
    if img.ndim not in (2, 3):
        raise ValueError(f"the image has shape {img.shape}, expected (H, W) or (H, W, C)")
    if img.ndim == 3 and img.shape[0] in (1, 3, 4) and img.shape[2] > 32:
        raise TypeError(
            f"the image has shape {img.shape}, expected (H, W) or (H, W, C): transforms of images "
            "stand before ToTensor()"
        )
    return True


def pixels_of(img: Any) -> Array:
    """The pixels of an image: itself if it is an array, else a copy."""
    if is_array(img):
        return img
    if img.mode not in _MODES:
        raise TypeError(
            f"the image has mode {shown(img.mode)}, expected one of {', '.join(_MODES)}; convert "
            'it first, as with img.convert("RGB")'
        )
    return np.asarray(img)


def like(pixels: Array, img: Any) -> Any:
    """Such pixels as an image of the kind of img."""
    if isinstance(img, np.ndarray):
        return pixels
    from PIL import Image

    pixels = np.ascontiguousarray(pixels)
    if img.mode == "I;16" or pixels.ndim == 2:
        return Image.fromarray(pixels)
    size = (pixels.shape[1], pixels.shape[0])
    return Image.frombuffer(img.mode, size, pixels, "raw", img.mode, 0, 1)


def apply(name: str, img: Any, *numbers: float) -> Any:
    """One operation of the core on all channels."""
    if isinstance(img, np.ndarray) and is_array(img):
        return _vitc.image(name, img, *numbers)
    return like(_vitc.image(name, pixels_of(img), *numbers), img)


def apply_to_colours(name: str, img: Any, *numbers: float) -> Any:
    """The same, but of a Pillow image with transparency this channel stays as it is."""
    if isinstance(img, np.ndarray) or img.mode not in _ALPHA:
        return apply(name, img, *numbers)
    pixels = pixels_of(img).copy()
    pixels[:, :, :-1] = _vitc.image(name, pixels[:, :, :-1], *numbers)
    return like(pixels, img)


def apply_to_opaque(name: str, img: Any, *numbers: float) -> Any:
    """The same, but colours of a Pillow image count as much as they are opaque, as in Pillow."""
    if isinstance(img, np.ndarray) or img.mode not in _ALPHA:
        return apply(name, img, *numbers)
    weighted: Image = img.convert(_ALPHA[img.mode])
    pixels = np.asarray(weighted)
    return like(_vitc.image(name, pixels, *numbers), weighted).convert(img.mode)
