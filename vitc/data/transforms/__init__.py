"""torchvision's dialect: transforms of images with its names, arguments and distributions.

A transform is any callable, so custom functions may be used anywhere in a `Compose`. An image
is a Pillow image or an array (H, W, C) up to `ToTensor` or `ToDtype`, an array (C, H, W) after it.

A random transform has two halves: `draw(img, rng)` draws its parameters, `apply(img, *params)` acts
on them; the second has no randomness, and given the same parameters its pixels are torchvision's.
`MixUp` and `CutMix` act on whole batches.
"""

from vitc.data.functional import InterpolationMode
from vitc.data.transforms.auto_augment import (
    AugMix,
    AutoAugment,
    AutoAugmentPolicy,
    RandAugment,
    TrivialAugmentWide,
)
from vitc.data.transforms.base import (
    Compose,
    Identity,
    Lambda,
    RandomApply,
    RandomChoice,
    RandomOrder,
    RandomTransform,
    Step,
    Transform,
)
from vitc.data.transforms.color import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from vitc.data.transforms.geometry import (
    CenterCrop,
    CenterCropOrPad,
    FiveCrop,
    Letterbox,
    Pad,
    Resize,
    TenCrop,
    TrimBorder,
)
from vitc.data.transforms.intensity import (
    GaussianNoise,
    RandomBiasField,
    RandomGamma,
    RandomGaussianNoise,
    RandomHEDJitter,
    RandomHistogramShift,
)
from vitc.data.transforms.mixing import CutMix, MixUp
from vitc.data.transforms.random_geometry import (
    ElasticTransform,
    RandomAffine,
    RandomCrop,
    RandomCropOrPad,
    RandomDihedral,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    ResizeKeepRatio,
)
from vitc.data.transforms.tensors import (
    Normalize,
    PILToTensor,
    RandomErasing,
    ToDtype,
    ToImage,
    ToTensor,
)

__all__ = [
    "AugMix",
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "CenterCropOrPad",
    "ColorJitter",
    "Compose",
    "CutMix",
    "ElasticTransform",
    "FiveCrop",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "Identity",
    "InterpolationMode",
    "Lambda",
    "Letterbox",
    "MixUp",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomBiasField",
    "RandomChoice",
    "RandomCrop",
    "RandomCropOrPad",
    "RandomDihedral",
    "RandomEqualize",
    "RandomErasing",
    "RandomGamma",
    "RandomGaussianNoise",
    "RandomGrayscale",
    "RandomHEDJitter",
    "RandomHistogramShift",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomTransform",
    "RandomVerticalFlip",
    "Resize",
    "ResizeKeepRatio",
    "Step",
    "TenCrop",
    "ToDtype",
    "ToImage",
    "ToTensor",
    "Transform",
    "TrimBorder",
    "TrivialAugmentWide",
]
