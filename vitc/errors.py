"""Errors of vitc and the helpers that word them.

A bad value is a `ValueError`, a wrong type or argument name a `TypeError`, a file that cannot be
read an `OSError` or `ValueError` naming its path. `VitcError` is a misuse of the library that is
none of these, such as a second backward pass.

Whatever a caller gave goes into a message through `shown`: it may be an array of gigabytes.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from vitc._vitc import VitcError

__all__ = ["VitcError", "listed", "nearest", "said", "shown"]

_LONGEST, _ITEMS = 200, 10  # characters of a value, elements of a list
_LONGEST_NAME, _LONGEST_TEXT = 80, 1500
_KNOWN = 30  # words of those that are known


def nearest(word: object, known: Iterable[str]) -> str:
    """A half sentence naming the known words closest to `word`, or the first of them if none is
    close."""
    known = sorted(known)
    tried = str.__str__(word) if issubclass(type(word), str) else ""
    close = get_close_matches(tried[:_LONGEST], known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(map(shown, close)) + "?"
    return "known: " + listed(known, _KNOWN)


def listed(words: Sequence[object], most: int = 10) -> str:
    """The first of some numbers or short texts, and how many more there are: "a, b and 7 more"."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(word_of(str(word)) for word in words[:most]) + more


def word_of(name: str) -> str:
    """A name that may come from a file, cut where it is long, and in printable characters."""
    name = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def said(error: BaseException) -> str:
    """What an error says of a file that may have been made to harm: cut, and in printable
    characters."""
    if isinstance(error, KeyError):
        return f"it has no {shown(error.args[0] if error.args else '')}"
    text = str(error) or type(error).__name__
    text = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """The repr of numbers, text and short lists, cut where they are long; the type of all else. The
    type is looked at first: no repr that a caller may have written is called, and none of anything
    large."""
    return _cut(_written(value, 3))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _written(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in _BRACKETS:
        return _elements(value, depth) if depth else "..."
    for base, write in _PLAIN.items():
        if issubclass(kind, base):
            return write(value)
    return f"a {_cut(kind.__name__)}"


def _elements(value: Any, depth: int) -> str:
    first, last = tuple(_BRACKETS[type(value)])
    items = value.items() if type(value) is dict else value
    parts = []
    for _, item in zip(range(_ITEMS), items, strict=False):
        pair = item if type(value) is dict else (item,)
        parts.append(": ".join(_written(x, depth - 1) for x in pair))
    if len(value) > _ITEMS:
        parts.append(f"... {len(value)} in all")
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return first + ", ".join(parts) + comma + last


def _whole(value: int) -> str:
    bits = int.bit_length(value)
    return int.__repr__(value) if bits <= _LONGEST else f"an integer of {bits} bits"


def _text(value: str) -> str:
    text = str.__getitem__(value, slice(_LONGEST + 1))
    return str.__repr__(text) if len(text) <= _LONGEST else str.__repr__(text[:-1]) + "..."


def _array(value: np.ndarray[Any, Any]) -> str:
    return f"an array of shape {np.ndarray.shape.__get__(value)}"


_BRACKETS: dict[type, str] = {tuple: "()", list: "[]", dict: "{}", set: "{}"}
# The first base of a type counts.
_PLAIN: dict[type, Callable[[Any], str]] = {
    type(None): repr,
    Enum: lambda value: f"{type(value).__name__}.{value.name}",
    bool: repr,
    int: _whole,
    float: float.__repr__,
    complex: complex.__repr__,
    str: _text,
    bytes: lambda value: bytes.__repr__(bytes.__getitem__(value, slice(_LONGEST))),
    PurePath: lambda value: _text(str(value)),
    np.ndarray: _array,
    np.dtype: str,
    np.integer: lambda value: _whole(int(value)),
    np.floating: lambda value: repr(float(value)),
    np.bool_: lambda value: repr(bool(value)),
    type: lambda value: value.__name__,
}
