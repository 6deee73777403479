"""Serves a model of vitc in Triton's Python backend: `1/model.py` of a model repository.

config.json and model.safetensors are beside it. The Python of the backend has to find vitc.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# Threads that wait for each other leave their processors to other instances.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
try:
    import vitc
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error} in {sys.prefix}, the environment of the first python3 in PATH: start "
        "tritonserver with the environment that has vitc first in PATH (the backend does not read "
        "PYTHONPATH), or name an archive of it in the parameter EXECUTION_ENV_PATH"
    ) from None

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from vitc.arrays import Array
from vitc.export.stored import read_folder


class TritonPythonModel:
    """What Triton makes of each instance, in a separate process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model; the instances share the processors, unless `threads` says how many."""
        config = json.loads(args["model_config"])
        instances = sum(group["count"] for group in config["instance_group"])
        given = config["parameters"].get("threads", {}).get("string_value")
        share = max(1, vitc.get_num_threads() // instances)
        vitc.set_num_threads(int(given) if given else share)
        folder = Path(args["model_repository"]) / args["model_version"]
        self._model = read_folder(folder).model

    def execute(self, requests: list[Any]) -> list[Any]:
        """One forward pass for all requests that Triton put together, each (images, C, H, W)."""
        images = [_images(request) for request in requests]
        with vitc.no_grad():
            outputs = np.asarray(self._model(np.concatenate(images)))
        ends = np.cumsum([len(part) for part in images])[:-1]
        return [_response(part) for part in np.split(outputs, ends)]


# Tensors cross the border by DLPack: backends before Triton 24.11 do not know the arrays of NumPy 2
# and take their elements for 0 bytes long, in as_numpy() and in Tensor(), without an error.


def _images(request: Any) -> Array:
    return np.from_dlpack(triton.get_input_tensor_by_name(request, "input"))


def _response(output: Array) -> Any:
    tensor = triton.Tensor("output", output)
    return triton.InferenceResponse([triton.Tensor.from_dlpack("output", tensor.to_dlpack())])
