"""Random erasing as timm does it; torchvision's is in `vitc.data.transforms`.

Paper: https://arxiv.org/abs/1708.04896.
"""

from typing import Any

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.data import functional as F
from vitc.data.random import noise_key
from vitc.data.transforms.tensors import Erasing, erased_box, normalized

# The spread of the numbers that fill a rectangle, and whether each value has one of its own.
_FILLS = {"const": (0.0, False), "rand": (1.0, False), "pixel": (1.0, True)}


class RandomErasing(Erasing):
    """Overwrites rectangles of a normalised array (C, H, W), or of each in (batch, C, H, W).

    probability: of an image. min_area, max_area: range of the area as a share of the image's,
    divided by the number of rectangles; min_aspect, max_aspect: of height / width (by default its
    inverse), whose logarithm is uniform. mode: "const" fills with 0, "rand" with one standard
    normal number per channel, "pixel" with one per value. min_count, max_count: range of the number
    of rectangles. num_splits: leave out the first of that many parts of a batch. The input stays.
    """

    def __init__(
        self,
        probability: float = 0.5,
        min_area: float = 0.02,
        max_area: float = 1 / 3,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        mode: str = "const",
        min_count: int = 1,
        max_count: int | None = None,
        num_splits: int = 0,
    ) -> None:
        self.probability = checks.probability("probability", probability)
        self.area = checks.bounds("min_area, max_area", (min_area, max_area), 0.0, 1.0)
        aspect = (min_aspect, max_aspect or 1 / min_aspect)
        self.aspect = checks.positive("min_aspect, max_aspect", aspect)
        self.mode, self.num_splits = checks.one_of("mode", mode, _FILLS), num_splits
        self.min_count = checks.integer("min_count", min_count, 1)
        self.max_count = checks.integer("max_count", max_count or min_count, min_count)

    def __call__(self, img: Array) -> Array:
        if getattr(img, "ndim", 0) not in (3, 4):
            shape = getattr(img, "shape", type(img).__name__)
            raise TypeError(f"expected an array (C, H, W) or (batch, C, H, W), got {shape}")
        if img.ndim == 3:
            erased: Array = super().__call__(img)
            return erased
        start = len(img) // self.num_splits if self.num_splits > 1 else 0
        out, erasing = img.copy(), self.overwriting()
        for i in range(start, len(img)):
            erasing(out[i])
        return out

    def draw(self, img: Array, rng: np.random.Generator) -> tuple[Any, ...]:
        """(rectangles, each a `Box`; key of their values)."""
        _, height, width = img.shape
        if rng.random() > self.probability:
            return [], None
        count = int(rng.integers(self.min_count, self.max_count + 1))
        area = self.area[0] / count, self.area[1] / count
        boxes = [erased_box(height, width, area, self.aspect, rng) for _ in range(count)]
        return [box for box in boxes if box is not None], noise_key(rng)

    def apply(self, img: Array, *params: Any) -> Array:
        boxes, key = params
        if not boxes:
            return img
        sigma, by_value = _FILLS[self.mode]
        array = normalized(img) if sigma else img
        return F.erase_boxes(
            array, boxes, 0.0, sigma, by_value=by_value, key=key, inplace=self.inplace
        )

    def __repr__(self) -> str:
        return (
            f"RandomErasing(p={self.probability}, mode={self.mode}, "
            f"count=({self.min_count}, {self.max_count}))"
        )
