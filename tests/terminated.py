"""A run that waits for SIGTERM after one batch. Run by `test_training_interrupted.py`.

    python tests/terminated.py FOLDER NAME BATCH

Says "batch N" after the N-th batch and waits; -1: starts or resumes a run that is left alone, and
prints what it has come to, which does not depend on the process.
"""

import sys
import time
from pathlib import Path

from test_training_interrupted import ends, fit

import vitc


class Wait(vitc.Callback):
    def __init__(self, at: int) -> None:
        self.left = at

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.left -= 1
        if self.left == -1:
            print(f"batch {trainer.global_step - 1}", flush=True)
            while not trainer.interrupted:
                time.sleep(0.001)


def main(folder: str, name: str, at: str) -> None:
    resumes = any(Path(folder).rglob("last.ckpt"))
    run = fit(Path(folder), name, Wait(int(at)), resume=resumes)
    for what, value in ends(run).items():
        print(what, value)


if __name__ == "__main__":
    main(*sys.argv[1:])
