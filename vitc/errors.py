"""Errors of vitc and the helpers that word them.

A bad value is a `ValueError`, a wrong type or argument name a `TypeError`, a file that cannot be
read an `OSError` or `ValueError` naming its path. `VitcError` is a misuse of the library that is
none of these, such as a second backward pass.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from vitc._vitc import VitcError

__all__ = ["VitcError", "nearest"]


def nearest(word: str, known: Iterable[str]) -> str:
    """A half sentence naming the known words closest to `word`, or all of them if none is close."""
    known = sorted(known)
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "known: " + ", ".join(known)
