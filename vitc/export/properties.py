"""What goes along with an exported model, so that whoever runs it knows what it is."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import __version__
from vitc.errors import shown
from vitc.models.model import Model
from vitc.models.timm_folder import labels_of
from vitc.models.weights.safetensors_file import sha256

_PREPARATION = ("mean", "std", "interpolation", "crop_pct", "crop_mode")  # of the images


def check_model(model: Model) -> None:
    """Raises `TypeError` for what is not a model."""
    if not isinstance(model, Model):
        raise TypeError(
            f"expected a vitc model, got a {type(model).__name__}; of a module, pass its model"
        )


def labels_for(model: Model, labels: Sequence[str] | None) -> list[str] | None:
    """The names of the classes: those given, or those that the model has.

    Raises `TypeError` for what is no list of texts or integers, `ValueError` for another number of
    them.
    """
    if labels is None:
        return labels_of(model)
    kinds = (str, int, np.integer)
    if isinstance(labels, str) or not all(isinstance(label, kinds) for label in labels):
        raise TypeError(f"labels is {shown(labels)}, expected a list of texts or integers")
    classes = getattr(model, "num_classes", None)
    if len(labels) != classes:
        raise ValueError(f"there are {len(labels)} labels, the model has {shown(classes)} classes")
    return [str(label) for label in labels]


def properties(model: Model, labels: Sequence[str] | None = None) -> dict[str, str]:
    """Architecture, preparation of the images, labels, hash of the weights, version of vitc.

    Text as it is, numbers and lists as JSON.
    """
    prepared = getattr(model, "default_cfg", {})
    found: dict[str, Any] = {"architecture": model.name}
    found |= {name: prepared[name] for name in _PREPARATION if name in prepared}
    found |= {} if labels is None else {"labels": list(labels)}
    found |= {"weights_sha256": weights_sha256(model), "vitc_version": __version__}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}


def weights_sha256(model: Model) -> str:
    """The SHA-256 of the model.safetensors that a checkpoint of this model holds."""
    return sha256(model.state_dict(), model.stored_as())
