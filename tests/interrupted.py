"""A run of a model of real size that gets one signal at a random moment. Run by `test_process.py`.

    python tests/interrupted.py FOLDER MILLISECONDS SIGNAL

Trains until it is told to stop; ends with 0 if that has left a whole checkpoint.
"""

import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

import vitc
from vitc.training import checkpoint
from vitc.training.tools.classifier import Classifier


class Noise:
    """Batches without an end."""

    def __iter__(self):
        x = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
        while True:
            yield x, np.arange(4) % 2


class Alarm(vitc.Callback):
    """Has the signal sent so many milliseconds after the first batch."""

    def __init__(self, milliseconds: int, number: int) -> None:
        self.milliseconds, self.number = milliseconds, number

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if batch_idx == 0:
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(self.number))
            signal.setitimer(signal.ITIMER_REAL, self.milliseconds / 1000)


def main(folder: str, milliseconds: str, name: str) -> None:
    vitc.seed_everything(0)
    module = Classifier("vit_tiny_patch16_224", class_names=["a", "b"], depth=4)
    trainer = vitc.Trainer(
        default_root_dir=folder,
        max_steps=100_000,
        callbacks=[Alarm(int(milliseconds), signal.Signals[name])],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
    with suppress(KeyboardInterrupt, SystemExit):
        trainer.fit(module, Noise())
    assert trainer.interrupted
    checkpoint.read(next(Path(folder).rglob("last.ckpt")))


if __name__ == "__main__":
    main(*sys.argv[1:])
