"""What a model said about labelled images: the one input of every evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from vitc.arrays import Array
from vitc.errors import listed, shown

ROW_SUM = 1e-3  # by which the probabilities of an image may miss 1


@dataclass(frozen=True)
class Predictions:
    """Probabilities and labels of N images.

    probabilities: (N, K) in floating point, kept as float64; each from 0 to 1, and a row adds up to
    1 unless there are several labels. labels: (N,) integers from 0 to K - 1, one class per image;
    or (N, K) of 0 and 1: each image has any number of labels. classes: K names. ids: N names of the
    images, such as paths; default: their numbers. groups: N names of what an image belongs to
    (patient, wafer, lot); images of a group are not independent. columns: further facts by name
    (site, device), N values each.

    Raises `TypeError` or `ValueError` for anything else, naming the first image that is wrong.
    """

    probabilities: Array
    labels: Array
    classes: Sequence[str]
    ids: Sequence[str] = ()
    groups: Sequence[str] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [str(name) for name in self.classes]
        given = np.asarray(self.probabilities)
        if given.dtype.kind != "f":
            raise TypeError(
                f"probabilities have dtype {shown(given.dtype)}, expected floating point"
            )
        if given.ndim != 2 or given.shape[1] != len(names) or len(names) < 2:
            raise ValueError(
                f"probabilities have shape {given.shape}, expected (images, classes) with "
                f"{len(names)} classes, at least 2"
            )
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        if not len(given):
            raise ValueError("there are no images to evaluate")
        labels = self._checked_labels(np.asarray(self.labels), given.shape)
        self._check_probabilities(given, several=labels.ndim == 2)
        self._set(
            probabilities=given.astype(np.float64),
            labels=labels,
            classes=tuple(names),
            ids=self._each("ids", self.ids or range(len(given)), len(given)),
            groups=None if self.groups is None else self._each("groups", self.groups, len(given)),
            columns={
                str(name): self._each(f"column {shown(name)}", values, len(given))
                for name, values in self.columns.items()
            },
        )

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def _each(name: str, values: Any, count: int) -> tuple[str, ...]:
        found = tuple(str(value) for value in values)
        if len(found) != count:
            raise ValueError(f"there are {len(found)} {name} for {count} images")
        return found

    @staticmethod
    def _checked_labels(labels: Array, shape: tuple[int, ...]) -> Array:
        if labels.dtype.kind not in "iub":
            raise TypeError(f"labels have dtype {shown(labels.dtype)}, expected integers")
        if labels.shape not in (shape[:1], shape):
            raise ValueError(
                f"labels have shape {labels.shape}, expected {shape[:1]}, one class per image, or "
                f"{shape}, 0 or 1 for each"
            )
        most = shape[1] if labels.ndim == 1 else 2
        wrong = np.argwhere((labels < 0) | (labels >= most))
        if len(wrong):
            raise ValueError(
                f"image {wrong[0][0]} has the label {labels[tuple(wrong[0])]}, expected 0 to "
                f"{most - 1}"
            )
        return labels.astype(np.int64)

    @staticmethod
    def _check_probabilities(values: Array, *, several: bool) -> None:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise ValueError(
                f"the model gave NaN or infinity for {len(bad)} of {len(values)} images: "
                f"{listed(bad.tolist())}"
            )
        bad = np.flatnonzero(((values < 0) | (values > 1)).any(axis=1))
        if len(bad):
            raise ValueError(
                f"image {bad[0]} has a probability outside 0 to 1; logits need a softmax first"
            )
        bad = np.flatnonzero(np.abs(values.sum(axis=1) - 1) > ROW_SUM)
        if len(bad) and not several:
            raise ValueError(
                f"the probabilities of image {bad[0]} add up to {values[bad[0]].sum():.6g}, "
                "expected 1"
            )

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def task(self) -> str:
        """ "binary", "multiclass" or "multilabel"."""
        if self.labels.ndim == 2:
            return "multilabel"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def units(self) -> list[Array]:
        """The indices of the images of each independent unit: a group, or an image alone."""
        if self.groups is None:
            return [np.array([i]) for i in range(len(self))]
        names, inverse = np.unique(np.array(self.groups), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        return np.split(order, np.cumsum(np.bincount(inverse, minlength=len(names)))[:-1])

    def with_positive(self, name: str) -> Self:
        """The same with this class of two as the second, which F1, average precision and operating
        points are of. Raises `ValueError` for another name, or unless there are two classes."""
        if self.task != "binary":
            raise ValueError(f"there are {len(self.classes)} classes: none of them is the positive")
        if name not in self.classes:
            raise ValueError(
                f"the positive class is {shown(name)}, expected {listed(self.classes)}"
            )
        if name == self.classes[1]:
            return self
        return replace(
            self,
            probabilities=self.probabilities[:, ::-1],
            labels=1 - self.labels,
            classes=self.classes[::-1],
        )

    def take(self, indices: Array) -> Self:
        """The predictions of some images, in this order; an image may come several times."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return replace(
            self,
            probabilities=self.probabilities[chosen],
            labels=self.labels[chosen],
            ids=[self.ids[i] for i in chosen],
            groups=None if self.groups is None else [self.groups[i] for i in chosen],
            columns={name: [own[i] for i in chosen] for name, own in self.columns.items()},
        )
