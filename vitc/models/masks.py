"""Which tokens see which: the arguments attn_mask and is_causal of the forward pass."""

from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array, as_array
from vitc.errors import shown
from vitc.program import Program, with_attention_mask, with_causal_attention


class Masking(NamedTuple):
    """bias: what is added to the scores, (batch, sets * N, N), or None. causal: a token sees itself
    and those before it, and there is no bias."""

    bias: Array | None = None
    causal: bool = False

    @property
    def sets(self) -> int:
        """How many masks an image has: one, one for each head, or none."""
        return 0 if self.bias is None else self.bias.shape[1] // self.bias.shape[2]


def masking(attn_mask: Any, is_causal: bool, batch: int, heads: int, tokens: int) -> Masking:
    """attn_mask: of a shape that broadcasts to (batch, heads, N, N), queries by keys, such as
    (N, N) or (batch, 1, 1, N), of bool (True: is seen) or of numbers that are added to the scores;
    is_causal wins over it.

    Raises `ValueError` for another shape, or a token that sees nothing; `TypeError` for integers.
    """
    if is_causal or attn_mask is None:
        return Masking(causal=bool(is_causal))
    mask = as_array(attn_mask)
    if mask.dtype.kind == "b":
        mask = np.where(mask, np.float32(0), np.float32(-np.inf))
    if mask.dtype.kind != "f":
        raise TypeError(f"attn_mask has dtype {shown(mask.dtype)}, expected bool or floating point")
    full = (batch, heads, tokens, tokens)
    if not _broadcasts(mask.shape, full):
        raise ValueError(
            f"attn_mask has shape {mask.shape}, expected one that broadcasts to {full}: batch, "
            "heads, queries and keys"
        )
    if np.isneginf(mask).all(axis=-1).any():
        raise ValueError("attn_mask leaves a token that sees no other and not itself")
    sets = mask.shape[-3] if mask.ndim > 2 else 1
    mask = np.broadcast_to(mask, (batch, sets, tokens, tokens))
    return Masking(mask.reshape(batch, -1, tokens))


def _broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether torch's attention broadcasts an array of this shape to the full one."""
    ends = zip(reversed(shape), reversed(full), strict=False)
    return 2 <= len(shape) <= len(full) and all(a in (1, b) for a, b in ends)


NO_MASK = Masking()


def masked(program: Program, masking: Masking) -> Program:
    """The program whose blocks see no more than they may; a bias is its last input."""
    if masking.causal:
        return with_causal_attention(program)
    return with_attention_mask(program, masking.sets) if masking.sets else program
