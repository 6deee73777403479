"""Names of test cases that are the same in every process."""

import re


def without_addresses(value: object) -> str:
    """As `str`, with "<function invert>" for "<function invert at 0x7f...>"."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
