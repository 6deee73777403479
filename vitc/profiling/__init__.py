"""Where the time of a model goes: every step of its plan, beside what the processor can do.

    found = vitc.profile(model, batch=8)
    print(found.table())

What is measured:

- time of a step: of its tasks on all threads together, divided by the threads, so that all rows add
  up to the time of a pass. Tasks are timed where they run, within the pass.
- waiting: of threads without a task, from the start of a phase to its end.
- outside: copies of inputs and outputs, and Python, while no phase runs.
- the peak: what matrix products of the same precision reach on as many threads, each in its own
  caches, by the engines that plans use. The best of several sizes and short times counts.
- the bandwidth: what as many threads read from memory, in a buffer of twice the last cache.

The peaks are measured each time, before the passes. They are not those of a data sheet: a faster
engine raises them, and on a machine that is shared with others they depend on these.
"""

from copy import deepcopy
from time import perf_counter

import numpy as np

from vitc import _vitc, checks
from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.model import Model
from vitc.profiling.names import layer_names
from vitc.profiling.result import OUTSIDE, WAITING, Peaks, Profile, Row
from vitc.runtime import get_num_threads

__all__ = ["Peaks", "Profile", "Row", "profile"]

_PEAK_SECONDS = 0.3  # of each measurement of the processor
_LEAST_PASSES = 3


