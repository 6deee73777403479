"""vitc.data as a package: what importing it loads."""

import subprocess
import sys

import vitc.data

HEAVY = ("PIL", "pydicom", "simplejpeg", "sklearn", "tifffile", "torch")


def test_importing_loads_no_image_library() -> None:
    code = "import sys, vitc.data, vitc.data.transforms; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    roots = {name.split(".")[0] for name in loaded.stdout.split()}
    assert not roots & set(HEAVY)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(vitc.data, name) for name in vitc.data.__all__)
