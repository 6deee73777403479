"""Calibration caches of TensorRT 10 and before, which `trtexec --int8 --calib` reads.

The first line names the version and the calibrator, `TRT-101401-EntropyCalibration2`; each other
one a tensor and the scale of its int8 values, as the 8 hexadecimal digits of a float32 with the
highest byte first: `blocks.0.norm1/LayerNormalization: 3caa54fc`. A tensor of scale 0 has none.
"""

import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from vitc import checks
from vitc.errors import shown
from vitc.files import replacing
from vitc.quantization.methods import Range

CALIBRATORS = ("EntropyCalibration2", "EntropyCalibration", "MinMaxCalibration")
_HEADER = re.compile(r"TRT-(\d{3,9})-(\w+)")
_LARGEST = 127  # of int8, symmetric


def write_cache(
    path: str | os.PathLike[str],
    ranges: Mapping[str, Range],
    *,
    version: str = "10.14.1",
    calibrator: str = "EntropyCalibration2",
) -> None:
    """Writes the scales max(|low|, |high|) / 127 of tensors by their names in the ONNX file.

    version: of the TensorRT that is to read it; another one refuses the file. Raises `ValueError`
    for a name with a line break, or a range that is not finite, `OSError` if it cannot write.
    """
    checks.one_of("calibrator", calibrator, CALIBRATORS)
    lines = [f"TRT-{_number(version)}-{calibrator}"]
    for name, (low, high) in ranges.items():
        scale = max(abs(low), abs(high)) / _LARGEST
        if not name or "\n" in name or "\r" in name:
            raise ValueError(f"{shown(name)} cannot name a tensor in a calibration cache")
        if not math.isfinite(scale):
            raise ValueError(f"the range of {shown(name)} is {low} to {high}, expected finite ends")
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    with replacing(Path(path)) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_cache(path: str | os.PathLike[str]) -> dict[str, Range]:
    """The ranges (-127 scale, 127 scale) of tensors by their names; those without a scale are left
    out. Raises `OSError`, or `ValueError` naming the file and the line that is wrong."""
    try:
        first, *lines = Path(path).read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a calibration cache of TensorRT: it is no text") from None
    if not _HEADER.fullmatch(first.strip()):
        raise ValueError(
            f"{path}: not a calibration cache of TensorRT: its first line is {shown(first)}, "
            "expected one such as TRT-101401-EntropyCalibration2"
        )
    found: dict[str, Range] = {}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        scale = _scale(line)
        if scale is None:
            raise ValueError(
                f"{path}, line {number}: {shown(line)}, expected NAME: and 8 hexadecimal digits"
            )
        if scale:
            name = line.rpartition(":")[0].strip()
            found[name] = -_LARGEST * scale, _LARGEST * scale
    return found


def _scale(line: str) -> float | None:
    """Of one line; None if it is none. Leading zeros may be left out."""
    name, _, digits = line.rpartition(":")
    digits = digits.strip()
    if not name.strip() or not re.fullmatch("[0-9a-fA-F]{1,8}", digits):
        return None
    (scale,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
    return scale if math.isfinite(scale) and scale >= 0 else None


def _number(version: str) -> int:
    """10.14.1 -> 101401, 8.4.1 -> 8401, as TensorRT counts."""
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", version):
        raise ValueError(f"version is {shown(version)}, expected one such as '10.14.1'")
    major, minor, patch = map(int, version.split("."))
    return major * (10_000 if major >= 10 else 1000) + minor * 100 + patch
