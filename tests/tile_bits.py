"""Digests of outputs and gradients under strips of several heights. Run by `test_tiles.py`.

    VITC_ISA=avx2 python tests/tile_bits.py

Prints as JSON, for each quantity, one SHA-256 per height of the strips; "machine" is the height
that the core chooses itself. On two threads a tile is a whole strip; on many, where there are fewer
strips than threads, it is one unit of it.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

import vitc
from vitc import _vitc
from vitc.models.model import Model
from vitc.quantization import quantize
from vitc.quantization.convert import int8_model

HEIGHTS = {"machine": None, **{str(rows): rows for rows in (16, 64, 104, 192)}}
WAYS = {name: (rows, 2) for name, rows in HEIGHTS.items()}
WAYS |= {f"{name}, by unit": (HEIGHTS[name], 16) for name in ("machine", "104")}
BATCH = 2
# Tokens: 197 and, with some dropped, 138; 325 queries are two blocks; 65; 1. Odd widths leave
# rests in every vector.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "197": (
        "vit_tiny_patch16_224",
        dict(depth=1, qk_norm=True, init_values=0.1, patch_drop_rate=0.3, num_classes=7),
    ),
    "197 plain": ("vit_tiny_patch16_224", dict(depth=2, global_pool="max", num_classes=7)),
    "325, in blocks": (
        "vit_tiny_patch16_224",
        dict(img_size=144, patch_size=8, embed_dim=24, num_heads=2, depth=2, num_classes=3),
    ),
    "65": (
        "vit_tiny_patch16_224",
        dict(img_size=128, embed_dim=60, depth=2, attn_layer="diff", mlp_ratio=2.7, num_classes=3),
    ),
    "1": (
        "vit_tiny_patch16_224",
        dict(img_size=16, depth=1, class_token=False, global_pool="avg", num_classes=5),
    ),
}
DROPS = dict(drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3)
PRECISIONS = ("float32", "float64", *(("bf16",) if _vitc.config()["bf16"] else ()))


def sha256(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def model_of(name: str, dtype: str) -> Model:
    architecture, options = MODELS[name]
    model = vitc.create_model(architecture, dtype=dtype, **options, **DROPS)
    generator = np.random.default_rng(1)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict(
        {name: generator.standard_normal(shape) * 0.1 for name, shape in shapes.items()}
    )
    return model


def digests_of(
    model: Model, height: int | None, threads: int, bf16: bool = False
) -> dict[str, str]:
    """Evaluation; then a training pass and its gradients, if the model is not quantised."""
    found = {}
    generator = np.random.default_rng(2)
    for training in (False, True)[: 1 if model.quantized else 2]:
        core = model._forward_program(training).core
        plan = _vitc.Plan(core, model.params, training=training, bf16=bf16, tile_rows=height)
        run = _vitc.Run(plan, BATCH, threads)
        dtype = model.params.dtype
        inputs = [generator.standard_normal((BATCH, *s)).astype(dtype) for s in core.inputs]
        outputs = run.forward(inputs, seed=3)
        found["training" if training else "evaluation"] = sha256(outputs)
        if not training:
            continue
        model.params.zero_gradients()
        run.backward([generator.standard_normal(y.shape).astype(dtype) for y in outputs])
        for name, parameter in model.named_parameters():
            found[f"gradient of {name}"] = sha256([parameter.grad])
    return found


def main() -> None:
    found: dict[str, dict[str, str]] = {}
    for name in MODELS:
        for precision in (*PRECISIONS, "int8", "int8 static"):
            model = model_of(name, "float64" if precision == "float64" else "float32")
            if precision == "int8":
                model = quantize(model)
            elif precision == "int8 static":
                names = model.int8_weights()
                model = int8_model(model, names, dict.fromkeys(names, (-3.0, 4.0)))
            for way, how in WAYS.items():
                for what, digest in digests_of(model, *how, precision == "bf16").items():
                    found.setdefault(f"{name} {precision} {what}", {})[way] = digest
    print(json.dumps(found))


if __name__ == "__main__":
    main()
