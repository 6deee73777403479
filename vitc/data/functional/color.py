"""Colours and the distribution of levels."""

from typing import Any

from vitc import _vitc
from vitc.data import images
from vitc.errors import shown


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the image itself, 2 twice as bright."""
    return images.apply_to_colours("brightness", img, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 is an even grey, the image's mean, 1 the image itself, 2 twice the contrast."""
    return images.apply_to_colours("contrast", img, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 is grey, 1 the image itself, 2 twice as colourful. It leaves a grey image as it is.

    The grey of more or less than three channels is their mean.
    """
    return images.apply_to_colours("saturation", img, saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """The hue turned by hue_factor, from -0.5 to 0.5 turns. It leaves a grey image as it is.

    Raises `ValueError` for another factor, and for neither one nor three channels.
    """
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor is {shown(hue_factor)}, expected -0.5 to 0.5")
    return images.apply_to_colours("hue", img, hue_factor)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 is the image smoothed over 3 x 3 pixels, 1 the image itself, 2 twice as sharp."""
    return images.apply_to_colours("sharpness", img, sharpness_factor)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """white gain (level / white) ** gamma: above 1 dark parts get darker, below 1 lighter."""
    return images.apply_to_colours("gamma", img, gamma, gain)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The luma of the image, in 1 channel or repeated in 3; the mean of other than 3 channels."""
    from PIL import Image

    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels is {shown(num_output_channels)}, expected 1 or 3")
    if images.is_array(img):
        return _vitc.image("grayscale", img, num_output_channels)
    grey = img.convert("L")
    return grey if num_output_channels == 1 else Image.merge("RGB", (grey, grey, grey))


def invert(img: Any) -> Any:
    """255 - level; of 16 bits 65535 - level, of floating point 1 - level."""
    return images.apply_to_colours("invert", img)


def posterize(img: Any, bits: int) -> Any:
    """The upper `bits` bits (0 to 8, of 16-bit images to 16) of each level, the others 0.

    Floating point from 0 to 1 gets the lowest level of each of 2 ** bits equal ranges, bits being
    24 at most.
    """
    return images.apply_to_colours("posterize", img, bits)


def solarize(img: Any, threshold: float) -> Any:
    """Levels of threshold or more inverted."""
    return images.apply_to_colours("solarize", img, threshold)


def solarize_add(img: Any, addition: int, threshold: int = 128) -> Any:
    """`addition` added to levels below threshold, up to white; the others stay. timm's."""
    return images.apply_to_colours("solarize_add", img, addition, threshold)


def autocontrast(img: Any) -> Any:
    """Every channel stretched so that its darkest level becomes black and its lightest white."""
    return images.apply_to_colours("autocontrast", img)


def equalize(img: Any) -> Any:
    """Every channel's levels redistributed so that they become equally frequent.

    The new level is the share of darker pixels: of 8 bits in Pillow's integers; of 16 bits,
    and of floating point from 0 to 1 as rounded to 16 bits, to the nearest of 65,536 levels.
    """
    return images.apply_to_colours("equalize", img)
