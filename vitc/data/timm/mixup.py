"""Mixup and CutMix of whole batches as timm does them.

    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=10)
    images, targets = mixup(images, labels)                        # in a training step
    DataLoader(photos, 32, collate_fn=FastCollateMixup(0.8, num_classes=10))     # or in the loader

The partner of an image is the one at its place counted from the end. For torchvision's, whose
partner is the image before, see `vitc.data.transforms`.

Papers: mixup https://arxiv.org/abs/1710.09412, CutMix https://arxiv.org/abs/1905.04899.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.data import functional as F
from vitc.data import random
from vitc.data.box import Box
from vitc.data.collate import default_collate
from vitc.data.images import pixels_of
from vitc.errors import shown

MODES = ("batch", "pair", "elem")


def mixup_target(
    target: Any,
    num_classes: int,
    lam: float | Array = 1.0,
    smoothing: float = 0.0,
    multi_label: bool = False,
) -> Array:
    """Targets mixed with those from the end, float32 (batch, num_classes).

    target: labels (batch,), or probabilities (batch, num_classes). lam: the weight of a row itself,
    one number or (batch, 1). smoothing: the share that all classes divide among themselves; with
    multi_label, where each column is a yes or no of its own, towards 0.5.

    Raises `ValueError` for labels out of range and shapes that do not fit.
    """
    first = _soft(as_array(target), num_classes, smoothing, multi_label)
    return first * np.float32(lam) + first[::-1] * np.float32(1.0 - lam)


def _soft(target: Array, num_classes: int, smoothing: float, multi_label: bool) -> Array:
    dense = target.ndim == 2 and target.shape[1] == num_classes
    if not dense and (multi_label or target.ndim != 1):
        kinds = "" if multi_label else "(batch,) or "
        raise ValueError(f"targets of shape {target.shape}, expected {kinds}(batch, {num_classes})")
    off = smoothing * 0.5 if multi_label else smoothing / num_classes
    if dense:
        return target.astype(np.float32) * np.float32(1.0 - smoothing) + np.float32(off)
    if target.dtype.kind not in "iu" or not ((target >= 0) & (target < num_classes)).all():
        raise ValueError(
            f"labels are {shown(target)}, expected integers from 0 to {num_classes - 1}"
        )
    out = np.full((len(target), num_classes), off, np.float32)
    out[np.arange(len(target)), target] = 1.0 - smoothing + off
    return out


class Mixup:
    """Mixes each image of a batch with another, and their targets alike.

    mixup_alpha, cutmix_alpha: of the Beta distribution of the weight of the image itself; 0: not
    this one. cutmix_minmax: range of the edges of CutMix's rectangle as shares of the image's, in
    place of a weight. prob: of mixing at all. switch_prob: of CutMix where both are on. mode: what
    shares one draw: the "batch", a "pair" of partners, or nothing but the image itself ("elem").
    correct_lam: take the weight from the rectangle as the edge of the image has cut it off.
    label_smoothing, num_classes, multi_label: see `mixup_target`.

    `mixup_enabled = False` leaves the images alone from then on.
    """

    modes: tuple[str, ...] = MODES

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: Sequence[float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
    ) -> None:
        self.mixup_alpha = checks.number("mixup_alpha", mixup_alpha, 0)
        self.cutmix_alpha = checks.number("cutmix_alpha", cutmix_alpha, 0)
        self.cutmix_minmax = cutmix_minmax
        if cutmix_minmax is not None:
            self.cutmix_minmax = checks.bounds("cutmix_minmax", cutmix_minmax, 0.0, 1.0)
            self.cutmix_alpha = 1.0
        if not (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError("mixup_alpha and cutmix_alpha are 0, expected one above 0")
        self.mix_prob = checks.probability("prob", prob)
        self.switch_prob = checks.probability("switch_prob", switch_prob)
        self.mode, self.correct_lam = checks.one_of("mode", mode, self.modes), correct_lam
        self.label_smoothing = checks.probability("label_smoothing", label_smoothing)
        self.num_classes, self.multi_label = num_classes, multi_label
        self.mixup_enabled = True

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(mixup_alpha={self.mixup_alpha}, "
            f"cutmix_alpha={self.cutmix_alpha}, cutmix_minmax={self.cutmix_minmax}, "
            f"prob={self.mix_prob}, switch_prob={self.switch_prob}, mode={self.mode}, "
            f"correct_lam={self.correct_lam}, label_smoothing={self.label_smoothing}, "
            f"num_classes={self.num_classes}, multi_label={self.multi_label})"
        )

    def __call__(self, x: Any, target: Any) -> tuple[Array, Array]:
        """Images (batch, C, H, W) and their targets -> both mixed; the input stays as it is.

        Targets come out as (batch, num_classes), float32. Of an odd number the one in the middle is
        its own partner, and so stays as it is.
        """
        images = as_array(x)
        if images.ndim != 4 or len(images) != len(target):
            raise ValueError(
                f"images of shape {images.shape} with {len(target)} targets, expected "
                "(batch, C, H, W) and as many targets"
            )
        lam, boxes = self._drawn(images.shape)
        if self._enabled():
            images = self.apply(images, lam, boxes)
        return images, self._mixed_target(target, lam)

    def _mixed_target(self, target: Any, lam: float | Array) -> Array:
        smoothing = self.label_smoothing
        return mixup_target(target, self.num_classes, lam, smoothing, self.multi_label)

    def _drawn(self, shape: Sequence[int]) -> tuple[float | Array, list[Box | None]]:
        if self._enabled():
            return self.draw(shape, random.generator())
        return 1.0, [None] * shape[0]

    def _enabled(self) -> bool:
        return self.mixup_enabled

    def draw(
        self, shape: Sequence[int], rng: np.random.Generator
    ) -> tuple[float | Array, list[Box | None]]:
        """(weight of an image itself: one number or (batch, 1); its rectangle, or None), for every
        image of a batch of this shape."""
        batch = shape[0]
        if self.mode == "batch":
            lam, box = self._draw_one(shape, rng, np.float64)
            return float(lam), [box] * batch
        count = batch if self.mode == "elem" else batch // 2
        draws = [self._draw_one(shape, rng, np.float32) for _ in range(count)]
        if self.mode == "pair":
            draws += [(1.0, None)] * (batch % 2) + draws[::-1]
        elif self.mode == "half":
            draws += [(1.0, None)] * (batch - count)
        return np.array([[lam] for lam, _ in draws], np.float32), [box for _, box in draws]

    def _draw_one(
        self, shape: Sequence[int], rng: np.random.Generator, precision: Any
    ) -> tuple[float, Box | None]:
        if rng.random() >= self.mix_prob:
            return 1.0, None
        both = self.mixup_alpha and self.cutmix_alpha
        cut = rng.random() < self.switch_prob if both else not self.mixup_alpha
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        lam = precision(rng.beta(alpha, alpha))
        if not cut or lam == 1:
            return lam, None
        return self._draw_box(shape[-2], shape[-1], lam, rng)

    def _draw_box(
        self, height: int, width: int, lam: float, rng: np.random.Generator
    ) -> tuple[float, Box]:
        if self.cutmix_minmax is not None:
            (top, bottom), (left, right) = (
                _side_between(edge, self.cutmix_minmax, rng) for edge in (height, width)
            )
        else:
            ratio = np.sqrt(1 - lam)
            (top, bottom), (left, right) = (
                _side_around(edge, int(edge * ratio), rng) for edge in (height, width)
            )
        box = Box.from_corners(top, left, bottom, right)
        if self.correct_lam or self.cutmix_minmax is not None:
            lam = 1.0 - box.share(height, width)
        return lam, box

    def apply(self, x: Array, lam: float | Array, boxes: Sequence[Box | None]) -> Array:
        """The images (batch, C, H, W), each mixed with that from the end; integers rounded."""
        return F.mix_batch(x, range(len(x))[::-1], _weights(lam, boxes), boxes)


def _weights(lam: float | Array, boxes: Sequence[Box | None]) -> Array:
    """(batch,), of each image where it is mixed: nothing of it is left where CutMix has cut."""
    return np.where([box is None for box in boxes], np.ravel(lam), 0.0)


def _side_around(edge: int, length: int, rng: np.random.Generator) -> tuple[int, int]:
    """(from, to) around a point anywhere on the edge, cut off at its ends."""
    middle = int(rng.integers(edge))
    return max(middle - length // 2, 0), min(middle + (length + 1) // 2, edge)


def _side_between(edge: int, shares: Sequence[float], rng: np.random.Generator) -> tuple[int, int]:
    """(from, to) of a length between two shares of the edge."""
    least, most = (int(edge * share) for share in shares)
    length = int(rng.integers(least, most)) if most > least else least
    start = int(rng.integers(edge - length + 1))
    return start, start + length


class FastCollateMixup(Mixup):
    """The items of a batch stacked and mixed: a `collate_fn` for a `DataLoader`.

    Items are (array (C, H, W), label); uint8 stays uint8. mode "half" also exists: a batch of half
    as many images, those of the first half, each mixed with one of the second.

    mean, std: one number per channel. With them items are (image, label), an image being an array
    (C, H, W) or else (H, W, C) of uint8 or one of Pillow's, and the batch becomes float32 (batch,
    C, H, W): normalised, mixed and put into its place in one pass. It has the bits that `Normalize`
    of each image and then `Mixup` give; timm, which normalises last, mixes bytes and rounds them.

        DataLoader(photos, collate_fn=FastCollateMixup(0.8, mean=(0.5,) * 3, std=(0.5,) * 3))

    mixup_off_epoch: from this epoch on the images are left alone; 0 for never.
    """

    modes = (*MODES, "half")

    def __init__(
        self,
        *args: Any,
        mixup_off_epoch: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(*args, **arguments)
        self.mixup_off_epoch = checks.integer("mixup_off_epoch", mixup_off_epoch, 0)
        self.mean, self.std = tuple(mean or ()), tuple(std or ())
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean is {shown(mean)} and std {shown(std)}, expected as many numbers of each"
            )

    def __call__(self, batch: Sequence[Any], _: Any = None) -> tuple[Array, Array]:
        if not self.mean:
            images, target = super().__call__(*default_collate(batch))
            count = self._kept(len(batch))
            return images[:count], target[:count]
        pictures, labels = (list(column) for column in zip(*batch, strict=True))
        return self._written(_pictures(pictures, len(self.mean)), default_collate(labels))

    def _written(self, pictures: list[Array], labels: Array) -> tuple[Array, Array]:
        """The batch from pictures (C, H, W), or (H, W, C) or (H, W), all of one shape."""
        channels, count = len(self.mean), self._kept(len(pictures))
        first = pictures[0].ndim == 3 and len(pictures[0]) == channels
        shape = (len(pictures), channels, *pictures[0].shape[first:][:2])
        lam, boxes = self._drawn(shape)
        weights = _weights(lam, boxes)
        out = np.empty((count, *shape[1:]), np.float32)
        for i in range(count):
            F.to_normalized_tensor(
                pictures[i],
                self.mean,
                self.std,
                out=out[i],
                other=pictures[-1 - i] if weights[i] < 1 else None,
                lam=weights[i],
                box=boxes[i],
                channels_first=first,
            )
        return out, self._mixed_target(labels, lam)[:count]

    def _kept(self, count: int) -> int:
        return count // 2 if self.mode == "half" else count

    def _enabled(self) -> bool:
        epoch, off = random.epoch(), self.mixup_off_epoch
        return super()._enabled() and not (off and epoch is not None and epoch >= off)


def _pictures(items: Sequence[Any], channels: int) -> list[Array]:
    """Images as arrays of uint8. Raises `TypeError` for others, `ValueError` unless they have one
    shape and that many channels."""
    pictures = [pixels_of(item) if hasattr(item, "getbands") else as_array(item) for item in items]
    shapes, dtypes = {p.shape for p in pictures}, {p.dtype for p in pictures}
    if dtypes != {np.dtype(np.uint8)}:
        names = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"images of {names}, expected uint8: with mean and std they are normalised")
    shape = pictures[0].shape
    has = shape[:1] + shape[2:] if len(shape) == 3 else (1,) if len(shape) == 2 else ()
    if len(shapes) > 1 or channels not in has:
        raise ValueError(
            f"images of shapes {', '.join(map(str, sorted(shapes)))}, expected one shape, "
            f"({channels}, H, W) or (H, W, {channels})"
        )
    return pictures
