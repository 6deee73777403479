"""Prepares image files for a model in Triton's Python backend: `1/model.py` of NAME_prepare.

config.json beside it says how. The Python of the backend has to find vitc.
"""

import sys
from pathlib import Path
from typing import Any

try:
    from vitc.data import create_transform, open_image, resolve_data_config
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error} in {sys.prefix}, the environment of the first python3 in PATH: start "
        "tritonserver with the environment that has vitc first in PATH (the backend does not read "
        "PYTHONPATH), or name an archive of it in the parameter EXECUTION_ENV_PATH"
    ) from None

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from vitc.arrays import Array
from vitc.models.weights.local_dir import CONFIG, read_config


class TritonPythonModel:
    """What Triton makes of each instance, in a separate process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Makes the transform that prepared the images of the model's evaluation."""
        folder = Path(args["model_repository"]) / args["model_version"]
        said = resolve_data_config(pretrained_cfg=read_config(folder / CONFIG).cfg)
        self._mode = "L" if said["input_size"][0] == 1 else "RGB"
        self._transform = create_transform(**said)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Each request holds the bytes of files, (images, bytes): of one, or of several as long.
        A file that is no image is the failure of its request alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        files = np.from_dlpack(triton.get_input_tensor_by_name(request, "image"))
        try:
            images = [self._prepared(data.tobytes()) for data in files]
        except (OSError, ValueError) as error:
            return triton.InferenceResponse(error=triton.TritonError(str(error)))
        return _response(np.stack(images))

    def _prepared(self, data: bytes) -> Array:
        image: Array = self._transform(open_image(data, self._mode))
        return image


def _response(output: Array) -> Any:
    """By DLPack, as in the model's own file."""
    tensor = triton.Tensor("prepared", output)
    return triton.InferenceResponse([triton.Tensor.from_dlpack("prepared", tensor.to_dlpack())])
