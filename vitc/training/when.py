"""When a run validates, and when it ends."""

from typing import Any


def finished(trainer: Any) -> bool:
    """Whether no epoch follows."""
    epochs = trainer.max_epochs
    return (epochs is not None and trainer.progress.epoch >= epochs) or stops_now(trainer)


def stops_now(trainer: Any) -> bool:
    """Whether training ends here, between two batches."""
    full = trainer.max_steps >= 0 and trainer.progress.step >= trainer.max_steps
    return full or _stops_early(trainer) or trainer.interrupted


def _stops_early(trainer: Any) -> bool:
    """Whether something has said stop, and the least number of epochs and steps is reached."""
    if not trainer.should_stop:
        return False
    epochs, steps = trainer.progress.epoch, trainer.progress.step
    return bool(epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0))


def validation_due(trainer: Any, last: bool) -> bool:
    """Whether a validation belongs here, even if an interruption puts it off until the run is
    resumed; last: the epoch has no more batches."""
    if trainer.val_feed is None or not _epoch_validates(trainer):
        return False
    if _stops_early(trainer):
        return True
    progress, shards = trainer.progress, trainer.world_size
    done, total = -(-progress.batch // shards), trainer.num_training_batches
    interval = 1.0 if trainer.val_check_interval is None else trainer.val_check_interval
    if isinstance(interval, float) and total is None:
        return last
    every = interval if isinstance(interval, int) else max(int((total or 0) * interval), 1)
    if trainer.check_val_every_n_epoch is None:
        done += progress.epoch * (total or 0)
    return bool((last or progress.batch % shards == 0) and done % every == 0)


def _epoch_validates(trainer: Any) -> bool:
    every = trainer.check_val_every_n_epoch
    return every is None or (trainer.progress.epoch + 1) % every == 0


def validation_follows(trainer: Any) -> bool:
    """Whether a validation comes right after this batch."""
    return validation_due(trainer, trainer.progress.batch == trainer.train_feed.count)


def validates_once_per_epoch(trainer: Any) -> bool:
    return trainer.val_check_interval in (None, 1.0) and trainer.check_val_every_n_epoch == 1


def all_steps(trainer: Any) -> int | None:
    """Optimizer steps of the whole run; None if there is no end."""
    batches, limits = trainer.num_training_batches, []
    if trainer.max_epochs is not None and batches is not None:
        limits.append(trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches))
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps)
    return min(limits) if limits else None


def remaining_batches(trainer: Any) -> int | None:
    """Batches of the loader until the end; None if nobody can know."""
    progress, steps, batches = trainer.progress, all_steps(trainer), trainer.train_feed.count
    if steps is None or batches is None:
        return None
    by_steps: int = (steps - progress.step) * trainer.window_batches
    if trainer.max_epochs is None:
        return max(by_steps, 0)
    by_epochs: int = (trainer.max_epochs - progress.epoch) * batches - progress.batch
    return max(min(by_steps, by_epochs), 0)
