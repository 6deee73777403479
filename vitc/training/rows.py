"""What is logged, and when rows of it are written to the loggers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import shown
from vitc.training.hooks import HOOKS, Logs
from vitc.training.results import NUMBERED, Entry, Results, is_metric, named_metrics, reduction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitc.training.trainer import Trainer


def log(
    trainer: Trainer | None,
    name: str,
    value: Any,
    *,
    on_step: bool | None,
    on_epoch: bool | None,
    batch_size: int | None,
    add_dataloader_idx: bool,
    reduce_fx: Any,
    prog_bar: bool,
    logger: bool | None,
) -> None:
    """What `Module.log` does; see there."""
    if trainer is None:
        warnings.warn("self.log() was called without a trainer: ignored", stacklevel=3)
        return
    if not isinstance(name, str):
        raise TypeError(f"log() got the name {shown(name)}, expected a string")
    for what, flag in (("on_step", on_step), ("on_epoch", on_epoch), ("prog_bar", prog_bar)):
        if flag is not None:
            checks.flag(what, flag)
    if batch_size is not None:
        checks.number("batch_size", batch_size, 0)
    hook, logs = trainer.hook, _allowed(trainer.hook)
    on_step = logs.on_step if on_step is None else on_step
    on_epoch = logs.on_epoch if on_epoch is None else on_epoch
    if (on_step and not logs.step_allowed) or not (on_step or on_epoch):
        raise ValueError(
            f"log({shown(name)}, on_step={on_step}, on_epoch={on_epoch}) in {hook}(): "
            + ("nothing would be logged" if logs.step_allowed else "only an epoch's value is known")
        )
    index = trainer.dataloader_idx
    numbered = index is not None and add_dataloader_idx
    if numbered and NUMBERED in name:
        raise ValueError(f"log({shown(name)}): the loader's number is added to the name")
    reduce = reduction(reduce_fx)
    entry = Entry(name, on_step, on_epoch, prog_bar, logger is not False, reduce, index, numbered)
    rows = trainer.batch_size if batch_size is None else batch_size
    weight, attribute = rows if logs.step_allowed else 1, ""
    if is_metric(value):
        known = named_metrics(trainer.module).items()
        attribute = next((n for n, metric in known if metric is value), "")
    current_results(trainer).log(hook, value, weight, entry, attribute)


def _allowed(hook: str) -> Logs:
    logs = HOOKS[hook].logs if hook in HOOKS else None
    if logs is None:
        where = f"in {hook}()" if hook else "outside of the hooks of a run"
        raise ValueError(
            f"log() was called {where}, where no value is collected; write to "
            "self.logger.log_metrics() instead"
        )
    return logs


def current_results(trainer: Trainer) -> Results:
    """Of the training epoch, or of the evaluation under way."""
    return trainer.state.results if trainer.training else trainer.evaluated


def publish_step(trainer: Trainer) -> None:
    """Shows what the last training step logged, and writes it every log_every_n_steps."""
    _collect(trainer, trainer.state.results, epoch=False)
    if logs_now(trainer):
        write(trainer, trainer.state.results.step_metrics(logger=True))


def _collect(trainer: Trainer, results: Results, *, epoch: bool) -> None:
    """Gives what a step or an epoch has logged to those who read it of the trainer."""
    of = results.epoch_metrics if epoch else results.step_metrics
    trainer.state.metrics |= results.callback_metrics(epoch=epoch)
    trainer.shown |= of(prog_bar=True)
    trainer.logged |= of(logger=True)


def refresh(trainer: Trainer) -> None:
    """The same in a hook, before the step or the epoch is published: what is known by now."""
    results = current_results(trainer)
    if trainer.sanity_checking:
        return
    if trainer.hook.endswith("_epoch_end"):
        results.compute(reset=False)
        _collect(trainer, results, epoch=True)
    elif trainer.training:
        _collect(trainer, results, epoch=False)
    else:
        trainer.logged |= results.step_metrics(logger=True, loader=trainer.dataloader_idx)


def logs_now(trainer: Trainer) -> bool:
    """Whether the step that has just been made is one whose values are written."""
    state, every = trainer.state, trainer.log_every_n_steps
    return state.window == 0 and every > 0 and state.step % every == 0


def end_loader(trainer: Trainer) -> None:
    """Where there are several loaders, what a metric has seen of one is its value for that one."""
    if trainer.dataloader_idx is not None:
        trainer.evaluated.compute(reset=True, loader=trainer.dataloader_idx)


def publish_evaluation_step(trainer: Trainer, loader: int) -> None:
    """Writes what a validation or test step has logged as a step's value, beside the number of
    batches that were read from its loader before, in all validations of the run."""
    if trainer.sanity_checking:
        return
    logged = trainer.evaluated.step_metrics(logger=True, loader=trainer.dataloader_idx)
    trainer.logged |= logged
    write(trainer, logged, trainer.state.see(loader))


def publish_epoch(trainer: Trainer) -> None:
    """Shows and writes what was logged for the epoch. The metrics start anew, unless it goes on
    when the run is resumed."""
    results = current_results(trainer)
    results.compute(reset=not (trainer.training and trainer.state.cut))
    if trainer.sanity_checking:
        return
    _collect(trainer, results, epoch=True)
    write(trainer, results.epoch_metrics(logger=True))


def write(trainer: Trainer, metrics: Mapping[str, float], step: int | None = None) -> None:
    """Gives numbers to the loggers, beside a step; by default beside the epoch and the last step,
    or beside what was logged as "step"."""
    if not metrics:
        return
    plain = {name: float(value) for name, value in metrics.items()}
    if step is None and "step" in plain:
        step = int(plain.pop("step"))
    elif step is None:
        step, plain = last_step(trainer), {"epoch": trainer.state.epoch, **plain}
    for logger in trainer.loggers:
        logger.log_metrics(plain, step)


def last_step(trainer: Trainer) -> int:
    """The number of the step that has just been made, from 0 as in Lightning; after a run, how many
    were made."""
    return max(trainer.state.step - 1, 0) if trainer.fitting else trainer.state.step


def hold(trainer: Trainer) -> None:
    """From here on rows are written that a resumed run will write again: a checkpoint keeps the
    logs as they are now."""
    state = trainer.state
    if state.held is None:
        state.held = state.present(logger_states(trainer))


def release(trainer: Trainer) -> None:
    """The validation is whole: its rows stay, unless the epoch will go on from before it."""
    if not trainer.state.cut:
        trainer.state.held = None


def logger_states(trainer: Trainer) -> list[dict[str, Any]]:
    return [
        logger.state_dict() if hasattr(logger, "state_dict") else {} for logger in trainer.loggers
    ]
