"""The strength of smoothing for each block, found on images."""

from collections.abc import Collection, Mapping

import numpy as np

from vitc import engine
from vitc.arrays import Array
from vitc.models.int8 import beside
from vitc.models.model import Model
from vitc.program import Program, Value, blocks_of, rewrite
from vitc.quantization.convert import scale_of
from vitc.quantization.images import Images
from vitc.quantization.methods import Range
from vitc.quantization.observe import Watch
from vitc.quantization.smooth import Changed, Pair, expected_activation, factors
from vitc.quantization.weights import quantize_weight
from vitc.tape import no_grad

STRENGTHS = tuple(i / 10 for i in range(3, 10))
_BATCH = 8


def search_smoothing(
    model: Model,
    twin: Model,
    pairs: Collection[Pair],
    seen: Mapping[str, Watch],
    images: Images,
) -> dict[str, Array]:
    """By the names of weights, the factors of their inputs (`Calibration.smooth`).

    For each block one strength is taken, or the rule that knows no data, or no smoothing: that with
    the least squared error of the block's output, in 8 bits, from that in float32, both with the
    float32 tokens of `images` before the block. model: in float32. twin: it in 8 bits; its weights
    and ranges are changed, and are in the end those of the result. seen: what the layers of the
    pairs read.
    """
    tokens = _run(_before_blocks(model.program()), model, np.concatenate([*images.batches(_BATCH)]))
    found: dict[str, Array] = {}
    exact, rough = blocks_of(model.program()), blocks_of(twin.program())
    for block, block8 in zip(exact, rough, strict=True):
        behind = _run(block, model, tokens)
        inside = [pair for pair in pairs if _reads(block, model, pair)]
        if inside:
            found |= _best(model, twin, block8, inside, seen, tokens, behind)
        tokens = behind
    return found


def _best(
    model: Model,
    twin: Model,
    block: Program,
    pairs: list[Pair],
    seen: Mapping[str, Watch],
    tokens: Array,
    behind: Array,
) -> dict[str, Array]:
    """The factors of the best strength for the pairs of one block."""
    state = model.state_dict()
    largest = {pair: seen[pair.weights[0]].largest for pair in pairs}
    expected = {pair: expected_activation(state, pair) for pair in pairs}
    choices = [{}, _choice(state, expected, 0.5)]
    choices += [_choice(state, largest, strength) for strength in STRENGTHS]
    errors = []
    for choice in choices:
        _set(twin, Changed(state, pairs, choice), pairs, choice, seen)
        errors.append(float(np.mean((_run(block, twin, tokens) - behind) ** 2)))
    best = choices[int(np.argmin(errors))]
    _set(twin, Changed(state, pairs, best), pairs, best, seen)
    return best


def _choice(
    state: Mapping[str, Array], activations: Mapping[Pair, Array], strength: float
) -> dict[str, Array]:
    """The factors of some pairs at one strength."""
    choice: dict[str, Array] = {}
    for pair, activation in activations.items():
        found = factors(state, pair, activation, strength)
        choice |= dict.fromkeys(pair.weights, found)
    return choice


def _set(
    twin: Model,
    state: Mapping[str, Array],
    pairs: list[Pair],
    smooth: Mapping[str, Array],
    seen: Mapping[str, Watch],
) -> None:
    """Gives the twin these weights, norms, and the ranges that go with them."""
    static = twin.quantized == "static"
    for pair in pairs:
        for name in (pair.norm_weight, pair.norm_bias):
            if name:
                twin.write({name: state[name]})
        for name in pair.weights:
            range_ = smoothed_range(seen[name], smooth.get(name)) if static else None
            twin.write(_in_8_bits(name, state[name], range_))


def _in_8_bits(name: str, weight: Array, range_: Range | None) -> dict[str, Array]:
    """What a quantised model holds in the place of a weight."""
    whole, scale = quantize_weight(weight)
    values = {name: whole, beside(name, "weight_scale"): scale}
    if range_ is not None:
        step, zero_point = scale_of(*range_)
        values[beside(name, "input_scale")] = np.array([step], np.float32)
        values[beside(name, "input_zero_point")] = np.array([zero_point], np.float32)
    return values


def smoothed_range(watch: Watch, factor: Array | None) -> Range:
    """The least and the greatest value that a layer reads once its input is smoothed."""
    divisor = 1 if factor is None else factor
    return float((watch.lows / divisor).min()), float((watch.highs / divisor).max())


def _reads(block: Program, model: Model, pair: Pair) -> bool:
    return model.params.names.index(pair.norm_weight) in block.used


def _before_blocks(program: Program) -> Program:
    """Images -> the tokens before the first block."""
    return rewrite(program, lambda op, add: add(op), outputs=[Value(program.core.borders[0])])


def _run(program: Program, model: Model, x: Array) -> Array:
    """The only output of a program for all of x, some images at a time."""
    pool = engine.Pool(model.params)
    with no_grad():
        parts = [
            np.asarray(engine.forward(program, pool, model.window, [x[i : i + _BATCH]])[0])
            for i in range(0, len(x), _BATCH)
        ]
    return np.concatenate(parts)
