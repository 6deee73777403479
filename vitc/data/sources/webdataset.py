"""WebDataset's tar files, read at random: an index of where each file begins, then plain reads.

Files of one sample stand in a row and have one name up to the first dot: 0001.jpg and 0001.cls, or
0001.json with {"label": 3}. The index is made by walking from header to header, which skips over
the pictures.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from operator import index as as_index
from typing import Any, NamedTuple, Unpack

from vitc.data.decoding.decode import Decoder, Decoding
from vitc.data.sources.datasets import IMG_EXTENSIONS, MOST_CLASSES, Step, transformed
from vitc.errors import shown

_BLOCK = 512  # bytes, of which everything in a tar is a multiple
_LONGEST = 1 << 20  # bytes of a label, or of a name that has a block of its own
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


class WebDataset:
    """Labelled images in tar files.

    shards: a path or several, each of which may stand for many: "train-{000..127}.tar". An item is
    (image, label); the label is the integer in the sample's .cls file, or that named label_key
    in its .json. classes: the name of each label, None for the numbers themselves. samples: (name,
    label), the name with that of its shard. mode, decoding: the options of `Decoder`.

    Raises `FileNotFoundError` for a missing shard and `OSError` naming shard and member for one
    that is cut off, compressed, or holds a sample without image or label.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        transform: Step | None = None,
        target_transform: Step | None = None,
        *,
        label_key: str = "label",
        classes: Sequence[str] | None = None,
        mode: str | None = "RGB",
        **decoding: Unpack[Decoding],
    ) -> None:
        given = [shards] if isinstance(shards, str | os.PathLike) else list(shards)
        self.shards = [path for one in given for path in expand(os.path.expanduser(one))]
        self.transform, self.target_transform = transform, target_transform
        self.decode = Decoder(mode, **decoding)
        found = [sample for path in self.shards for sample in _samples(path, label_key)]
        if not found:
            raise OSError(f"{self.shards[0]}: there are no samples in these shards")
        self._images = [image for image, _ in found]
        self.targets = [label for _, label in found]
        self.samples = [(f"{image.shard}: {image.name}", label) for image, label in found]
        self.classes = _classes(self.targets, classes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        member = self._images[index]
        try:
            image = self.decode(member.read())
        except OSError as error:
            raise OSError(f"{self.samples[index][0]}: {error}") from error
        label = transformed(self.targets[index], self.target_transform)
        return transformed(image, self.transform), label

    def __repr__(self) -> str:
        return f"WebDataset({len(self)} images of {len(self.classes)} classes)"


def expand(pattern: str) -> list[str]:
    """Paths of a pattern: "a-{08..11}.tar" is four, with as many digits as its first number has.

    Raises `ValueError` for a range that runs backwards or has too many.
    """
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    if not int(first) <= int(last) < int(first) + _MOST_SHARDS:
        raise ValueError(f"{shown(pattern)}: a range of shards that is empty or too long")
    numbers = (f"{i:0{len(first)}}" for i in range(int(first), int(last) + 1))
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [path for number in numbers for path in expand(f"{before}{number}{after}")]


def _classes(labels: Sequence[int], classes: Sequence[str] | None) -> list[str]:
    names = list(map(str, range(max(labels) + 1))) if classes is None else list(classes)
    if max(labels) >= len(names):
        raise ValueError(f"labels go from 0 to {max(labels)}, expected to {len(names) - 1}")
    return names


# ------------------------------------------------------------------------------- samples


class _Member(NamedTuple):
    shard: str
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with open(self.shard, "rb") as file:
            return os.pread(file.fileno(), self.size, self.offset)

    def fault(self, reason: str) -> OSError:
        return OSError(f"{self.shard}: {self.name}: {reason}")


def _samples(shard: str, label_key: str) -> Iterator[tuple[_Member, int]]:
    """The image and the label of every sample of a shard."""
    parts: dict[str, _Member] = {}
    current = None
    for member in _members(shard):
        folder, name = os.path.split(member.name)
        key, _, extension = name.partition(".")
        if not key or not extension:  # no part of a sample
            continue
        if (folder, key) != current and parts:
            yield _sample(parts, label_key)
            parts = {}
        current = folder, key
        parts[f".{extension.lower()}"] = member
    if parts:
        yield _sample(parts, label_key)


def _sample(parts: dict[str, _Member], label_key: str) -> tuple[_Member, int]:
    first = next(iter(parts.values()))
    images = [member for kind, member in parts.items() if kind.endswith(IMG_EXTENSIONS)]
    if not images:
        raise first.fault(f"its sample has no image; expected one of {', '.join(IMG_EXTENSIONS)}")
    if ".cls" in parts:
        return images[0], _label(parts[".cls"], None)
    if ".json" in parts:
        return images[0], _label(parts[".json"], label_key)
    raise first.fault("its sample has no label; expected a file .cls or .json")


def _label(member: _Member, key: str | None) -> int:
    """The label in a .cls file, or that of a key in a .json file."""
    if member.size > _LONGEST:
        raise member.fault(f"it has {member.size} bytes, expected {_LONGEST} at most")
    try:
        text = member.read().decode()
        label = int(text) if key is None else as_index(json.loads(text)[key])
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise member.fault(f"no label can be read from it: {error!r}") from None
    if not 0 <= label < MOST_CLASSES:
        raise member.fault(f"its label is {label}, expected 0 to {MOST_CLASSES - 1}")
    return label


# ------------------------------------------------------------------------------- tar


def _members(shard: str) -> Iterator[_Member]:
    """The plain files of a tar (ustar, with GNU's and pax's long names), in order."""
    with open(shard, "rb") as file:
        end, place, long_name = os.fstat(file.fileno()).st_size, 0, ""
        while place + _BLOCK <= end:
            file.seek(place)
            header = file.read(_BLOCK)
            if not header.strip(b"\0"):
                return  # the end, after which there may be anything
            kind, size = _checked(header, shard, place)
            member = _Member(shard, long_name or _name(header), place + _BLOCK, size)
            place += _BLOCK + -(-size // _BLOCK) * _BLOCK
            if place > end:
                raise member.fault("the file ends within it")
            if kind in b"Lx":
                long_name = _long_name(member, kind)
            elif kind != b"g":  # which is of no sample
                long_name = ""
                if kind in b"0\0":
                    yield member
        if place < end or not place:
            raise OSError(f"{shard}: this is not a tar file, or it is cut off")


def _checked(header: bytes, shard: str, place: int) -> tuple[bytes, int]:
    """Kind and size of a member whose header adds up."""
    try:
        total = int(header[148:156].rstrip(b" \0") or b"x", 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        total, size = -1, 0
    if header[124] == 0x80:  # GNU's way for 8 GiB and more: 11 bytes, the highest first
        size = int.from_bytes(header[125:136])
    if total != sum(header) - sum(header[148:156]) + 8 * ord(" ") or size < 0:
        raise OSError(f"{shard}: no header of a tar file at byte {place}; expected plain tar")
    return header[156:157], size


def _name(header: bytes) -> str:
    name, prefix = header[:100], header[345:500] if header[257:263] == b"ustar\0" else b""
    parts = [part.split(b"\0")[0].decode(errors="replace") for part in (prefix, name)]
    return "/".join(filter(None, parts))


def _long_name(member: _Member, kind: bytes) -> str:
    """The name of the next member: a block of its own, or one of the records "27 path=...\\n"."""
    if member.size > _LONGEST:
        raise member.fault(f"a name of {member.size} bytes, expected {_LONGEST} at most")
    data = member.read()
    if kind == b"x":
        found = re.search(rb"(?:^|\n)\d+ path=([^\n]*)\n", data)
        data = found[1] if found else b""
    return data.split(b"\0")[0].decode(errors="replace")
