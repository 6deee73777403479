"""A program with its parameters as one file, which C reads without Python: `vt_file_open` of
csrc/vitc.h. The bytes are described in csrc/program/file.c.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vitc import _vitc
from vitc.errors import shown
from vitc.files import replacing
from vitc.program.operation import Port, Program

# The note that says which inputs, by number, and whether the outputs are vectors outside.
_VECTORS, _OUTPUTS = "vectors", "outputs"


class Loaded(NamedTuple):
    """What a file holds."""

    program: Program
    params: _vitc.Params
    notes: dict[str, str]


def save(
    path: str | os.PathLike[str],
    program: Program,
    params: _vitc.Params,
    notes: Mapping[str, str] = {},
) -> Path:
    """Writes a program, its parameters, those of int8 too, and notes about them; returns the path.

    The file is whole, flushed and under its name, or nothing changes there. Raises `ValueError` for
    parameters that do not fit the program, and for the note "vectors", which is taken; `OSError` if
    the file cannot be written.
    """
    if _VECTORS in notes:
        raise ValueError(f"the note {_VECTORS!r} is taken")
    said = {**notes, _VECTORS: _vectors(program)}
    data = _vitc.write_file(
        program.core, params, tuple(text for pair in said.items() for text in pair)
    )
    with replacing(Path(path)) as unfinished:
        unfinished.write_bytes(data)
    return Path(path)


def load(path: str | os.PathLike[str]) -> Loaded:
    """Reads what `save` wrote; the file may come from anywhere.

    Raises `ValueError`, naming the file, for one that is damaged, cut off, of another version or
    not such a file; `OSError` if it cannot be read.
    """
    try:
        core, params, notes = _vitc.read_file(Path(path).read_bytes())
        if len(set(params.names)) < len(params):
            raise ValueError("two parameters have one name")
        return Loaded(_program(core, notes.pop(_VECTORS, "").split()), params, notes)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _vectors(program: Program) -> str:
    """ "0 outputs" where the first input and the outputs are vectors outside."""
    inputs = [str(i) for i, port in enumerate(program.inputs) if port.inner != port.outer]
    return " ".join([*inputs, *([_OUTPUTS] if program.vector else [])])


def _program(core: _vitc.Program, vectors: list[str]) -> Program:
    names = [str(i) for i in range(len(core.inputs))]
    for name in vectors:
        if name not in (*names, _OUTPUTS):
            raise ValueError(f"the note {_VECTORS!r} names {shown(name)}, which is not there")
    inputs = [
        Port.of(shape, vector=name in vectors)
        for name, shape in zip(names, core.inputs, strict=True)
    ]
    return Program.around(core, inputs, vector=_OUTPUTS in vectors)
