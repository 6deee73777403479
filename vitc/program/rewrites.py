"""Programs made of others: attention maps, masks, 8-bit layers."""

from collections.abc import Mapping
from typing import Any

from vitc.program.operation import Op, Port, Program, Value
from vitc.program.rewrite import Add, rewrite


def with_attention_probs(program: Program) -> Program:
    """The program up to its last attention; its outputs are the probabilities of each attention,
    (heads * maps * N, N)."""
    found: list[Value] = []

    def change(op: Op, add: Add) -> Value:
        if op.kind in ("attention", "biased_attention"):
            found.append(add(op._replace(kind=f"{op.kind}_probs", attributes=_of_probs(op))))
        return add(op)

    return rewrite(program, change, outputs=found)


def with_causal_attention(program: Program) -> Program:
    """The program with `causal` in each attention."""
    return rewrite(
        program, lambda op, add: add(op.replace(causal=1) if op.kind == "attention" else op)
    )


def with_attention_mask(program: Program, heads: int) -> Program:
    """The program with `masked_attention` in place of each attention; the mask is its last input.

    heads: how many masks there are for each image, 1 for all heads of an attention. Raises
    `ValueError` if there is no attention.
    """
    mask = Value(len(program.inputs))
    tokens = [op.shape[0] for op in program.operations if op.kind == "attention"]
    if not tokens:
        raise ValueError("there is no attention to mask")

    def change(op: Op, add: Add) -> Value:
        if op.kind == "attention":
            kept = {name: op.attributes[name] for name in ("heads", "maps", "rate", "site")}
            op = Op("masked_attention", (*op.inputs, mask), (), kept)
        return add(op)

    port = Port.of((heads * tokens[0], tokens[0]), vector=False)
    return rewrite(program, change, inputs=[port])


def _of_probs(op: Op) -> dict[str, Any]:
    """Without those that say which rows ask, which keys they see, and what is dropped."""
    return {
        k: v for k, v in op.attributes.items() if k not in ("queries", "causal", "rate", "site")
    }


def with_int8(program: Program, modes: Mapping[int, str]) -> Program:
    """The program with 8-bit linear layers for these weights.

    modes: of each weight in 8 bits, by its index, "dynamic" or "static"; its scales are the entry
    behind it, and for "static" the scale and zero point of its input the next two.
    """

    def change(op: Op, add: Add) -> Value:
        mode = modes.get(op.params[0]) if op.kind == "linear" else None
        if mode == "dynamic":
            weight, bias = op.params
            op = op._replace(kind="linear_int8", params=(weight, weight + 1, bias))
        elif mode == "static":
            weight, bias = op.params
            entries = (weight, weight + 1, bias, weight + 2, weight + 3)
            op = op._replace(kind="linear_int8_static", params=entries)
        return add(op)

    return rewrite(program, change) if modes else program
