"""The coarse tape: which forward passes a loss came from, and how its gradient gets back to them.

A node is one forward pass of a whole model, or one of the few operations on its outputs that keep a
gradient: a scalar factor, `log_softmax`. There are a handful of nodes per training step, never one
per layer. `Output` is an array that remembers its node; `Loss` is a list of (output, gradient).

A loss holds the *sum* over its rows, the weight to divide by, and the gradient of the sum.
Gradients are added undivided; the division by the total weight happens once per accumulation window
(`Window`).
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ContextDecorator, ExitStack, contextmanager
from itertools import count
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, over_axis
from vitc.errors import VitcError
from vitc.locks import Lock

# ------------------------------------------------------------------------------------ gradient mode

_mode = threading.local()


def grad_enabled() -> bool:
    """Whether forward passes of this thread record what a backward pass needs."""
    return getattr(_mode, "enabled", True)


class _Mode(ContextDecorator):
    """Sets this thread's gradient mode within a block, or in a function that it decorates."""

    enabled: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(grad_enabled())
        _mode.enabled = self.enabled

    def __exit__(self, *error: object) -> None:
        _mode.enabled = self._before.pop()


class no_grad(_Mode):
    """Within it this thread's forward passes keep nothing for a backward pass."""

    enabled = False


class enable_grad(_Mode):
    """Within it they do, also inside `no_grad`."""

    enabled = True


# ------------------------------------------------------------------------------------ random draws


class Clock:
    """The position in a training run of the next forward pass; it keys every dropout mask.

    seed: of the run. step: of the optimizer. row: index in the global batch of the first image of
    the next forward pass. forward: how many passes with dropout this step has made for these rows.
    """

    def __init__(self) -> None:
        self.restarts = 0  # how often a seed was set
        self.restart(0)

    def restart(self, seed: int) -> None:
        """Sets the seed, which restarts all draws, also if it is the same one."""
        self.seed = seed
        self.restarts += 1
        self.begin(0)

    def begin(self, step: int, row: int = 0) -> None:
        """Moves to a step, or within it to another slice of its batch, which starts at `row`."""
        self.step, self.row, self.forward = step, row, 0

    def advance(self) -> None:
        """Moves to the next step. Optimizers call it."""
        self.begin(self.step + 1)

    def tick(self) -> dict[str, int]:
        """The key of a forward pass that draws, as arguments of `_vitc.Run.forward`."""
        self.forward += 1
        return dict(seed=self.seed, step=self.step, forward=self.forward - 1, row=self.row)


clock = Clock()

# ------------------------------------------------------------------------------------ windows


class Window:
    """The gradients of one parameter table between two zero_grad: sums, and what to divide them by.

    A backward pass opens it with its weight, `close` divides. A backward pass after that multiplies
    back first, so the gradient is always the mean over everything since the last zero_grad.

    lock: held from the weight of a backward pass to its last gradient, and by whatever else goes by
    the weight. A finalizer may come back to it within.
    """

    def __init__(self, params: _vitc.Params) -> None:
        self.params = params
        self.lock = Lock()
        self.weight = 0.0
        self._divided = False
        self._set = False  # a gradient was given by hand

    def open(self, weight: float) -> None:
        """Adds the weight of a backward pass whose gradients are about to be added, which holds the
        lock."""
        if not self._has_gradients():  # zeroed since, through whichever handle
            self.weight, self._divided, self._set = 0.0, False, False
        if self._set:
            raise VitcError(
                "a gradient was set by hand, and a backward pass would add to it: the mean of both "
                "has no meaning; call zero_grad() first"
            )
        if self._divided:
            self.params.scale_gradients(self.weight)
            self._divided = False
        self.weight += weight

    def close(self) -> None:
        """Divides the gradients by the total weight. Closing twice is closing once."""
        with self.lock:
            self._close()

    def _close(self) -> None:
        if not self._has_gradients():  # zeroed since
            self.weight, self._divided = 0.0, False
        elif self.weight and not self._divided:
            self.params.scale_gradients(1.0 / self.weight)
            self._divided = True

    def write(self, index: int, gradient: Array | None) -> None:
        """Gives a parameter this gradient; a backward pass is refused until all are zeroed."""
        with self.lock:
            self._close()
            self.params.write_gradient(index, gradient)
            self._set = True
            if not self._divided:
                self.weight, self._divided = 1.0, True

    def divisor(self) -> float:
        """What a gradient read from the table now is still to be divided by, for who holds the
        lock."""
        return 1.0 if self._divided or not self.weight else self.weight

    def _has_gradients(self) -> bool:
        return any(self.params.gradient(i) is not None for i in range(len(self.params)))


