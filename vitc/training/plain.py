"""Values of Python and NumPy as JSON, and back, with their types.

JSON has no tuples, no arrays, and no keys but strings: they are written as an object with one
entry, whose name says what it is.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

_TUPLE, _ITEMS, _ARRAY = "__tuple__", "__items__", "__array__"
_MARKS = {_TUPLE, _ITEMS, _ARRAY}
_KINDS = "biuf"  # of arrays


def as_json(value: Any, what: str = "") -> Any:
    """value in the types of JSON; paths become strings, NumPy's scalars Python's.

    what: what it is, for the message. Raises `TypeError` for a type that is not known.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [as_json(x, what) for x in value]
    if isinstance(value, tuple):
        return {_TUPLE: [as_json(x, what) for x in value]}
    if isinstance(value, Mapping):
        return _mapping(value, what)
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        return {_ARRAY: [value.dtype.str, list(value.shape), value.ravel().tolist()]}
    raise TypeError(f"{f'{what} has ' if what else ''}a {type(value).__name__}")


def _mapping(value: Mapping[Any, Any], what: str) -> dict[str, Any]:
    if all(isinstance(key, str) for key in value) and not (len(value) == 1 and _MARKS & set(value)):
        return {str(key): as_json(x, what) for key, x in value.items()}
    return {_ITEMS: [[as_json(key, what), as_json(x, what)] for key, x in value.items()]}


def from_json(value: Any) -> Any:
    """What `as_json` was given. Raises `ValueError` for a mark with something else behind it."""
    if isinstance(value, list):
        return [from_json(x) for x in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), None) if len(value) == 1 else None
    if mark not in _MARKS:
        return {key: from_json(x) for key, x in value.items()}
    try:
        return _marked(str(mark), value[mark])
    except (TypeError, ValueError) as error:
        raise ValueError(f"what {mark} marks is damaged: {error}") from None


def _marked(mark: str, content: Any) -> Any:
    if not isinstance(content, list):
        raise TypeError("not a list")
    if mark == _TUPLE:
        return tuple(from_json(x) for x in content)
    if mark == _ITEMS:
        return {from_json(key): from_json(x) for key, x in content}
    kind, shape, values = content
    if np.dtype(kind).kind not in _KINDS:
        raise ValueError("an array of another type")
    return np.array(values, np.dtype(kind)).reshape(shape)
