"""The loops: what a trainer does with its batches, from the first to the last.

`fit` runs epochs of `train_epoch`; an accumulation window of batches makes one optimizer step.
Losses add undivided gradients, so a step is the mean over all samples of its window, whatever
their cut.
"""

from typing import Any

from vitc.tape import Loss, clock, no_grad
from vitc.training import micro, nonfinite, when
from vitc.training.feed import NO_BATCH, Feed, with_last
from vitc.training.results import Results


def fit(trainer: Any, module: Any) -> None:
    """Sanity check, then epochs until something says stop."""
    trainer.call("on_fit_start")
    sanity_check(trainer, module)
    trainer.call("on_train_start")
    while not when.finished(trainer):
        train_epoch(trainer, module)
    trainer.call("on_train_end")
    trainer.call("on_fit_end")


def train_epoch(trainer: Any, module: Any) -> None:
    """One pass over the training loader, from the batch where a resumed run stopped."""
    progress = trainer.progress
    if progress.batch == 0:
        trainer.call("on_train_epoch_start")
    if progress.validating:
        evaluate(trainer, module, "validation", trainer.val_feed)
    for batch, last in with_last(trainer.train_feed.batches(progress.epoch, progress.batch)):
        index = progress.batch // trainer.world_size
        clock.begin(progress.step, row=progress.rows)
        trainer.set_lr()
        trainer.start_batch(batch)
        if trainer.call("on_train_batch_start", batch, index) == -1:
            break
        outputs = train_batch(trainer, module, batch, index)
        progress.count(trainer.batch_size)
        if last or progress.window == trainer.window_batches:
            optimizer_step(trainer)
        trainer.move_lr(last)
        trainer.end_batch(outputs, batch, index)
        progress.validating = when.validation_due(trainer, last)
        if progress.validating and not trainer.interrupted:
            evaluate(trainer, module, "validation", trainer.val_feed)
        if when.stops_now(trainer):
            break
    if trainer.interrupted:
        return  # the epoch continues when the run is resumed
    if progress.batch == 0:
        raise ValueError(f"the train loader {NO_BATCH}")
    trainer.end_epoch()


def train_batch(trainer: Any, module: Any, batch: Any, index: int) -> Any:
    """The gradients of one batch, in parts of `micro_batch` samples if memory asks for it."""
    count, size = trainer.batch_size, trainer.micro_batch
    if size is None or size >= count:
        outputs = module.training_step(batch, index)
        zero_grad(trainer)
        backward(trainer, outputs, batch)
        return outputs
    found, left_out, skipped, bad = [], trainer.left_out, trainer.skipped, False
    with trainer.results.merged():
        for start, part in micro.parts(batch, count, size):
            trainer.skipped = skipped  # batches are counted, not parts
            clock.begin(trainer.progress.step, row=trainer.progress.rows + start)
            trainer.start_batch(part)
            found.append(module.training_step(part, index))
            if start == 0:
                zero_grad(trainer)
            backward(trainer, found[-1], part)
            bad |= trainer.left_out > left_out
    trainer.start_batch(batch)
    trainer.left_out, trainer.skipped = left_out + bad, skipped + bad
    return micro.merged(found)


def zero_grad(trainer: Any) -> None:
    """Forgets the gradients of the step before, at the first batch of a window."""
    if trainer.progress.window == 0:
        trainer.call("on_before_zero_grad", trainer.optimizer)
        trainer.optimizer.zero_grad()


def backward(trainer: Any, outputs: Any, batch: Any) -> None:
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
    if nonfinite.passes(trainer, nonfinite.loss_fault, loss, batch):
        trainer.run.backward(loss)
    else:
        trainer.left_out += 1
    trainer.call("on_after_backward")
    if trainer.detect_anomaly:
        nonfinite.passes(trainer, nonfinite.gradient_fault)


def optimizer_step(trainer: Any) -> None:
    """Closes the window: divide, clip, update; unless the gradients are infinite or NaN."""
    progress, optimizer = trainer.progress, trainer.optimizer
    trainer.close_window()
    whole = trainer.left_out < progress.window
    sound = whole and nonfinite.passes(trainer, nonfinite.gradient_fault)
    if sound:
        trainer.skipped = 0
        trainer.call("on_before_optimizer_step", optimizer)
        trainer.clip_gradients()
        progress.updating = True
        optimizer.step()
        progress.updating = False
    trainer.left_out = 0
    progress.close_window(stepped=sound)


def sanity_check(trainer: Any, module: Any) -> None:
    """A few batches of validation before training, so that a fault in it shows now."""
    if not trainer.num_sanity_val_steps or trainer.val_feed is None or trainer.resumed:
        return
    trainer.call("on_sanity_check_start")
    trainer.sanity_checking = True
    evaluate(trainer, module, "validation", trainer.val_feed, trainer.num_sanity_val_steps)
    trainer.sanity_checking = False
    trainer.call("on_sanity_check_end")


def evaluate(trainer: Any, module: Any, stage: str, feed: Feed, limit: int | None = None) -> None:
    """One pass over a loader in evaluation mode; stage: "validation" or "test".

    An interruption ends it after a batch; it starts over when the run is resumed.
    """
    step = getattr(module, f"{stage}_step")
    trainer.evaluated = Results()
    trainer.mark_loggers()
    with no_grad(), trainer.evaluation_mode():
        trainer.call(f"on_{stage}_start")
        trainer.call(f"on_{stage}_epoch_start")
        index = -1
        for index, batch in enumerate(feed.batches()):
            if index == limit or trainer.interrupted:
                break
            trainer.start_batch(batch)
            trainer.call(f"on_{stage}_batch_start", batch, index)
            outputs = step(batch, index)
            trainer.call(f"on_{stage}_batch_end", outputs, batch, index)
            trainer.publish_evaluation_step()
        if index < 0:
            raise ValueError(f"the {feed.what} loader {NO_BATCH}")
        if not trainer.interrupted:
            end_evaluation(trainer, stage)


def end_evaluation(trainer: Any, stage: str) -> None:
    trainer.call(f"on_{stage}_epoch_end")
    trainer.progress.validating = False
    trainer.marked_loggers = None
    if not trainer.sanity_checking:
        trainer.publish_epoch()
    trainer.call(f"on_{stage}_end")


def predict(trainer: Any, module: Any, feed: Feed, keep: bool) -> list[Any]:
    """`predict_step` of every batch, in evaluation mode; keep: what it returned is returned."""
    found = []
    with no_grad(), trainer.evaluation_mode():
        trainer.call("on_predict_start")
        trainer.call("on_predict_epoch_start")
        for index, batch in enumerate(feed.batches()):
            trainer.start_batch(batch)
            trainer.call("on_predict_batch_start", batch, index)
            outputs = module.predict_step(batch, index)
            trainer.call("on_predict_batch_end", outputs, batch, index)
            if keep:
                found.append(outputs)
            if trainer.interrupted:
                break
        trainer.call("on_predict_epoch_end")
        trainer.call("on_predict_end")
    return found
