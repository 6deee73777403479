"""Sizes, crops and borders without chance."""

from collections.abc import Sequence
from typing import Any

from vitc import checks
from vitc.data import functional as F
from vitc.data.functional import Fill, Size
from vitc.data.transforms.base import Transform, antialiased
from vitc.errors import shown


class Resize(Transform):
    """Another number of pixels: size (height, width), or of the shorter edge if it is one number.

    interpolation: a name of `InterpolationMode`. max_size: what the longer edge may have at most,
    if size is one number. antialias: images are antialiased always.
    """

    shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(
        self,
        size: Size,
        interpolation: str = "bilinear",
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        height_or_short = checks.pair("size", size)[0]
        self.size, self.max_size = size, max_size
        self.interpolation = F.interpolation_mode(interpolation)
        self.antialias = antialiased(antialias)
        one = not isinstance(size, Sequence) or len(size) == 1
        if max_size is not None and not (one and max_size > height_or_short):
            raise ValueError(
                f"max_size is {shown(max_size)}, size is {shown(size)}: expected one number below "
                "max_size"
            )

    def __call__(self, img: Any) -> Any:
        return F.resize(img, self.size, self.interpolation, self.max_size)


class CenterCrop(Transform):
    """The middle of the image; where it is smaller than size, there is black around it."""

    shown = ("size",)

    def __init__(self, size: Size) -> None:
        self.size = checks.pair("size", size)

    def __call__(self, img: Any) -> Any:
        return F.center_crop(img, self.size)


class CenterCropOrPad(Transform):
    """The same with another border around it: timm's transform."""

    shown = ("size", "fill", "padding_mode")

    def __init__(self, size: Size, fill: Fill = 0, padding_mode: str = "constant") -> None:
        self.size, self.fill = checks.pair("size", size), fill
        self.padding_mode = checks.one_of("padding_mode", padding_mode, F.PADDINGS)

    def __call__(self, img: Any) -> Any:
        return F.center_crop(img, self.size, self.fill, self.padding_mode)


class FiveCrop(Transform):
    """A tuple of five crops: upper left, upper right, lower left, lower right, middle.

    Raises `ValueError` for an image smaller than the crop.
    """

    shown: tuple[str, ...] = ("size",)

    def __init__(self, size: Size) -> None:
        self.size = checks.pair("size", size)

    def __call__(self, img: Any) -> tuple[Any, ...]:
        (height, width), (h, w) = F.dimensions(img), self.size
        if h > height or w > width:
            raise ValueError(
                f"the image has {height} x {width} pixels, less than the crop {h} x {w}"
            )
        corners = [(top, left) for top in (0, height - h) for left in (0, width - w)]
        crops = (F.crop(img, top, left, h, w) for top, left in corners)
        return *crops, F.center_crop(img, self.size)


class TenCrop(FiveCrop):
    """The five crops, then those of the image flipped: sideways, or upside down."""

    shown = ("size", "vertical_flip")

    def __init__(self, size: Size, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def __call__(self, img: Any) -> tuple[Any, ...]:
        flipped = F.vflip(img) if self.vertical_flip else F.hflip(img)
        return *super().__call__(img), *super().__call__(flipped)


class Pad(Transform):
    """A border around the image; see `functional.pad`."""

    shown = ("padding", "fill", "padding_mode")

    def __init__(self, padding: Size, fill: Fill = 0, padding_mode: str = "constant") -> None:
        self.padding, self.fill = padding, fill
        self.padding_mode = checks.one_of("padding_mode", padding_mode, F.PADDINGS)

    def __call__(self, img: Any) -> Any:
        F.dimensions(img)
        return F.pad(img, self.padding, self.fill, self.padding_mode)


class Letterbox(Transform):
    """The whole image, in proportion, in the middle of size (height, width), `fill` around it.

    For photographs of parts and slides whose shape tells something: nothing is cropped or squashed.
    """

    shown = ("size", "fill", "interpolation")

    def __init__(self, size: Size, fill: Fill = 0, interpolation: str = "bilinear") -> None:
        self.size, self.fill = checks.pair("size", size), fill
        self.interpolation = F.interpolation_mode(interpolation)

    def __call__(self, img: Any) -> Any:
        shape = F.dimensions(img)
        ratio = max(have / want for have, want in zip(shape, self.size, strict=True))
        fitting = [max(round(edge / ratio), 1) for edge in shape]
        return F.center_crop(F.resize(img, fitting, self.interpolation), self.size, self.fill)


class TrimBorder(Transform):
    """The image without border_size pixels at each edge: timm's transform.

    Raises `ValueError` for an image of which nothing is left.
    """

    shown = ("border_size",)

    def __init__(self, border_size: int) -> None:
        self.border_size = checks.integer("border_size", border_size, 0)

    def __call__(self, img: Any) -> Any:
        (height, width), border = F.dimensions(img), self.border_size
        if min(height, width) <= 2 * border:
            raise ValueError(
                f"the image has {height} x {width} pixels, nothing is left of it without a border "
                f"of {border}"
            )
        return F.crop(img, border, border, height - 2 * border, width - 2 * border)
