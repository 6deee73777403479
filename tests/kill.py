"""A run that is killed again and again and resumed each time. Run by `test_training_checkpoint.py`.

    python tests/kill.py FOLDER KILLS SEED

Each life is a process of its own, forked before the core has started a thread. It resumes from
"last" and ends by SIGKILL at a random moment or at a random call that touches the disk, so that
some die while a checkpoint is being written. When a run comes to its end all the same, the digest
of everything it has made is compared with that of a run that was left alone. Prints what happened
as JSON.
"""

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import vitc
from vitc.data import DataLoader, Mixup, transforms
from vitc.training.callbacks import EMA, ModelCheckpoint
from vitc.training.module import Module
from vitc.training.tools.classifier import Classifier

SIZE, CLASSES = 32, 3
EPOCHS, IMAGES, BATCH, WINDOW = 3, 18, 4, 2  # 5 batches an epoch, the last of 2 images: 9 steps
TOUCHES_DISK = ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.link")


class Images:
    """A few random pictures, augmented anew in every epoch."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(0, 255, (IMAGES, SIZE, SIZE, 3), np.uint8)
        self.labels = generator.integers(0, CLASSES, IMAGES)
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE),
                transforms.RandAugment(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


class Mixed(Classifier):
    """Trains on images that are mixed in the step."""

    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(self.mixup(*batch), batch_idx)


def live(folder: Path) -> tuple[Module, vitc.Trainer]:
    """One life: from the latest checkpoint, if there is one, to the end."""
    vitc.seed_everything(3)
    module = Mixed(
        "test_vit",
        CLASSES,
        img_size=SIZE,
        patch_size=8,
        embed_dim=24,
        num_heads=3,
        depth=1,
        drop_path_rate=0.3,
        drop_rate=0.1,
    )
    keeper = ModelCheckpoint(monitor="train_loss", every_n_train_steps=1, save_top_k=2)
    trainer = vitc.Trainer(
        max_epochs=EPOCHS,
        accumulate_grad_batches=WINDOW,
        gradient_clip_val=1.0,
        log_every_n_steps=1,
        val_check_interval=2,
        callbacks=[EMA(decay=0.8), keeper],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Images(), BATCH, shuffle=True, num_workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no checkpoint yet
        trainer.fit(module, loader, DataLoader(Images(), BATCH), ckpt_path="last")
    return module, trainer


def digest(module: Module, trainer: vitc.Trainer) -> str:
    """SHA-256 of trained and averaged weights, moments, rows of the log, and the choice of the
    best."""
    sha = hashlib.sha256()
    averages = trainer.callbacks[0].averages["model"].module.state_dict()
    for value in (*module.state_dict().values(), *averages.values()):
        sha.update(np.ascontiguousarray(value).tobytes())
    for row in trainer.optimizer.state_dict()["state"].values():
        sha.update(b"".join(np.asarray(row[name]).tobytes() for name in sorted(row)))
    sha.update((trainer.log_dir / "metrics.csv").read_bytes())
    keeper = trainer.checkpoint_callback
    sha.update(repr((Path(keeper.best_model_path).name, keeper.best_model_score)).encode())
    return sha.hexdigest()


def in_a_child(work: Any) -> int:
    """The wait status of a forked process that does this."""
    return os.waitpid(in_a_child_at_once(work), 0)[1]


def in_a_child_at_once(work: Any) -> int:
    """The number of a forked process that does this."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def finish(folder: Path, deadly: Any = None) -> None:
    if deadly is not None:
        deadly()
    module, trainer = live(folder)
    (folder / "digest").write_text(digest(module, trainer))


def a_death(chance: random.Random, longest: float) -> Any:
    """What makes a process die, after up to so many seconds or at a call within a checkpoint."""
    if chance.random() < 0.5:
        return partial(die_after, chance.uniform(0, longest))
    return partial(die_at_call, chance.randrange(1, 120))


def die_after(seconds: float) -> None:
    def end() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()


def die_at_call(count: int) -> None:
    """At the count-th call that touches the disk within a checkpoint's folder."""
    left = [count]

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in TOUCHES_DISK and ".ckpt" in str(args[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main() -> None:
    folder, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    start = time.monotonic()
    assert in_a_child(partial(finish, folder / "alone")) == 0
    alone, whole = (folder / "alone/digest").read_text(), time.monotonic() - start
    told: dict[str, Any] = {"killed": 0, "while writing": 0, "finished": 0, "different": 0}
    place = folder / "0"
    while told["killed"] < kills or not (place / "digest").exists():
        mortal = told["killed"] < kills
        deadly = a_death(chance, 0.7 * whole) if mortal else None
        status = in_a_child(partial(finish, place, deadly))
        if os.WIFSIGNALED(status):
            told["killed"] += 1
            told["while writing"] += bool(list(place.glob("**/checkpoints/.*.tmp")))
            continue
        assert status == 0, f"a life ended with {status}"
        told["finished"] += 1
        told["different"] += (place / "digest").read_text() != alone
        if told["killed"] < kills:
            place = folder / str(told["finished"])
    told["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
