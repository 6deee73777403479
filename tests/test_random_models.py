"""Random sets of arguments and random sequences of changes against timm in float64: a few of each
here, many with `-m long`. What is drawn and compared: random_models.py."""

import pytest
from random_models import run

SHORT = {"options": 24, "changes": 8}
LONG = {"options": 1000, "changes": 300}


@pytest.mark.parametrize("kind", SHORT)
def test_random_models_are_timms(kind: str) -> None:
    outcomes, wrong = run(kind, 0, SHORT[kind])
    assert not wrong, "\n".join(wrong)
    assert sum(n for name, n in outcomes.items() if name.startswith("equal")) >= SHORT[kind] / 3


@pytest.mark.long
@pytest.mark.parametrize("kind", LONG)
def test_many_random_models_are_timms(kind: str) -> None:
    _, wrong = run(kind, SHORT[kind], LONG[kind])
    assert not wrong, "\n".join(wrong)
