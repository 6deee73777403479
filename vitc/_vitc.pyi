"""The C core. Private: use `vitc`. Arrays are C-contiguous; outputs are new arrays unless said."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]

class VitcError(Exception): ...

@final
class Buffer:
    """One array per entry of a `Params`, in one flat block of its layout: a moment, an EMA."""

    nbytes: int
    def view(self, index: int, /) -> _Array: ...  # read-only, shape of the entry
    def write(self, index: int, array: _Array, /) -> None: ...

@final
class Params:
    """The parameters of a model: entries of (name, shape) over one flat, 64-byte aligned buffer."""

    dtype: str  # "float32" or "float64"
    dtypes: tuple[str, ...]  # of the entries: that of the table, or "int8"
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    version: int  # rises with every write
    nbytes: int  # of the values and, once there are any, of the gradients
    packed_bytes: int  # packed weights that plans of inference hold, one copy for all of them
    resting_bytes: int  # weights that are only there packed, until somebody asks for them
    def __new__(
        cls,
        entries: Sequence[tuple[str, tuple[int, ...]] | tuple[str, tuple[int, ...], str | None]],
        dtype: str = "float32",
    ) -> Self: ...
    def __len__(self) -> int: ...
    def view(self, index: int, /) -> _Array: ...  # read-only view of the values
    def write(self, index: int, array: _Array, /) -> None: ...  # of its dtype and shape
    def gradient(self, index: int, /) -> _Array | None: ...  # read-only view; None before the first
    def write_gradient(self, index: int, array: _Array | None, /) -> None: ...  # None: forgets it
    def requires_grad(self, index: int, /) -> bool: ...
    def set_requires_grad(self, index: int, flag: bool, /) -> None: ...
    def zero_gradients(self) -> None: ...  # forgets them; touches no memory
    # Of every gradient that there is, or of those among the entries given:
    def scale_gradients(self, factor: float, indices: Sequence[int] | None = None, /) -> None: ...
    def gradient_norm(self, indices: Sequence[int] | None = None, /) -> float: ...  # L2
    def new_buffer(self) -> Buffer: ...  # zeroed

@final
class Program:
    """A checked, immutable list of plain operations over numbered values.

    Values are numbered: the inputs first, then the output of each operation in order. A shape is
    that of one image, without the batch. `params` are shapes; operations name them by index, -1
    where an optional parameter is left out.
    """

    inputs: tuple[tuple[int, ...], ...]
    params: tuple[tuple[int, ...], ...]
    operations: tuple[dict[str, Any], ...]  # kind, inputs, params, attributes, output, shape
    outputs: tuple[int, ...]
    borders: tuple[int, ...]
    def __new__(
        cls,
        inputs: Sequence[tuple[int, ...]],
        params: Sequence[tuple[int, ...]],
        operations: Sequence[tuple[str, Sequence[int], Sequence[int], Mapping[str, Any]]],
        outputs: Sequence[int],
        borders: Sequence[int] = (),  # values that checkpointing keeps, such as those after blocks
    ) -> Self: ...
    def lower(self, *, training: bool = False) -> Program: ...  # what the executor runs

@final
class Plan:
    """How a program is run: the order of steps and the place of every value, for any batch size.

    Which parameters need a gradient is read from `params` when the plan is made.
    """

    training: bool
    trained: tuple[bool, ...]  # whether each parameter required a gradient
    image_bytes: int  # of the arena, per image of the capacity
    fixed_bytes: int  # packed weights: once per run in training, else once per table
    thread_bytes: int  # scratch per thread
    forward_flops: int  # per image; a multiply-add is two
    backward_flops: int
    steps: tuple[dict[str, Any], ...]  # for display and tests
    def __new__(
        cls,
        program: Program,
        params: Params,
        *,
        training: bool = False,
        input_gradients: bool = False,
        fuse: bool = True,
        bf16: bool = False,  # products of bfloat16, sums and all else in float32
        checkpointing: bool = False,  # backward runs forward again, from border to border
        tile_rows: int | None = None,  # for tests: rows of a strip, at most; None: the machine's
    ) -> Self: ...
    def nbytes(self, capacity: int, threads: int, /) -> int: ...  # exactly what a Run allocates

@final
class Run:
    """The memory of one live forward pass of up to `capacity` images on `threads` threads."""

    capacity: int
    nbytes: int
    def __new__(cls, plan: Plan, capacity: int, threads: int) -> Self: ...
    def forward(
        self,
        inputs: Sequence[_Array],  # each (batch, *shape), batch <= capacity
        *,
        seed: int = 0,
        step: int = 0,
        forward: int = 0,
        row: int = 0,
    ) -> tuple[_Array, ...]: ...  # each (batch, *shape); releases the GIL
    def backward(self, gradients: Sequence[_Array | None], /) -> tuple[_Array | None, ...]: ...
    # Adds to (or starts) the gradients of the params; returns the gradients of the inputs, None
    # where the plan has none. One backward per forward, of a training plan.
    def profile(self) -> None: ...  # counts from now on, from zero
    # What was counted, (times, seconds) of each step on all threads together, and of each phase
    # until all threads are through it.
    def times(self) -> tuple[tuple[tuple[int, float], ...], tuple[tuple[int, float], ...]]: ...

def cross_entropy(
    logits: _Array,  # (batch, classes)
    target: _Array,  # (batch,) int64, or (batch, classes) in the dtype of the logits
    class_weights: _Array | None = None,  # (classes,)
    sample_weights: _Array | None = None,  # (batch,)
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    gamma: float = 0.0,
) -> tuple[float, float, _Array]: ...  # sum of the losses, sum of the weights, d sum / d logits
def row_loss(
    kind: str,  # binary_cross_entropy, binary_focal, divergence, squared_error
    input: _Array,  # (batch, cols)
    target: _Array,  # the same
    *,
    factor: float,  # of every row
    alpha: float,
    gamma: float,
    log_target: bool,
    class_weights: _Array | None,  # (cols,)
    positive_weights: _Array | None,  # (cols,)
    sample_weights: _Array | None,  # (batch,)
) -> tuple[float, float, _Array]: ...  # sum of the losses, of the sample weights, d sum / d input
def jensen_shannon(logits: _Array, splits: int, /) -> tuple[float, _Array]: ...  # sum, d sum / d
def softmax(x: _Array, /) -> _Array: ...  # over the last axis of (rows, cols)
def log_softmax(x: _Array, /) -> _Array: ...
def log_softmax_backward(dy: _Array, y: _Array, /) -> _Array: ...

# One step of an optimizer on some entries; those without a gradient are passed over.
def adamw_step(
    params: Params,
    exp_avg: Buffer,
    exp_avg_sq: Buffer,
    indices: Sequence[int],
    *,
    step: int,  # 1 for the first
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,  # decoupled
    l2: float,  # weight decay as a part of the gradient
    threads: int,
) -> None: ...
def radam_step(
    params: Params,
    exp_avg: Buffer,
    exp_avg_sq: Buffer,
    indices: Sequence[int],
    *,
    lr: float,
    betas: tuple[float, float],
    correction: float,  # what the first moment is divided by
    rectifier: float,  # what the adaptive step is multiplied by; 0: the step is not adaptive yet
    eps: float,
    weight_decay: float,  # decoupled
    l2: float,
    threads: int,
) -> None: ...
def sgd_step(
    params: Params,
    momentum_buffer: Buffer | None,  # None without momentum
    indices: Sequence[int],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,  # the buffer starts as the gradient
    threads: int,
) -> None: ...
def lion_step(
    params: Params,
    exp_avg: Buffer,
    indices: Sequence[int],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    threads: int,
) -> None: ...
def lamb_step(
    params: Params,
    exp_avg: Buffer,
    exp_avg_sq: Buffer,
    indices: Sequence[int],
    *,
    lr: float,
    betas: tuple[float, float],
    corrections: tuple[float, float],  # what the moments are divided by
    eps: float,
    clip: float,  # what the gradients are divided by
    weight_decay: float,
    gradient_share: float,  # of the gradient in the first moment
    adapts: bool,
    trust_clip: bool,
    threads: int,
) -> None: ...
def clip_value(params: Params, indices: Sequence[int] | None, limit: float, /) -> None: ...
def clip_adaptive(
    params: Params, indices: Sequence[int] | None, factor: float, eps: float, /
) -> None: ...
def average(average: Params, params: Params, share: float, /) -> None: ...
def count_nonfinite(x: _Array, /) -> int: ...

# A new image (H, W, C) or (H, W), of uint8, uint16 or float32: an operation of csrc/image.
def image(name: str, image: _Array, /, *numbers: float) -> _Array: ...
def look_up(
    image: _Array,  # of uint8 or uint16
    table: _Array,  # (256,) uint8, or (65536,) uint16
    /,
) -> _Array: ...

# displacement float32 (2, H, W): how far to the right and down each pixel comes from.
def displace(image: _Array, displacement: _Array, bilinear: bool, /, *fill: float) -> _Array: ...
def write_image(
    image: _Array,  # (H, W, C) or (H, W), or (C, H, W) with channels_first
    mean: _Array,  # (C,) float32
    std: _Array,  # (C,) float32
    *,
    flip: bool = False,
    bf16: bool = False,
    out: _Array | None = None,  # (C, H, W) float32, or uint16 if bf16
    other: _Array | None = None,
    other_flip: bool = False,
    lam: float = 1.0,
    box: tuple[int, int, int, int] = (0, 0, 0, 0),  # top, left, height, width
    channels_first: bool = False,
) -> _Array: ...
def erase(
    array: _Array,  # (C, H, W), or (H, W, C) with channels_last; written in place
    boxes: _Array,  # (n, 4) int64: top, left, height, width
    mean: _Array,  # (C,) float32
    sigma: _Array,  # (C,) float32
    *,
    key: tuple[int, int] = (0, 0),
    by_value: bool = True,
    channels_last: bool = False,
) -> None: ...
def mix_images(images: Sequence[_Array], weights: _Array, /) -> _Array: ...  # weights: (n,) float32
def blend(image: _Array, other: _Array, ratio: float, /) -> _Array: ...
def shade(image: _Array, field: _Array, /) -> _Array: ...  # field: (H, W) float32
def mix_batch(
    batch: _Array,  # (B, C, H, W)
    partners: _Array,  # (B,) int64
    lam: _Array,  # (B,) float64: the weight of an image itself
    boxes: _Array,  # (B, 4) int64: top, left, height, width
    /,
) -> _Array: ...
def write_file(program: Program, params: Params, notes: tuple[str, ...], /) -> bytes: ...
def read_file(data: bytes, /) -> tuple[Program, Params, dict[str, str]]: ...
def operation_table() -> tuple[dict[str, Any], ...]: ...  # name, inputs, params, attributes
def config() -> dict[str, Any]: ...  # isa, isas, features, onednn, openmp, threads, kernels, ...
def default_threads() -> int: ...
def forked() -> bool: ...  # this process was forked after the core was loaded

# Measured now, on so many threads at once, for about so many seconds:
def peak_products(precision: str, threads: int, seconds: float, /) -> float: ...  # flop/s
def peak_memory(threads: int, seconds: float, /) -> float: ...  # bytes/s that are read
def memory() -> dict[str, int]: ...  # bytes, peak, blocks, allocations of the core's allocator
def fail_allocation(n: int, /) -> None: ...  # tests: the n-th allocation from now fails, once
def random_words(
    seed: int, step: int, forward: int, row: int, site: str, n: int, /
) -> NDArray[np.uint32]: ...
