"""Rectangles of an image in one order, that of the core, whatever order a dialect counts in."""

from typing import NamedTuple, Self

from vitc.errors import shown


class Box(NamedTuple):
    """A rectangle of pixels: the row and column of its upper left corner, and its size."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def from_corners(cls, top: int, left: int, bottom: int, right: int) -> Self:
        """From its first row and column, and the ones below and to the right of it."""
        return cls(top, left, bottom - top, right - left)

    @property
    def bottom(self) -> int:
        """The row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column to the right of it."""
        return self.left + self.width

    def share(self, height: int, width: int) -> float:
        """Its share of the area of an image of this size."""
        return self.height * self.width / (height * width)


def box_or_all(box: Box | None, height: int, width: int) -> Box:
    """The box, or all of an image of this size for None.

    Raises `TypeError` for another tuple, whose order is not known.
    """
    if box is None:
        return Box(0, 0, height, width)
    if not isinstance(box, Box):
        raise TypeError(f"the rectangle is {shown(box)}, expected a vitc.data.Box or None")
    return box
