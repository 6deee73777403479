"""What a model's static quantisation needs to know, as data taught it, and the file that keeps
it."""

import hashlib
import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.errors import listed, said, shown
from vitc.files import replacing
from vitc.models.model import Model
from vitc.quantization.methods import Method, Range

_FORMAT = "vitc calibration 1"
_KEYS = ("format", "weights_sha256", "method", "images", "ranges", "smooth", "correction")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges of activations, and what else was found for one model with them.

    weights: the SHA-256 of that model's weights (`weights_hash`). images: how many were looked at.
    ranges: by the name of a weight, the least and the greatest value that its layer is to read.
    smooth: by the name of a weight (M, K), the (K,) that its input is divided by, and its columns
    multiplied, before both are quantised. correction: by the name of a bias, what is added to it.
    """

    weights: str
    method: Method
    images: int
    ranges: Mapping[str, Range]
    smooth: Mapping[str, Array] = field(default_factory=dict)
    correction: Mapping[str, Array] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """For which it was made: "static", or "dynamic" if there are no ranges."""
        return "static" if self.ranges else "dynamic"

    def check(self, model: Model, names: Collection[str]) -> None:
        """Raises `ValueError` unless it was made for this model, and these weights have ranges."""
        if self.weights != weights_hash(model):
            raise ValueError(
                "the calibration is of another model: the SHA-256 of its weights begins with "
                f"{self.weights[:12]}, that of these with {weights_hash(model)[:12]}"
            )
        if missing := [name for name in names if name not in self.ranges]:
            raise ValueError(f"the calibration has no range of {listed(missing)}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file, which `load` reads. Raises `OSError`."""
        content = {
            "format": _FORMAT,
            "weights_sha256": self.weights,
            "method": self.method._asdict(),
            "images": self.images,
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "smooth": {name: _numbers(value) for name, value in self.smooth.items()},
            "correction": {name: _numbers(value) for name, value in self.correction.items()},
        }
        with replacing(Path(path)) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote. Raises `OSError`, or `ValueError` naming the file and what is
        wrong in it."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a JSON file: {said(error)}") from None
        try:
            return cls._of(content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a calibration of this version: {said(error)}") from None

    @classmethod
    def _of(cls, content: Any) -> Self:
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"expected a table whose format is {_FORMAT!r}")
        if wrong := set(content) ^ set(_KEYS):
            raise ValueError(f"missing or unknown: {listed(sorted(wrong))}")
        method = content["method"]
        if not isinstance(method, dict) or set(method) != set(Method._fields):
            raise ValueError(f"the method is {shown(method)}, expected {', '.join(Method._fields)}")
        if not isinstance(content["weights_sha256"], str):
            raise ValueError("weights_sha256 is not a text")
        return cls(
            weights=content["weights_sha256"],
            method=Method.of(**method),
            images=checks.integer("images", content["images"], 1),
            ranges={k: _range(k, v) for k, v in _table(content, "ranges").items()},
            smooth={k: _positive(k, v) for k, v in _table(content, "smooth").items()},
            correction={k: _vector(k, v) for k, v in _table(content, "correction").items()},
        )


def weights_hash(model: Model) -> str:
    """The SHA-256 of a model's weights: names, types, shapes and values, in the order of names."""
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sha.update(json.dumps([name, str(value.dtype), value.shape]).encode())
        sha.update(np.ascontiguousarray(value).data)
    return sha.hexdigest()


# ------------------------------------------------------------------------------- the file


def _numbers(values: Array) -> list[float]:
    """float32 with as few digits as name it."""
    return [float(str(value)) for value in values.astype(np.float32)]


def _table(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = content[name]
    if not isinstance(table, dict):
        raise ValueError(f"{name} is {shown(table)}, expected a table")
    return table


def _range(name: str, value: Any) -> Range:
    low, high = checks.bounds(f"the range of {name[:80]}", value)
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high):
        raise ValueError(f"the range of {shown(name)} is {low} to {high}, expected one with 0")
    return low, high


def _vector(name: str, value: Any) -> Array:
    kinds = {type(x) for x in value} if isinstance(value, list) and value else {None}
    if not kinds <= {int, float}:
        raise ValueError(f"{shown(name)} is no list of numbers")
    array = np.array(value, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{shown(name)} holds NaN or infinite values")
    return array


def _positive(name: str, value: Any) -> Array:
    array = _vector(name, value)
    if not (array > 0).all():
        raise ValueError(f"{shown(name)} holds factors that are not above 0")
    return array
