"""Models for other runtimes: ONNX files, model repositories for Triton, files for C."""

from vitc.export.onnx_file import onnx
from vitc.export.program_file import program
from vitc.export.triton_repository import triton

__all__ = ["onnx", "program", "triton"]
