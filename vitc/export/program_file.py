"""Models as files for the C core alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from vitc.export.properties import check_model, labels_for, properties
from vitc.models.model import Model
from vitc.program import file


def program(
    model: Model, path: str | os.PathLike[str], *, labels: Sequence[str] | None = None
) -> Path:
    """Writes what a model does in evaluation mode as a file that C runs without Python.

    Returns its path. The file holds the operations, the parameters, quantised ones too, and what
    ONNX files get as well: architecture, preparation of the images, labels, hash of the weights;
    and "precision", which C honours, where it is not float32.
    `vitc.program.load` and `vt_file_open` of csrc/vitc.h read it, and give the same bits as the
    model at the same instruction set.

    Raises `TypeError` for what is not a model, `ValueError` for labels that are not one per class,
    `OSError` if the file cannot be written; nothing changes there then.
    """
    check_model(model)
    said = properties(model, labels_for(model, labels))
    said |= {"precision": model.precision} if model.precision != "float32" else {}
    return file.save(path, model.program(), model.params, said)
