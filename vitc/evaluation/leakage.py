"""Before any figure: is an image, or its twin, or its patient, in two splits?"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import dctn

from vitc import checks
from vitc.arrays import Array
from vitc.data.decoding.decode import Decoder
from vitc.errors import listed, shown

_SIDE = 32  # an image is made this small for its perceptual hash,
_KEPT = 8  # of whose frequencies these many are kept in each direction
_BLOCK = 1024  # hashes that are compared with all others at once

Path = str | PathLike[str]


class Pair(NamedTuple):
    """Two images: split and path of each, and why they are suspected: "same file", "same pixels",
    "look alike" (distance: bits of their hashes that differ) or "alike to the model" (distance:
    one minus the cosine of their embeddings)."""

    first: tuple[str, str]
    second: tuple[str, str]
    kind: str
    distance: float


def perceptual_hash(image: Any) -> int:
    """64 bits of the low frequencies of an image, by the cosine transform of its 32 x 32 pixels in
    grey: which are above their median (Zauner 2010). A Pillow image or an array (H, W[, C])."""
    grey = _grey(image)
    small = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:_KEPT, :_KEPT].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _grey(image: Any) -> Array:
    """(H, W) float32, of 8 bits, 16 bits or floating point alike: from 0 to 1 of its range."""
    pixels = np.asarray(image, np.float32)
    grey: Array = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
    low, high = float(grey.min()), float(grey.max())
    return (grey - low) / max(high - low, 1e-12)


def flat(image: Any) -> bool:
    """True for an image of one value everywhere, whose hash says nothing."""
    pixels = np.asarray(image)
    return bool(pixels.min() == pixels.max())


def duplicates(
    splits: Mapping[str, Sequence[Path]],
    *,
    within: bool = False,
    distance: int = 4,
    embeddings: Mapping[str, Array] | None = None,
    cosine: float = 0.999,
    decode: Callable[[Path], Any] | None = None,
) -> list[Pair]:
    """Images that are, or look, the same, in different splits; within=True: also in one.

    splits: name -> paths of image files. distance: of 64 bits of the perceptual hashes, at most so
    many may differ. embeddings: name -> (images, D), what a model makes of the images; those whose
    cosine is at least `cosine` are suspected too. decode: reads a file (default: `Decoder(None)`).
    An image is reported once per other image, for the strictest reason. Pictures of nothing (all
    pixels equal) are compared by file and pixels only. Raises what `decode` raises for a file that
    cannot be read.
    """
    checks.integer("distance", distance, 0, 16)
    owners, files, pixels, hashes, blank = _facts(splits, decode or Decoder(None))
    found: dict[tuple[int, int], Pair] = {}

    def add(i: int, j: int, kind: str, away: float) -> None:
        a, b = sorted((i, j))
        if a != b and (within or owners[a][0] != owners[b][0]):
            found.setdefault((a, b), Pair(owners[a], owners[b], kind, away))

    for values, kind in ((files, "same file"), (pixels, "same pixels")):
        for members in _equal(values):
            for k, i in enumerate(members):
                for j in members[k + 1 :]:
                    add(i, j, kind, 0.0)
    for i, j, bits in _near(hashes, distance):
        if not (blank[i] or blank[j]):
            add(i, j, "look alike", float(bits))
    if embeddings is not None:
        for i, j, away in _similar(_stacked(splits, embeddings), cosine):
            add(i, j, "alike to the model", away)
    return [found[key] for key in sorted(found)]


def _facts(
    splits: Mapping[str, Sequence[Path]], decode: Callable[[Path], Any]
) -> tuple[list[tuple[str, str]], list[str], list[str], Array, list[bool]]:
    owners, files, pixels, hashes, blank = [], [], [], [], []
    for split, paths in splits.items():
        for path in paths:
            image = decode(path)
            array = np.ascontiguousarray(image)
            owners.append((str(split), str(path)))
            with open(path, "rb") as file:
                files.append(hashlib.file_digest(file, "sha256").hexdigest())
            of_pixels = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
            of_pixels.update(array.tobytes())
            pixels.append(of_pixels.hexdigest())
            hashes.append(perceptual_hash(array))
            blank.append(flat(array))
    return owners, files, pixels, np.array(hashes, np.uint64), blank


def _equal(values: Sequence[str]) -> list[list[int]]:
    members: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        members.setdefault(value, []).append(i)
    return [group for group in members.values() if len(group) > 1]


def _near(hashes: Array, distance: int) -> list[tuple[int, int, int]]:
    """(i, j, bits) of hashes, i < j, that differ in at most `distance` bits."""
    found = []
    for start in range(0, len(hashes), _BLOCK):
        bits = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        for i, j in np.argwhere(bits <= distance):
            if i < j:
                found.append((int(start + i), int(start + j), int(bits[i, j])))
    return found


def _stacked(splits: Mapping[str, Sequence[Path]], embeddings: Mapping[str, Array]) -> Array:
    if set(splits) != set(embeddings):
        raise ValueError(
            f"embeddings are of the splits {listed(sorted(embeddings))}, the files of "
            f"{listed(sorted(splits))}"
        )
    parts = [np.asarray(embeddings[split], np.float64) for split in splits]
    for split, part in zip(splits, parts, strict=True):
        if part.ndim != 2 or len(part) != len(splits[split]):
            raise ValueError(
                f"embeddings of {shown(split)} have shape {part.shape}, expected "
                f"({len(splits[split])}, D)"
            )
    return np.concatenate(parts)


def _similar(vectors: Array, cosine: float) -> list[tuple[int, int, float]]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(length, 1e-12)
    found = []
    for start in range(0, len(unit), _BLOCK):
        products = unit[start : start + _BLOCK] @ unit[start:].T
        for i, j in np.argwhere(products >= cosine):
            if i < j:
                found.append((int(start + i), int(start + j), float(1 - products[i, j])))
    return found


def shared_groups(splits: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """group -> the splits that it is in, of those that are in more than one.

    splits: name -> the group of each image.
    """
    members: dict[str, list[str]] = {}
    for split, groups in splits.items():
        for group in sorted(set(map(str, groups))):
            members.setdefault(group, []).append(str(split))
    return {group: found for group, found in sorted(members.items()) if len(found) > 1}
