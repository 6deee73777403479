"""The position of a run: a few numbers, all that resuming needs besides the weights."""

from dataclasses import dataclass


@dataclass
class Progress:
    """epoch, and batch within it: the next to be trained. step: optimizer steps so far.

    window, rows: batches and samples in the accumulation window that is open; 0 at its border.
    validating: a validation is due or runs. epoch_done: the epoch is over, its last hooks run.
    updating: an optimizer step is under way.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    window: int = 0
    rows: int = 0
    validating: bool = False
    epoch_done: bool = False
    updating: bool = False

    def count(self, rows: int) -> None:
        """One more batch is trained."""
        self.batch, self.window, self.rows = self.batch + 1, self.window + 1, self.rows + rows

    def close_window(self, stepped: bool = True) -> None:
        self.step += stepped
        self.window = self.rows = 0

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.epoch_done = self.epoch + 1, 0, False

    def state_dict(self) -> dict[str, int]:
        """Where a resumed run is to begin: at the border of the window that is open, or with the
        next epoch if this one is done."""
        if self.epoch_done:
            return {"epoch": self.epoch + 1, "batch": 0, "step": self.step, "validating": 0}
        return {
            "epoch": self.epoch,
            "batch": self.batch - self.window,
            "step": self.step,
            "validating": int(self.validating and not self.window),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.validating = bool(state["validating"])
