"""What a training run will take, known before its first step: memory, and time to the end."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vitc.models.model import Model

if TYPE_CHECKING:
    from vitc.training.module import Module


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


def estimate(module: Module, batch: int, val_batch: int, optimizer: Any = None) -> Estimate:
    """For training steps of `batch` images at a time, and validation steps of `val_batch` (0:
    none). optimizer: None for one that keeps two moments."""
    models, trained = _models(module)
    gradients = sum(map(_weights, trained))
    known = hasattr(optimizer, "state_bytes")
    activations = _activations(module, batch)
    if val_batch:
        activations += sum(m.run_bytes(val_batch, training=False, mode=False) for m in models)
    return Estimate(
        {
            "weights": sum(map(_weights, models)),
            "gradients": gradients,
            "optimizer": optimizer.state_bytes() if known else 2 * gradients,
            "activations": activations,
        }
    )


def default_micro_batch(module: Module, batch: int, free: int) -> int:
    """All of the batch, or else the largest power of two whose activations take at most a quarter
    of the free memory, at least 1."""
    if _activations(module, batch) <= free / 4:
        return batch
    fitting = 1 << max(batch - 1, 0).bit_length()
    while fitting > 1 and (fitting >= batch or _activations(module, fitting) > free / 4):
        fitting //= 2
    return fitting


def check_fits(needed: Estimate, free: int, micro_batch: int, models: Iterable[Model]) -> None:
    """Raises `MemoryError` that names what to turn if a run cannot fit into the free memory."""
    if needed.growth <= free:
        return
    knobs = []
    if micro_batch > 1:
        knobs.append("Trainer(micro_batch=1), which changes no result")
    if not all(model.grad_checkpointing for model in models):
        knobs.append("model.set_grad_checkpointing(), neither")
    knobs.append("a smaller model or image, or frozen layers")
    raise MemoryError(
        f"this run needs {size(needed.growth)} more, {needed}, and {size(free)} are free; what "
        f"helps: {'; '.join(knobs)}"
    )


def free_memory() -> int:
    """Bytes that this process may still take: what the system has available, within the limit of
    its control group."""
    found = [_available(), _group_left()]
    return min(value for value in found if value is not None)


def _available() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        rows = dict(line.split(":") for line in meminfo.read_text().splitlines())
        if "MemAvailable" in rows:
            return int(rows["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_left() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)


# ------------------------------------------------------------------------------------ time


class Duration(NamedTuple):
    """Seconds of training passes to the end: as the run is, and with only the head trained."""

    seconds: float
    probe: float

    def __str__(self) -> str:
        if self.seconds < 3600:
            return f"about {duration(self.seconds)} of training passes"
        cheaper = f"with a frozen trunk about {duration(self.probe)}; "
        if self.probe > 0.8 * self.seconds:
            cheaper = ""
        return (
            f"about {duration(self.seconds)} of training passes (cheaper: {cheaper}a smaller model "
            "or fewer epochs)"
        )


def duration(seconds: float) -> str:
    """Seconds in words, to two digits or so."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours / 24:.1f} days"


def time_left(module: Module, images: int) -> Duration | None:
    """For n images through the models of a module, at the speed at which the largest one is
    measured to run; None if there is no model."""
    models, trained = _models(module)
    if not models:
        return None
    flops = {id(m): m.run_flops(training=m in trained, mode=m.training) for m in models}
    largest = max(models, key=lambda m: flops[id(m)][0])
    speed = largest.measured_speed()
    forward, backward = (sum(f[i] for f in flops.values()) for i in range(2))
    return Duration(images * (forward + backward) / speed, images * forward / speed)


# ------------------------------------------------------------------------------------ helpers


def _models(module: Module) -> tuple[list[Model], list[Model]]:
    """Those of a module, and those of them that are trained."""
    models = [model for _, model in module.named_models()]
    return models, [m for m in models if any(p.requires_grad for p in m.parameters())]


def _activations(module: Module, batch: int) -> int:
    models, trained = _models(module)
    return sum(m.run_bytes(batch, training=m in trained, mode=m.training) for m in models)


def _weights(model: Model) -> int:
    return sum(p.numel() * p.dtype.itemsize for p in model.parameters())
