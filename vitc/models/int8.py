"""Parameters in 8 bits: which, and how their table looks. Their values are found in
`vitc.quantization`."""

from collections.abc import Collection, Iterator, Sequence

from vitc.models.init import Row, constant
from vitc.program import Program


def inner_linears(program: Program) -> list[int]:
    """The weights, as rows of the table, of the linear layers that are neither the first (it sees
    pixels) nor the last (it gives the logits), nor see distances instead of tokens: those are
    small, and sensitive."""
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


def int8_rows(rows: Sequence[Row], names: Collection[str]) -> list[Row]:
    """The table with the named weights in int8, each followed by its row of scales."""

    def changed() -> Iterator[Row]:
        for row in rows:
            if row.name not in names:
                yield row
                continue
            yield Row(row.name, row.shape, constant(0), int8=True)
            yield Row(scale_name(row.name), row.shape[:1], constant(1))

    return list(changed())


def scale_name(weight: str) -> str:
    """blocks.0.attn.qkv.weight -> blocks.0.attn.qkv.weight_scale"""
    return f"{weight}_scale"
