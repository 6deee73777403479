"""Images for tests of transforms, and what transforms draw."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from vitc.data import random


def image(mode: str = "RGB", size: tuple[int, int] = (37, 61), seed: int = 0) -> Image.Image:
    """Noise of (height, width)."""
    rng = np.random.default_rng(seed)
    if mode == "F":
        return Image.fromarray(rng.standard_normal(size).astype(np.float32))
    return Image.fromarray(rng.integers(0, 256, (*size, 4), dtype=np.uint8)).convert(mode)


def smooth(mode: str = "RGB", size: tuple[int, int] = (37, 61), seed: int = 0) -> Image.Image:
    """Noise with large spots and few levels missing at the ends, as photographs have."""
    coarse = image(mode, (max(size[0] // 8, 1), max(size[1] // 8, 1)), seed)
    return coarse.resize(size[::-1], Image.Resampling.BICUBIC).point(lambda level: 20 + level // 2)


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    """Whether no pixel differs."""
    return (ours.mode, ours.size, ours.tobytes()) == (theirs.mode, theirs.size, theirs.tobytes())


def draws(transform: Any, img: Any, count: int = 20) -> Iterator[tuple[Any, Any]]:
    """What a transform draws and what it makes of it, for one item after the other."""
    for i in range(count):
        with random.item(0, 0, i):
            params = transform.draw(img, random.generator())
        with random.item(0, 0, i):
            yield params, transform(img)


def sample(transform: Any, img: Any, count: int = 2000) -> list[tuple[Any, ...]]:
    """What a transform draws, from one stream."""
    generator = np.random.default_rng(0)
    return [transform.draw(img, generator) for _ in range(count)]
