"""What holds for all tests. A child process, too, imports the vitc that is installed, and not the
folder ./vitc it may be started beside, which has no extension unless it was built in place."""

import os
from collections.abc import Iterator

import pytest

os.environ["PYTHONSAFEPATH"] = "1"

# Whoever loads the OpenMP runtime first, here torch, settles how long waiting threads spin.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@pytest.fixture
def fuzz_seconds() -> float:
    """How long a group of tests throws damaged files at a reader: 20 seconds in CI."""
    return float(os.environ.get("VITC_FUZZ_SECONDS", "6"))


@pytest.fixture
def fresh_clock() -> Iterator[None]:
    """Seed 0 and step 0, before a test and after it."""
    from vitc.tape import clock

    def begin() -> None:
        clock.seed = 0
        clock.begin(0)

    begin()
    yield
    begin()
