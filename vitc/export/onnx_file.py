"""Models as ONNX files: the graph, what is written beside it, and the file itself."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitc import __version__
from vitc.errors import shown
from vitc.export.properties import check_model, labels_for, properties
from vitc.files import replacing
from vitc.models.model import Model
from vitc.program import Port, Program

OPSETS = range(13, 24)
_LARGEST = 2**31 - 2**24  # a file of ONNX is one protobuf message; the rest is for the graph


class Border(NamedTuple):
    """How the inputs and outputs are called. batch: the name of the open axis, or its size."""

    inputs: Sequence[str] = ("input",)
    outputs: Sequence[str] = ("output",)
    batch: str | int = "batch"


def onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    input_names: Sequence[str] = ("input",),
    output_names: Sequence[str] = ("output",),
    labels: Sequence[str] | None = None,
    batch: str | int = "batch",
) -> Path:
    """Writes what a model does in evaluation mode as an ONNX file; returns its path.

    The input is float32 (batch, C, H, W), the output (batch, num_classes), or the feature vectors
    (batch, D) of a model without classes. opset: 13 to 23. labels: the names of the classes, kept
    in the file beside the architecture, the preparation of images and the hash of the weights.
    batch: the name of the open batch axis, or a number that fixes it.

    The file passes onnx's checker before it appears at path; where it cannot be written, nothing
    changes there. Raises `ValueError` for a bad argument or an operation without a form in ONNX,
    `OSError` if the file cannot be written, `ImportError` without onnx.
    """
    proto = to_proto(model, opset, Border(input_names, output_names, batch), labels)
    return _write(proto, Path(path))


def to_proto(model: Model, opset: int, border: Border, labels: Sequence[str] | None = None) -> Any:
    """The `onnx.ModelProto` of a model, which `onnx` writes."""
    helper = _onnx().helper
    _check(model, opset)
    labels = labels_for(model, labels)
    graph = _graph(model, opset, border)
    versions = [helper.make_opsetid("", opset)]
    proto = helper.make_model(
        graph,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="vitc",
        producer_version=__version__,
    )
    helper.set_model_props(proto, properties(model, labels))
    return proto


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError('writing ONNX files needs onnx: pip install "vitc[export]"') from None
    return onnx


def _check(model: Model, opset: int) -> None:
    check_model(model)
    if not isinstance(opset, int) or isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(f"opset is {shown(opset)}, expected {OPSETS[0]} to {OPSETS[-1]}")
    if model.params.dtype != "float32":
        raise ValueError(
            f"the model has dtype {model.params.dtype}, ONNX files are written in float32: make it "
            "with dtype='float32' and load_state_dict() of this one"
        )
    size = sum(value.nbytes for value in model.state_dict().values())
    if size > _LARGEST:
        raise ValueError(f"the weights take {size / 1e9:.1f} GB, an ONNX file holds at most 2")


# ------------------------------------------------------------------------------------- the graph


def _graph(model: Model, opset: int, border: Border) -> Any:
    """The `onnx.GraphProto` of the evaluation program."""
    from onnx import helper, numpy_helper

    from vitc.export.emitters import EMITTERS
    from vitc.export.graph import Graph

    program = model.program()
    _check_names(border, program, model.params.names)
    inputs = list(zip(border.inputs, program.inputs, strict=True))
    outputs = list(zip(border.outputs, program.outputs, strict=True))
    g = Graph(program, model.state_dict(), opset)
    for value, (name, port) in enumerate(inputs):
        g.hold(value, g.reshape(name, 0, *port.inner) if port.inner != port.outer else name)
    g.write(EMITTERS)
    for value, (name, port) in zip(program.core.outputs, outputs, strict=True):
        g.reshape(g.value(value), 0, *port.outer, output=name)
    return helper.make_graph(
        g.nodes,
        model.name,
        [_tensor(name, port, border.batch) for name, port in inputs],
        [_tensor(name, port, border.batch) for name, port in outputs],
        [numpy_helper.from_array(value, name) for name, value in g.initializers.items()],
    )


def _tensor(name: str, port: Port, batch: str | int) -> Any:
    """What the file says of an input or output."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *port.outer])


def _check_names(border: Border, program: Program, taken: Sequence[str]) -> None:
    for what, names, ports in (
        ("input_names", border.inputs, program.inputs),
        ("output_names", border.outputs, program.outputs),
    ):
        if isinstance(names, str) or len(names) != len(ports):
            raise ValueError(f"{what} is {shown(names)}, expected a list of {len(ports)}")
    both = [*border.inputs, *border.outputs]
    for name in both:
        if both.count(name) > 1 or name in taken or not name:
            raise ValueError(f"{shown(name)} cannot name an input or output: it is taken or empty")


# ------------------------------------------------------------------------------------- the file


def _write(proto: Any, path: Path) -> Path:
    """Writes beside path, checks what was written, and renames it."""
    from onnx import checker

    with replacing(path) as unfinished:
        unfinished.write_bytes(proto.SerializeToString())
        checker.check_model(unfinished, full_check=True)
    return path
