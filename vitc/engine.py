"""Runs programs: keeps plans and the memory of forward passes, and puts passes on the tape."""

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitc import _vitc
from vitc.arrays import Array, as_array
from vitc.errors import shown
from vitc.locks import Lock
from vitc.program import Port, Program
from vitc.runtime import get_num_threads
from vitc.tape import Edge, Node, Output, Window, clock, grad_enabled

_PLANS = 8  # per model: training, evaluation, features, head, each with and without gradients
_LIVE = 4  # forward passes waiting for their backward before a warning


class _Planned:
    """A plan and its idle runs."""

    def __init__(self, plan: _vitc.Plan, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.idle: list[_vitc.Run] = []

    def run(self, batch: int) -> _vitc.Run:
        """The smallest idle run that holds batch images, or a new one in place of the smaller."""
        fitting = [run for run in self.idle if run.capacity >= batch]
        if not fitting:
            self.idle = []
            return _vitc.Run(self.plan, batch, self.threads)
        best = min(fitting, key=lambda run: run.capacity)
        self.idle.remove(best)
        return best


class Lease:
    """A run in use. It goes back to its home with `end()` or when nobody holds the lease."""

    def __init__(self, run: _vitc.Run, home: _Planned, live: set[_vitc.Run]) -> None:
        self.run = run
        self.end = weakref.finalize(self, _give_back, run, home, live)
        self.end.atexit = False


def _give_back(run: _vitc.Run, home: _Planned, live: set[_vitc.Run]) -> None:
    """Without a lock: as a finalizer it may interrupt a thread that holds one."""
    live.discard(run)
    home.idle.append(run)


class Pool:
    """The plans of one parameter table, least recently used dropped first, and their runs."""

    def __init__(self, params: _vitc.Params) -> None:
        self._params = params
        self.bf16 = False  # products of bfloat16
        self.checkpointing = False  # what is between blocks is kept, the rest recomputed
        self._lock = Lock()  # a finalizer may run a model inside a locked section
        self._plans: OrderedDict[tuple[Any, ...], _Planned] = OrderedDict()
        self._live: set[_vitc.Run] = set()  # forward passes that wait for their backward

    def lend(self, program: Program, batch: int, keep: bool, input_gradients: bool) -> Lease:
        """A run for this many images; keep: one that saves what backward needs."""
        with self._lock:
            home = self._planned(program, keep, input_gradients)
            run = home.run(batch)
            if keep:
                self._live.add(run)
            lease, waiting = Lease(run, home, self._live), len(self._live)
        if keep and waiting > _LIVE:
            warnings.warn(
                f"{waiting} forward passes of one model are waiting for a backward(), each with "
                "its own memory; call .detach() on outputs you keep, or use vitc.no_grad()",
                stacklevel=7,
            )
        return lease

    def nbytes(self, program: Program, batch: int, keep: bool) -> int:
        """What `lend` allocates for this many images, and in inference the packed weights."""
        with self._lock:
            home = self._planned(program, keep, input_gradients=False)
            packed = 0 if keep else home.plan.fixed_bytes
            return home.plan.nbytes(batch, home.threads) + packed

    def flops(self, program: Program, keep: bool) -> tuple[float, float]:
        """Of one image, forward and (if keep) backward; a multiply-add is two."""
        with self._lock:
            plan = self._planned(program, keep, input_gradients=False).plan
            return plan.forward_flops, plan.backward_flops

    def _planned(self, program: Program, keep: bool, input_gradients: bool) -> _Planned:
        threads = get_num_threads()
        mask = tuple(map(self._params.requires_grad, range(len(self._params)))) if keep else None
        bf16, checkpointing = self.bf16, self.checkpointing and keep
        key = (program.core, threads, mask, input_gradients, bf16, checkpointing)
        if key not in self._plans:
            plan = _vitc.Plan(
                program.core,
                self._params,
                training=keep,
                input_gradients=input_gradients,
                bf16=bf16,
                checkpointing=checkpointing,
            )
            if keep:  # what another thread has just changed is in the plan already
                key = (*key[:2], plan.trained, *key[3:])
            self._plans[key] = _Planned(plan, threads)
            while len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]


def forward(
    program: Program,
    pool: Pool,
    window: Window,
    inputs: Sequence[Any],
    *,
    draws: bool = False,
) -> tuple[Output, ...]:
    """One pass of a batch through a program; on the tape if gradients are recorded and reach
    anything.

    inputs: per input, an array of shape (batch, *outer). draws: the program holds dropout that is
    to act. Raises `ValueError` for a wrong shape, `TypeError` for a wrong dtype.
    """
    params = window.params
    edges = [x.edge if isinstance(x, Output) and grad_enabled() else None for x in inputs]
    arrays = [
        _checked(x, port, params.dtype) for x, port in zip(inputs, program.inputs, strict=True)
    ]
    batch = arrays[0].shape[0]
    chained = any(edge is not None for edge in edges)
    trains = any(params.requires_grad(i) for i in program.used)
    keep = grad_enabled() and (chained or trains)
    lease = pool.lend(program, batch, keep or draws, keep and chained)
    outputs = lease.run.forward(arrays, **(clock.tick() if draws else {}))
    shaped = [
        y.reshape(batch, *port.outer) for y, port in zip(outputs, program.outputs, strict=True)
    ]
    if not keep:
        lease.end()
        return tuple(Output.wrap(y, None) for y in shaped)
    node = _node(program, lease, edges, batch, window)
    return tuple(Output.wrap(y, Edge(node, i)) for i, y in enumerate(shaped))


def _checked(x: Any, port: Port, dtype: str) -> Array:
    """x as the core takes it: (batch, *inner), C-contiguous, in the dtype of the parameters."""
    array = as_array(x)
    _check_shape(array.shape, port.outer)
    if array.dtype.kind != "f":
        raise TypeError(
            f"the input has dtype {shown(array.dtype)}, expected floating point numbers: divide "
            "pixels by 255, subtract the mean and divide by the std (model.default_cfg['mean'], "
            "['std'])"
        )
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1, *port.inner)


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    want = "(batch, " + ", ".join(map(str, expected)) + ")"
    if shape == expected:
        raise ValueError(
            f"the input has shape {shape}, expected {want}: add the batch axis, x[None]"
        )
    if len(shape) == 4 and len(expected) == 3 and shape[1] != expected[0]:
        hint = "; it looks channels-last" if shape[3] == expected[0] else ""
        raise ValueError(
            f"the input has {shape[1]} channels (shape {shape}), expected {expected[0]}: "
            f"{want}{hint}"
        )
    if shape[1:] != expected or not shape:
        raise ValueError(f"the input has shape {shape}, expected {want}")
    if shape[0] == 0:
        raise ValueError(f"the batch is empty: the input has shape {shape}, expected {want}")


def _node(
    program: Program, lease: Lease, edges: list[Edge | None], batch: int, window: Window
) -> Node:
    """The tape's node of a forward pass: it holds the lease until its backward or its end."""

    def backward(gradients: list[Array | None]) -> list[Array | None]:
        if all(gradient is None for gradient in gradients):
            return [None] * len(edges)
        inner = [
            None if dy is None else np.ascontiguousarray(dy).reshape(batch, *port.inner)
            for dy, port in zip(gradients, program.outputs, strict=True)
        ]
        results = lease.run.backward(inner)
        lease.end()
        return [
            None if dx is None else dx.reshape(batch, *port.outer)
            for dx, port in zip(results, program.inputs, strict=True)
        ]

    return Node(edges, len(program.outputs), backward, window)
