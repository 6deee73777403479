"""What the trainer adds to a step, in microseconds.

    python benchmarks/trainer_overhead.py [STEPS]

A model that does next to nothing is trained by a loop of one's own and by the trainer, in turns, on
one thread; the difference in processor time is the trainer's: hooks, progress, metrics, the look
for infinite and NaN numbers. Prints the median of the rounds, and what it is with everything on: a
bar, a CSV file, checkpoints, a callback.
"""

import os
import statistics
import sys
import tempfile
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other count as busy

import numpy as np

import vitc
import vitc.functional as F
from vitc.callbacks import Callback
from vitc.optim import AdamW
from vitc.tape import clock

ROUNDS = 7
BATCH = (np.ones((2, 4), np.float32), np.array([0, 1]))


class Tiny(vitc.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = vitc.nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = F.cross_entropy(self.model(batch[0]), batch[1])
        if self.trainer is not None:
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> AdamW:
        return AdamW(self.parameters())


def own_loop(steps: int) -> float:
    module = Tiny()
    optimizer = module.configure_optimizers()
    start = time.process_time()
    for i in range(steps):
        clock.begin(i)
        optimizer.zero_grad()
        module.training_step(BATCH, i).backward()
        optimizer.step()
    return time.process_time() - start


def trained(steps: int, **options: Any) -> float:
    with tempfile.TemporaryDirectory() as folder:
        switches = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
        quiet: dict[str, Any] = dict.fromkeys(switches, False)
        trainer = vitc.Trainer(max_steps=steps, default_root_dir=folder, **{**quiet, **options})
        module, batches = Tiny(), [BATCH] * steps
        start = time.process_time()
        trainer.fit(module, batches)
        return time.process_time() - start


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    everything = dict(
        logger=True, enable_progress_bar=True, enable_checkpointing=True, callbacks=[Callback()]
    )
    added: dict[str, list[float]] = {"trainer": [], "with everything on": []}
    for _ in range(ROUNDS):
        alone = own_loop(steps)
        added["trainer"].append((trained(steps) - alone) / steps * 1e6)
        added["with everything on"].append((trained(steps, **everything) - alone) / steps * 1e6)
    print(f"a step of the loop itself: {own_loop(steps) / steps * 1e6:.0f} us")
    for name, values in added.items():
        print(f"{name}: {statistics.median(values):.0f} us more per step, best {min(values):.0f}")


if __name__ == "__main__":
    main()
