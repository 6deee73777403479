"""Parameters in 8 bits: which, and how their table looks. Their values are found in
`vitc.quantization`."""

from collections.abc import Collection, Iterator, Sequence

from vitc.models.init import Entry, constant
from vitc.program import Program


def inner_linears(program: Program) -> list[int]:
    """The weights, by their index, of the linear layers that are neither the first (it sees pixels)
    nor the last (it gives the logits), nor see distances instead of tokens: those are small, and
    sensitive."""
    operations = program.operations
    kinds = {op.output: op.kind for op in operations}
    fixed: set[int] = set()
    for op in operations:
        if op.kind == "relative_coordinates" or (op.inputs and fixed.issuperset(op.inputs)):
            fixed.add(op.output)
    readers = {value for op in operations for value in op.inputs}
    return [
        op.params[0]
        for op in operations
        if op.kind == "linear"
        and op.output in readers
        and op.inputs[0] not in fixed
        and kinds.get(op.inputs[0]) not in ("patchify", "select", "dropout")
    ]


def int8_entries(entries: Sequence[Entry], names: Collection[str]) -> list[Entry]:
    """The table with the named weights in int8, each followed by its entry of scales."""

    def changed() -> Iterator[Entry]:
        for entry in entries:
            if entry.name not in names:
                yield entry
                continue
            yield Entry(entry.name, entry.shape, constant(0), int8=True)
            yield Entry(scale_name(entry.name), entry.shape[:1], constant(1))

    return list(changed())


def scale_name(weight: str) -> str:
    """blocks.0.attn.qkv.weight -> blocks.0.attn.qkv.weight_scale"""
    return f"{weight}_scale"
