"""How much memory a training run will hold, known before its first step."""

from typing import Any, NamedTuple

from vitc.models.model import Model


class Estimate(NamedTuple):
    """Bytes of a run by what they are for; all but the weights are allocated by the first steps."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def growth(self) -> int:
        """What is not there yet when fit() starts."""
        return self.total - self.parts["weights"]

    def __str__(self) -> str:
        listed = ", ".join(f"{what} {size(count)}" for what, count in self.parts.items())
        return f"{size(self.total)} ({listed})"


def size(count: int) -> str:
    """Bytes in words, with decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def estimate(module: Any, batch: int, val_batch: int) -> Estimate:
    """For training steps of `batch` images, and validation steps of `val_batch` (0: none)."""
    models = [model for _, model in module.named_models()]
    trained = [m for m in models if any(p.requires_grad for p in m.parameters())]
    weights = sum(_weights(m) for m in models)
    gradients = sum(_weights(m) for m in trained)
    activations = sum(m.run_bytes(batch, training=m in trained, mode=m.training) for m in models)
    if val_batch:
        activations += sum(m.run_bytes(val_batch, training=False, mode=False) for m in models)
    return Estimate(
        {
            "weights": weights,
            "gradients": gradients,
            "optimizer": 2 * gradients,
            "activations": activations,
        }
    )


def _weights(model: Model) -> int:
    return sum(p.numel() * p.dtype.itemsize for p in model.parameters())
