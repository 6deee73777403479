"""Models for other runtimes: ONNX files, and model repositories for Triton."""

from vitc.export.onnx_file import onnx
from vitc.export.triton_repository import triton

__all__ = ["onnx", "triton"]
