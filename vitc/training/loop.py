"""The loops: what a trainer does with its batches, from the first to the last.

`fit` runs epochs of `train_epoch`; an accumulation window of batches makes one optimizer step.
Losses add undivided gradients, so a step is the mean over all samples of its window, whatever
their cut.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from vitc.tape import Loss, clock, no_grad
from vitc.training.results import Results


def fit(trainer: Any, module: Any) -> None:
    """Sanity check, then epochs until something says stop."""
    trainer.call("on_fit_start")
    _sanity_check(trainer, module)
    trainer.call("on_train_start")
    while not trainer.finished:
        train_epoch(trainer, module)
    trainer.call("on_train_end")
    trainer.call("on_fit_end")


def train_epoch(trainer: Any, module: Any) -> None:
    """One pass over the training loader, from the batch where a resumed run stopped."""
    progress = trainer.progress
    if progress.batch == 0:
        trainer.results = Results(training=True)
    trainer.call("on_train_epoch_start")
    for batch, last in _with_last(_train_batches(trainer)):
        clock.begin(progress.step, row=progress.rows)
        trainer.start_batch(batch)
        trainer.call("on_train_batch_start", batch, progress.batch)
        outputs = module.training_step(batch, progress.batch)
        _backward(trainer, outputs)
        progress.rows += trainer.batch_size
        progress.window += 1
        progress.batch += 1
        closes = last or progress.window == trainer.accumulate_grad_batches
        if closes:
            _optimizer_step(trainer)
        trainer.call("on_train_batch_end", outputs, batch, progress.batch - 1)
        trainer.publish_step()
        if closes and trainer.stops_now:
            break
    if progress.batch == 0:
        raise ValueError(
            "the training loader gave no batch: it is empty, or shorter than one batch"
        )
    if trainer.interrupted:
        return  # the epoch goes on when the run is resumed
    if (progress.epoch + 1) % trainer.check_val_every_n_epoch == 0:
        evaluate(trainer, module)
    trainer.publish_epoch(trainer.results)
    trainer.call("on_train_epoch_end")
    progress.next_epoch()
    trainer.save_epoch()


def _backward(trainer: Any, outputs: Any) -> None:
    """Adds the gradients of what a training step returned; None skips the batch."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if loss is None:
        return
    if not isinstance(loss, Loss):
        raise TypeError(
            f"training_step() returned {type(loss).__name__}, expected a loss of vitc.functional, "
            'a dict with one under "loss", or None'
        )
    trainer.call("on_before_backward", loss)
    loss.backward()
    trainer.call("on_after_backward")


def _optimizer_step(trainer: Any) -> None:
    """Closes the window: divide, clip, update, forget the gradients."""
    optimizer = trainer.optimizer
    trainer.close_window()
    trainer.call("on_before_optimizer_step", optimizer)
    trainer.clip_gradients()
    trainer.set_lr()
    optimizer.step()
    trainer.call("on_before_zero_grad", optimizer)
    optimizer.zero_grad()
    trainer.progress.close_window()


def evaluate(trainer: Any, module: Any, limit: int | None = None, quiet: bool = False) -> None:
    """One pass over the validation loader in evaluation mode; quiet: its metrics are not kept."""
    if trainer.val_loader is None:
        return
    training, trainer.results = trainer.results, Results(training=False)
    with no_grad(), trainer.evaluation_mode():
        trainer.call("on_validation_start")
        trainer.call("on_validation_epoch_start")
        batches = islice(trainer.val_loader, _least(limit, trainer.limit_val_batches))
        for index, batch in enumerate(batches):
            trainer.start_batch(batch)
            trainer.call("on_validation_batch_start", batch, index)
            outputs = module.validation_step(batch, index)
            trainer.call("on_validation_batch_end", outputs, batch, index)
        trainer.call("on_validation_epoch_end")
        if not quiet:
            trainer.publish_epoch(trainer.results)
        trainer.call("on_validation_end")
    trainer.results = training


def predict(trainer: Any, module: Any, loader: Iterable[Any]) -> list[Any]:
    """`predict_step` of every batch, in evaluation mode."""
    found = []
    with no_grad(), trainer.evaluation_mode():
        trainer.call("on_predict_start")
        for index, batch in enumerate(loader):
            trainer.start_batch(batch)
            outputs = module.predict_step(batch, index)
            trainer.call("on_predict_batch_end", outputs, batch, index)
            found.append(outputs)
            if trainer.interrupted:
                break
        trainer.call("on_predict_end")
    return found


def _sanity_check(trainer: Any, module: Any) -> None:
    """A few batches of validation before training, so that a fault in it shows now."""
    if trainer.num_sanity_val_steps and trainer.val_loader is not None and not trainer.resumed:
        trainer.call("on_sanity_check_start")
        evaluate(trainer, module, limit=trainer.num_sanity_val_steps, quiet=True)
        trainer.call("on_sanity_check_end")


def _train_batches(trainer: Any) -> Iterator[Any]:
    """The rest of the epoch's batches. Our loaders start in the middle, others are read over."""
    loader, start = trainer.train_loader, trainer.progress.batch
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(trainer.progress.epoch)
    limit = trainer.limit_train_batches
    rest = None if limit is None else max(limit - start, 0)
    if hasattr(loader, "batches"):
        return islice(loader.batches(start), rest)
    return islice(loader, start, limit)


def _with_last(batches: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each batch, and whether none follows it."""
    iterator = iter(batches)
    try:
        batch = next(iterator)
    except StopIteration:
        return
    for following in iterator:
        yield batch, False
        batch = following
    yield batch, True


def _least(*limits: int | None) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None
