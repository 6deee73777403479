"""Weights of one model made to fit another: other classes, channels, image and patch sizes."""

import warnings
from collections.abc import Mapping, Sequence
from math import isqrt

import numpy as np

from vitc.arrays import Array
from vitc.models.resample import (
    Size,
    resample_bias_table,
    resample_patch_embed,
    resample_pos_embed,
)
from vitc.program import Shape

PATCH, TABLE = "patch_embed.proj.weight", "pos_embed"
BIASES = "relative_position_bias_table"


def adapted(
    state: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    *,
    grid: Size,
    stated: Size | None,
    guessed: Size,
    prefix: int,
    heads: Sequence[str],
    interpolation: str = "bicubic",
    cut: bool = False,
    fresh_heads: bool = True,
) -> dict[str, Array]:
    """The state dict under the shapes of a model, as far as that has a meaning.

    state: under the names of the model. grid: rows and columns of the model's patches. stated: the
    size of the images that the weights were trained on, if it is known; guessed: if it is not, and
    the number of patches is not the model's either. prefix: tokens before the patches. heads: of
    which layers the rows are classes; they are left out if their number is another, and a warning
    says so. interpolation: see `resample`. cut: the grid of positions is resized to a square of the
    longer side, of which the upper left part is taken. fresh_heads: False if heads of another
    number of classes are an error.

    Raises `ValueError` for a position embedding whose grid cannot be known, and for such heads.
    """
    out = dict(state)
    height, width = _source_patch(state, shapes)
    if PATCH in state and PATCH in shapes:
        out[PATCH] = _patch(state[PATCH], shapes[PATCH], interpolation)
    sizes = [size for size in (stated, guessed) if size]
    grids = [(size[0] // height, size[1] // width) for size in sizes]
    grids.insert(len(grids) - 1, grid)
    for key in shapes:
        if key.endswith(BIASES) and key in state and state[key].ndim == 2:
            out[key] = _biases(key, state[key], shapes[key], grid, grids)
    if TABLE in state and TABLE in shapes and state[TABLE].ndim == 3 and len(state[TABLE]) == 1:
        old = _old_grid(state[TABLE].shape[1] - prefix, grids)
        if old != grid:
            new = (max(grid), max(grid)) if cut else grid
            table = resample_pos_embed(state[TABLE], old, new, prefix, interpolation)
            out[TABLE] = _upper_left(table, new, grid, prefix)
    return _without_other_heads(out, shapes, heads, fresh_heads)


def _distances(grid: Size) -> int:
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


def _biases(key: str, table: Array, shape: Shape, grid: Size, grids: Sequence[Size]) -> Array:
    """A table of biases by distance for the model's grid; old: the first of the grids that it fits,
    else a square one."""
    extra = shape[0] - _distances(grid)
    rows = len(table) - extra
    fits = (old for old in grids if _distances(old) == rows)
    side = (isqrt(max(rows, 0)) + 1) // 2
    old = next(fits, (side, side))
    if _distances(old) != rows:
        raise ValueError(
            f"{key} has {len(table)} rows, which are those of no square grid: give "
            "pretrained_cfg_overlay=dict(input_size=...)"
        )
    return resample_bias_table(table, old, grid)


def _upper_left(table: Array, old: Size, new: Size, prefix: int) -> Array:
    """(1, prefix + old, D) -> (1, prefix + new, D): the patches of the upper left part."""
    patches = table[:, prefix:].reshape(1, *old, -1)[:, : new[0], : new[1]]
    patches = patches.reshape(1, new[0] * new[1], -1)
    return np.concatenate([table[:, :prefix], patches], axis=1)


def _source_patch(state: Mapping[str, Array], shapes: Mapping[str, Shape]) -> Size:
    """Height and width of the patches that the weights are for."""
    given = PATCH in state and state[PATCH].ndim == 4 and state[PATCH].size
    shape = state[PATCH].shape if given else shapes[PATCH]
    return shape[-2], shape[-1]


def _patch(kernel: Array, shape: Shape, interpolation: str) -> Array:
    """The kernel (D, C, h, w), or (D, C h w) as old files have it, for other channels and sizes."""
    if kernel.ndim == 2 and kernel.shape[1] % (shape[2] * shape[3]) == 0:
        kernel = kernel.reshape(len(kernel), -1, *shape[2:])
    if kernel.ndim != 4 or not kernel.size or kernel.dtype.kind != "f":
        return kernel  # what is wrong with it is reported where it is written
    kernel = adapt_input_conv(shape[1], kernel)
    if kernel.shape[2:] == shape[2:]:
        return kernel
    return resample_patch_embed(kernel, (shape[2], shape[3]), interpolation)


def adapt_input_conv(in_chans: int, kernel: Array) -> Array:
    """(D, C, h, w) -> (D, in_chans, h, w), in the dtype of kernel.

    One channel: the sum over the old ones, which is what the old kernel makes of a grey image. n
    channels: the old ones in turn, times C / n, so that the sum stays what it was.
    """
    old = kernel.shape[1]
    if in_chans == old:
        return kernel
    wide = kernel.astype(np.float32)
    if in_chans == 1:
        total: Array = wide.sum(axis=1, keepdims=True)
        return total.astype(kernel.dtype)
    turns = np.arange(in_chans) % old
    return (wide[:, turns] * np.float32(old / in_chans)).astype(kernel.dtype)


def _old_grid(patches: int, grids: Sequence[Size]) -> Size:
    """The first of the grids with n patches, else the square one."""
    for grid in grids:
        if grid[0] * grid[1] == patches:
            return grid
    side = isqrt(max(patches, 0))
    if side * side != patches or not side:
        raise ValueError(
            f"pos_embed is for {patches} patches, neither a square nor a grid of "
            + " or ".join(f"{rows} x {columns}" for rows, columns in grids)
            + ": give pretrained_cfg_overlay=dict(input_size=...)"
        )
    return side, side


def _without_other_heads(
    state: dict[str, Array], shapes: Mapping[str, Shape], heads: Sequence[str], fresh: bool
) -> dict[str, Array]:
    """Leaves out the heads of other numbers of classes, so that the model keeps its fresh ones."""
    for head in heads:
        weight, bias = f"{head}.weight", f"{head}.bias"
        classes = len(np.atleast_1d(state[weight])) if weight in state else 0
        wanted = shapes[weight][0] if weight in shapes else 0
        if classes == wanted:
            continue
        if classes and wanted and not fresh:
            raise ValueError(
                f"{head} is for {classes} classes, the model has {wanted}: give "
                f"num_classes={classes}; for a fresh head pretrained=True and "
                "pretrained_cfg_overlay=dict(file=...) in place of checkpoint_path"
            )
        if bias in state and not classes and wanted and not fresh:
            raise ValueError(f"it has {bias} and no {weight}")
        state.pop(weight, None)
        state.pop(bias, None)
        if wanted:
            had = f"are for {classes} classes" if classes else "have no head"
            warnings.warn(
                f"the weights {had}, the model has {wanted}: {head} starts fresh", stacklevel=2
            )
    return state
