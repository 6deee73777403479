"""What kernels make of extreme numbers, in float32. Run by `test_extremes.py` at each level.

    VITC_ISA=avx2 python tests/extremes.py

Prints as JSON, by case, the output and the gradient of the input. `VALUES`, the rows made of them
and the cases are read by the test too, which gives them to torch.
"""

import json
from typing import Any

import numpy as np

import vitc
from vitc import _vitc, nn, optim
from vitc import functional as F
from vitc.tape import Loss

MAGNITUDES = (0.0, 1e-45, 1e-40, 87.0, 88.5, 104.0, 1e4, 1e10, 7e15, 1e20, 3e38, np.inf)
VALUES = np.array([sign * m for m in MAGNITUDES for sign in (1, -1)] + [np.nan], np.float32)
COLS = 21
DRAWN = np.random.default_rng(0).standard_normal((3, COLS)).astype(np.float32)
EPS = 1e-6


def rows() -> np.ndarray:
    """(2 V, COLS): each value once among ordinary numbers, and all over with alternating signs."""
    alone = np.repeat(DRAWN[:1], len(VALUES), axis=0)
    alone[:, 4] = VALUES
    return np.concatenate([alone, VALUES[:, None] * (-1.0) ** np.arange(COLS, dtype=np.float32)])


def tokens(scale: float) -> np.ndarray:
    """(5, 48): queries, keys and values of two heads, the former two of this size; the square root
    of 8, by which scores are divided, is rounded."""
    qkv = np.random.default_rng(1).standard_normal((5, 48)).astype(np.float32)
    qkv[:, :32] *= np.float32(scale)
    return qkv


ACTIVATIONS = ("silu", "quick_gelu", "gelu_tanh", "gelu", "relu")
SCALES = (1e-20, 1.0, 3e2, 5e4, 1e8, 7e15)  # of q and k: their products are finite
RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "AdamW": (optim.AdamW, dict(lr=0.1, weight_decay=0.1)),
    "Adam": (optim.Adam, dict(lr=0.1, weight_decay=0.1)),
    "RAdam": (optim.RAdam, dict(lr=0.1, betas=(0.5, 0.6))),
    "SGD": (optim.SGD, dict(lr=0.1, momentum=0.9, nesterov=True)),
    "Lion": (optim.Lion, dict(lr=0.1)),
    "Lamb": (optim.Lamb, dict(lr=0.1, max_grad_norm=None)),
}


def operation(kind: str, x: np.ndarray, params: list[np.ndarray], **attributes: Any) -> list[Any]:
    """The output for each image of x and the gradient of its sum with respect to x."""
    table = _vitc.Params([(f"p{i}", value.shape) for i, value in enumerate(params)])
    for i, value in enumerate(params):
        table.write(i, value)
    operations = [(kind, [0], list(range(len(params))), attributes)]
    shapes = [value.shape for value in params]
    program = _vitc.Program([x.shape[1:]], shapes, operations, [1])
    run = _vitc.Run(
        _vitc.Plan(program, table, training=True, input_gradients=True), len(x), threads=1
    )
    (y,) = run.forward([x])
    (dx,) = run.backward([np.ones_like(y)])
    return [y.tolist(), dx.tolist()]


def stepped(name: str) -> list[float]:
    """Numbers of 1 after three steps along the values."""
    rule, options = RULES[name]
    layer = nn.Linear(1, len(VALUES))
    with layer.edit() as weights:
        weights["weight"][:], weights["bias"][:] = 0, 1
    optimizer = rule([layer.bias], **options)
    for _ in range(3):
        layer.zero_grad()
        out = layer(np.zeros((1, 1), np.float32))
        Loss(0.0, 1.0, [(out.edge, VALUES[None])]).backward()
        optimizer.step()
    return np.asarray(layer.bias.data).tolist()


def main() -> None:
    x, ones = rows(), np.ones(COLS, np.float32)
    found: dict[str, Any] = {
        name: operation("activation", x[:, None], [], function=name) for name in ACTIVATIONS
    }
    found["norm"] = operation("norm", x[:, None], [DRAWN[1], DRAWN[2]], eps=EPS)
    found["rms_norm"] = operation("rms_norm", x[:, None], [DRAWN[1]], eps=EPS)
    found["affine"] = operation("affine", x[:, None], [DRAWN[1], ones])
    for scale in SCALES:
        found[f"attention {scale}"] = operation("attention", tokens(scale)[None], [], heads=2)
    found["softmax"] = F.softmax(x).tolist()
    found["log_softmax"] = F.log_softmax(x).tolist()
    for name in RULES:
        found[name] = stepped(name)
    print(json.dumps(found))


if __name__ == "__main__":
    vitc.set_num_threads(1)
    main()
