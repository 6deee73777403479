"""The errors of reading images."""

from collections.abc import Iterator
from contextlib import contextmanager


class Unreadable(OSError):
    """An image that cannot be read. The message names the file and the reason."""


class NoFrame(IndexError):
    """A frame that a file does not have."""

    def __init__(self, name: str, frame: int, count: int) -> None:
        super().__init__(f"{name}: there is no frame {frame}, it has {count}")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Every failure within is `Unreadable`: on damaged files decoders raise nearly every type."""
    try:
        yield
    except (ImportError, MemoryError, NoFrame, Unreadable):
        raise
    except Exception as error:
        raise Unreadable(f"{name}: the image cannot be read: {error}") from error
