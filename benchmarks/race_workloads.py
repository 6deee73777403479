"""What `race.py` lets engines do: models, precisions, batches, and who takes part."""

from typing import NamedTuple

CLASSES = 1000


class Workload(NamedTuple):
    """calls: per slice of a round. side: of the images, in pixels."""

    model: str
    precision: str  # float32, bf16 or int8
    batch: int
    training: bool
    calls: int
    side: int = 224

    @property
    def engines(self) -> tuple[str, ...]:
        """The first is vitc's fastest form, by whose time the others' are divided."""
        return ENGINES[self.precision, self.training]

    @property
    def tolerance(self) -> float:
        """Of the logits or the loss against vitc in float32, as a share of the largest value."""
        return {"float32": 1e-4, "bf16": 0.1, "int8": 0.2}[self.precision]


ENGINES = {
    ("float32", False): (
        *("vitc", "torch", "torch compiled", "onnxruntime", "onnxruntime fused"),
        *("openvino", "zentorch"),
    ),
    ("bf16", False): (
        *("vitc bf16", "torch bf16", "torch compiled bf16", "openvino bf16", "zentorch bf16"),
    ),
    ("int8", False): (
        *("vitc int8 static bf16", "vitc int8 static", "vitc int8", "onnxruntime int8"),
        *("onnxruntime int8 static", "openvino int8", "openvino int8 bf16"),
        *("openvino int8 nncf", "openvino int8 nncf bf16"),
    ),
    ("float32", True): ("vitc", "torch", "torch compiled"),
    ("bf16", True): ("vitc bf16", "torch bf16", "torch compiled bf16"),
}


def _named(size: str, precision: str, batch: int, training: bool, calls: int) -> Workload:
    return Workload(f"vit_{size}_patch16_224", precision, batch, training, calls)


# Those that are run unless told otherwise; the README's.
WORKLOADS = {
    f"{size} {precision} {batch}": _named(size, precision, batch, False, calls)
    for precision in ("float32", "bf16", "int8")
    for size, batch, calls in (("base", 1, 6), ("small", 8, 3), ("tiny", 1, 30))
} | {
    f"train {size} {precision} {batch}": _named(size, precision, batch, True, calls)
    for size, batch, calls in (("tiny", 16, 2), ("base", 4, 1))
    for precision in ("float32", "bf16")
}
README = tuple(WORKLOADS)
# benchmarks/results/int8.md, and what else was measured before.
WORKLOADS |= {
    f"{size} {precision} {batch}": _named(size, precision, batch, False, calls)
    for size, batch, calls in (("tiny", 8, 6), ("small", 1, 12), ("base", 8, 1))
    for precision in ("float32", "bf16", "int8")
}
FAMILIES = {  # with the side of their images; benchmarks/results/families.md
    "vit_small_patch16_224": 224,
    "vit_small_patch16_dinov3": 256,
    "eva02_small_patch14_224": 224,
    "beit_base_patch16_224": 224,
    "vit_pe_core_small_patch16_384": 384,
}
WORKLOADS |= {
    f"family {name} {'training' if training else 'inference'}": Workload(
        name, "float32", batch, training, calls, side
    )
    for name, side in FAMILIES.items()
    for batch, training, calls in ((1, False, 4), (4, True, 1))
}
