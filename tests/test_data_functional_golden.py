"""Every operation that torchvision has on Pillow images, as the SHA-256 of its pixels.

The digests in golden_images.json were made by torchvision and Pillow, and hold whatever a later
release of these does; the comparisons with what is installed are in other files.

    python tests/test_data_functional_golden.py        # writes them anew, with the installed Pillow
"""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_image import CELLS, cut, photograph, solar_cell

from vitc.data import functional as F

GOLDEN = Path(__file__).with_name("golden_images.json")
PICTURES = {
    **{name: photograph(name, 5) for name in ("astronaut", "chelsea", "coffee", "rocket")},
    **{name: photograph(name, 5) for name in ("camera", "coins")},
    **{name: solar_cell(name) for name in CELLS},
    "one pixel": cut(1, 1),
    "a row": cut(1, 9),
    "odd": cut(17, 31),
    "odd, grey": cut(31, 17, None),
}
FACTORS = [(0.0,), (0.3,), (0.9,), (1.4,), (4.0,)]
CORNERS = [[0, 0], [9, 0], [9, 9], [0, 9]]
MODES = ("nearest", "bilinear", "bicubic")
# The name of a function of torchvision, and the arguments that follow the image.
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "resize": [(size, mode) for size in ((24, 40), (61, 7)) for mode in F.InterpolationMode],
    "resized_crop": [(2, 1, 11, 9, (16, 16), mode) for mode in MODES],
    "center_crop": [(8,), ((20, 9),)],
    "crop": [(-2, 3, 12, 9)],
    "pad": [((1, 2, 3, 4), 7)],
    "hflip": [()],
    "vflip": [()],
    "rotate": [(angle, mode) for angle in (0, 17, 90, -120, 180) for mode in MODES],
    "affine": [(20, (3, -2), 1.3, (10, -5), mode) for mode in MODES],
    "perspective": [(CORNERS, [[1, 2], [8, 0], [9, 7], [-1, 9]], mode) for mode in MODES],
    "adjust_brightness": FACTORS,
    "adjust_contrast": FACTORS,
    "adjust_saturation": FACTORS,
    "adjust_hue": [(-0.5,), (-0.1,), (0.0,), (0.2,), (0.47,)],
    "adjust_sharpness": FACTORS,
    "adjust_gamma": [(0.5,), (1.0,), (2.2, 1.5)],
    "to_grayscale": [(1,), (3,)],
    "posterize": [(bits,) for bits in (1, 2, 4, 7, 8)],
    "solarize": [(0,), (100,), (128,), (200,), (256,)],
    "invert": [()],
    "equalize": [()],
    "autocontrast": [()],
}


def digests(name: str, function: Callable[..., Any], make: Callable[[np.ndarray], Any]) -> Any:
    """By picture: one digest for all calls of a function."""
    found = {}
    for picture, pixels in PICTURES.items():
        digest = hashlib.sha256()
        for call in CALLS[name]:
            result = np.asarray(function(make(pixels), *call))
            digest.update(f"{result.shape[:2]} {result.dtype}".encode() + result.tobytes())
        found[picture] = digest.hexdigest()
    return found


@pytest.mark.parametrize("name", CALLS)
def test_pixels_are_those_that_were_recorded(name: str) -> None:
    expected = json.loads(GOLDEN.read_text())[name]
    assert digests(name, getattr(F, name), lambda pixels: pixels) == expected


def record() -> None:
    from oracle import timm  # noqa: F401  makes torchvision importable

    # isort: split
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as TF

    def theirs(name: str) -> Callable[..., Any]:
        modes = {mode.value: mode for mode in InterpolationMode}
        return lambda img, *args: getattr(TF, name)(
            img, *(modes.get(arg, arg) if isinstance(arg, str) else arg for arg in args)
        )

    makers = ("pillow", "torchvision", "scikit-image", "elpv-dataset")
    recorded: dict[str, Any] = {"made by": {name: version(name) for name in makers}}
    recorded |= {name: digests(name, theirs(name), Image.fromarray) for name in CALLS}
    GOLDEN.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    record()
