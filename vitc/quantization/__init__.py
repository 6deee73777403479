"""Quantisation: models with 8-bit weights, and a table of what a precision costs and brings."""

from typing import TypeVar

from vitc import checks
from vitc.models.model import Model
from vitc.quantization.convert import int8_model
from vitc.quantization.smooth import norm_pairs, smoothed

MODES = ("dynamic",)
M = TypeVar("M", bound=Model)


def quantize(model: M, mode: str = "dynamic") -> M:
    """A copy of the model with 8-bit linear layers; the model itself is left as it is.

    mode "dynamic": weights are int8, symmetric, one scale per output channel; each token's
    activations are quantised to uint8 with their own scale and zero point at run time, so
    there is no calibration. Products are exact in 32-bit integers; layer norm, softmax, GELU, the
    residual stream and attention stay in floating point, and so do the patch embedding and the
    head. The copy predicts, saves and loads like any model. It is not trained: its parameters are
    frozen, and no gradient passes its 8-bit layers; only what comes behind them, the head, can be
    unfrozen.

    Raises `ValueError` for another mode, and for a model that is quantised or of float64.
    """
    checks.one_of("mode", mode, MODES)
    names = model.int8_weights()
    pairs = [p for p in norm_pairs(model.program(), model.params.names) if p.weight in names]
    return int8_model(model, names, state=smoothed(model.state_dict(), pairs))
