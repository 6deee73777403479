"""A reader of pickles that executes nothing.

A pickle is a program for a small stack machine. The interpreter of the standard library lets it
import and call whatever it names; this one knows a table of names. What it does not know becomes
an `Opaque`, which has a name and can do nothing: a file opens whatever lies beside its weights.

Every instruction costs memory in proportion to its own length, and there are at most `MOST`. What
came out of a file is not printed, compared or hashed before its type is known: a tuple of tuples of
the same tuples has more leaves than there is time.

The instructions are documented in the module `pickletools`, which also splits the text into them.
"""

from collections.abc import Callable, Mapping
from pickletools import genops
from typing import IO, Any, NamedTuple

from vitc.errors import shown

MOST = 2_000_000  # instructions; checkpoints of ViTs with the state of an optimizer have 100,000
_LARGEST_KEY = 1 << 31  # integers that are larger may be chosen such that all have one hash


class Call(NamedTuple):
    """What a pickle may call."""

    function: Callable[..., Any]


class Fields:
    """A stand-in for an object of which only the fields are kept."""

    def __init__(self) -> None:
        self.state: Any = {}


class Opaque:
    """A stand-in for what is not read: a class, a function, or what it made. name: of that."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{shown(self.name)[1:-1]}, not read>"


def load(file: IO[bytes], known: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """The value of the next pickle of the file.

    known: what each "module.name" means: a `Call`, or a value of any kind; the others are `Opaque`.
    persistent: makes the object of a persistent id, which is how a pickle speaks of storages.

    Raises `ValueError` for more than `MOST` instructions, or one that is not followed; damaged
    pickles raise one of `mapped.DAMAGE`.
    """
    machine = _Machine(known, persistent)
    for count, (opcode, argument, _) in enumerate(genops(file)):
        if count == MOST:
            raise ValueError(f"the pickle has more than {MOST} instructions")
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ValueError(f"the pickle has an instruction {opcode.name}, which is not followed")
        step(machine, argument)
    return machine.stack.pop()


class _Machine:
    def __init__(self, known: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.known, self.persistent = known, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def above_mark(self) -> list[Any]:
        """Takes what is above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def find(self, name: str) -> Any:
        return self.known.get(name) or Opaque(name)

    def call(self) -> Any:
        arguments, callee = self.stack.pop(), self.stack.pop()
        if isinstance(callee, Opaque):
            return Opaque(callee.name)
        if not isinstance(callee, Call) or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls what is not to be called")
        return callee.function(*arguments)

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise ValueError("the pickle appends to what is not a list")

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("the pickle sets items of what is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Fields):
            target.state = state
        elif not isinstance(target, dict | Opaque):  # of a dictionary, attributes, left out
            raise ValueError("the pickle sets the state of what has none")


def _key(key: Any) -> Any:
    """A key that is hashed in no time; an `Opaque` in place of another."""
    if isinstance(key, int):
        return key if -_LARGEST_KEY < key < _LARGEST_KEY else Opaque("a large integer")
    return key if isinstance(key, str | float | bytes | None) else Opaque(type(key).__name__)


_Step = Callable[[_Machine, Any], Any]


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _tuple(count: int) -> _Step:
    def step(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise ValueError("the pickle takes more from the stack than there is")
        items = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.stack.append(items)

    return step


def _dict(machine: _Machine, _: Any) -> None:
    items = machine.above_mark()
    machine.stack.append({})
    machine.update(items)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("the pickle asks for a name that is not text")
    machine.stack.append(machine.find(f"{module}.{name}"))


def _with_names(machine: _Machine, _: Any) -> None:
    """NEWOBJ_EX: a call with named arguments, which nothing that is known takes."""
    if not isinstance(machine.stack.pop(), dict):
        raise ValueError("the pickle calls what is not to be called")
    machine.stack.append(machine.call())


def _object(machine: _Machine, _: Any) -> None:
    """OBJ: a class and its arguments, above the mark."""
    callee, *arguments = machine.above_mark()
    machine.stack += [callee, tuple(arguments)]
    machine.stack.append(machine.call())


def _memoize(machine: _Machine, index: Any) -> None:
    if index is not None and not 0 <= index < 1 << 32:
        raise ValueError("the pickle has a place in its memo that is too large")
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


_CONSTANTS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8"
)
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    **dict.fromkeys(_CONSTANTS.split(), _push),
    "NONE": lambda m, _: _push(m, None),
    "NEWTRUE": lambda m, _: _push(m, True),
    "NEWFALSE": lambda m, _: _push(m, False),
    "EMPTY_TUPLE": lambda m, _: _push(m, ()),
    "EMPTY_LIST": lambda m, _: _push(m, []),
    "EMPTY_SET": lambda m, _: _push(m, []),
    "EMPTY_DICT": lambda m, _: _push(m, {}),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: _push(m, tuple(m.above_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda m, _: _push(m, m.above_mark()),
    "FROZENSET": lambda m, _: _push(m, m.above_mark()),
    "DICT": _dict,
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.above_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.above_mark()),
    "SETITEM": lambda m, _: m.update([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.update(m.above_mark()),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.above_mark(),
    "DUP": lambda m, _: _push(m, m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, index: _push(m, m.memo[index])),
    "GLOBAL": lambda m, name: _push(m, m.find(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda m, _: _push(m, m.call()),
    "NEWOBJ": lambda m, _: _push(m, m.call()),
    "NEWOBJ_EX": _with_names,
    "OBJ": _object,
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: _push(m, m.persistent(m.stack.pop())),
}
