"""Models as ONNX files: the graph, what is written beside it, and the file itself."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitc import __version__
from vitc.arrays import Array
from vitc.errors import shown
from vitc.export import onnx_writer
from vitc.export.onnx_check import check_answers
from vitc.export.onnx_options import OPSETS, Options, checked
from vitc.export.properties import check_model, labels_for, properties
from vitc.files import check_place, flush
from vitc.models.model import Model
from vitc.program import Port
from vitc.quantization import quantize
from vitc.quantization.smooth import norm_pairs, smoothed

__all__ = ["OPSETS", "onnx"]


def onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    precision: str | None = None,
    target: str = "generic",
    qdq_profile: str | None = None,
    preprocess: bool = False,
    softmax: bool = False,
    sigmoid: bool = False,
    features: bool = False,
    smooth: bool = False,
    batch: str | int = "batch",
    input_names: Sequence[str] = ("input",),
    output_names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes what a model does in evaluation mode as an ONNX file; returns its path.

    The input is float32 (batch, C, H, W), the output (batch, num_classes), or the feature vectors
    (batch, D) of a model without classes; both float32 in every precision. opset: 13 to 23; 23 has
    operators for attention and for RMS norms.

    precision: "fp32"; "fp16", in which the statistics of norms stay in float32; or "int8". A model
    of `vitc.quantize` is written in int8, a float model is quantised dynamically for it. Dynamic
    layers are for ONNX Runtime, which gives a whole batch one range where vitc has one per token;
    static ones are pairs of QuantizeLinear and DequantizeLinear. qdq_profile: their activations
    are "cpu", uint8, or "trt", int8 with zero points of 0.

    target: "ort" writes attention as the transformer optimizer of ONNX Runtime fuses it for GPUs;
    "openvino" keeps it in plain operators at opset 23 as well; "tensorrt" takes the profile "trt".
    "generic" is the fastest on CPUs.

    preprocess: the input is uint8 (batch, H, W, C), of the model's size, which the file normalises;
    no Resize of ONNX equals the bicubic of Pillow, so there is none. softmax, sigmoid: the output
    is probabilities. features: a second output, (batch, D), what the head reads. smooth: evens out
    the ranges of channels, which leaves the function as it is, for a quantiser that comes after.

    batch: the name of the open axis, or a number that fixes it. labels: the names of the classes,
    by default the model's. The file keeps them beside the architecture, the preparation of images,
    the hash of the weights and how they were quantised. Above 2 GB the weights are in a second
    file, `<path>.data`, which belongs to it.

    The file passes onnx's checker, and where ONNX Runtime is installed its answers are compared
    with the model's, before it appears at path; where it cannot be written, nothing changes there.
    Raises `ValueError` for a bad argument, an operation without a form in ONNX, and answers that
    differ; `OSError` if the file cannot be written, `ImportError` without onnx.
    """
    check_model(model)
    options = checked(
        model,
        Options(
            opset,
            precision,
            target,
            qdq_profile,
            preprocess,
            softmax,
            sigmoid,
            features,
            smooth,
            batch,
            input_names,
            output_names,
        ),
    )
    helper = _onnx().helper
    _check_dtype(model)
    labels = labels_for(model, labels)
    if options.precision == "int8" and not model.quantized:
        model = quantize(model)
    check_place(Path(path))
    graph, arrays = _graph(model, options)
    versions = [helper.make_opsetid("", options.opset)]
    proto = helper.make_model(
        graph,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="vitc",
        producer_version=__version__,
    )
    helper.set_model_props(proto, properties(model, labels) | _said(model, options))
    return _write(proto, arrays, Path(path), model, options)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError('writing ONNX files needs onnx: pip install "vitc[export]"') from None
    return onnx


def _check_dtype(model: Model) -> None:
    if model.params.dtype != "float32":
        raise ValueError(
            f"the model has dtype {model.params.dtype}, ONNX files are written in float32: make it "
            "with dtype='float32' and load_state_dict() of this one"
        )


