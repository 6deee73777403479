"""What the transforms do to an image once their parameters are drawn: torchvision's functions.

Names, arguments and results are those of torchvision.transforms.functional on Pillow images, to the
bit. An image is a Pillow image or an array (H, W, C) or (H, W) of uint8, uint16 or float32, with
any number of channels; the result is of the same kind. Floating point images go from 0 to 1 where
colours are concerned. A size is (height, width), a number of pixels an int.
"""

from vitc.data.functional.arguments import (
    PADDINGS,
    Fill,
    InterpolationMode,
    Size,
    dimensions,
    get_image_num_channels,
    interpolation_mode,
)
from vitc.data.functional.blur import box_blur, gaussian_blur
from vitc.data.functional.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    equalize,
    invert,
    posterize,
    solarize,
    solarize_add,
    to_grayscale,
)
from vitc.data.functional.erasing import erase, erase_boxes
from vitc.data.functional.geometry import (
    center_crop,
    crop,
    hflip,
    pad,
    resize,
    resized_crop,
    resized_shape,
    rot90,
    vflip,
)
from vitc.data.functional.intensity import from_unit, gaussian_noise, map_levels, shade, to_unit
from vitc.data.functional.mixing import blend, mix, mix_batch
from vitc.data.functional.tensors import normalize, pil_to_tensor, to_normalized_tensor, to_tensor
from vitc.data.functional.warp import affine, elastic_transform, perspective, rotate, transform

__all__ = [
    "PADDINGS",
    "Fill",
    "InterpolationMode",
    "Size",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "blend",
    "box_blur",
    "center_crop",
    "crop",
    "dimensions",
    "elastic_transform",
    "equalize",
    "erase",
    "erase_boxes",
    "from_unit",
    "gaussian_blur",
    "gaussian_noise",
    "get_image_num_channels",
    "hflip",
    "interpolation_mode",
    "invert",
    "map_levels",
    "mix",
    "mix_batch",
    "normalize",
    "pad",
    "perspective",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "resized_shape",
    "rot90",
    "rotate",
    "shade",
    "solarize",
    "solarize_add",
    "to_grayscale",
    "to_normalized_tensor",
    "to_tensor",
    "to_unit",
    "transform",
    "vflip",
]
