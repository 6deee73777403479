"""When a run validates, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer


def finished(trainer: Trainer) -> bool:
    """Whether no epoch follows, nor the end of one that is begun."""
    begun = trainer.state.batch > 0 and not trainer.interrupted
    return _has_all_epochs(trainer) or (stops_now(trainer) and not begun)


def is_complete(trainer: Trainer) -> bool:
    """Whether the run has all its epochs or steps."""
    return _has_all_epochs(trainer) or _has_all_steps(trainer)


def stops_now(trainer: Trainer) -> bool:
    """Whether training ends here, between two batches."""
    return _has_all_steps(trainer) or _stops_early(trainer) or trainer.interrupted


def _has_all_epochs(trainer: Trainer) -> bool:
    return 0 <= trainer.max_epochs <= trainer.state.epoch


def _has_all_steps(trainer: Trainer) -> bool:
    return 0 <= trainer.max_steps <= trainer.state.step


def _stops_early(trainer: Trainer) -> bool:
    """Whether something has said stop, and the least number of epochs and steps is reached."""
    if not trainer.should_stop:
        return False
    epochs, steps = trainer.state.epoch, trainer.state.step
    return epochs >= trainer.min_epochs and steps >= (trainer.min_steps or 0)


def validation_due(trainer: Trainer, last: bool) -> bool:
    """Whether a validation belongs here, even if an interruption puts it off until the run is
    resumed; last: the epoch has no more batches."""
    if not trainer.val_feeds or not _epoch_validates(trainer):
        return False
    state, shards = trainer.state, trainer.world_size
    done, total = -(-state.batch // shards), trainer.num_training_batches
    interval = trainer.val_check_interval
    if isinstance(interval, float) and total is None:
        return last
    every = interval if isinstance(interval, int) else max(int((total or 0) * interval), 1)
    if trainer.check_val_every_n_epoch is None:
        done += state.epoch * (total or 0)
    return (last or state.batch % shards == 0) and done % every == 0


def validates_at_stop(trainer: Trainer) -> bool:
    """Whether a validation follows this batch because something has said stop."""
    return bool(trainer.val_feeds) and _epoch_validates(trainer) and _stops_early(trainer)


def _epoch_validates(trainer: Trainer) -> bool:
    every = trainer.check_val_every_n_epoch
    return every is None or (trainer.state.epoch + 1) % every == 0


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation comes right after this batch."""
    return validation_due(trainer, trainer.is_last_batch) or validates_at_stop(trainer)


def validates_once_per_epoch(trainer: Trainer) -> bool:
    return trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1


def all_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run; None if there is no end."""
    batches, limits = trainer.num_training_batches, []
    if trainer.max_epochs >= 0 and batches is not None:
        limits.append(trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches))
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps)
    return min(limits) if limits else None


def remaining_batches(trainer: Trainer) -> int | None:
    """Batches of the loader until the end; None if nobody can know."""
    state, steps, batches = trainer.state, all_steps(trainer), trainer.train_feed.count
    if steps is None or batches is None:
        return None
    by_steps = (steps - state.step) * trainer.window_batches
    if trainer.max_epochs < 0:
        return max(by_steps, 0)
    by_epochs = (trainer.max_epochs - state.epoch) * batches - state.batch
    return max(min(by_steps, by_epochs), 0)
