"""Attention rollout (Abnar & Zuidema 2020): how much of each patch reaches the class token."""

from typing import Any

import numpy as np

from vitc.arrays import Array


def attention_rollout(model: Any, images: Any) -> Array:
    """Images (batch, C, H, W) -> maps (batch, rows, columns of patches), each with sum 1.

    Per block: the mean over heads, half of it and half the identity for the residual connection;
    the blocks multiplied, and the row of the class token without the prefix tokens; of a model
    without a class token, the mean of the rows of all patches.
    """
    maps = model.attention_maps(images).mean(axis=2)  # (batch, depth, tokens, tokens)
    tokens = maps.shape[-1]
    flow = np.broadcast_to(np.eye(tokens, dtype=maps.dtype), (len(maps), tokens, tokens))
    for block in np.moveaxis(maps, 1, 0):
        flow = (0.5 * block + 0.5 * np.eye(tokens, dtype=maps.dtype)) @ flow
    prefix = model.num_prefix_tokens
    row = flow[:, 0] if model.has_class_token else flow[:, prefix:].mean(axis=1)
    patches = row[:, prefix:]
    rows, columns = model.grid_size
    share = patches / patches.sum(axis=1, keepdims=True)
    return np.asarray(share.reshape(len(maps), rows, columns))
