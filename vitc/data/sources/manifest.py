"""Images listed in a CSV or TSV file, with what is known of each: label or labels, split, group and
weight."""

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np

from vitc.arrays import Array
from vitc.data.decoding.decode import Decoder, Decoding
from vitc.data.sources.datasets import MOST_CLASSES, Files, Sample, Step
from vitc.data.sources.subset import refuse_shared_groups
from vitc.errors import nearest, shown

_LONGEST_NUMBER = 10  # digits


class CSVDataset(Files):
    """Images listed in a CSV file with a header (in a TSV file if its name ends in .tsv).

    path: of the file. root: what the paths in it are relative to, None for its own folder.
    image_column, label_column, split_column, group_column, weight_column, frame_column: names in
    its header.
    split: take only the rows that have this in split_column, None to take all.

    label_column: one name: the label is a class. A list of names: the columns are the classes, the
    label is float32 (classes,) of the shares in them, from 0 to 1: several ones for images with
    several labels, shares that add up to 1 for soft labels.
    classes: names in the order of their labels, which start from 0; the label column may hold names
    or these numbers. None: those of the whole file, of all splits: the numbers up to the largest if
    the column holds only numbers, else the names, sorted. Two files need the same classes.

    group_column: what may not be torn apart, such as patient, slide or lot: `groups`, a name per
    sample. A group with rows in two splits of the file is refused. weight_column: `weights`, a
    number from 0 per sample, for a sampler. frame_column: which image of its file a row means, from
    0, for DICOM and TIFF files with several. fact_columns: further names in the header, such as
    site or device: `facts`, name -> a text per sample, which may be empty. mode, decoding: the
    options of `Decoder`.

    Raises `ValueError` naming file and line for an unknown column, split or class, for an empty
    field and for what is not a number, and `FileNotFoundError` for an image that does not exist.
    """

    groups: list[str]
    weights: Array
    facts: dict[str, list[str]]

    def __init__(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        transform: Step | None = None,
        image_column: str = "image",
        label_column: str | Sequence[str] = "label",
        split: str | None = None,
        split_column: str = "split",
        classes: Sequence[str] | None = None,
        *,
        group_column: str | None = None,
        weight_column: str | None = None,
        frame_column: str | None = None,
        fact_columns: Sequence[str] = (),
        target_transform: Step | None = None,
        mode: str | None = "RGB",
        **decoding: Unpack[Decoding],
    ) -> None:
        self.path = os.path.expanduser(path)
        self.root = os.path.dirname(self.path) if root is None else os.path.expanduser(root)
        self.split = split
        shares = [] if isinstance(label_column, str) else list(label_column)
        if shares and classes is not None:
            raise ValueError("classes with a list of label columns, which are the classes")
        columns = {
            "path": image_column,
            "label": None if shares else label_column,
            "split": split_column if split is not None or group_column is not None else None,
            "group": group_column,
            "weight": weight_column,
            "frame": frame_column,
        }
        columns |= {f"share {column}": column for column in shares}
        columns |= {f"fact {column}": column for column in fact_columns}
        optional = {split_column} if split is None else set()
        rows = list(_rows(self.path, {k: str(v) for k, v in columns.items() if v}, optional))
        if group_column is not None:
            self._refuse_torn_groups(rows)
        names = shares or (_names(rows, self.path) if classes is None else list(map(str, classes)))
        chosen = [row for row in rows if split is None or row.split == split]
        if not chosen:
            raise ValueError(f"{self.path}: no rows{self._of_split(rows)}")
        samples = self._samples(chosen, None if shares else _labels(names))
        decode, frames = Decoder(mode, **decoding), [row.frame for row in chosen]
        super().__init__(samples, names, transform, target_transform, decode, frames)
        if shares:
            self.targets = np.stack(self.targets)
        if group_column is not None:
            self.groups = [row.group for row in chosen]
        if weight_column is not None:
            self.weights = np.array([row.weight for row in chosen])
        self.facts = {name: [row.facts[i] for row in chosen] for i, name in enumerate(fact_columns)}

    def _of_split(self, rows: Sequence["_Row"]) -> str:
        if not rows:
            return " below the header"
        return f" of split {shown(self.split)}; {nearest(self.split, {row.split for row in rows})}"

    def _refuse_torn_groups(self, rows: Sequence["_Row"]) -> None:
        splits: dict[str, list[str]] = {}
        for row in rows:
            splits.setdefault(row.split, []).append(row.group)
        try:
            refuse_shared_groups(**splits)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _samples(self, rows: Sequence["_Row"], labels: Mapping[str, int] | None) -> list[Sample]:
        return [
            (self._existing(row), row.shares if labels is None else self._label(row, labels))
            for row in rows
        ]

    def _existing(self, row: "_Row") -> str:
        path = os.path.join(self.root, row.path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{self.path}, line {row.line}: there is no file {path}")
        return path

    def _label(self, row: "_Row", labels: Mapping[str, int]) -> int:
        if row.label not in labels:
            known = nearest(row.label, labels)
            raise ValueError(
                f"{self.path}, line {row.line}: {shown(row.label)} is not a class; {known}"
            )
        return labels[row.label]


# ------------------------------------------------------------------------------- rows


class _Row(NamedTuple):
    line: int
    path: str
    shares: Array  # of the label columns, float32
    label: str = ""
    split: str = ""
    group: str = ""
    weight: float = 1.0
    frame: int = 0
    facts: tuple[str, ...] = ()


def _rows(path: str, columns: dict[str, str], optional: set[str]) -> Iterator[_Row]:
    """The rows of a file. columns: what is taken from it -> the name in its header; optional:
    names that may be missing there."""
    dialect = "excel-tab" if path.lower().endswith(".tsv") else "excel"
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, dialect=dialect)
        try:
            header = reader.fieldnames or []
            for column in columns.values():
                if column not in header and column not in optional:
                    known = nearest(column, header)
                    raise ValueError(f"{path}, line 1: there is no column {shown(column)}; {known}")
            there = {name: column for name, column in columns.items() if column in header}
            for fields in reader:
                yield _row(fields, there, f"{path}, line {reader.line_num}", reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: this is not a CSV file in UTF-8: {error}") from error


def _row(fields: Mapping[str, Any], columns: Mapping[str, str], place: str, line: int) -> _Row:
    values: dict[str, Any] = {}
    for name, column in columns.items():
        values[name] = (fields[column] or "").strip()
        if not values[name] and not name.startswith("fact "):
            raise ValueError(f"{place}: column {shown(column)} is empty")
        if name == "weight":
            values[name] = _number(values[name], math.inf, f"{place}: column {shown(column)}")
        if name == "frame":
            values[name] = _whole(values[name], f"{place}: column {shown(column)}")
    shares = [
        _number(values.pop(name), 1, f"{place}: column {shown(column)}")
        for name, column in columns.items()
        if name.startswith("share ")
    ]
    facts = tuple(values.pop(name) for name in columns if name.startswith("fact "))
    return _Row(line, shares=np.array(shares, np.float32), facts=facts, **values)


def _whole(text: str, place: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < _LONGEST_NUMBER):
        raise ValueError(f"{place} is {shown(text)}, expected an integer from 0")
    return int(text)


def _number(text: str, most: float, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most or math.isinf(value):
        expected = "a number from 0" if math.isinf(most) else f"a number from 0 to {most}"
        raise ValueError(f"{place} is {shown(text)}, expected {expected}")
    return value


# ------------------------------------------------------------------------------- classes


def _names(rows: Sequence[_Row], path: str) -> list[str]:
    """The names of the labels in a whole file."""
    names = {row.label for row in rows}
    if not all(map(str.isdecimal, names)):
        return sorted(names)
    longest = max(names, key=len, default="")
    highest = max(map(int, names), default=-1) if len(longest) < _LONGEST_NUMBER else MOST_CLASSES
    if highest >= MOST_CLASSES:
        raise ValueError(
            f"{path}: the labels go up to {longest[:20]}; numbers are labels counted from 0, pass "
            "the names as classes= if these are names"
        )
    return [str(label) for label in range(highest + 1)]


def _labels(names: Sequence[str]) -> dict[str, int]:
    """What the label column may hold -> the label: names, and numbers if no name is one."""
    labels = {name: label for label, name in enumerate(names)}
    if not any(map(str.isdecimal, names)):
        labels |= {str(label): label for label in range(len(names))}
    return labels
