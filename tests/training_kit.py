"""What the tests of training share: a small module, batches that depend on their number only, and a
digest of everything that a run has made."""

import hashlib
from pathlib import Path

import numpy as np

import vitc
from vitc.training.tools.classifier import Classifier

SIZE = 32
ARGUMENTS = dict(img_size=SIZE, patch_size=8, embed_dim=24, num_heads=3, depth=2)


class Batches:
    """A loader whose batches depend on the epoch and their number only."""

    def __init__(self, count: int = 5, batch_size: int = 4) -> None:
        self.count, self.batch_size, self.epoch = count, batch_size, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def batches(self, start: int = 0):
        for i in range(start, self.count):
            generator = np.random.default_rng((self.epoch, i))
            x = generator.standard_normal((self.batch_size, 3, SIZE, SIZE)).astype(np.float32)
            yield x, generator.integers(0, 3, self.batch_size)

    def __iter__(self):
        return self.batches()


def classifier(**options) -> Classifier:
    options = {**ARGUMENTS, "drop_path_rate": 0.3, "drop_rate": 0.1, **options}
    return Classifier("test_vit", class_names=["a", "b", "c"], **options)


def trainer(path: Path, **options) -> vitc.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    options = {**quiet, **options}
    return vitc.Trainer(default_root_dir=path, **options)


def digest(module) -> str:
    """SHA-256 of all parameters, and of the moments of the optimizer."""
    sha = hashlib.sha256()
    for value in module.state_dict().values():
        sha.update(np.ascontiguousarray(value).tobytes())
    for row in module.trainer.optimizer.state_dict()["state"].values():
        sha.update(row["exp_avg"].tobytes() + row["exp_avg_sq"].tobytes())
    return sha.hexdigest()
