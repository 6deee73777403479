"""MixUp and CutMix of whole batches as torchvision does them; timm's are in `vitc.data.timm`."""

import math
from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array, as_array
from vitc.data import functional as F
from vitc.data.box import Box
from vitc.data.random import generator
from vitc.data.transforms.base import RandomTransform
from vitc.errors import shown


class _BatchMix(RandomTransform):
    """What the two have in common: one weight for the batch, partners, labels."""

    shown = ("alpha", "num_classes")

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        self.alpha, self.num_classes = float(alpha), num_classes
        if not self.alpha > 0:
            raise ValueError(f"alpha is {shown(alpha)}, expected a number above 0")
        if num_classes is not None:
            checks.integer("num_classes", num_classes, 1)

    def __call__(self, *inputs: Any) -> tuple[Array, Array]:
        """Images (batch, C, H, W) and labels (batch,) or (batch, classes), as two arguments or as
        one pair -> images of the same dtype, labels (batch, classes) float32."""
        pair = inputs if len(inputs) > 1 else inputs[0]
        images, labels = (as_array(x) for x in pair)
        if images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                f"images of shape {images.shape} with labels of shape {labels.shape}, expected "
                "(batch, C, H, W) and as many labels"
            )
        lam, box = self.draw(images, generator())
        return self.apply(images, lam, box), _weighted(self._soft(labels), lam)

    def draw(self, img: Array, rng: np.random.Generator) -> tuple[float, Box | None]:
        """(weight of an image itself, rectangle that comes from the other or None)."""
        return float(rng.beta(self.alpha, self.alpha)), None

    def _soft(self, labels: Array) -> Array:
        classes = self.num_classes
        if labels.ndim == 2 and classes in (None, labels.shape[1]):
            return labels.astype(np.float32)
        if labels.ndim != 1 or classes is None or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels are {shown(labels.dtype)} of shape {labels.shape}, expected (batch, "
                f"classes), or integers (batch,) with num_classes, which is {shown(classes)}"
            )
        if not ((labels >= 0) & (labels < classes)).all():
            raise ValueError(f"labels are {shown(labels)}, expected 0 to {classes - 1}")
        return np.eye(classes, dtype=np.float32)[labels]


class MixUp(_BatchMix):
    """Mixes each image of a batch with the one before it, the first with the last.

    alpha: of the Beta distribution of the weight of the image itself. num_classes: of the labels;
    may be left out if they are probabilities. Raises `TypeError` unless images are float32.
    """

    def apply(self, img: Array, *params: Any) -> Array:
        if img.dtype.kind != "f":
            found = shown(img.dtype)
            raise TypeError(f"images have dtype {found}, expected floating point numbers")
        return F.mix_batch(img, _before(img), params[0])


class CutMix(_BatchMix):
    """Puts a rectangle of the image before, the last one's for the first, into each image.

    alpha, num_classes: as of `MixUp`; the weight is the share of the area outside of the rectangle.
    """

    def draw(self, img: Array, rng: np.random.Generator) -> tuple[float, Box | None]:
        lam, _ = super().draw(img, rng)
        height, width = img.shape[-2:]
        half = 0.5 * math.sqrt(1.0 - lam)
        left, right = _side(width, int(half * width), rng)
        top, bottom = _side(height, int(half * height), rng)
        box = Box.from_corners(top, left, bottom, right)
        return 1.0 - box.share(height, width), box

    def apply(self, img: Array, *params: Any) -> Array:
        return F.mix_batch(img, _before(img), 0.0, [params[1]] * len(img))


def _side(edge: int, reach: int, rng: np.random.Generator) -> tuple[int, int]:
    """(from, to) around a point anywhere on the edge, cut off at its ends."""
    middle = int(rng.integers(edge))
    return max(middle - reach, 0), min(middle + reach, edge)


def _before(batch: Array) -> Array:
    """The partner of each image: the one before it."""
    return np.roll(np.arange(len(batch)), 1)


def _weighted(labels: Array, lam: float) -> Array:
    return np.roll(labels, 1, 0) * np.float32(1.0 - lam) + labels * np.float32(lam)
