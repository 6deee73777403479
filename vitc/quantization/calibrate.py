"""From images to a calibration."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from vitc import checks
from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.model import Model
from vitc.quantization.calibration import Calibration, weights_hash
from vitc.quantization.convert import int8_model
from vitc.quantization.correction import corrections
from vitc.quantization.images import MOST, Images, calibration_images
from vitc.quantization.methods import MOMENTUM, Method, Range
from vitc.quantization.observe import watch
from vitc.quantization.search import search_smoothing
from vitc.quantization.smooth import Changed, norm_pairs

_FEW, _FEWEST = 64, 16  # images for means and channels, for the search


def calibrate(
    model: Model,
    images: Any,
    *,
    mode: str = "static",
    method: str = "minmax",
    percentile: float = 99.99,
    momentum: float = MOMENTUM,
    samples: int = MOST,
    smooth: bool = True,
    bias_correction: bool = True,
) -> Calibration:
    """What `quantize` needs to know of a float32 model, found on images that are like its own.

    images: a folder, searched with all folders below it, whose images are prepared as the model's
    evaluation does it; prepared images (N, C, H, W) as an array or a `.npy` file; a dataset; or a
    loader. At most `samples` of them are taken, evenly spaced (of a loader the first).
    mode: for which the model is calibrated; "dynamic" needs no ranges.
    method: how the range of a layer's inputs follows from the values seen. "minmax": the least and
    the greatest. "moving_average": of those of each image, with this momentum. "percentile": what
    leaves (100 - percentile) / 2 percent outside on each side. "entropy": the range with the least
    Kullback-Leibler divergence, as in TensorRT and ONNX Runtime. "mse": with the least squared
    error. All but "moving_average" do not depend on the order of the images, and none on batches.
    smooth: evens out the channels behind each norm (SmoothQuant), by what 64 of the images reach
    and with a strength for each block that is tried out on 16 others. bias_correction: takes the
    mean error that is left, on 64 of the images, out through the biases.

    Raises `ValueError` for a model that is quantised or of float64, for less than 32 images (less
    than 300 are a warning), images that are not prepared for this model, and layers that read NaN
    or infinite values; `OSError` for files that cannot be read.
    """
    checks.one_of("mode", mode, ("dynamic", "static"))
    chosen = Method.of(method, percentile, momentum)
    check_model(model)
    seen = calibration_images(model, images, samples)
    names = model.int8_weights()
    factors = _smoothing(model, mode, names, seen) if checks.flag("smooth", smooth) else {}
    correct = checks.flag("bias_correction", bias_correction)
    even = _changed(model, factors) if factors else model
    ranges: dict[str, Range] = {}
    if mode == "static":
        ranges = {name: found.range for name, found in watch(even, names, seen, chosen).items()}
    own = {name: ranges.get(name) for name in names}
    correction = corrections(even, own, seen.first(_FEW)) if correct else {}
    return Calibration(weights_hash(model), chosen, len(seen), ranges, factors, correction)


def check_model(model: Any) -> None:
    """Raises `TypeError` for what is no model, `ValueError` for one that cannot be quantised."""
    if not isinstance(model, Model):
        raise TypeError(
            f"expected a vitc model, got {shown(model)}; of a module or trunk, pass its .model"
        )
    if model.quantized:
        raise ValueError("the model is quantised already")
    if model.params.dtype != "float32":
        raise ValueError("quantisation is for models of float32")


def _smoothing(model: Model, mode: str, names: list[str], images: Images) -> dict[str, Any]:
    """The search sees other images than those that the factors follow from: one that it had seen
    would never lie outside of a channel's range."""
    pairs = [p for p in norm_pairs(model.program(), model.params.names) if {*p.weights} & {*names}]
    if not pairs:
        return {}
    known, unseen = images.first(2 * _FEW).halves()
    seen = watch(model, names, known, Method("minmax"))
    ranges = {name: found.range for name, found in seen.items()} if mode == "static" else None
    twin = int8_model(model, names, ranges)
    return search_smoothing(model, twin, pairs, seen, unseen.first(_FEWEST))


def _changed(model: Model, factors: Mapping[str, Array]) -> Model:
    """The float model with smoothed channels."""
    pairs = norm_pairs(model.program(), model.params.names)
    even = deepcopy(model)
    even.load_state_dict(Changed(model.state_dict(), pairs, factors))
    return even
