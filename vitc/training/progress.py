"""Where a run stands: a few numbers, which is all that resuming needs besides the weights."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """epoch, and batch within it: the next to be trained. step: optimizer steps so far.

    window, rows: batches and samples in the accumulation window that is open; 0 at its border,
    which is where checkpoints are written.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    window: int = 0
    rows: int = 0

    def close_window(self) -> None:
        self.step += 1
        self.window = self.rows = 0

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)
