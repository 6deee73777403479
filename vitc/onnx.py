"""ONNX under torch's names: `vitc.onnx.export` is called as `torch.onnx.export` is.

`vitc.export.onnx` is the same with a shorter signature.
"""

import inspect
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from vitc.arrays import as_array
from vitc.errors import nearest, shown
from vitc.export.onnx_file import onnx
from vitc.models.model import Model
from vitc.program import Port
from vitc.tape import no_grad
from vitc.training.module import Module

# torch's other options. Some change nothing in the file; the others have one meaning here, which is
# the first of these values, and torch's defaults of that meaning.
_FREE = ("artifacts_dir", "do_constant_folding", "dynamo", "external_data", "optimize", "verbose",
         "verify")  # fmt: skip
_FIXED: dict[str, tuple[Any, ...]] = {
    "autograd_inlining": (True,),
    "custom_opsets": (None,),
    "custom_translation_table": (None,),
    "dump_exported_program": (False,),
    "dynamic_shapes": (None,),
    "export_modules_as_functions": (False,),
    "export_params": (True,),
    "fallback": (False,),
    "keep_initializers_as_inputs": (False,),
    "kwargs": (None, {}),
    "operator_export_type": ("ONNX", None),
    "profile": (False,),
    "report": (False,),
    "training": ("EVAL", None),
}

Axes = Mapping[str, Mapping[int, str] | Sequence[int]]


def export(
    model: Model,
    args: Any,
    f: str | PathLike[str] | BinaryIO,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Axes | None = None,
    opset_version: int | None = 17,
    labels: Sequence[str] | None = None,
    **options: Any,
) -> Path | None:
    """Writes what a model does in evaluation mode to the ONNX file f; returns its path. f may also
    be open for writing bytes.

    args: a batch of images (or the tuple of it), of which only the shape is looked at.
    dynamic_axes: {"input": {0: "batch_size"}, "output": {0: "batch_size"}} leaves the size of the
    batch open; without it, it is that of args. opset_version: 13 to 23. Names are "input" and
    "output" unless they are given. labels: the names of the classes. Of torch's other options,
    those that would change the file are refused.

    Raises what `vitc.export.onnx` does; `ValueError` for a wrong shape or another dynamic axis, and
    `TypeError` for an unknown option.
    """
    _check_options(options)
    inputs, outputs = list(input_names or ("input",)), list(output_names or ("output",))
    name = _batch_name(dynamic_axes or {}, [*inputs, *outputs])
    batch = _batch_size(args, model.program().inputs) if isinstance(model, Model) else 1
    opset = 17 if opset_version is None else opset_version
    write = partial(
        onnx,
        model,
        opset=opset,
        input_names=inputs,
        output_names=outputs,
        labels=labels,
        batch=name or batch,
    )
    if isinstance(f, str | PathLike):
        return write(f)
    _write_to(f, write)
    return None


def _write_to(file: BinaryIO, write: Callable[[Path], Path]) -> None:
    """Writes a file, and its bytes to an open one, which holds no second file for its arrays."""
    if not callable(getattr(file, "write", None)):
        raise TypeError(f"f is {shown(file)}, expected a path or a file that is open for writing")
    with TemporaryDirectory(prefix="vitc") as folder:
        path = write(Path(folder) / "model.onnx")
        if len(list(path.parent.iterdir())) > 1:
            raise ValueError("the weights take more than 2 GB and need a second file: give a path")
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def export_module(
    module: Module, path: str | PathLike[str], sample: Any, options: Mapping[str, Any]
) -> Path:
    """What `Module.to_onnx` does; see there. sample: None leaves the size of the batch open."""
    model = _model_of_forward(module, sample)
    if sample is None:
        both = (*options.get("input_names", ("input",)), *options.get("output_names", ("output",)))
        options = {"dynamic_axes": {name: {0: "batch"} for name in both}, **options}
        sample = tuple(np.zeros((1, *port.outer), np.float32) for port in model.program().inputs)
    export(model, sample, path, **{"labels": module.hparams.get("class_names"), **options})
    return Path(path)


def _model_of_forward(module: Module, sample: Any) -> Model:
    """The model that a module's forward() is, seen by what both give for random images. Raises
    `ValueError` if it is none of them alone."""
    models = dict(module.named_models())
    if sample is None and len(models) != 1:
        raise ValueError(
            f"the module has {len(models)} models: give to_onnx() an input_sample, or set "
            "example_input_array"
        )
    given = sample if isinstance(sample, tuple) else (sample,)
    if sample is None:
        shapes = [(1, *port.outer) for port in next(iter(models.values())).program().inputs]
    else:
        shapes = [np.shape(as_array(x)) for x in given]
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(shape, np.float32) for shape in shapes]
    with no_grad(), module.evaluating():
        output = module(*inputs)
        for model in models.values():
            if _takes(model, shapes) and np.array_equal(model(*inputs), output):
                return model
    raise ValueError(
        f"{type(module).__name__}.forward() is not one of its models alone "
        f"({', '.join(models) or 'it has none'}), and a file holds what a model does: export that "
        "with vitc.export.onnx(module.model, ...)"
    )


def _takes(model: Model, shapes: Sequence[tuple[int, ...]]) -> bool:
    return [shape[1:] for shape in shapes] == [port.outer for port in model.program().inputs]


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in (*_FREE, *_FIXED):
            own = set(inspect.signature(export).parameters) - {"options"}
            raise TypeError(
                f"export has no option {shown(name)} in this version; "
                f"{nearest(name, own | {*_FREE, *_FIXED})}"
            )
        allowed = _FIXED.get(name, ())
        plain = getattr(value, "name", value)  # of torch's enumerations
        if allowed and not any(type(plain) is type(one) and plain == one for one in allowed):
            hint = "; the batch is left open by dynamic_axes" if name == "dynamic_shapes" else ""
            raise ValueError(f"{name} is {shown(value)}, here it is always {allowed[0]}{hint}")


def _batch_size(args: Any, ports: Sequence[Port]) -> int:
    """The size of the batch of args, whose shapes are checked."""
    given = args if isinstance(args, tuple) else (args,)
    if len(given) != len(ports):
        raise ValueError(f"args holds {len(given)} inputs, the model takes {len(ports)}")
    shapes = [np.shape(as_array(x)) for x in given]
    for shape, port in zip(shapes, ports, strict=True):
        if shape[1:] != port.outer or shape[:1] in ((), (0,)):
            wanted = ", ".join(map(str, port.outer))
            raise ValueError(f"args has the shape {shape}, the model takes (batch, {wanted})")
    return int(shapes[0][0])


def _batch_name(dynamic_axes: Axes, known: Sequence[str]) -> str:
    """What dynamic_axes calls the batch; "" if it does not mention it."""
    found: list[str] = []
    for name, axes in dynamic_axes.items():
        if name not in known:
            raise ValueError(f"dynamic_axes: there is no {shown(name)}; {nearest(name, known)}")
        found += [_axis_name(name, axis, axes) for axis in axes]
    if len(set(found)) > 1:
        names = " and ".join(sorted(set(found)))
        raise ValueError(f"dynamic_axes: the batch is one axis, give it one name, not {names}")
    return found[0] if found else ""


def _axis_name(name: str, axis: int, axes: Mapping[int, str] | Iterable[int]) -> str:
    if axis != 0:
        raise ValueError(
            f"dynamic_axes: axis {shown(axis)} of {shown(name)} cannot be left open, only axis 0, "
            "the batch: make the model with another img_size instead"
        )
    return axes[axis] if isinstance(axes, Mapping) else "batch"
