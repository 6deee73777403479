"""Does training with products of bfloat16 end where float32 does? The recipe of `vitc demo` on the
photographs of ELPV: two seeds in float32, the first of them in bfloat16.

    python benchmarks/bf16_training.py [--epochs 12] [--out results/bf16_elpv.md]

The loss of each epoch, and how far bfloat16 is from float32 beside how far another seed is.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from vitc import Trainer, seed_everything
from vitc.cli import common, demo
from vitc.data import DataLoader
from vitc.training.hooks import Callback
from vitc.training.tools.metrics import classification_metrics

RUNS = (
    ("float32, seed 0", 0, "32"),
    ("bf16-mixed, seed 0", 0, "bf16-mixed"),
    ("float32, seed 1", 1, "32"),
)


class Curve(Callback):
    """The mean loss of every epoch."""

    monitoring = True  # called when the figures of the epoch are there

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_epoch_end(self, trainer, module) -> None:  # type: ignore[no-untyped-def]
        self.losses.append(float(trainer.callback_metrics["train_loss_epoch"]))


def trained(seed: int, precision: str, epochs: int) -> tuple[np.ndarray, float]:
    """(the losses, the AUROC on the photographs that were set apart)."""
    options = argparse.Namespace(batch_size=demo.BATCH_SIZE, workers=2)
    seed_everything(seed)
    train, test = demo.load_cells()
    module, curve = demo.make_classifier(), Curve()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            gradient_clip_val=demo.CLIP,
            precision=precision,
            callbacks=[curve],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=folder,
        )
        trainer.fit(module, demo.training_loader(train, options))
    found = common.probabilities(module, DataLoader(demo.test_images(test, module), 64))
    return np.array(curve.losses), classification_metrics(found, test.labels)["auroc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {name: trained(seed, how, options.epochs) for name, seed, how in RUNS}
    base, rounded, other = (losses for losses, _ in found.values())
    lines = [
        "# bfloat16 training on ELPV", "",
        f"`python benchmarks/bf16_training.py --epochs {options.epochs}`: losses by epoch.", "",
        "| run | " + " | ".join(map(str, range(1, options.epochs + 1))) + " | AUROC |",
        "|---" * (options.epochs + 2) + "|",
    ]  # fmt: skip
    for name, (losses, auroc) in found.items():
        lines.append(f"| {name} | " + " | ".join(f"{x:.3f}" for x in losses) + f" | {auroc:.3f} |")
    lines += [
        "",
        f"Furthest from float32 with seed 0: bf16-mixed {np.abs(rounded - base).max():.4f}, "
        f"another seed {np.abs(other - base).max():.4f}.",
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
