"""What goes along with an exported model, so that whoever runs it knows what it is."""

import json
from collections.abc import Sequence
from typing import Any

from vitc import __version__
from vitc.errors import shown
from vitc.models.model import Model
from vitc.models.weights.safetensors_file import sha256

_PREPARATION = ("mean", "std", "interpolation", "crop_pct", "crop_mode")  # of the images


def check_model(model: Model, labels: Sequence[str] | None) -> None:
    """Raises `TypeError` for what is not a model, `ValueError` for another number of labels."""
    if not isinstance(model, Model):
        raise TypeError(
            f"expected a vitc model, got a {type(model).__name__}; of a module, pass its model"
        )
    classes = getattr(model, "num_classes", None)
    if labels is not None and len(labels) != classes:
        raise ValueError(f"there are {len(labels)} labels, the model has {shown(classes)} classes")


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
