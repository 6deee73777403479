"""Digests of training and inference, to be equal whatever may not matter. Run by `test_isa.py`.

    VITC_ISA=avx2 python tests/bits.py

Prints as JSON, for each quantity, one SHA-256 per way of computing it: with 1, 2, 3 and 8 threads,
with the threads that the core finds itself, a second time, and with the batch cut into pieces, down
to single images.
"""

import hashlib
import json
from collections.abc import Iterable
from itertools import accumulate, pairwise

import numpy as np

import vitc
from vitc import _vitc
from vitc import functional as F
from vitc.models.model import Model
from vitc.tape import clock

BATCH, STEPS = 4, 3
# 37 tokens are one unit of rows and 197 four; odd sizes leave rests everywhere.
MODELS = {
    "small": ("test_vit", dict(img_size=96, depth=2, num_classes=5)),
    "strips": ("vit_tiny_patch16_224", dict(depth=1, num_classes=7)),
    "odd": (
        "vit_tiny_patch16_224",
        dict(img_size=(61, 112), embed_dim=60, depth=2, mlp_ratio=2.7, num_classes=3),
    ),
}
DROPS = dict(drop_rate=0.1, proj_drop_rate=0.1, drop_path_rate=0.3)
WAYS = {
    "1 thread": (1, [BATCH]),
    "2 threads": (2, [BATCH]),
    "3 threads": (3, [BATCH]),
    "8 threads": (8, [BATCH]),
    "own choice": (_vitc.default_threads(), [BATCH]),
    "again": (2, [BATCH]),
    "cut": (2, [1, 3]),
    "one by one": (3, [1] * BATCH),
}


def sha256(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def pieces(sizes: list[int]) -> list[slice]:
    return [slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]


def gradients(model: Model, x: np.ndarray, step: int, sizes: list[int]) -> list[np.ndarray]:
    """The logits, after adding up the gradients of a batch piece by piece."""
    model.zero_grad()
    logits = []
    for piece in pieces(sizes):
        clock.begin(step, row=piece.start)
        out = model(x[piece])
        logits.append(np.array(out))
        labels = np.arange(BATCH)[piece] % model.num_classes
        F.cross_entropy(out, labels, label_smoothing=0.1).backward()
    return logits


def adamw(model: Model, moments: list[_vitc.Buffer], step: int, threads: int) -> None:
    options = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, l2=0.0)
    rows = range(len(model.params))
    _vitc.adamw_step(model.params, *moments, rows, step=step, threads=threads, **options)


def compute(name: str, threads: int, sizes: list[int]) -> dict[str, str]:
    """Everything that comes out of a model with its own seed."""
    vitc.seed_everything(7)
    vitc.set_num_threads(threads)
    architecture, arguments = MODELS[name]
    model = vitc.create_model(architecture, **arguments, **DROPS)
    x = np.random.default_rng(3).standard_normal((BATCH, *model.default_cfg["input_size"]))
    x = x.astype(np.float32)
    with vitc.no_grad():
        model.eval()
        inference = sha256(model(x[piece]) for piece in pieces(sizes))
        features = sha256(model.forward_features(x[piece]) for piece in pieces(sizes))
        model.train()
    moments = [model.params.new_buffer() for _ in range(2)]
    logits, slopes = [], []
    for step in range(1, STEPS + 1):
        logits += gradients(model, x, step, sizes)
        slopes += [np.array(p.grad) for p in model.parameters()]
        adamw(model, moments, step, threads)
    return {
        "inference": inference,
        "features": features,
        "training": sha256(logits),
        "gradients": sha256(slopes),
        "gradient norm": model.params.gradient_norm().hex(),
        "weights": sha256(model.state_dict().values()),
    }


def main() -> None:
    digests: dict[str, dict[str, str]] = {}
    for name in MODELS:
        for way, (threads, sizes) in WAYS.items():
            for quantity, digest in compute(name, threads, sizes).items():
                digests.setdefault(f"{name}: {quantity}", {})[way] = digest
    print(json.dumps(digests))


if __name__ == "__main__":
    main()
