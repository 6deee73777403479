"""Programs: a model's forward pass as a flat list of plain operations over numbered values.

A `Builder` writes the list. Its methods are the vocabulary, one per operation, and read like the
layers of a model; `vitc/models/` holds the architectures written with it, and a custom architecture
is a function of the same kind:

    entries = {"fc.weight": (10, 64), "fc.bias": (10,)}
    b = Builder(entries)
    x = b.input((1, 64), vector=True)
    program = b.finish(b.linear(x, "fc"), vector=True)

Parameters are named as in a state dict. Where an operation takes a layer name such as "fc", it uses
the entries "fc.weight" and, if there is one, "fc.bias". Shapes are those of one image, without the
batch.

`save` and `load` keep a program with its parameters in a file, which C reads as well.

`rewrite` makes another program of one that is there, operation by operation; attention maps, masks,
8-bit layers and observers are such rewrites.
"""

from vitc.program.builder import Builder
from vitc.program.file import load, save
from vitc.program.observers import Observed, blocks_of, with_layer_outputs, with_observed
from vitc.program.operation import Op, Port, Program, Shape, Value
from vitc.program.rewrite import rewrite
from vitc.program.rewrites import (
    with_attention_mask,
    with_attention_probs,
    with_causal_attention,
    with_int8,
)

__all__ = [
    "Builder",
    "Observed",
    "Op",
    "Port",
    "Program",
    "Shape",
    "Value",
    "blocks_of",
    "load",
    "rewrite",
    "save",
    "with_attention_mask",
    "with_attention_probs",
    "with_causal_attention",
    "with_int8",
    "with_layer_outputs",
    "with_observed",
]
