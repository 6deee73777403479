"""Position embeddings and patch kernels for another image or patch size.

Resizing is linear and separable: a matrix along the rows, another along the columns. The matrices
are those of torch.nn.functional.interpolate(align_corners=False).
"""

import numpy as np

from vitc.arrays import Array

Size = tuple[int, int]


def bicubic(old: int, new: int) -> Array:
    """(new, old): bicubic with antialiasing, as torch and Pillow have it.

    Sample i of the new row is centred at (i + 1/2) old/new in the old one. Its weights are the
    cubic of Keys (1981), A = -1/2 (-3/4 is torch's without antialiasing), stretched by old/new when
    that is more than 1. What is outside is cut off, and the rest made to sum to 1. The places are
    rounded to float32, as torch has them: in double the result would differ by some 1e-5.
    """
    scale = np.float32(old / new)
    centre = scale * (np.arange(new, dtype=np.float32) + np.float32(0.5))
    stretch = max(float(scale), 1.0)
    support = 2 * stretch
    first = np.maximum((centre - support + 0.5).astype(int), 0)
    last = np.minimum((centre + support + 0.5).astype(int), old)
    place = np.arange(old)
    weights = _cubic((place + 0.5 - centre[:, None]) / stretch)
    inside = (place >= first[:, None]) & (place < last[:, None])
    weights = np.where(inside, weights, 0)
    normal: Array = weights / weights.sum(axis=1, keepdims=True)
    return normal


def _cubic(x: Array, a: float = -0.5) -> Array:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def bilinear(old: int, new: int) -> Array:
    """(new, old): between the two nearest samples, without antialiasing, as Google resizes."""
    place = np.float32(old / new) * (np.arange(new, dtype=np.float32) + np.float32(0.5))
    return _between(np.clip(place - np.float32(0.5), 0, old - 1), old)


def bilinear_corners(old: int, new: int) -> Array:
    """The same, but the first and the last sample stay where they are (align_corners=True)."""
    scale = np.float32((old - 1) / max(new - 1, 1))
    return _between(np.arange(new, dtype=np.float32) * scale, old)


def _between(place: Array, old: int) -> Array:
    """(new, old): samples at these places, each between two old ones."""
    new = len(place)
    low = place.astype(int)
    high = np.minimum(low + 1, old - 1)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), low), 1 - (place - low))
    np.add.at(weights, (np.arange(new), high), place - low)
    return weights


MATRICES = {"bicubic": bicubic, "bilinear": bilinear, "bilinear_corners": bilinear_corners}


def resample_pos_embed(
    table: Array, old: Size, new: Size, prefix: int, interpolation: str = "bicubic"
) -> Array:
    """(1, prefix + old, D) -> (1, prefix + new, D), in the dtype of table.

    old, new: rows and columns of patches. prefix: tokens before the patches, which stay.
    Raises `ValueError` if the table is not that of the old grid.
    """
    if table.ndim != 3 or table.shape[1] != prefix + old[0] * old[1]:
        raise ValueError(
            f"pos_embed has shape {table.shape}, expected 1 x {prefix} + {old[0]} x {old[1]} x D"
        )
    rows, columns = (MATRICES[interpolation](a, b) for a, b in zip(old, new, strict=True))
    grid = table[0, prefix:].astype(np.float64).reshape(*old, -1)
    grid = np.einsum("ih,jw,hwd->ijd", rows, columns, grid, optimize=True)
    patches = grid.reshape(1, new[0] * new[1], -1).astype(table.dtype)
    return np.concatenate([table[:, :prefix], patches], axis=1)


def resample_patch_embed(kernel: Array, new: Size, interpolation: str = "bicubic") -> Array:
    """(D, C, h, w) -> (D, C, *new): its products with resized patches are those there were before.

    With R (new pixels, old pixels) the resizing of a patch it is W' = W R^+, the pseudo-inverse:
    FlexiViT (Beyer et al. 2023), section 3.4. R is the Kronecker product of the matrices of rows
    and columns, and R^+ that of their pseudo-inverses.
    """
    old = kernel.shape[-2:]
    rows, columns = (MATRICES[interpolation](a, b) for a, b in zip(old, new, strict=True))
    wide = kernel.astype(np.float64)
    return (np.linalg.pinv(rows).T @ wide @ np.linalg.pinv(columns)).astype(kernel.dtype)


# ------------------------------------------------------------------------------- biases by distance


def resample_bias_table(table: Array, old: Size, new: Size) -> Array:
    """A table of biases by distance ((2h-1) (2w-1) + extra, heads) for the grid old (h, w) -> the
    same for the grid new, in the dtype of table; the extra rows stay.

    Far distances are spread more than near ones (Bao et al. 2022): those of the old grid stand at
    0, 1, 1 + q, 1 + q + q^2, ... with the q by which the greatest ones meet, and the new ones lie
    between them.
    """
    extra = len(table) - (2 * old[0] - 1) * (2 * old[1] - 1)
    if old == new:
        return table
    rows, columns = (_spread(a, b) for a, b in zip(old, new, strict=True))
    places = table[: len(table) - extra].astype(np.float64)
    places = places.reshape(2 * old[0] - 1, 2 * old[1] - 1, -1)
    places = np.einsum("ih,jw,hwd->ijd", rows, columns, places, optimize=True)
    flat = places.reshape(-1, table.shape[1]).astype(table.dtype)
    return np.concatenate([flat, table[len(table) - extra :]])


def _spread(old: int, new: int) -> Array:
    """(2 new - 1, 2 old - 1): from the distances of a side of old patches to those of new ones."""
    ratio = _ratio(old - 1, new - 1)
    apart = np.cumsum(ratio ** np.arange(old - 1))
    known = np.concatenate([-apart[::-1], [0], apart])
    asked = np.arange(1 - new, new)
    return np.stack([np.interp(asked, known, unit) for unit in np.eye(2 * old - 1)], axis=1)


def _ratio(terms: int, total: int) -> float:
    """q from 1.01 to 1.5, to 1e-6, with 1 + q + ... + q^(terms - 1) = total; as BEiT finds it."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q**terms) / (1 - q) > total else (q, high)
    return q
