"""State dicts in files: reading every format people have weights in, and writing ours."""

from vitc.models.weights.formats import (
    Weights,
    load_file,
    parse_safetensors,
    read_metadata,
    read_weights,
)
from vitc.models.weights.safetensors_file import save_file
from vitc.models.weights.safetensors_file import write as write_safetensors
from vitc.models.weights.state import IncompatibleKeys, check_state

__all__ = [
    "IncompatibleKeys",
    "Weights",
    "check_state",
    "load_file",
    "parse_safetensors",
    "read_metadata",
    "read_weights",
    "save_file",
    "write_safetensors",
]
