"""The progress of a run: a bar per epoch on a terminal or in a notebook, else a line per epoch."""

import sys
import time
import warnings
from typing import Any

from vitc.training.hooks import Callback


class ProgressBar(Callback):
    """Shows epoch, batches, speed, what was logged with prog_bar=True, and the time left in all."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._start = 0.0
        self._done = 0  # batches since _start
        self._quiet = False

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._start, self._done = time.monotonic(), 0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if not _interactive():
            return
        label = f"Epoch {trainer.current_epoch + 1}"
        if trainer.max_epochs is not None:
            label += f"/{trainer.max_epochs}"
        self._bar = _tqdm()(
            desc=label,
            total=trainer.num_training_batches,
            initial=trainer.progress.batch,
            unit="batch",
            dynamic_ncols=True,
            leave=trainer.last_epoch,
        )

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(self._postfix(trainer), refresh=False)
            self._bar.update()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if self._bar is None:
            of = "" if trainer.max_epochs is None else f"/{trainer.max_epochs}"
            epoch = trainer.current_epoch + 1
            print(f"epoch {epoch}{of}: {self._postfix(trainer)}", file=sys.stderr)
            return
        self._bar.set_postfix_str(self._postfix(trainer))
        self._close()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self._close()

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _postfix(self, trainer: Any) -> str:
        shown = [f"{name}={_short(value)}" for name, value in trainer.progress_bar_metrics.items()]
        left = self._time_left(trainer)
        return ", ".join(shown + ([f"{left} left"] if left else []))

    def _time_left(self, trainer: Any) -> str:
        """Until the last epoch ends, at the speed so far; "" if nobody can know."""
        remaining = trainer.remaining_batches
        if remaining is None or not self._done:
            return ""
        seconds = round((time.monotonic() - self._start) / self._done * remaining)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        clock = f"{minutes:02d}:{seconds % 60:02d}"
        return f"{hours}:{clock}" if hours else clock


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