class _Windowed(Protocol):
    """What `close_window` takes: a `Parameter` or a model, which name their window."""

    window: Window


def close_window(owners: Iterable[_Windowed]) -> None:
    """Divides the gradients of these parameters' (or models') tables by their total weight."""
    for window in {owner.window for owner in owners}:
        window.close()


@contextmanager
def alone(windows: Iterable[Window]) -> Iterator[None]:
    """Within it the gradients of these tables are this thread's."""
    with ExitStack() as stack:
        for window in sorted(set(windows), key=id):  # in one order: nobody waits in a circle
            stack.enter_context(window.lock)
        yield


# ------------------------------------------------------------------------------------ nodes


class Edge(NamedTuple):
    """One output of one node."""

    node: "Node"
    output: int


_order = count()
Backward = Callable[[list[Array | None]], Sequence[Array | None]]


class Node:
    """A step from inputs to outputs that can carry gradients back.

    inputs: where each input came from, None if it has no gradient. outputs: how many there are.
    backward: takes one gradient (or None) per output, gives one (or None) per input; called once.
    window: of the parameters that `backward` adds to, if any.
    """

    def __init__(
        self,
        inputs: Sequence[Edge | None],
        outputs: int,
        backward: Backward,
        window: Window | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = outputs
        self.window = window
        self.order = next(_order)
        self._backward: Backward | None = backward

    @property
    def released(self) -> bool:
        return self._backward is None

    def release(self) -> Backward:
        """Hands over the backward function and forgets it, so that it runs at most once."""
        assert self._backward is not None
        backward, self._backward = self._backward, None
        return backward


def _ancestors(nodes: Iterable[Node]) -> list[Node]:
    """The nodes and everything before them, newest first."""
    found: dict[int, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.order not in found:
            found[node.order] = node
            waiting += [edge.node for edge in node.inputs if edge is not None]
    return [found[order] for order in sorted(found, reverse=True)]


def _backward(terms: Sequence[tuple[Edge, Array]], weight: float) -> None:
    """Runs each node once, newest first, on the sum of the gradients that reach it."""
    nodes = _ancestors(edge.node for edge, _ in terms)
    windows = {node.window for node in nodes if node.window is not None}
    with alone(windows):
        _run_backward(nodes, windows, terms, weight)


def _run_backward(
    nodes: list[Node], windows: set[Window], terms: Sequence[tuple[Edge, Array]], weight: float
) -> None:
    if any(node.released for node in nodes):
        raise VitcError(
            "this forward pass was already used by a backward(), which frees its memory; run the "
            "model again, or add the losses and call backward() once, on the sum"
        )
    steps = [(node, node.release()) for node in nodes]
    for window in windows:
        window.open(weight)
    pending: dict[Node, list[Array | None]] = {node: [None] * node.outputs for node in nodes}

    def deliver(edge: Edge, gradient: Array) -> None:
        slot = pending[edge.node]
        before = slot[edge.output]
        slot[edge.output] = gradient if before is None else before + gradient

    for edge, gradient in terms:
        deliver(edge, gradient)
    for node, run in steps:
        for source, result in zip(node.inputs, run(pending.pop(node)), strict=True):
            if source is not None and result is not None:
                deliver(source, result)


# ------------------------------------------------------------------------------------ outputs


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Output) else value


class Output(np.ndarray):
    """A read-only array that remembers the forward pass it came from.

    Slices and arithmetic give plain arrays without a gradient, except `*` and `/` by a number, and
    `vitc.functional.log_softmax`. A loss function or another model takes it as it is.
    """

    edge: Edge | None = None

    @classmethod
    def wrap(cls, array: Array, edge: Edge | None) -> Self:
        """A read-only view of array (not a copy) that remembers edge."""
        output = array.view(cls)
        output.flags.writeable = False
        output.edge = edge
        return output

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        options = {k: tuple(map(_plain, v)) if k == "out" else v for k, v in options.items()}
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        if method != "__call__" or ufunc not in (np.multiply, np.true_divide):
            return result
        return _scaled(ufunc, inputs, result)

    def __getitem__(self, key: Any) -> Any:
        return _plain(self)[key]

    def detach(self) -> "Output":
        """The same numbers without the forward pass, whose memory is then free."""
        return Output.wrap(_plain(self), None)

    def argmax(  # type: ignore[override]
        self, axis: int | None = None, *args: Any, dim: int | None = None, **options: Any
    ) -> Any:
        """`numpy.argmax`; `dim` is torch's name for `axis`."""
        return _plain(self).argmax(axis if dim is None else dim, *args, **options)

    def softmax(self, dim: int = -1) -> Array:
        """Probabilities over the last axis, without a gradient."""
        return over_axis(_vitc.softmax, _plain(self), dim)


def _scaled(ufunc: np.ufunc, inputs: tuple[Any, ...], result: Array) -> Array:
    """Keeps `output * number`, `number * output` and `output / number` on the tape."""
    a, b = inputs
    output, factor = (a, b) if isinstance(a, Output) else (b, a)
    if not isinstance(output, Output) or output.edge is None or np.ndim(factor) != 0:
        return result
    if ufunc is np.true_divide and output is b:
        return result
    factor = output.dtype.type(factor)  # a number never widens the dtype, as in torch
    return on_tape(ufunc(_plain(output), factor), output.edge, lambda dy: ufunc(dy, factor))


def on_tape(result: Array, edge: Edge, backward: Callable[[Array], Array]) -> Output:
    """An output computed from the one at `edge`; backward turns its gradient into that one's."""

    def run(gradients: list[Array | None]) -> list[Array | None]:
        gradient = gradients[0]
        return [None if gradient is None else backward(gradient)]

    return Output.wrap(result, Edge(Node([edge], 1, run), 0))


# ------------------------------------------------------------------------------------ losses


class Loss:
    """A number to minimise: `value` (the sum over rows) divided by `weight`.

    terms: per model output, the gradient of the sum with respect to it. Losses of equal weight add
    up (also with `sum()`); `*` and `/` by a number scale. `float()` and `item()` give the mean.
    """

    def __init__(
        self,
        value: float,
        weight: float,
        terms: Sequence[tuple[Edge, Array]] = (),
        *,
        complete: bool = True,
        own: bool = False,
    ) -> None:
        self.value = float(value)
        self.weight = float(weight)
        self.own = own  # True: a custom function computed some part, maybe over several samples
        self._terms = list(terms)
        self._complete = complete  # False: some part was computed from numbers without a gradient

    def backward(self) -> None:
        """Adds the gradient to the parameters of every model the loss came from.

        Raises `VitcError` if the loss did not come straight from a model, or the second time.
        """
        if not self._complete or not self._terms:
            raise VitcError(
                "this loss has no way back to a model: the logits must come straight from the "
                "model in gradient mode. Slices and arithmetic give plain numbers (only * and / "
                "by a number and log_softmax keep the gradient); detach() a part that is meant to "
                "be constant. A quantised model is not trained: train the one it was made from, "
                "and quantise that"
            )
        _backward(self._terms, self.weight)

    def detach(self) -> "Loss":
        """The same number, without its forward passes and without a gradient."""
        return Loss(self.value, self.weight)

    def passes(self) -> int:
        """The most forward passes of one parameter table that it came from."""
        nodes = _ancestors(edge.node for edge, _ in self._terms)
        counts = Counter(node.window for node in nodes if node.window is not None)
        return max(counts.values(), default=0)

    def nonfinite_rows(self) -> list[int]:
        """The rows of the batch whose gradient is infinite or NaN."""
        bad = [~np.isfinite(g).all(axis=tuple(range(1, g.ndim))) for _, g in self._terms]
        return sorted({int(row) for rows in bad for row in np.flatnonzero(rows)})

    def item(self) -> float:
        return float(self)

    def __float__(self) -> float:
        return self.value / self.weight if self.weight else float("nan")

    def __format__(self, spec: str) -> str:
        return format(float(self), spec)

    def __repr__(self) -> str:
        return f"Loss({float(self):.6g}, weight={self.weight:g})"

    def __add__(self, other: "Loss | float") -> "Loss":
        if not isinstance(other, Loss):
            return Loss(
                self.value + float(other) * self.weight,
                self.weight,
                self._terms,
                complete=self._complete,
                own=self.own,
            )
        if not np.isclose(self.weight, other.weight, rtol=1e-12, atol=0.0):
            raise ValueError(
                f"losses of weight {self.weight:g} and {other.weight:g} cannot be added: the "
                "mean is taken once, over one weight. Class weights and ignore_index change the "
                "weight; use such a loss alone, or the same weights in every term"
            )
        return Loss(
            self.value + other.value,
            self.weight,
            self._terms + other._terms,
            complete=self._complete and other._complete,
            own=self.own or other.own,
        )

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Loss":
        if np.ndim(factor) != 0 or isinstance(factor, Loss):
            return NotImplemented
        factor = float(factor)
        terms = [(edge, gradient * gradient.dtype.type(factor)) for edge, gradient in self._terms]
        value = self.value * factor
        return Loss(value, self.weight, terms, complete=self._complete, own=self.own)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Loss":
        return self * (1.0 / divisor)

    def __neg__(self) -> "Loss":
        return self * -1.0

    def __sub__(self, other: "Loss | float") -> "Loss":
        return self + -other
