"""vitc.data as a package: what importing it loads, by sys.modules of a new process."""

import subprocess
import sys

import pytest

import vitc.data
from vitc.data import functional, transforms

HEAVY = ("PIL", "pydicom", "simplejpeg", "sklearn", "tifffile", "torch")


def test_importing_loads_no_image_library() -> None:
    code = "import sys, vitc.data, vitc.data.transforms; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    roots = {name.split(".")[0] for name in loaded.stdout.split()}
    assert not roots & set(HEAVY)


@pytest.mark.parametrize("package", [vitc.data, functional, transforms])
def test_every_public_name_is_there(package) -> None:
    assert all(hasattr(package, name) for name in package.__all__)
