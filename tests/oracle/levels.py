"""The same program at every instruction set."""

import os
import subprocess
import sys

from vitc import _vitc


def printed_by_level(code: str) -> dict[str, str]:
    """What a Python program prints at each level of VITC_ISA that this processor has."""
    return {
        level: subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "VITC_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for level in _vitc.config()["isas"]
    }


def assert_one_answer(code: str) -> None:
    """A Python program prints the same at each of these levels."""
    printed = printed_by_level(code)
    assert len(set(printed.values())) == 1, printed