def profile(model: Model, batch: int = 1, *, train: bool = False, seconds: float = 3.0) -> Profile:
    """Measures where the time of a model goes, step by step, on `vitc.get_num_threads()` threads.

    batch: images, which are noise. train: a step of training in place of a prediction: forward,
    cross entropy, backward, AdamW; of a copy, in the model's precision, with its frozen parameters
    and its checkpointing. seconds: how long passes are run, at least 3, after one that does not
    count; the rows are means over the faster half of them. The model is left as it was, and nothing
    is drawn.

    Raises `TypeError` for what is no model, and `ValueError` for a batch below 1 and, with train,
    for a model that is quantised, wholly frozen, or without classes.
    """
    if not isinstance(model, Model):
        raise TypeError(f"expected a model, got {shown(model)}")
    checks.integer("batch", batch, 1)
    checks.finite("seconds", seconds, 0)
    passing = _Training(model, batch) if checks.flag("train", train) else _Passing(model, batch)
    peaks = _measured_peaks(passing.precisions(), passing.threads)
    passing.once()
    found: list[Array] = []
    end = perf_counter() + seconds
    while len(found) < _LEAST_PASSES or perf_counter() < end:
        found.append(passing.profiled())
    found.sort(key=lambda times: times.sum())
    faster = found[: (len(found) + 1) // 2]
    return Profile(
        model=model.name,
        precision=_precision(model),
        batch=batch,
        threads=passing.threads,
        train=train,
        passes=len(faster),
        seconds=float(np.mean(faster, axis=0).sum()),
        peaks=peaks,
        steps=passing.rows(np.mean(faster, axis=0), peaks),
    )


def _precision(model: Model) -> str:
    """ "float32", "bf16", "float64", "int8 dynamic", or "int8 static and bf16"."""
    own = model.precision if model.params.dtype == "float32" else model.params.dtype
    if not model.quantized:
        return own
    return f"int8 {model.quantized}" + (f" and {own}" if own != "float32" else "")


def _measured_peaks(precisions: list[str], threads: int) -> Peaks:
    products = {name: _vitc.peak_products(name, threads, _PEAK_SECONDS) for name in precisions}
    return Peaks(products, _vitc.peak_memory(threads, _PEAK_SECONDS))


class _Passing:
    """A plan of a model, its run, and images."""

    def __init__(self, model: Model, batch: int, *, training: bool = False) -> None:
        self.model, self.batch, self.threads = model, batch, get_num_threads()
        program = model.program(training=training)
        self.plan = _vitc.Plan(
            program.core,
            model.params,
            training=training,
            bf16=model.precision == "bf16",
            checkpointing=training and model.grad_checkpointing,
        )
        self.lowered = program.core.lower(training=training)
        self.run = _vitc.Run(self.plan, batch, self.threads)
        generator = np.random.default_rng(0)
        self.inputs = [
            generator.standard_normal((batch, *port.inner)).astype(model.params.dtype)
            for port in program.inputs
        ]

    def precisions(self) -> list[str]:
        """Of its products."""
        return list(dict.fromkeys(s["precision"] for s in self.plan.steps if s["precision"]))

    def once(self) -> list[float]:
        """A pass. Returns the seconds in the run, and then those of each row of `others`."""
        start = perf_counter()
        self.run.forward(self.inputs)
        return [perf_counter() - start]

    def others(self) -> list[Row]:
        """What a pass does besides."""
        return []

    def profiled(self) -> Array:
        """The seconds of a pass: of each step, of each row of `others`, of waiting, and of what is
        outside of all phases."""
        self.run.profile()
        within, *others = self.once()
        steps, phases = self.run.times()
        busy = [seconds / self.threads for _, seconds in steps]
        inside = sum(seconds for _, seconds in phases)
        return np.array([*busy, *others, inside - sum(busy), within - inside])

    def rows(self, times: Array, peaks: Peaks) -> list[Row]:
        """Without steps that did not run, as the packing of weights that are packed already."""
        rows = [*self._steps(), *self.others(), Row(WAITING), Row(OUTSIDE)]
        found = []
        for row, seconds in zip(rows, times, strict=True):
            if row.tasks or row.way == "":
                found.append(peaks.compared(row._replace(seconds=float(seconds))))
        return found

    def _steps(self) -> list[Row]:
        layers = layer_names(self.lowered, self.model.params.names)
        sizes = _sizes(self.lowered)
        known: set[int] = set()
        rows = []
        for step, (tasks, _) in zip(self.plan.steps, self.run.times()[0], strict=True):
            operation, way = step["operation"], step["pass"]
            again = way == "forward" and operation in known
            if way == "forward":
                known.add(operation)
            read, written = (
                self.batch * image + fixed
                for image, fixed in zip(step["image_bytes"], step["fixed_bytes"], strict=True)
            )
            rows.append(
                Row(
                    step["kind"],
                    "again" if again else way,
                    layers[operation],
                    sizes[operation],
                    step["precision"] or "",
                    tasks=tasks,
                    flops=self.batch * step["flops"],
                    read=read,
                    written=written,
                )
            )
        return rows


def _sizes(program: _vitc.Program) -> list[str]:
    """Of each operation's first input and of its output: "197x192 -> 197x576"."""
    shapes = [*program.inputs, *(op["shape"] for op in program.operations)]
    found = []
    for op in program.operations:
        ends = [shapes[value] for value in (*op["inputs"][:1], op["output"])]
        found.append(" -> ".join(dict.fromkeys("x".join(map(str, end)) for end in ends)))
    return found


class _Training(_Passing):
    """A step of training of a copy."""

    def __init__(self, model: Model, batch: int) -> None:
        if model.quantized:
            raise ValueError("a quantised model is not trained")
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError("no parameter of the model requires a gradient")
        if any(port.outer == () or len(port.outer) != 1 for port in model.program().outputs):
            raise ValueError("the model gives no logits (classes,) to train with")
        twin = deepcopy(model)
        super().__init__(twin, batch, training=True)
        self.moments = [twin.params.new_buffer() for _ in range(2)]
        self.entries = [i for i, trained in enumerate(self.plan.trained) if trained]
        self.steps = 0

    def once(self) -> list[float]:
        start = perf_counter()
        outputs = self.run.forward(self.inputs)
        predicted = perf_counter()
        labels = np.zeros(self.batch, np.int64)
        gradients = [_vitc.cross_entropy(y.reshape(self.batch, -1), labels)[2] for y in outputs]
        judged = perf_counter()
        self.run.backward([g.reshape(y.shape) for g, y in zip(gradients, outputs, strict=True)])
        derived = perf_counter()
        self._update()
        end = perf_counter()
        return [predicted - start + derived - judged, judged - predicted, end - derived]

    def _update(self) -> None:
        self.steps += 1
        _vitc.adamw_step(
            self.model.params,
            self.moments[0],
            self.moments[1],
            self.entries,
            step=self.steps,
            lr=1e-6,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.01,
            l2=0.0,
            threads=self.threads,
        )
        self.model.params.zero_gradients()

    def others(self) -> list[Row]:
        """AdamW reads values, gradients and moments, and writes all but the gradients."""
        shapes, dtype = self.model.params.shapes, np.dtype(self.model.params.dtype)
        trained = dtype.itemsize * sum(int(np.prod(shapes[i])) for i in self.entries)
        return [Row("cross_entropy"), Row("adamw", read=4 * trained, written=3 * trained)]
