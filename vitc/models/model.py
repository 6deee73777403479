"""What every model is: a table of parameters and the programs that read it."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from os import PathLike
from time import perf_counter
from typing import Any, Self

import numpy as np

from vitc import _vitc, checks, engine
from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.init import Row, initial
from vitc.models.int8 import inner_linears, int8_rows
from vitc.models.weights import IncompatibleKeys, Weights, check_state, read_weights, save_file
from vitc.models.weights.keys import renamed
from vitc.parameters import Layer, Parameter
from vitc.program import Program, with_int8
from vitc.tape import Output, Window, clock, no_grad

DTYPES = ("float32", "float64")
_PROGRAMS = 32  # of one model: a few parts, of a few image sizes each
PRECISIONS = ("float32", "bf16")


class Model:
    """Parameters, and programs built on demand.

    rows: the parameters in the order of the state dict. dtype: of the parameters, the arithmetic
    and the outputs; "float64" is the slow reference. draw: False for zeros, if all values follow. A
    new model is in training mode, as in torch.
    """

    name = "model"
    _precision = "float32"
    grad_checkpointing = False

    def __init__(self, rows: Sequence[Row], dtype: str = "float32", draw: bool = True) -> None:
        checks.one_of("dtype", dtype, DTYPES)
        self.training = True
        self._adopt(rows, dtype, {}, draw)

    def _adopt(
        self, rows: Sequence[Row], dtype: str, old: Mapping[str, Parameter], draw: bool = True
    ) -> None:
        """Makes the table. Rows start as the old parameters of their name, else from their draw, or
        from zero; those of a quantised model start frozen, since nothing is trained through it."""
        quantized = any(row.int8 for row in rows)
        self._rows = tuple(rows)
        self.shapes = {row.name: row.shape for row in rows}
        self.params = _vitc.Params(
            [(row.name, row.shape, "int8" if row.int8 else None) for row in rows], dtype
        )
        for i, row in enumerate(rows):
            before = old.get(row.name)
            if before or draw:
                self.params.write(i, before.data if before else initial(row, clock.seed, dtype))
            self.params.set_requires_grad(i, before.requires_grad if before else not quantized)
        self.window = Window(self.params)
        self._parameters = {
            row.name: Parameter(row.name, self.params, i, self.window) for i, row in enumerate(rows)
        }
        self._layers = Layer("", self._parameters)
        self._pool = engine.Pool(self.params)
        self._pool.checkpointing = self.grad_checkpointing
        self._pool.bf16 = self.precision == "bf16"
        self._programs: dict[tuple[Any, ...], Program] = {}
        self._int8 = frozenset(i for i, row in enumerate(rows) if row.int8)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An independent model with the same weights and settings, without the gradients."""
        twin = copy(self)
        twin._adopt(self._rows, self.params.dtype, self._parameters)
        return twin

    # ------------------------------------------------------------------------------- running

    def __call__(self, x: Any, *arguments: Any, **named: Any) -> Any:
        return self.forward(x, *arguments, **named)

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def _program(self, key: tuple[Any, ...], build: Callable[[], Program]) -> Program:
        """The program of this key, built the first time; the least recently used are dropped."""
        program = self._programs.pop(key, None) or with_int8(build(), self._int8)
        self._programs[key] = program
        for old in list(self._programs)[:-_PROGRAMS]:
            self._programs.pop(old, None)
        return program

    def _forward_program(self, training: bool) -> Program:
        """The program that `forward` runs, in training or evaluation mode."""
        raise NotImplementedError

    def program(self) -> Program:
        """What `forward` runs in evaluation mode, whatever the mode is now: for who reads it."""
        evaluating = copy(self)
        evaluating.training = False
        return evaluating._forward_program(False)

    def run_bytes(self, batch: int, *, training: bool, mode: bool) -> int:
        """Bytes that `forward` of a batch holds, exactly; training: until its backward.

        mode: whether the model is in training mode, where dropout acts.
        """
        return self._pool.nbytes(self._forward_program(mode), batch, keep=training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps for backward only what is between two blocks, and recomputes the rest: less
        memory, a quarter more time, the same bits. timm's name."""
        self.grad_checkpointing = self._pool.checkpointing = bool(enable)

    def run_flops(self, *, training: bool, mode: bool) -> tuple[float, float]:
        """Operations of `forward` and of its backward per image, a multiply-add being two; the
        arguments are those of `run_bytes`."""
        return self._pool.flops(self._forward_program(mode), keep=training)

    def measured_speed(self, images: int = 2) -> float:
        """Operations per second of a pass in evaluation mode, after one that plans and packs. It
        leaves nothing behind, neither memory nor a draw."""
        program, pool = self.program(), engine.Pool(self.params)
        pool.bf16 = self._pool.bf16
        x = [np.zeros((images, *port.outer), self.params.dtype) for port in program.inputs]
        with no_grad():
            engine.forward(program, pool, self.window, x)
            start = perf_counter()
            engine.forward(program, pool, self.window, x)
            seconds = perf_counter() - start
        return images * pool.flops(program, keep=False)[0] / seconds

    def _run(self, program: Program, *inputs: Any, draws: bool = False) -> tuple[Output, ...]:
        return engine.forward(program, self._pool, self.window, inputs, draws=draws)

    def train(self, mode: bool = True) -> Self:
        """Dropout and drop path act from now on (or not)."""
        self.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Dropout and drop path are off; gradients are still recorded, unless under `no_grad`."""
        return self.train(False)

    @property
    def precision(self) -> str:
        """What the products are computed in, forward and backward: "float32" or "bf16".

        With "bf16" their operands are rounded, and what backward keeps of them and of activations;
        weights, sums, gradients, the residual stream, norms, softmax and losses stay in float32. A
        processor without instructions for bfloat16 keeps to float32, and a warning says so.
        """
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {shown(precision)}, expected {' or '.join(PRECISIONS)}")
        if precision == "bf16" and self.params.dtype != "float32":
            raise ValueError("bf16 is for models of float32")
        if precision == "bf16" and not _vitc.config()["bf16"]:
            warnings.warn(
                "this processor (or VITC_ISA) has no bfloat16: computing in float32", stacklevel=2
            )
            precision = "float32"
        self._precision = precision
        self._pool.bf16 = precision == "bf16"

    @property
    def quantized(self) -> bool:
        """Whether some layers hold 8-bit weights; such a model is not trained."""
        return bool(self._int8)

    # ------------------------------------------------------------------------------- parameters

    def parameters(self) -> Iterator[Parameter]:
        yield from self._parameters.values()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        yield from self._parameters.items()

    def requires_grad_(self, flag: bool = True) -> Self:
        """Freezes or unfreezes every parameter."""
        self._layers.requires_grad_(flag)
        return self

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        with self.window.lock:
            self.params.zero_gradients()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._layers, name)

    # ------------------------------------------------------------------------------- weights

    def state_dict(self) -> dict[str, Array]:
        """Read-only views of the values, by name."""
        return {name: parameter.data for name, parameter in self._parameters.items()}

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True, *, allow_nonfinite: bool = False
    ) -> IncompatibleKeys:
        """Writes the values of state; nothing is written if it raises.

        Raises `ValueError` listing the faults by name: missing and unexpected keys (unless
        strict=False), wrong shapes, and infinite or NaN values (unless allow_nonfinite=True).
        """
        dtypes = dict(zip(self.params.names, self.params.dtypes, strict=True))
        ready, keys = check_state(
            state, self.shapes, dtypes, strict=strict, allow_nonfinite=allow_nonfinite
        )
        for name, value in ready.items():
            self.params.write(self._parameters[name].index, value)
        return keys

    @contextmanager
    def edit(self) -> Iterator[dict[str, Array]]:
        """Writable copies of the values by name, written back at the end of the block.

        Nothing is written if the block, or the check of what it left, raises.
        """
        weights = {name: np.array(value) for name, value in self.state_dict().items()}
        yield weights
        self.load_state_dict(weights)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the weights to a `.safetensors` file under the names of the state dict.

        A model whose precision is "bf16" is written in bfloat16, and quantised layers as they are;
        `load` and `create_model(..., checkpoint_path=path)` make the same model again.
        """
        metadata = {"format": "pt", "architecture": self.name, "precision": self.precision}
        if self.quantized:
            metadata["quantization"] = "dynamic"
        save_file(path, self.state_dict(), metadata, bf16=self.precision == "bf16")

    def load(
        self, path: str | PathLike[str], strict: bool = True, *, allow_nonfinite: bool = False
    ) -> IncompatibleKeys:
        """Reads a weight file, like `load_state_dict`; the errors name the path.

        The formats are those of `vitc.models.weights.read_weights`; names of other writers are
        turned into this model's. A file of a quantised model quantises this one, one of precision
        "bf16" sets it.
        """
        return self._load(path, read_weights(path), strict, allow_nonfinite)

    def _load(
        self, source: object, weights: Weights, strict: bool = True, allow_nonfinite: bool = False
    ) -> IncompatibleKeys:
        """Takes what a file held; source: where that was, for the errors."""
        state, metadata = weights.state, weights.metadata
        if metadata.get("quantization") and not self.quantized:
            self.hold_int8(self.int8_weights(), draw=not strict)
        try:
            state = renamed(state, self.shapes)
            keys = self.load_state_dict(state, strict, allow_nonfinite=allow_nonfinite)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        if metadata.get("precision") == "bf16":
            self.precision = "bf16"
        return keys

    def int8_weights(self) -> list[str]:
        """The weights that quantisation turns into 8 bits, read from the program of `forward`."""
        return [self.params.names[row] for row in inner_linears(self.program())]

    def hold_int8(self, names: Collection[str], *, draw: bool = False) -> None:
        """Makes room for 8 bits and a scale per output channel in place of the named weights.

        The parameters have no values then, unless they are drawn: load a state dict.
        """
        self._adopt(int8_rows(self._rows, names), self.params.dtype, {}, draw=draw)

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return f"{type(self).__name__}({self._described()}, {count:,} parameters)"

    def _described(self) -> str:
        return self.name
