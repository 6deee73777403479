"""The loops: what a trainer does with its batches, from the first to the last.

`fit` runs epochs of `train_epoch`; an accumulation window of batches makes one optimizer step.
Losses add undivided gradients, so a step is the mean over all samples of its window, whatever
their cut. `run.call` calls the hooks; `rows` says what is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitc.errors import nearest
from vitc.tape import Loss, clock, close_window, no_grad
from vitc.training import micro, rows, when
from vitc.training.feed import Feed
from vitc.training.results import Results
from vitc.training.tools import nonfinite

if TYPE_CHECKING:
    from vitc.training.trainer import Trainer


def fit(run: Trainer) -> None:
    """Sanity check, then epochs until something says stop."""
    run.call("on_fit_start")
    sanity_check(run)
    run.call("on_train_start")
    while not when.finished(run):
        train_epoch(run)
        if run.interrupted or run.state.cut:
            break  # the epoch goes on when the run is resumed
        run.state.next_epoch()
    run.call("on_train_end")
    run.call("on_fit_end")


def train_epoch(run: Trainer) -> None:
    """One pass over the training loader, from the batch where a resumed run stopped."""
    state = run.state
    if state.batch == 0:
        run.call("on_train_epoch_start")
    mark(run)
    if state.validating:
        validate(run)
    for batch, last in run.train_feed.batches(state.epoch, state.batch):
        if when.stops_now(run):  # where a run had its end that is resumed, or an epoch's first hook
            stop(run, last=False, validated=state.validated == state.step)
            break
        if not train_batch(run, batch, last):
            break
        due = state.validating
        if due and not run.interrupted:
            validate(run)
        if when.stops_now(run):
            stop(run, last, validated=due)
            break
    if not run.interrupted:
        end_epoch(run)


def train_batch(run: Trainer, batch: Any, last: bool) -> bool:
    """From a batch to a step, with rows and checkpoints; False leaves the epoch."""
    state, index = run.state, run.state.batch // run.world_size
    clock.begin(state.step, row=state.rows)
    run.schedules.before_step(run)
    batch = run.start_batch(batch, last)
    if run.call("on_train_batch_start", batch, index) == -1:
        state.close_window(stepped=False)
        return False
    outputs = add_gradients(run, batch, index)
    state.count(run.batch_size)
    state.batch_open = True
    if last or state.window == run.window_batches:
        optimizer_step(run)
        run.schedules.after("step", state.step)
    if last:
        run.schedules.after("epoch", state.epoch + 1)
    state.validating = when.validation_due(run, last)  # which a checkpoint keeps
    run.call("on_train_batch_end", outputs, batch, index, monitoring=False)
    end_batch(run)  # rows
    run.call("on_train_batch_end", outputs, batch, index, monitoring=True)  # checkpoints
    return True


def optimizer_step(run: Trainer) -> None:
    """Closes the window: divide, clip, update; unless the gradients are infinite or NaN."""
    state, optimizer = run.state, run.optimizer
    close_window(run.module.parameters())
    whole = state.left_out < state.window
    sound = whole and nonfinite.passes(run, nonfinite.gradient_fault)
    if sound:
        state.skipped = 0
        run.call("on_before_optimizer_step", optimizer)
        run.clip_gradients()
        state.updating = True
        optimizer.step()
        state.updating = False
    state.close_window(stepped=sound)


def add_gradients(run: Trainer, batch: Any, index: int) -> Any:
    """The gradients of one batch, in parts of `micro_batch` samples if memory asks for it. Returns
    what callbacks get: a dict with the loss."""
    found: list[Any] = []
    with micro.one_batch(run, batch) as parts:
        for row, part in parts:
            clock.begin(run.state.step, row=run.state.rows + row)
            found.append(run.step("training", part, index))
            if row == 0:
                zero_grad(run)
            backward(run, found[-1], part)
    return micro.merged(found)


def zero_grad(run: Trainer) -> None:
    """Forgets the gradients of the step before, at the first batch of a window."""
    if run.state.window == 0:
        run.call("on_before_zero_grad", run.optimizer)
        run.optimizer.zero_grad()


def backward(run: Trainer, outputs: Any, batch: Any) -> None:
    """Adds the gradients of what a training step returned. None skips the batch; a loss of weight
    0, of samples that are all ignored, adds nothing."""
    if isinstance(outputs, dict) and "loss" not in outputs:
        names = nearest("loss", map(str, outputs)) if outputs else "it is empty"
        raise ValueError(f'training_step() returned a dict without "loss"; {names}')
    loss = outputs["loss"] if isinstance(outputs, dict) else outputs
    if loss is None:
        return
    if not isinstance(loss, Loss):
        raise TypeError(
            f"training_step() returned {type(loss).__name__}, expected a loss of vitc.functional, "
            'a dict with one under "loss", or None'
        )
    micro.check_cut(run, loss)
    run.call("on_before_backward", loss)
    if loss.weight and nonfinite.passes(run, nonfinite.loss_fault, loss, batch):
        run.run.backward(loss)
    elif loss.weight:
        run.state.left_out += 1
    run.call("on_after_backward")
    if run.detect_anomaly:
        nonfinite.passes(run, nonfinite.gradient_fault)


def stop(run: Trainer, last: bool, validated: bool) -> None:
    """The run ends here. If the epoch has more batches, it goes on from this one when the run is
    resumed: what is logged and decided from here on is of this end only."""
    if run.interrupted:
        return
    if not last:
        rows.hold(run)
        run.state.cut = True
    if when.validates_at_stop(run) and not validated:
        evaluate(run, "validation", run.val_feeds)


def end_batch(run: Trainer) -> None:
    """What a step has logged is written, and read by schedules, before a checkpoint, which records
    how much it was."""
    state = run.state
    if not state.batch_open:
        return  # a checkpoint was saved in a hook, before which this was done
    state.batch_open = False
    run.writer.check()
    if state.window == 0:
        mark(run)
    rows.publish_step(run)
    if state.window == 0 and not when.validation_due(run, run.is_last_batch):
        run.schedules.after("step", state.step, state.metrics)  # else after the validation


def mark(run: Trainer) -> None:
    """A resumed run begins at the end of a window: here its logs and metrics are as they will be
    kept, even if more batches follow."""
    run.state.results.mark(run.metric_states())


def end_epoch(run: Trainer) -> None:
    """The last hooks of an epoch, its row, and the schedules that read it."""
    state = run.state
    run.call("on_train_epoch_end", monitoring=False)
    rows.publish_epoch(run)
    if not state.cut:
        state.results, state.epoch_done = Results(), True
        run.schedules.after("epoch", state.epoch + 1, state.metrics)
    run.call("on_train_epoch_end", monitoring=True)


def sanity_check(run: Trainer) -> None:
    """A few batches of validation before training, so that a fault in it shows now."""
    if not run.num_sanity_val_steps or not run.val_feeds or run.resumed:
        return
    with run.state.during("sanity_check"):
        run.call("on_sanity_check_start")
        evaluate(run, "validation", run.val_feeds, run.num_sanity_val_steps)
        run.call("on_sanity_check_end")


def validate(run: Trainer) -> None:
    """The validation that is due, and the schedules that read it after a step."""
    evaluate(run, "validation", run.val_feeds)
    if run.state.window == 0 and not run.interrupted:
        run.schedules.after("step", run.state.step, run.state.metrics)


def evaluate(run: Trainer, stage: str, feeds: list[Feed], limit: int | None = None) -> None:
    """One pass over the loaders in evaluation mode; stage: "validation" or "test".

    An interruption ends it after a batch; it starts over when the run is resumed.
    """
    run.evaluated = Results()
    if run.fitting:
        rows.hold(run)
    with no_grad(), run.evaluation_mode():
        run.call(f"on_{stage}_start")
        run.call(f"on_{stage}_epoch_start")
        for number, feed in enumerate(feeds):
            run.dataloader_idx = number if len(feeds) > 1 else None
            evaluate_loader(run, stage, feed, number, limit)
            rows.end_loader(run)
        run.dataloader_idx = None
        if run.interrupted:
            run.evaluated.forget()
        else:
            end_evaluation(run, stage)


def evaluate_loader(run: Trainer, stage: str, feed: Feed, number: int, limit: int | None) -> None:
    for index, (batch, last) in enumerate(feed.batches()):
        if index == limit or run.interrupted:
            break
        batch = run.start_batch(batch, last)
        place = run.place(index)
        run.call(f"on_{stage}_batch_start", batch, *place)
        outputs = run.step(stage, batch, *place)
        run.call(f"on_{stage}_batch_end", outputs, batch, *place)
        rows.publish_evaluation_step(run, number)


def end_evaluation(run: Trainer, stage: str) -> None:
    run.call(f"on_{stage}_epoch_end")
    run.state.validating = False
    if not run.sanity_checking:
        run.state.validated = run.state.step
    rows.release(run)
    rows.publish_epoch(run)
    run.call(f"on_{stage}_end")


def predict(run: Trainer, feeds: list[Feed], keep: bool) -> list[list[Any]]:
    """`predict_step` of every batch of each loader, in evaluation mode; keep: what it returned is
    returned."""
    found: list[list[Any]] = []
    with no_grad(), run.evaluation_mode():
        run.call("on_predict_start")
        run.call("on_predict_epoch_start")
        for number, feed in enumerate(feeds):
            run.dataloader_idx = number if len(feeds) > 1 else None
            found.append([])
            for index, (batch, last) in enumerate(feed.batches()):
                if run.interrupted:
                    break
                batch = run.start_batch(batch, last)
                place = run.place(index)
                run.call("on_predict_batch_start", batch, *place)
                outputs = run.step("predict", batch, *place)
                run.call("on_predict_batch_end", outputs, batch, *place)
                if keep:
                    found[-1].append(outputs)
        run.call("on_predict_epoch_end")
        run.call("on_predict_end")
    return found
