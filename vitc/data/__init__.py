"""Data: datasets, transforms and the loader, under torchvision's, timm's and torch's names.

    transform = vitc.data.create_transform(224, is_training=True)
    photos = vitc.data.ImageFolder("photos/", transform)          # one folder per class
    loader = vitc.data.DataLoader(photos, 32, shuffle=True, num_workers=2)

An image is a Pillow image, or an array (H, W, C) where it has more than 8 bits per value, until
`ToTensor` makes it an array (C, H, W). Every random draw is keyed by (seed, epoch, sample,
operation), so the bits of a batch depend neither on the number of workers nor on where a run was
resumed.
"""

from vitc.data.box import Box
from vitc.data.collate import default_collate
from vitc.data.decoding.decode import Decoder, open_image
from vitc.data.loader import DataLoader
from vitc.data.presets import PRESETS, STRENGTHS, augreg_strength, create_preset
from vitc.data.preview import preview
from vitc.data.samplers import ClassBalancedSampler, GroupSampler, WeightedRandomSampler
from vitc.data.sources.cache import CacheDataset
from vitc.data.sources.datasets import DicomFolder, ImageFolder, ImageList
from vitc.data.sources.manifest import CSVDataset
from vitc.data.sources.memory import ArrayDataset, NpzDataset
from vitc.data.sources.subset import Subset, k_fold, refuse_shared_groups, train_test_split
from vitc.data.sources.tiles import TileDataset, aggregate, heat_map, tile_grid
from vitc.data.sources.webdataset import WebDataset
from vitc.data.timm.auto_augment import auto_augment_transform
from vitc.data.timm.constants import (
    DEFAULT_CROP_MODE,
    DEFAULT_CROP_PCT,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_DPN_MEAN,
    IMAGENET_DPN_STD,
    IMAGENET_INCEPTION_MEAN,
    IMAGENET_INCEPTION_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)
from vitc.data.timm.factory import create_transform, resolve_data_config, resolve_model_data_config
from vitc.data.timm.mixup import FastCollateMixup, Mixup
from vitc.data.timm.random_erasing import RandomErasing
from vitc.data.timm.repeat_aug import AugMixDataset, RepeatAugSampler, split_collate

__all__ = [
    "DEFAULT_CROP_MODE",
    "DEFAULT_CROP_PCT",
    "IMAGENET_DEFAULT_MEAN",
    "IMAGENET_DEFAULT_STD",
    "IMAGENET_DPN_MEAN",
    "IMAGENET_DPN_STD",
    "IMAGENET_INCEPTION_MEAN",
    "IMAGENET_INCEPTION_STD",
    "OPENAI_CLIP_MEAN",
    "OPENAI_CLIP_STD",
    "PRESETS",
    "STRENGTHS",
    "ArrayDataset",
    "AugMixDataset",
    "Box",
    "CSVDataset",
    "CacheDataset",
    "ClassBalancedSampler",
    "DataLoader",
    "Decoder",
    "DicomFolder",
    "FastCollateMixup",
    "GroupSampler",
    "ImageFolder",
    "ImageList",
    "Mixup",
    "NpzDataset",
    "RandomErasing",
    "RepeatAugSampler",
    "Subset",
    "TileDataset",
    "WebDataset",
    "WeightedRandomSampler",
    "aggregate",
    "augreg_strength",
    "auto_augment_transform",
    "create_preset",
    "create_transform",
    "default_collate",
    "heat_map",
    "k_fold",
    "open_image",
    "preview",
    "refuse_shared_groups",
    "resolve_data_config",
    "resolve_model_data_config",
    "split_collate",
    "tile_grid",
    "train_test_split",
]