def _said(model: Model, options: Options) -> dict[str, str]:
    """What the properties say of the file beside the model."""
    said = {"precision": options.precision or ""}
    if model.quantized:
        recipe = {"mode": model.quantized, "weights": "int8 per channel"}
        if model.quantized == "static":
            recipe["activations"] = "uint8" if options.profile == "cpu" else "int8"
        said["quantization"] = json.dumps(recipe)
    if options.preprocess:
        said["input"] = "uint8 (batch, H, W, C), normalised in the file"
    said |= {name: "true" for name in ("softmax", "sigmoid", "smooth") if getattr(options, name)}
    return said


# ------------------------------------------------------------------------------------- the graph


def _graph(model: Model, options: Options) -> tuple[Any, dict[str, Array]]:
    """The `onnx.GraphProto` of the evaluation program, and its initializers."""
    from onnx import helper

    from vitc.export.emitters import EMITTERS
    from vitc.export.graph import Graph

    program = model.program()
    _check_names(options, len(program.inputs), len(program.outputs) + options.features)
    weights: Mapping[str, Array] = model.state_dict()
    if options.smooth:
        weights = smoothed(weights, norm_pairs(program, model.params.names))
    g = Graph(program, weights, options)
    ports = list(program.outputs)
    values = list(program.core.outputs)
    if options.features:
        values.append(g.read_by_head(values[0]))
        ports.append(Port.of(g.shape(values[1]), vector=True))
    for value, (name, port) in enumerate(zip(options.input_names, program.inputs, strict=True)):
        x = _prepared(g, model, name, port) if options.preprocess else name
        x = g.reshape(x, 0, *port.inner) if port.inner != port.outer else x
        g.hold(value, g.in_precision(x))
    g.write(EMITTERS, values)
    for number, (value, name, port) in enumerate(zip(values, options.outputs, ports, strict=True)):
        scores = {"Softmax": options.softmax, "Sigmoid": options.sigmoid}
        kind = next((kind for kind, wanted in scores.items() if wanted and not number), "")
        x = g.in_float32(g.value(value), output="" if kind else name, shape=(0, *port.outer))
        if kind:
            g.node(kind, x, output=name, **({"axis": -1} if kind == "Softmax" else {}))
    g.check_names([*options.input_names, *options.outputs])
    inputs = [
        _tensor(name, port, options)
        for name, port in zip(options.input_names, program.inputs, strict=True)
    ]
    outputs = [
        _tensor(name, port, options._replace(preprocess=False))
        for name, port in zip(options.outputs, ports, strict=True)
    ]
    return helper.make_graph(g.nodes, model.name, inputs, outputs), g.initializers


def _prepared(g: Any, model: Any, name: str, port: Port) -> str:
    """uint8 (B, H, W, C) as the model's images, (x / 255 - mean) / std: (B, C, H, W), float32."""
    mean, std = (np.array(model.default_cfg[key], np.float64) for key in ("mean", "std"))
    scale, shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    with g.in_full("preprocess"):
        x = g.node("Mul", g.cast(name, np.float32), g.constant("preprocess.scale", scale))
        x = g.node("Add", x, g.constant("preprocess.shift", shift))
        return str(g.node("Transpose", x, perm=[0, 3, 1, 2]))


def _tensor(name: str, port: Port, options: Options) -> Any:
    """What the file says of an input or output."""
    from onnx import TensorProto, helper

    if options.preprocess:
        channels, height, width = port.outer
        shape = [options.batch, height, width, channels]
        return helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [options.batch, *port.outer])


def _check_names(options: Options, inputs: int, outputs: int) -> None:
    for what, names, count in (
        ("input_names", options.input_names, inputs),
        ("output_names", options.outputs, outputs),
    ):
        if isinstance(names, str) or len(names) != count:
            raise ValueError(f"{what} is {shown(names)}, expected a list of {count}")


# ------------------------------------------------------------------------------------- the file


def _write(
    proto: Any, arrays: dict[str, Array], path: Path, model: Model, options: Options
) -> Path:
    """Writes beside path, checks what was written, and moves it there."""
    from onnx import checker

    checker.check_model(onnx_writer.light(proto, arrays), full_check=True)
    with tempfile.TemporaryDirectory(prefix=".vitc", dir=path.parent) as scratch:
        written = onnx_writer.write(Path(scratch) / path.name, proto, arrays)
        arrays.clear()
        check_answers(written[0], model, options)
        for file in reversed(written):  # the one that names the other last
            flush(file)
            os.replace(file, path.with_name(file.name))
    flush(path.parent)
    return path
