"""Labelled images that models are compared on."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vitc import data
from vitc.arrays import Array, as_array
from vitc.errors import listed, shown
from vitc.models.model import Model
from vitc.quantization.images import WORKERS, is_dataset
from vitc.tape import no_grad

_BATCH = 32


class Validation:
    """Labelled images, which every model sees in the same order.

    source: a folder with one folder of images per class, prepared as the model's evaluation does
    it; a dataset of (image, label); a loader of such batches that gives the same ones in every
    pass; or a pair (images (N, C, H, W), labels (N,)). class_names: of the model's outputs, by
    which the classes of a folder or dataset are found; by default those that the model knows of,
    else the classes are as the data numbers them. workers: threads that load a folder or dataset.

    Raises `ValueError` for classes that the model does not have, `TypeError` for another kind of
    source, `OSError` for a folder that is none.
    """

    def __init__(
        self,
        model: Model,
        source: Any,
        class_names: Iterable[str] | None = None,
        *,
        workers: int = WORKERS,
    ) -> None:
        known = class_names or getattr(model, "pretrained_cfg", {}).get("label_names")
        names = list(known) if known else None
        self.labels: Array | None = None  # known after the first pass
        self._places: Array | None = None
        if isinstance(source, str | os.PathLike):
            source = _folder(model, Path(source))
        if isinstance(source, tuple) and len(source) == 2:
            source = data.ArrayDataset(*source)
        if is_dataset(source):
            self._places = _places(source, names)
            source = data.DataLoader(source, _BATCH, num_workers=workers)
        elif not isinstance(source, Iterable) or isinstance(source, Iterator):
            raise TypeError(
                f"validation is {shown(source)}, expected a folder with one folder of images per "
                "class, a dataset, a loader, a pair (images, labels) or a function of the model"
            )
        self._loader = source
        self._outputs = getattr(model, "num_classes", 0)

    def logits(self, model: Model) -> Array:
        """(N, classes) of all images. Raises `ValueError` for labels that are not of the model, or
        are others than in the pass before."""
        logits, labels = [], []
        with no_grad():
            for batch in self._loader:
                x, y, *_ = batch
                logits.append(np.array(model(x)))
                labels.append(as_array(y))
        if not labels:
            raise ValueError("there are no images to validate with")
        self._keep(np.concatenate(labels))
        return np.concatenate(logits)

    def first(self, count: int) -> Array:
        """(N, C, H, W): the images of the first batch, at most so many."""
        for x, *_ in self._loader:
            return as_array(x)[:count]
        raise ValueError("there are no images to validate with")

    def _keep(self, labels: Array) -> None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"the labels have shape {labels.shape} and dtype {labels.dtype}, expected one "
                "whole number per image; for other metrics, give a function of the model"
            )
        labels = labels if self._places is None else self._places[labels]
        if labels.min() < 0 or labels.max() >= self._outputs:
            raise ValueError(
                f"the labels are from {labels.min()} to {labels.max()}, the model has "
                f"{self._outputs} classes"
            )
        if self.labels is not None and not np.array_equal(self.labels, labels):
            raise ValueError(
                "the images to validate with come in another order in every pass: shuffle=False"
            )
        self.labels = labels


def _folder(model: Model, path: Path) -> data.ImageFolder:
    settings = data.resolve_data_config(model=model)
    mode = "L" if settings["input_size"][0] == 1 else "RGB"
    return data.ImageFolder(path, data.create_transform(**settings), mode=mode)


def _places(source: Any, names: list[str] | None) -> Array | None:
    """The model's number of each class of a dataset; None if they are the same."""
    classes = getattr(source, "classes", None)
    if names is None or not classes or not all(isinstance(name, str) for name in classes):
        return None
    if unknown := [name for name in classes if name not in names]:
        if all(name.isdigit() for name in classes):
            return None  # numbers, not names
        raise ValueError(
            f"the model has the classes {listed(names)}, the images also {listed(unknown)}"
        )
    return np.array([names.index(name) for name in classes])
