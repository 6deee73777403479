"""Items to a batch, as torch's default_collate does it, with NumPy arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitc.arrays import as_array


def default_collate(batch: Sequence[Any]) -> Any:
    """The items of a batch, stacked.

    Arrays (and torch tensors) of one shape become an array with the batch as its first axis, whole
    numbers int64 (B,), floating point numbers float64 (B,). Tuples, lists and dicts are collated
    place by place and keep their type; strings and bytes become a list.

    Raises `ValueError` for arrays of different shapes or items of different lengths and `TypeError`
    for anything else, a Pillow image above all.
    """
    first = batch[0]
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, bool | int | float | np.generic):
        return _numbers(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in batch]) for key in first}
    if isinstance(first, tuple | list):
        return _columns(batch)
    if hasattr(first, "__array__") or hasattr(first, "__dlpack__"):
        return _stack(batch)
    hint = ""
    if type(first).__module__.startswith("PIL."):
        hint = "; the dataset needs a transform that ends in ToTensor()"
    raise TypeError(f"items of type {type(first).__name__} cannot be made a batch{hint}")


def _numbers(batch: Sequence[Any]) -> Any:
    numbers = np.asarray(batch)
    if numbers.dtype.kind not in "biufc":
        kinds = sorted({type(item).__name__ for item in batch})
        raise TypeError(f"items of types {', '.join(kinds)} cannot be made a batch")
    return numbers


def _columns(batch: Sequence[Any]) -> Any:
    lengths = {len(item) for item in batch}
    if len(lengths) > 1:
        raise ValueError(f"items of {sorted(lengths)} parts cannot be made a batch")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    kind = type(batch[0])
    return kind(*columns) if hasattr(kind, "_fields") else kind(columns)


def _stack(batch: Sequence[Any]) -> Any:
    arrays = [as_array(item) for item in batch]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(
            f"arrays of shapes {listed} cannot be made a batch; the dataset needs a transform that "
            "gives all images one size"
        )
    return np.stack(arrays)
