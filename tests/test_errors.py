"""Messages are short whatever they are about, and say no more of it than its type allows."""

import enum
from pathlib import Path

import numpy as np
import pytest

import vitc
from vitc import _vitc
from vitc import functional as F
from vitc.data import transforms as T
from vitc.errors import listed, nearest, shown

LONGEST = 1500  # of a message that holds such a thing and what is known


class Rude:
    """It may not be written."""

    def __repr__(self) -> str:
        raise RuntimeError("repr was called")

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        raise RuntimeError("format was called")


class RudeText(str):
    __slots__ = ()
    __repr__ = __str__ = Rude.__repr__


class RudeNumber(int):
    __repr__ = __str__ = Rude.__repr__


class Colour(enum.Enum):
    RED = 1


def test_small_things_are_shown_as_they_are() -> None:
    for value in (None, True, -3, 0.5, 1j, "a'b", b"ab", (), (1,), [1, "x"], {"a": (2, 3)}, {4}):
        assert shown(value) == repr(value)
    assert shown(np.float64(0.5)) == "0.5" and shown(np.int8(3)) == "3"
    assert shown(np.dtype("f4")) == "float32" and shown(Colour.RED) == "Colour.RED"
    assert shown(Path("a/b")) == "'a/b'" and shown(int) == "int"


def test_lists_end_with_how_many_more_there_are() -> None:
    assert listed([4, "b"]) == "4, b" and listed([]) == ""
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert listed("ab", 2) == "a, b" and listed("abc", 2) == "a, b and 1 more"
    assert len(listed(["x" * 10**6])) < 300


HUGE = {
    "array": np.zeros((1_000_000, 3)),
    "text": "x" * 10_000_000,
    "bytes": b"x" * 10_000_000,
    "list": [[1.5] * 20] * 100_000,
    "dict": {i: i for i in range(1_000_000)},
    "number": 10**1_000_000,
    "rude": Rude(),
    "rude text": RudeText("x" * 1000),
    "rude number": RudeNumber(10**1000),
    "rude list": [Rude()] * 1000,
    "dtype": np.dtype([(f"f{i}", "f4") for i in range(10_000)]),
    "class": type("x" * 100_000, (), {}),
}
itself: list = []
itself.append(itself)
HUGE["a list in itself"] = itself


@pytest.mark.parametrize("what", HUGE)
def test_huge_and_rude_things_are_described(what: str) -> None:
    assert 0 < len(shown(HUGE[what])) <= 220
    assert len(nearest(HUGE[what], [f"word {i}" for i in range(100_000)])) < LONGEST


def test_of_an_array_the_shape_is_told() -> None:
    assert shown(HUGE["array"]) == "an array of shape (1000000, 3)"
    assert shown(HUGE["rude"]) == "a Rude"
    assert shown(HUGE["list"]).startswith("[[1.5, 1.5, ")


class Liar:
    """What it is must be seen without asking it."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("__class__ was asked for")


def test_the_type_is_not_asked_for() -> None:
    assert shown(Liar()) == "a Liar"


# Calls that refuse what they are given by naming it.
CALLS = {
    "model": lambda x: vitc.create_model(x),
    "argument": lambda x: vitc.create_model("test_vit", img_size=x),
    "width": lambda x: vitc.create_model("test_vit", embed_dim=x),
    "dtype": lambda x: vitc.create_model("test_vit", dtype=x),
    "reduction": lambda x: F.cross_entropy(np.zeros((1, 2), np.float32), [0], reduction=x),
    "quantize": lambda x: vitc.quantize(vitc.create_model("test_vit", depth=1), mode=x),
    "precision": lambda x: vitc.Trainer(precision=x),
    "callable": lambda x: T.Lambda([x]),
    "crop": lambda x: T.RandomCrop((x, x, x)),
    "rows": lambda x: _vitc.Params([("w", x)]),
    "row": lambda x: _vitc.Params([x]),
    "shape": lambda x: _vitc.Program([x], [], [], [0]),
    "kind": lambda x: _vitc.Program([(2, 3)], [], [(x, [0], [], {})], [1]),
    "inputs": lambda x: _vitc.Program([(2, 3)], [], [("add", x, [], {})], [1]),
    "name": lambda x: _vitc.Program(
        [(2, 3)], [], [("dropout", [0], [], dict(rate=0.1, site=x))], [1]
    ),
    "image": lambda x: _vitc.image("flip", x),
    "operation": lambda x: _vitc.image(x, np.zeros((2, 2), np.uint8)),
}


@pytest.mark.parametrize("what", HUGE)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_refused_is_named_in_a_line(call: str, what: str) -> None:
    """No repr is formed of what is large: that of a million rows took more than 40 s."""
    with pytest.raises((ValueError, TypeError, OverflowError, AttributeError)) as caught:
        CALLS[call](HUGE[what])
    assert len(str(caught.value)) <= LONGEST
