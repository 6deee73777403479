"""What happens before the first step: memory is settled, and the run says what it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitc.training import when
from vitc.training.tools.estimate import (
    Estimate,
    check_fits,
    default_micro_batch,
    estimate,
    free_memory,
    time_left,
)

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer

_ACTIONS = {"step": "optimizer_step", "call": "hooks", "wait": "writing checkpoints"}


def settle_memory(trainer: Trainer) -> None:
    """Before the first step: how many samples go through the models at a time, and whether that
    fits."""
    batch = getattr(trainer.train_feed.loader, "batch_size", None)
    trainer.micro_batch, trainer.cuts_by_memory = trainer.given_micro_batch, False
    if batch is None:
        return
    free = free_memory()
    if trainer.micro_batch is None:
        trainer.micro_batch = default_micro_batch(trainer.module, batch, free)
        trainer.cuts_by_memory = trainer.micro_batch < batch
    needed, models = memory_estimate(trainer), [m for _, m in trainer.module.named_models()]
    if needed is not None:
        check_fits(needed, free, min(trainer.micro_batch, batch), models)


def announce(trainer: Trainer) -> None:
    """Before the first step: what is trained, and what it will take."""
    if trainer.module.logs_hparams and trainer.module.hparams:
        for logger in trainer.loggers:
            if hasattr(logger, "log_hyperparams"):
                logger.log_hyperparams(trainer.module.hparams)
    if not trainer.enable_model_summary:
        return
    for name, model in trainer.module.named_models():
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{name}: {model!r}, {trained:,} trained")
    batch, memory = getattr(trainer.train_feed.loader, "batch_size", 0), memory_estimate(trainer)
    if memory is not None:
        size = trainer.micro_batch or batch
        print(f"memory: {memory}{f', {size} samples at a time' if size < batch else ''}")
    left = when.remaining_batches(trainer)
    if batch and left is not None:
        print(f"time: {time_left(trainer.module, left * batch)}")


def watch(trainer: Trainer) -> None:
    """Has the profiler count what takes the time."""
    profiler = trainer.profiler
    if profiler is None:
        return
    for owner, method in (
        (trainer.module, "training_step"),
        (trainer.run, "backward"),
        (trainer.optimizer, "step"),
        (trainer, "clip_gradients"),
        (trainer.module, "validation_step"),
        (trainer, "call"),
        (trainer.writer, "wait"),
    ):
        profiler.watch(owner, method, _ACTIONS.get(method))
    profiler.watch_batches(trainer.train_feed, "waiting for a batch")


def memory_estimate(trainer: Trainer) -> Estimate | None:
    """Bytes of this run; None if the training loader does not say its batch_size."""
    batch = getattr(trainer.train_feed.loader, "batch_size", None)
    if batch is None:
        return None
    at_a_time = min(batch, trainer.micro_batch or batch)
    sizes = [getattr(feed.loader, "batch_size", None) or 0 for feed in trainer.val_feeds]
    val_batch = max(sizes, default=0)
    parts = estimate(trainer.module, at_a_time, val_batch, trainer.optimizer).parts
    for callback in trainer.callbacks:
        parts |= callback.memory(parts)
    return Estimate(parts)
