"""The state of a run: what resuming needs besides the weights, and what an epoch does next."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from vitc.training.results import Results


@dataclass
class Held:
    """What a checkpoint keeps of the logs, where the present would be too much: as it was before a
    validation or the end of an epoch that is not whole."""

    loggers: list[dict[str, Any]]
    metrics: dict[str, float]
    seen: list[int]


@dataclass
class State:
    """epoch, and batch within it: the next to be trained. step: optimizer steps so far.

    window, rows: batches and samples in the accumulation window that is open; 0 at its border.
    stop: "pause" once somebody has set `should_stop`, "end" if a callback has whose task that is.
    validating: a validation is due or runs. epoch_done: the epoch is over, its last hooks run.
    cut: the run stops within the epoch, which goes on from here when the run is resumed. updating:
    an optimizer step is under way. batch_open: the last batch is trained, what it has logged not
    yet written. left_out: batches of the window without a sound gradient.
    skipped: steps in a row that were left out. validated: the step of the last whole validation.
    results: of the epoch. metrics: what callbacks may monitor. seen: batches so far of each loader
    that is evaluated.
    """

    fn: str = "fit"  # or "validate", "test", "predict"
    stage: str | None = (
        None  # "train", "sanity_check", "validate", "test" or "predict", while it runs
    )
    status: str = "initializing"  # then "running", "finished" or "interrupted", as in Lightning
    epoch: int = 0
    batch: int = 0
    step: int = 0
    window: int = 0
    rows: int = 0
    stop: Literal["", "pause", "end"] = ""
    validating: bool = False
    epoch_done: bool = False
    cut: bool = False
    updating: bool = False
    batch_open: bool = False
    left_out: int = 0
    skipped: int = 0
    validated: int = 0
    results: Results = field(default_factory=Results)
    metrics: dict[str, float] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    held: Held | None = None

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @contextmanager
    def during(self, stage: str | None) -> Iterator[None]:
        """Within it the run is in another stage."""
        before, self.stage = self.stage, stage
        try:
            yield
        finally:
            self.stage = before

    def count(self, rows: int) -> None:
        """One more batch is trained."""
        self.batch, self.window, self.rows = self.batch + 1, self.window + 1, self.rows + rows

    def close_window(self, stepped: bool) -> None:
        self.step += stepped
        self.window = self.rows = self.left_out = 0

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.epoch_done = self.epoch + 1, 0, False

    def see(self, loader: int) -> int:
        """One more batch of this loader is evaluated: its number."""
        self.seen += [0] * (loader + 1 - len(self.seen))
        self.seen[loader] += 1
        return self.seen[loader] - 1

    def place(self) -> dict[str, int]:
        """Where a resumed run is to begin: at the border of the window that is open, or with the
        next epoch if this one is done."""
        place = {"step": self.step, "validated": self.validated}
        if self.epoch_done:
            return {**place, "epoch": self.epoch + 1, "batch": 0, "validating": 0}
        return {
            **place,
            "epoch": self.epoch,
            "batch": self.batch - self.window,
            "validating": int(self.validating and not self.window and not self.cut),
        }

    def present(self, loggers: list[dict[str, Any]]) -> Held:
        """loggers: what they keep now."""
        return Held(loggers, dict(self.metrics), list(self.seen))

    def state_dict(self, loggers: list[dict[str, Any]]) -> dict[str, Any]:
        """As JSON takes it."""
        held = self.held or self.present(loggers)
        return {
            "progress": self.place(),
            "stop": self.stop,
            "results": self.results.state_dict(),
            "callback_metrics": {name: float(value) for name, value in held.metrics.items()},
            "loggers": held.loggers,
            "seen": held.seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        place = state["progress"]
        self.epoch, self.batch, self.step = place["epoch"], place["batch"], place["step"]
        self.validating, self.validated = bool(place["validating"]), place["validated"]
        self.stop = state["stop"]
        self.results.load_state_dict(state["results"])
        self.metrics.update(state["callback_metrics"])
        self.seen = list(state["seen"])
