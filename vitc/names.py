"""The order of names that hold numbers."""

import re


def natural(name: str) -> list[str | int]:
    """A key for sorting that puts "b2" before "b10", whatever the case."""
    parts: list[str | int] = list(re.split(r"(\d+)", name.lower()))
    parts[1::2] = map(int, parts[1::2])
    return parts
