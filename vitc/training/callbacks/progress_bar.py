"""The progress of a run: a bar per epoch on a terminal or in a notebook, else a line per epoch."""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.training.hooks import Callback
from vitc.training.when import remaining_batches

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class ProgressBar(Callback):
    """Shows epoch, batches, speed, what was logged with prog_bar=True, and the time left in all.

    refresh_rate: batches between two changes of the bar, 0 for no bar. This class prints lines; its
    subclasses draw.
    """

    monitoring = True  # the epoch's metrics are there when the epoch is reported

    def __init__(self, refresh_rate: int = 1) -> None:
        self.refresh_rate = checks.integer("refresh_rate", refresh_rate, 0)
        self._open = False
        self._start = 0.0
        self._done = 0  # batches since _start

    # ------------------------------------------------------------------------------- to draw

    def start(self, label: str, total: int | None, done: int, leave: bool) -> None:
        """A new bar of `total` batches, of which `done` are; leave: it stays when it is closed."""

    def advance(self, batches: int, text: str) -> None: ...

    def stop(self, text: str) -> None: ...

    # ------------------------------------------------------------------------------- hooks

    def on_train_start(self, trainer: Trainer, module: Module) -> None:
        self._start, self._done = time.monotonic(), 0

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        label = f"Epoch {trainer.current_epoch + 1}"
        if trainer.max_epochs >= 0:
            label += f"/{trainer.max_epochs}"
        self._begin(label, trainer.train_feed.count, trainer.state.batch, trainer.last_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._done += 1
        if self._open and self._done % self.refresh_rate == 0:
            self.advance(self.refresh_rate, self._text(trainer))

    def on_train_epoch_end(self, trainer: Trainer, module: Module) -> None:
        if self._open:
            self._end(self._text(trainer))
            return
        of = f"/{trainer.max_epochs}" if trainer.max_epochs >= 0 else ""
        print(f"epoch {trainer.current_epoch + 1}{of}: {self._text(trainer)}", file=sys.stderr)

    def on_test_start(self, trainer: Trainer, module: Module) -> None:
        self._begin("Testing", sum(feed.count or 0 for feed in trainer.val_feeds) or None, 0, True)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: Module,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._open:
            self.advance(1, "")

    def on_test_end(self, trainer: Trainer, module: Module) -> None:
        self._end("")

    def on_exception(self, trainer: Trainer, module: Module, exception: BaseException) -> None:
        self._end("")

    def on_fit_end(self, trainer: Trainer, module: Module) -> None:
        self._end(self._text(trainer))

    # ------------------------------------------------------------------------------- parts

    def _begin(self, label: str, total: int | None, done: int, leave: bool) -> None:
        if type(self) is not ProgressBar and self.refresh_rate and _interactive():
            self._open = True
            self.start(label, total, done, leave)

    def _end(self, text: str) -> None:
        if self._open:
            self._open = False
            self.stop(text)

    def _text(self, trainer: Trainer) -> str:
        shown = [f"{name}={_short(value)}" for name, value in trainer.progress_bar_metrics.items()]
        left = self._time_left(trainer)
        return ", ".join(shown + ([f"{left} left"] if left else []))

    def _time_left(self, trainer: Trainer) -> str:
        """Until the last epoch ends, at the speed so far; "" if nobody can know."""
        remaining = remaining_batches(trainer)
        if remaining is None or not self._done:
            return ""
        seconds = round((time.monotonic() - self._start) / self._done * remaining)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        clock = f"{minutes:02d}:{seconds % 60:02d}"
        return f"{hours}:{clock}" if hours else clock


class TQDMProgressBar(ProgressBar):
    """A bar of tqdm: text on a terminal, a widget in a notebook that has them."""

    def start(self, label: str, total: int | None, done: int, leave: bool) -> None:
        self._bar = _tqdm()(
            desc=label, total=total, initial=done, unit="batch", dynamic_ncols=True, leave=leave
        )

    def advance(self, batches: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(batches)

    def stop(self, text: str) -> None:
        self._bar.set_postfix_str(text)
        self._bar.close()


class RichProgressBar(ProgressBar):
    """A bar of rich, which also draws in notebooks."""

    def start(self, label: str, total: int | None, done: int, leave: bool) -> None:
        try:
            from rich import progress
            from rich.console import Console
            from rich.table import Column
        except ImportError:
            raise ImportError('RichProgressBar needs rich: pip install "vitc[train]"') from None
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", table_column=Column(min_width=len(label))),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=not leave,
        )
        self._task = self._bar.add_task(label, total=total, completed=done, text="")
        self._bar.start()

    def advance(self, batches: int, text: str) -> None:
        self._bar.update(self._task, advance=batches, text=text)

    def stop(self, text: str) -> None:
        self._bar.update(self._task, text=text)
        self._bar.stop()


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _interactive() -> bool:
    """Whether a bar can be redrawn: a terminal or a notebook."""
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or (ipython is not None and ipython.get_ipython() is not None)


def _tqdm() -> Any:
    with warnings.catch_warnings():  # it warns where a notebook has no widgets, and works
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
