"""What every model is: a table of parameters and the programs that read it."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from os import PathLike
from time import perf_counter
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from vitc import _vitc, checks, engine
from vitc.arrays import Array
from vitc.errors import shown
from vitc.models.init import Entry, initial
from vitc.models.int8 import (
    FOLLOWERS,
    check_int8,
    inner_linears,
    int8_entries,
    int8_in,
    linear_weights,
    plain_entries,
)
from vitc.models.weights import IncompatibleKeys, Weights, check_state, read_weights, save_file
from vitc.models.weights.keys import renamed
from vitc.parameters import Facts, Layer, Parameter, no_facts
from vitc.program import Program, Shape, with_int8
from vitc.tape import Output, Window, clock, no_grad


class Start(NamedTuple):
    """What a parameter starts as."""

    data: Array
    requires_grad: bool


class _Starting(Protocol):
    """A `Start`, or a parameter of another table."""

    @property
    def data(self) -> Array: ...
    @property
    def requires_grad(self) -> bool: ...


NOTHING: Mapping[str, _Starting] = {}
# What is built from the entries and the values.
_BUILT = ("_entries", "shapes", "params", "window", "_parameters", "_layers", "_pool", "_programs",
          "_int8", "_prefix")  # fmt: skip
DTYPES = ("float32", "float64")
Number = float  # which is a method below
_PROGRAMS = 32  # of one model: a few parts, of a few image sizes each
PRECISIONS = ("float32", "bf16")


class Model:
    """Parameters, and programs built on demand.

    entries: the parameters in the order of the state dict. dtype: of the parameters, the arithmetic
    and the outputs; "float64" is the slow reference. draw: False for zeros, if all values follow. A
    new model is in training mode, as in torch.
    """

    name = "model"
    _precision = "float32"
    _checkpointing = False
    _layers: Layer | None = None  # none until there is a table
    training: bool
    shapes: dict[str, Shape]
    params: _vitc.Params
    window: Window
    _entries: tuple[Entry, ...]
    _parameters: dict[str, Parameter]
    _pool: engine.Pool
    _programs: dict[tuple[Any, ...], Program]
    _int8: Mapping[int, str]  # how the entries in 8 bits are quantised
    _prefix: str  # of the names that its parameters have in the table of a larger model

    def __init__(self, entries: Sequence[Entry], dtype: str = "float32", draw: bool = True) -> None:
        checks.one_of("dtype", dtype, DTYPES)
        self.training = True
        self._adopt(entries, dtype, draw=draw)

    def _adopt(
        self,
        entries: Sequence[Entry],
        dtype: str,
        old: Mapping[str, _Starting] = NOTHING,
        *,
        draw: bool = True,
        **attributes: Any,
    ) -> None:
        """Makes the table, and gives the model these attributes with it: all or, if it raises,
        nothing. Rows start as in old, else from their draw, or from zero; those of a quantised
        model start frozen, since nothing is trained through it."""
        quantized = any(entry.int8 for entry in entries)
        params = _vitc.Params(
            [(entry.name, entry.shape, "int8" if entry.int8 else None) for entry in entries], dtype
        )
        for i, entry in enumerate(entries):
            before = old.get(entry.name)
            if before or draw:
                params.write(i, before.data if before else initial(entry, clock.seed, dtype))
            params.set_requires_grad(i, before.requires_grad if before else not quantized)
        window = Window(params)
        parameters = {
            entry.name: Parameter(entry.name, params, i, window) for i, entry in enumerate(entries)
        }
        pool = engine.Pool(params)
        pool.checkpointing, pool.bf16 = self._checkpointing, self._precision == "bf16"
        vars(self).update(
            attributes,
            _entries=tuple(entries),
            shapes={entry.name: entry.shape for entry in entries},
            params=params,
            window=window,
            _parameters=parameters,
            _pool=pool,
            _programs={},
            _int8={i: entry.int8 for i, entry in enumerate(entries) if entry.int8},
            _prefix="",
        )
        self._layers = Layer("", parameters, self._facts())

    def __copy__(self) -> Self:
        """Another model over the same parameters."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An independent model with the same weights and settings, without the gradients."""
        return self._independent(self._entries, self._parameters, memo)

    def _independent(
        self, entries: Sequence[Entry], old: Mapping[str, _Starting], memo: dict[int, Any]
    ) -> Self:
        """Another model with copies of the settings and a table of these entries, which start as
        in old or from zero."""
        memo[id(self)] = twin = object.__new__(type(self))
        vars(twin).update(deepcopy(self._own(), memo))
        twin._adopt(entries, self.params.dtype, old, draw=False)
        return twin

    def _own(self) -> dict[str, Any]:
        """The attributes that are not built from entries and values."""
        return {name: value for name, value in vars(self).items() if name not in _BUILT}

    def __getstate__(self) -> dict[str, Any]:
        """What `pickle` keeps: settings and values, as of a deep copy."""
        values = {n: Start(np.array(p.data), p.requires_grad) for n, p in self.named_parameters()}
        return dict(own=self._own(), entries=self._entries, dtype=self.params.dtype, values=values)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["own"])
        self._adopt(state["entries"], state["dtype"], state["values"])

    # ------------------------------------------------------------------------------- its parts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._layers, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Attributes are set as ever, but a part of the model only where that has a meaning."""
        if self._layers is None or not self._is_part(name):
            object.__setattr__(self, name, value)
        elif isinstance(parameter := self._layers.child(name), Parameter) and value is not None:
            parameter.data = value
        else:
            self._replace(name, value)

    def __delattr__(self, name: str) -> None:
        if self._layers is not None and self._is_part(name):
            raise AttributeError(f"{name} cannot be deleted; {self._instead(name)}")
        object.__delattr__(self, name)

    def _is_part(self, name: str) -> bool:
        """Whether an attribute of this name is computed from the parameters or the settings."""
        return name in self._layers.parts() if self._layers else False

    def _replace(self, name: str, value: Any) -> None:
        """Puts a value in place of a part, or raises `AttributeError`."""
        raise AttributeError(f"{name} cannot be replaced; {self._instead(name)}")

    def _instead(self, name: str) -> str:
        """What to do instead."""
        return "values of parameters are written by load_state_dict, edit() or an assignment"

    def _facts(self) -> Facts:
        """What is known of layers by their names, besides their parameters."""
        return no_facts

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The outermost layers, by name."""
        return self._table.named_children()

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """The model, as "", and all its layers by their dotted names, outer ones first."""
        yield "", self
        for _, child in self.named_children():
            yield from child.named_modules()

    def children(self) -> Iterator[Any]:
        for _, child in self.named_children():
            yield child

    def modules(self) -> Iterator[Any]:
        for _, layer in self.named_modules():
            yield layer

    def apply(self, function: Callable[[Any], Any]) -> Self:
        """Calls function with every layer, inner ones first, and then with the model."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    @property
    def _table(self) -> Layer:
        assert self._layers is not None
        return self._layers

    # ------------------------------------------------------------------------------- where it is

    def to(self, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Self:
        """The model, for "cpu" and the dtype that it has, in torch's words; nothing is done.

        Raises `ValueError` for another device or dtype, saying what to do.
        """
        for place in map(word, (device, dtype)):
            if place.split(":")[0] not in ("cpu", "", self.params.dtype):
                raise ValueError(
                    f"the model is on the CPU in {self.params.dtype}, it cannot move to "
                    f"{shown(place)}: create_model(dtype='float64') makes one in double precision, "
                    "model.precision = 'bf16' computes in bfloat16, and there is no other device"
                )
        return self

    def cpu(self) -> Self:
        return self

    def float(self) -> Self:
        return self.to("float32")

    def double(self) -> Self:
        return self.to("float64")

    def half(self) -> Self:
        return self.to("float16")

    def bfloat16(self) -> Self:
        return self.to("bfloat16")

    def cuda(self, device: Any = None) -> Self:
        return self.to("cuda")

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

    def program(self, *, training: bool = False) -> Program:
        """What `forward` runs in evaluation mode, or in training mode, whatever the mode is now:
        for who reads it."""
        twin = copy(self)
        twin.training = training
        return twin._forward_program(training)

    def run_bytes(self, batch: int, *, training: bool, mode: bool) -> int:
        """Bytes that `forward` of a batch holds, exactly; training: until its backward.

        mode: whether the model is in training mode, where dropout acts.
        """
        return self._pool.nbytes(self._forward_program(mode), batch, keep=training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps for backward only what is between two blocks, and recomputes the rest: less
        memory, a quarter more time, the same bits. timm's name."""
        enable = checks.flag("enable", enable)
        self._checkpointing = self._pool.checkpointing = enable

    @property
    def grad_checkpointing(self) -> bool:
        """Whether `set_grad_checkpointing` is on; may be assigned."""
        return self._checkpointing

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.set_grad_checkpointing(enable)

    def run_flops(self, *, training: bool, mode: bool) -> tuple[Number, Number]:
        """Operations of `forward` and of its backward per image, a multiply-add being two; the
        arguments are those of `run_bytes`."""
        return self._pool.flops(self._forward_program(mode), keep=training)

    def measured_speed(self, images: int = 2) -> Number:
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
        self.training = checks.flag("mode", mode)
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
        precision = self._possible(precision)
        self._precision = precision
        self._pool.bf16 = precision == "bf16"

    def _possible(self, precision: str) -> str:
        """The precision that such a model can have here. Raises `ValueError` for none."""
        checks.one_of("precision", precision, PRECISIONS)
        if precision == "bf16" and self.params.dtype != "float32":
            raise ValueError("bf16 is for models of float32")
        if precision == "bf16" and not _vitc.config()["bf16"]:
            warnings.warn(
                "this processor (or VITC_ISA) has no bfloat16: computing in float32", stacklevel=3
            )
            precision = "float32"
        return precision

    @property
    def quantized(self) -> str:
        """How its layers with 8-bit weights are quantised, "dynamic" or "static"; "" if there are
        none. A quantised model is not trained."""
        return next(iter(self._int8.values()), "")

    # ------------------------------------------------------------------------------- parameters

    def parameters(self) -> Iterator[Parameter]:
        yield from self._parameters.values()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        yield from self._parameters.items()

    def requires_grad_(self, flag: bool = True) -> Self:
        """Freezes or unfreezes every parameter."""
        self._table.requires_grad_(flag)
        return self

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        with self.window.lock:
            self.params.zero_gradients()

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
        ready, keys = self.checked_state(state, strict, allow_nonfinite=allow_nonfinite)
        self.write(ready)
        return keys

    def checked_state(
        self, state: Mapping[str, Any], strict: bool = True, *, allow_nonfinite: bool = False
    ) -> tuple[dict[str, Array], IncompatibleKeys]:
        """What `load_state_dict` writes, and what it returns; it raises the same."""
        dtypes = {name: str(p.dtype) for name, p in self.named_parameters()}
        ready, keys = check_state(
            state, self.shapes, dtypes, strict=strict, allow_nonfinite=allow_nonfinite
        )
        check_int8(ready, self._entries)
        return ready, keys

    def write(self, ready: Mapping[str, Array]) -> None:
        """Writes what `checked_state` gave."""
        for name, value in ready.items():
            parameter = self._parameters[name]
            parameter.owner.write(parameter.index, value)

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

        A model whose precision is "bf16" is written in bfloat16, a quantised one as it is;
        `load` and `create_model(..., checkpoint_path=path)` make the same model again. The metadata
        describe the model wholly, so that the command line needs the file only. The same model
        gives the same bytes.
        """
        said = {"architecture": self.name, "precision": self.precision, **self._description()}
        bf16 = self.precision == "bf16" and not self.quantized  # whose scales stay as they are
        save_file(path, self.state_dict(), {**self.stored_as(), **said}, bf16=bf16)

    def stored_as(self, precision: str | None = None) -> dict[str, str]:
        """What the metadata of a weight file say of how such a model computes, for `load`.
        precision: in place of the present one."""
        said, precision = {"format": "pt"}, precision or self.precision
        if precision != "float32":
            said["precision"] = precision
        if self.quantized:
            said["quantization"] = self.quantized
        return said

    def _description(self) -> dict[str, str]:
        """What else they say, from which the same model can be made."""
        return {}

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
        twin, metadata = copy(self), weights.metadata
        try:
            precision = self._possible(metadata.get("precision", self.precision))
            if metadata.get("quantization"):
                twin._hold_as(weights, draw=not strict)
            state = renamed(weights.state, twin.shapes)
            keys = twin.load_state_dict(state, strict, allow_nonfinite=allow_nonfinite)
        except ValueError as error:
            raise ValueError(f"{source}: {weights.told(error)}") from None
        twin.precision = precision
        vars(self).update(vars(twin))
        return keys

    def int8_weights(self) -> list[str]:
        """The weights that quantisation turns into 8 bits, read from the program of `forward`."""
        return [self.params.names[entry] for entry in inner_linears(self.program())]

    def linear_weights(self) -> list[str]:
        """The weights of all linear layers that `forward` runs, in its order."""
        return [self.params.names[entry] for entry in linear_weights(self.program())]

    def with_room_for_int8(self, names: Collection[str], mode: str) -> Self:
        """An independent model in which the named weights are of 8 bits, and frozen. They and their
        scales have no values yet; all other parameters have those of this model."""
        return self._independent(int8_entries(self._entries, names, mode), self._kept(names), {})

    def _hold_as(self, weights: Weights, *, draw: bool) -> None:
        """Makes room for 8 bits where a file has them. Weights that had others have no values then,
        unless they are drawn. Raises `ValueError` for a mode that does not exist."""
        mode = checks.one_of("quantization", weights.metadata["quantization"], tuple(FOLLOWERS))
        possible = self.linear_weights()
        names = [name for name in int8_in(weights.state) if name in possible]
        entries = int8_entries(plain_entries(self._entries), names, mode)
        if [e.int8 for e in entries] == [entry.int8 for entry in self._entries]:
            return
        kept = {n: p for n, p in self._kept(names).items() if p.data.dtype != np.int8}
        self._adopt(entries, self.params.dtype, kept, draw=draw)

    def _kept(self, names: Collection[str]) -> dict[str, Start]:
        """All parameters but the named ones, frozen."""
        return {n: Start(p.data, False) for n, p in self.named_parameters() if n not in names}

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return f"{type(self).__name__}({self._described()}, {count:,} parameters)"

    def _described(self) -> str:
        return self.name


def word(place: Any) -> str:
    """A device or dtype, or its name, as a word, whatever library it is of; "" for None."""
    if place is None:
        return ""
    if isinstance(place, str):
        return str.__str__(place).removeprefix("torch.")
    kind = type(place)
    of_torch = kind.__module__ == "torch" and kind.__name__ in ("device", "dtype")
    if of_torch or isinstance(place, np.dtype):
        return str(place).removeprefix("torch.")
    return place.__name__ if isinstance(place, type) else shown(place)
