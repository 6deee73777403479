"""Quantisation: models with 8-bit weights, what they need to know, and what they cost."""

import os
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vitc import checks
from vitc.arrays import Array
from vitc.errors import nearest, shown
from vitc.models.model import Model
from vitc.quantization.calibrate import calibrate, check_model
from vitc.quantization.calibration import Calibration
from vitc.quantization.comparison import compare
from vitc.quantization.control import by_effect, within
from vitc.quantization.convert import int8_model
from vitc.quantization.correction import bias_names
from vitc.quantization.images import Images, calibration_images
from vitc.quantization.report import Report, report
from vitc.quantization.smooth import Changed, norm_pairs, smoothed
from vitc.quantization.tensorrt import read_cache, write_cache
from vitc.quantization.validation import Validation
from vitc.tape import no_grad

__all__ = [
    "MODES",
    "Calibration",
    "Report",
    "calibrate",
    "quantize",
    "read_cache",
    "report",
    "write_cache",
]

MODES = ("dynamic", "static")
M = TypeVar("M", bound=Model)
_RANKED_ON = 32  # images


def quantize(
    model: M,
    mode: str = "dynamic",
    *,
    calibration: Any = None,
    method: str | None = None,
    exclude: str | Collection[str] = (),
    max_drop: float | None = None,
    validation: Any = None,
) -> M:
    """A copy of the model with 8-bit linear layers; the model itself is left as it is.

    Weights are int8, symmetric, one scale per output channel; activations uint8 with a scale and a
    zero point. mode "dynamic": of each token, found at run time; without calibration. "static": of
    each layer, from the calibration; the fastest. Products are exact in 32-bit integers; layer
    norm, softmax, GELU, the residual stream and attention stay in floating point, and so do the
    patch embedding and the head. The copy predicts, saves and loads like any model. It is not
    trained: its parameters are frozen, and no gradient passes its 8-bit layers; only what comes
    behind them, the head, can be unfrozen.

    calibration: images as `vitc.quantization.calibrate` takes them, or what that returned, or the
    `.json` file that it was saved to. With mode "dynamic" it may be left out; smoothing and biases
    follow it, of a calibration for static models the smoothing alone. method: of `calibrate`, by
    default "minmax".
    exclude: names of layers that stay in float, such as "blocks.0.*" or "*.mlp.fc2" (fnmatch).
    max_drop: what the accuracy may lose, as a share (0.005 is half a point): the layers that change
    the logits most, each alone in 8 bits, stay in float until that holds on `validation`: a folder
    with one folder of images per class, a dataset of (image, label), a loader of such batches, a
    pair (images, labels), or a function that takes the model and returns the value that must not
    fall by more.

    Raises `ValueError` for another mode, a model that is quantised or of float64, a pattern that
    fits no layer, a calibration of another model, and as `calibrate`.
    """
    checks.one_of("mode", mode, MODES)
    check_model(model)
    if (max_drop is None) != (validation is None):
        raise ValueError("max_drop and validation belong together: one is given, the other not")
    names = _chosen(model, [exclude] if isinstance(exclude, str) else list(exclude))
    most = 0.0 if max_drop is None else checks.finite("max_drop", max_drop, 0)
    if not (validation is None or callable(validation) or isinstance(validation, Validation)):
        validation = Validation(model, validation)
    images, found = _learned(model, mode, calibration, method)
    if found is not None:
        found.check(model, names if mode == "static" else ())
    make = partial(_made, model, mode, found)
    if validation is None:
        return make(names)

    def rank() -> list[str]:
        return by_effect(make, names, partial(_logits, _few(model, images, validation)))

    return within(make, names, rank, _loss(model, validation), most)


def _chosen(model: Model, exclude: Sequence[str]) -> list[str]:
    """The weights that are quantised. Raises `ValueError` for a pattern that fits no layer."""
    layers = [name.removesuffix(".weight") for name in model.int8_weights()]
    for pattern in exclude:
        if not isinstance(pattern, str):
            raise TypeError(f"exclude has {shown(pattern)}, expected names or patterns of layers")
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise ValueError(f"exclude: {shown(pattern)} fits no layer; {nearest(pattern, layers)}")
    kept = [name for name in layers if not any(fnmatchcase(name, p) for p in exclude)]
    return [f"{layer}.weight" for layer in kept]


def _learned(
    model: Model, mode: str, given: Any, method: str | None
) -> tuple[Images | None, Calibration | None]:
    """The images that were given, and what they or the calibration that was given say."""
    if isinstance(given, str | os.PathLike) and Path(given).suffix.lower() == ".json":
        given = Calibration.load(given)
    if given is None and mode == "static":
        raise ValueError(
            "mode 'static' needs calibration: images like those that the model is for, as a "
            "folder, an array, a .npy file or a loader"
        )
    if given is None or isinstance(given, Calibration):
        if method is not None:
            raise ValueError(f"method is {shown(method)}, but there are no images to apply it to")
        return None, given
    images = calibration_images(model, given)
    return images, calibrate(model, images, mode=mode, method=method or "minmax")


def _made(model: M, mode: str, calibration: Calibration | None, names: Sequence[str]) -> M:
    """The model with these weights in 8 bits."""
    every = norm_pairs(model.program(), model.params.names)
    pairs = [pair for pair in every if {*pair.weights} & {*names}]
    state = model.state_dict()
    if calibration is None:
        return int8_model(model, names, state=smoothed(state, pairs))
    biases = bias_names(model.program(), model.params.names)
    own = {biases[name] for name in names if name in biases and calibration.mode == mode}
    correction = {name: value for name, value in calibration.correction.items() if name in own}
    changed = Changed(state, pairs, calibration.smooth, correction)
    ranges = {name: calibration.ranges[name] for name in names} if mode == "static" else None
    return int8_model(model, names, ranges, changed)


# ------------------------------------------------------------------------------- accuracy


def _loss(model: Model, validation: Any) -> Callable[[Model], float]:
    """What a model loses against this one."""
    if callable(validation):
        before = _number(validation(model))
        return lambda made: before - _number(validation(made))
    exact = validation.logits(model)

    def drop(made: Model) -> float:
        found = compare(exact, validation.logits(made), validation.labels)
        assert found.drop is not None
        return found.drop.value

    return drop


def _number(value: Any) -> float:
    if not isinstance(value, float | int | np.number | np.ndarray) or np.ndim(value):
        raise TypeError(f"the validation function returned {shown(value)}, expected a number")
    return checks.finite("what the validation function returned", float(value))


def _few(model: Model, images: Images | None, validation: Any) -> Array:
    """Some images: of the calibration, else of the validation, else noise."""
    if images is not None:
        return next(images.first(_RANKED_ON).batches(_RANKED_ON))
    if not callable(validation):
        found: Array = validation.first(_RANKED_ON)
        return found
    (port,) = model.program().inputs
    generator = np.random.default_rng(0)
    return generator.standard_normal((_RANKED_ON, *port.outer)).astype(np.float32)


def _logits(x: Array, model: Model) -> Array:
    with no_grad():
        return np.concatenate([np.asarray(model(x[i : i + 8])) for i in range(0, len(x), 8)])
