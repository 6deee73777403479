"""vitc.checks: what passes, what is refused and in which words, by a table for each check."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vitc import checks

NAN = math.nan

# A check, the arguments after the name, and what it gives.
PASSES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (checks.integer, (3, 3), 3),
    (checks.integer, (np.int16(-1), -1, 0), -1),
    (checks.integer, (np.array(7), 0, 7), 7),
    (checks.number, (0, 0), 0),
    (checks.number, (np.float32(0.5), 0), 0.5),
    (checks.number, (math.inf, 0), math.inf),
    (checks.probability, (1,), 1),
    (checks.probability, (np.float64(0.0),), 0.0),
    (checks.below_one, (0,), 0),
    (checks.below_one, (0.999,), 0.999),
    (checks.bounds, ((2, 2),), (2.0, 2.0)),
    (checks.bounds, (np.array([-1, 2]), -1, 2), (-1.0, 2.0)),
    (checks.positive, ([0.1, 3],), (0.1, 3.0)),
    (checks.around_zero, (3,), (-3.0, 3.0)),
    (checks.around_zero, (np.float32(0.5),), (-0.5, 0.5)),
    (checks.around_zero, ((1, 2),), (1.0, 2.0)),
    (checks.pair, (4,), (4, 4)),
    (checks.pair, ([5],), (5, 5)),
    (checks.pair, ((np.int64(6), 7),), (6, 7)),
    (checks.one_of, ("a", ("a", "b")), "a"),
    (checks.one_of, (None, (None, "b")), None),
]


@pytest.mark.parametrize(("check", "arguments", "expected"), PASSES)
def test_what_passes_comes_back(check: Callable[..., Any], arguments: Any, expected: Any) -> None:
    assert check("x", *arguments) == expected


def test_integers_and_pairs_come_back_as_ints() -> None:
    assert type(checks.integer("x", np.uint8(3), 0)) is int
    assert [type(side) for side in checks.pair("x", np.array([3, 4]))] == [int, int]
    assert [type(side) for side in checks.bounds("x", (1, np.float32(2)))] == [float, float]


WRONG_KINDS: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (checks.integer, (2.0, 0), "x is 2.0, expected an integer"),
    (checks.integer, (True, 0), "x is True, expected an integer"),
    (checks.integer, (np.True_, 0), "x is True, expected an integer"),
    (checks.integer, (None, 0), "x is None, expected an integer"),
    (checks.integer, ("3", 0), "x is '3', expected an integer"),
    (checks.integer, (np.zeros(2, int), 0), "x is an array of shape (2,), expected an integer"),
    (checks.number, ("1", 0), "x is '1', expected a number"),
    (checks.number, (True, 0), "x is True, expected a number"),
    (checks.number, (1j, 0), "x is 1j, expected a number"),
    (checks.probability, (None,), "x is None, expected a number"),
    (checks.below_one, (np.False_,), "x is False, expected a number"),
    (checks.bounds, ("ab",), "x is 'a', expected a number"),
    (checks.pair, (1.5,), "x is 1.5, expected an integer"),
    (checks.pair, ((3, True),), "x is True, expected an integer"),
]
BAD_VALUES: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (checks.integer, (2, 3), "x is 2, expected 3 or more"),
    (checks.integer, (4, 0, 3), "x is 4, expected 0 to 3"),
    (checks.integer, (-1, 0, 3), "x is -1, expected 0 to 3"),
    (checks.number, (-0.5, 0), "x is -0.5, expected 0 or more"),
    (checks.number, (NAN, 0), "x is nan, expected 0 or more"),
    (checks.probability, (1.5,), "x is 1.5, expected a probability from 0 to 1"),
    (checks.probability, (NAN,), "x is nan, expected a probability from 0 to 1"),
    (checks.below_one, (1,), "x is 1, expected a number from 0 to below 1"),
    (checks.below_one, (-0.1,), "x is -0.1, expected a number from 0 to below 1"),
    (checks.bounds, ((2, 1),), "x is (2, 1), expected a range (least, most)"),
    (checks.bounds, ((1, NAN),), "x is (1, nan), expected a range (least, most)"),
    (checks.bounds, ((1, 2, 3),), "x is (1, 2, 3), expected a range (least, most)"),
    (checks.bounds, (3,), "x is 3, expected a range (least, most)"),
    (checks.bounds, ((0, 3), 0, 2), "x is (0, 3), expected a range (least, most) from 0 to 2"),
    (checks.positive, ((0, 1),), "x is (0, 1), expected values above 0"),
    (checks.around_zero, (-1,), "x is (1, -1), expected a range (least, most)"),
    (checks.pair, (0,), "x is 0, expected one or two integers of 1 or more"),
    (checks.pair, ((3, -1),), "x is (3, -1), expected one or two integers of 1 or more"),
    (checks.pair, ((1, 2, 3),), "x is (1, 2, 3), expected one or two integers of 1 or more"),
    (checks.pair, ((),), "x is (), expected one or two integers of 1 or more"),
    (checks.one_of, ("c", ("a", "b")), "x is 'c', expected one of a, b"),
    (checks.one_of, (0, (None, "", "a")), "x is 0, expected one of None, '', a"),
    (checks.one_of, (["a"], {"a": 1}), "x is ['a'], expected one of a"),
]


@pytest.mark.parametrize(
    ("error", "check", "arguments", "message"),
    [(TypeError, *row) for row in WRONG_KINDS] + [(ValueError, *row) for row in BAD_VALUES],
)
def test_what_is_refused_is_named(
    error: type[Exception], check: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(error) as caught:
        check("x", *arguments)
    assert type(caught.value) is error and str(caught.value) == message


def test_optional_values_may_be_none() -> None:
    assert checks.optional(checks.integer, "x", None, 3) is None
    assert checks.optional(checks.integer, "x", 4, 3) == 4
    with pytest.raises(ValueError, match="x is 2, expected 3 or more"):
        checks.optional(checks.integer, "x", 2, 3)


def test_values_are_shown_cut_off() -> None:
    with pytest.raises(ValueError, match=r"x is 'aaa") as caught:
        checks.one_of("x", "a" * 10**7, ("b",))
    assert len(str(caught.value)) < 300
