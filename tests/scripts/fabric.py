"""Trains with a loop of its own: several batches a step, one classifier, its best checkpoint."""

from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torchmetrics import Accuracy


class Stripes:
    """Noise with a bright stripe, whose place is the class."""

    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        self.images = rng.standard_normal((count, 3, 32, 32)).astype(np.float32)
        self.labels = rng.integers(0, 2, count)
        for i, label in enumerate(self.labels):
            self.images[i, :, 8 + 16 * label] += 2.0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Told:
    """A callback of this loop, which says what the loop says to it."""

    def __init__(self):
        self.lines = []

    def on_train_batch_end(self, loss, batch_idx):
        self.lines.append((batch_idx, float(loss)))

    def on_validation_epoch_end(self, accuracy):
        self.lines.append(("accuracy", accuracy))


def validate(fabric, model, loader, accuracy):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for images, labels in loader:
            logits = model(images)
            total += F.cross_entropy(logits, labels, reduction="sum").item()
            accuracy(logits, labels)
    model.train()
    value = float(accuracy.compute())
    accuracy.reset()
    fabric.call("on_validation_epoch_end", accuracy=value)
    return total / len(loader.dataset), value


def main(root, weights):
    told = Told()
    logger = CSVLogger(root, name="logs")
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=[told], loggers=logger)
    fabric.launch()
    seed_everything(1)
    model = timm.create_model("test_vit", num_classes=2, img_size=32, checkpoint_path=weights)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    model, optimizer = fabric.setup(model, optimizer)
    train = fabric.setup_dataloaders(DataLoader(Stripes(12, 0), batch_size=4))
    val = fabric.setup_dataloaders(DataLoader(Stripes(8, 1), batch_size=4))
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    accuracy = Accuracy(task="multiclass", num_classes=2).to(fabric.device)
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "epoch": 0}
    path, best, seen = Path(root) / "best.ckpt", None, []
    for epoch in range(3):
        model.train()
        for batch_idx, (images, labels) in enumerate(train):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            fabric.call("on_train_batch_end", loss=loss, batch_idx=batch_idx)
            fabric.log("loss", loss.item(), step=epoch * len(train) + batch_idx)
        scheduler.step()
        val_loss, val_accuracy = validate(fabric, model, val, accuracy)
        fabric.log_dict({"val_loss": val_loss, "epoch": epoch}, step=(epoch + 1) * len(train))
        fabric.print(f"epoch {epoch}: {val_accuracy:.2f}")
        seen.append((val_loss, optimizer.param_groups[0]["lr"]))
        if fabric.is_global_zero and (best is None or val_loss < best):
            best, state["epoch"] = val_loss, epoch
            fabric.save(path, state)
        fabric.barrier()
    state["epoch"] = None
    rest = fabric.load(path, state)
    again, _ = validate(fabric, model, val, accuracy)
    rows = Path(logger.log_dir) / "metrics.csv"
    logger.save()
    return {
        "told": told.lines,
        "seen": seen,
        "best": (best, again, state["epoch"], len(rest)),
        "rates": [group["lr"] for group in optimizer.param_groups],
        "gathered": fabric.all_gather(3.0),
        "world": (fabric.world_size, fabric.global_rank, fabric.local_rank, str(fabric.device)),
        "columns": sorted(rows.read_text().splitlines()[0].split(",")),
    }
