"""An ONNX file against its model: both answer the same random images."""

from pathlib import Path
from typing import Any

import numpy as np

from vitc import engine
from vitc.arrays import Array
from vitc.export.onnx_options import Options
from vitc.functional import softmax
from vitc.models.model import Model
from vitc.runtime import get_num_threads
from vitc.tape import no_grad

# Largest difference, of the largest |answer|. A fault is far beyond.
_NEAR = {"fp32": 1e-3, "fp16": 0.1, "int8": 0.3}
_IMAGES = 2


def check_answers(path: Path, model: Model, options: Options) -> None:
    """Raises `ValueError` if ONNX Runtime does not run the file, or its answers differ; does
    nothing where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = get_num_threads(), 4
    # One run is not worth another copy of the weights.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.disable_prepacking", "1")
    settings.enable_cpu_mem_arena = False
    inputs, expected = _example(model, options)
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        found = session.run(None, dict(zip(options.input_names, inputs, strict=True)))
    except Exception as error:  # of many types, all its own
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} does not run the file: {str(error)[:300]}"
        ) from None
    for name, ours, theirs in zip(options.outputs, expected, found, strict=False):
        difference = float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-12))
        if not difference <= _NEAR[options.precision or "fp32"]:
            raise ValueError(
                f"in ONNX Runtime {name} differs by {difference:.1g} of its largest value from the "
                f"model's: nothing was written{_reason(theirs)}"
            )


def _reason(theirs: Array) -> str:
    return "" if np.isfinite(theirs).all() else "; a value overflows in this precision"


def _example(model: Model, options: Options) -> tuple[list[Array], list[Array]]:
    """Images, as the file takes them, and what the model says. The model keeps no memory of it."""
    count = options.batch if isinstance(options.batch, int) else _IMAGES
    draws = np.random.default_rng(0)
    ports = model.program().inputs
    inputs: list[Array] = [draws.standard_normal((count, *p.outer), np.float32) for p in ports]
    given = inputs
    if options.preprocess:
        channels, height, width = ports[0].outer
        pixels = draws.integers(0, 256, (count, height, width, channels), np.uint8)
        given = [pixels]
        inputs = [_normalised(model, pixels)]
    with no_grad():
        pool = engine.Pool(model.params)
        answers = engine.forward(model.program(), pool, model.window, inputs)
    outputs = [np.array(y) for y in answers]
    if options.softmax:
        outputs[0] = softmax(outputs[0])
    if options.sigmoid:
        outputs[0] = 1 / (1 + np.exp(-outputs[0]))
    return given, outputs


def _normalised(model: Any, pixels: Array) -> Array:
    mean, std = (np.array(model.default_cfg[key]) for key in ("mean", "std"))
    x = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x, np.float32)
