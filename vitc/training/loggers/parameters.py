"""Hyperparameters as loggers get them."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

Parameters = Mapping[str, Any] | Namespace


def as_dict(params: Parameters) -> dict[str, Any]:
    """Those of a mapping, or of argparse."""
    return vars(params).copy() if isinstance(params, Namespace) else dict(params)
