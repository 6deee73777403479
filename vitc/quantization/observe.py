"""What the linear layers of a model read, batch after batch, in bounded memory."""

from collections.abc import Collection, Iterator

import numpy as np

from vitc import engine
from vitc.arrays import Array
from vitc.errors import listed
from vitc.models.model import Model
from vitc.program import Program, with_observed
from vitc.quantization.histogram import Histogram
from vitc.quantization.images import Images
from vitc.quantization.methods import Method, Moving, Range
from vitc.tape import no_grad

_BYTES = 1 << 28  # of what is observed of a batch
_BATCH = 32  # images of it, at most


class Watch:
    """What is known of the input of a layer."""

    def __init__(self, method: Method, channels: int) -> None:
        self._method = method
        self._histogram, self._moving = Histogram(), Moving(method.momentum)
        self.lows, self.highs = np.full(channels, np.inf), np.full(channels, -np.inf)

    def add(self, x: Array) -> None:
        """x: the tokens of some images, (images, N, K) float32."""
        lows, highs = x.min(axis=1), x.max(axis=1)
        self.lows = np.minimum(self.lows, lows.min(axis=0))
        self.highs = np.maximum(self.highs, highs.max(axis=0))
        self._moving.add(lows.min(axis=1), highs.max(axis=1))
        if self._method.reads_histogram:
            self._histogram.add(x)

    @property
    def largest(self) -> Array:
        """(K,): the greatest magnitude of each channel."""
        found: Array = np.maximum(np.abs(self.lows), np.abs(self.highs))
        return found

    @property
    def range(self) -> Range:
        """The range that the method chooses."""
        low, high = float(self.lows.min()), float(self.highs.max())
        return self._method.choose(low, high, self._moving, self._histogram)


def watch(model: Model, names: Collection[str], images: Images, method: Method) -> dict[str, Watch]:
    """What is known of the inputs of the layers with these weights, after all images.

    Raises `ValueError` naming the layers that read NaN or infinite values.
    """
    found: dict[str, Watch] = {}
    for inputs in layer_inputs(model, names, images):
        for name, x in inputs:
            found.setdefault(name, Watch(method, x.shape[-1])).add(x)
    return {name: found[name] for name in names}


def layer_inputs(
    model: Model, names: Collection[str], images: Images
) -> Iterator[list[tuple[str, Array]]]:
    """For each batch, the inputs (images, N, K) of the linear layers with these weights. A batch is
    as large as fits into 256 MB.

    Raises `ValueError` naming the layers that read NaN or infinite values.
    """
    table = model.params.names
    program, readers = with_observed(model.program(), [table.index(name) for name in names])
    pool, done = engine.Pool(model.params), 0
    for batch in images.batches(batch_size(program)):
        with no_grad():
            values = engine.forward(program, pool, model.window, [batch])
        pairs = [
            (table[weight], np.asarray(value))
            for weights, value in zip(readers, values, strict=True)
            for weight in weights
        ]
        _check_finite(pairs, done)
        yield pairs
        done += len(batch)


def batch_size(program: Program) -> int:
    """How many images at once, by what the outputs of a program take."""
    each = sum(4 * int(np.prod(port.inner)) for port in program.outputs)
    return max(1, min(_BATCH, _BYTES // each))


def _check_finite(pairs: list[tuple[str, Array]], done: int) -> None:
    bad = [(name, np.isfinite(x).all(axis=(1, 2))) for name, x in pairs]
    bad = [(name, fine) for name, fine in bad if not fine.all()]
    if bad:
        layers = [name.removesuffix(".weight") for name, _ in bad]
        image = done + int(np.argmin(bad[0][1]))
        raise ValueError(
            f"of image {image} these layers read NaN or infinite values: {listed(layers)}; there "
            "is no range for them"
        )
