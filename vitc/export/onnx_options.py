"""What an ONNX file is to be like: one table for Python and for the command line."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitc import checks
from vitc.errors import shown
from vitc.models.model import Model
from vitc.models.vision_transformer import VisionTransformer

OPSETS = range(13, 24)
PRECISIONS = ("fp32", "fp16", "int8")
TARGETS = ("generic", "ort", "openvino", "tensorrt")
PROFILES = ("cpu", "trt")


class Options(NamedTuple):
    """Under the names of `vitc.export.onnx`, which explains them."""

    opset: int = 17
    precision: str | None = None
    target: str = "generic"
    qdq_profile: str | None = None
    preprocess: bool = False
    softmax: bool = False
    sigmoid: bool = False
    features: bool = False
    smooth: bool = False
    batch: str | int = "batch"
    input_names: Sequence[str] = ("input",)
    output_names: Sequence[str] | None = None

    @property
    def profile(self) -> str:
        return self.qdq_profile or ("trt" if self.target == "tensorrt" else "cpu")

    @property
    def outputs(self) -> Sequence[str]:
        usual = ("output", "features") if self.features else ("output",)
        return usual if self.output_names is None else self.output_names


class Option(NamedTuple):
    """An option on the command line. choices, or metavar of what is given; neither: a switch."""

    help: str
    choices: Sequence[str] = ()
    metavar: str = ""


OPTIONS: Mapping[str, Option] = {
    "opset": Option(f"{OPSETS[0]} to {OPSETS[-1]} (default: 17)", metavar="N"),
    "precision": Option(
        "default: fp32, or int8 of a model with 8-bit weights; int8 of another quantises it",
        PRECISIONS,
    ),
    "target": Option("the runtime whose fusions are to fire (default: generic)", TARGETS),
    "qdq_profile": Option(
        "activations of a static 8-bit model: uint8 for CPUs, int8 without zero points for "
        "TensorRT (default: by the target)",
        PROFILES,
    ),
    "preprocess": Option("the input is uint8 (batch, H, W, C); the file normalises it"),
    "softmax": Option("the output is probabilities of one class among all"),
    "sigmoid": Option("the output is a probability of each class alone"),
    "features": Option("a second output, what the head reads"),
    "smooth": Option("ranges of channels evened out, for a quantiser that comes after"),
    "batch": Option("the name of its open axis, or its size (default: batch)", metavar="NAME"),
}


def checked(model: Model, options: Options) -> Options:
    """The options with what follows from the model in place of None.

    Raises `ValueError` or `TypeError` for a bad one, and for two that exclude each other.
    """
    whole = isinstance(options.opset, int | np.integer) and not isinstance(options.opset, bool)
    if not whole or options.opset not in OPSETS:
        raise ValueError(f"opset is {shown(options.opset)}, expected {OPSETS[0]} to {OPSETS[-1]}")
    checks.one_of("precision", options.precision, (*PRECISIONS, None))
    checks.one_of("target", options.target, TARGETS)
    checks.one_of("qdq_profile", options.qdq_profile, (*PROFILES, None))
    for name, option in OPTIONS.items():
        if not (option.choices or option.metavar):
            checks.flag(name, getattr(options, name))
    batch = _batch(options.batch)
    precision = options.precision or ("int8" if model.quantized else "fp32")
    _check_together(model, options._replace(precision=precision))
    return options._replace(opset=int(options.opset), precision=precision, batch=batch)


def _batch(batch: Any) -> str | int:
    if isinstance(batch, str) and batch:
        return batch
    if isinstance(batch, str) or batch is None:
        raise ValueError(f"batch is {shown(batch)}, expected a name, or a number of images")
    return checks.integer("batch", batch, 1)


def _check_together(model: Model, options: Options) -> None:
    mode, int8 = model.quantized, options.precision == "int8"
    if mode and not int8:
        raise ValueError(
            f"precision is {shown(options.precision)}, and the model has 8-bit weights: export the "
            "model that was quantised"
        )
    if options.softmax and options.sigmoid:
        raise ValueError("softmax and sigmoid exclude each other")
    if options.smooth and mode:
        raise ValueError("smooth is for models of float32: quantize() has evened out this one")
    if options.qdq_profile and mode != "static":
        raise ValueError(
            f"qdq_profile is {shown(options.qdq_profile)}, which is for static 8-bit models: "
            "vitc.quantize(model, mode='static')"
        )
    if int8 and mode != "static" and options.target == "tensorrt":
        raise ValueError(
            "TensorRT runs static 8-bit layers only: export vitc.quantize(model, mode='static')"
        )
    _check_kind(model, options)


def _check_kind(model: Model, options: Options) -> None:
    """What only a Vision Transformer has."""
    classes = getattr(model, "num_classes", 0)
    for name in ("softmax", "sigmoid", "features"):
        if getattr(options, name) and not classes:
            raise ValueError(f"{name} is True, and the model has no classes")
    if options.preprocess and not isinstance(model, VisionTransformer):
        raise ValueError("preprocess is True, and the model has no mean and std")
