"""Pictures of what a model looked at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc.arrays import Array


def attention_figure(
    images: Sequence[Array], maps: Sequence[Array], titles: Sequence[str], columns: int = 4
) -> Any:
    """A matplotlib figure: each image with its title, and beneath it the map laid over it.

    images: (H, W) or (H, W, 3). maps: (rows, columns) of patches, any scale. Raises `ImportError`
    if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "vitc[train]"') from None
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.4 * columns, 5.2 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (image, weights, title) in enumerate(zip(images, maps, titles, strict=True)):
        above, below = (
            axes[2 * (i // columns)][i % columns],
            axes[2 * (i // columns) + 1][i % columns],
        )
        above.set_title(title, fontsize=9)
        above.imshow(image, cmap="gray")
        _overlay(below, image, weights)
    return figure


def _overlay(axis: Any, image: Array, weights: Array) -> None:
    """The image in grey, darker where the map is low, and in colour where it is high."""
    height, width = image.shape[:2]
    low, high = np.percentile(weights, [5, 99])
    shown = np.clip((weights - low) / max(high - low, 1e-12), 0, 1)
    axis.imshow(image, cmap="gray")
    axis.imshow(
        shown,
        cmap="inferno",
        alpha=0.55,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="bilinear",
        vmin=0,
        vmax=1,
    )
