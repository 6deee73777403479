"""Trains a classifier until it stops getting better; tests the best one."""

import argparse

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from torchmetrics import AUROC, Accuracy


class Spots:
    """Noise, in which one class has a bright corner."""

    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        self.images = rng.standard_normal((count, 3, 32, 32)).astype(np.float32)
        self.labels = rng.integers(0, 2, count)
        self.images[self.labels == 1, :, :16, :16] += 0.5

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class SpotClassifier(pl.LightningModule):
    def __init__(self, hparams):
        super().__init__()
        self.save_hyperparameters(hparams)
        self.model = timm.create_model(
            self.hparams.arch, num_classes=2, img_size=32, checkpoint_path=self.hparams.weights
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=self.hparams.smoothing)
        self.train_acc = Accuracy(task="multiclass", num_classes=2)
        self.val_acc = Accuracy(task="multiclass", num_classes=2)
        self.val_auc = AUROC(task="multiclass", num_classes=2)
        self.test_acc = Accuracy(task="multiclass", num_classes=2)

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = self.criterion(logits, y)
        self.train_acc(logits, y)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_acc.update(logits, y)
        self.val_auc.update(logits.softmax(dim=-1), y)
        self.log("val_loss", self.criterion(logits, y), prog_bar=True)
        self.log("val_acc", self.val_acc, prog_bar=True)
        self.log("val_auc", self.val_auc)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.test_acc(self(x), y)
        self.log("test_acc", self.test_acc)

    def predict_step(self, batch, batch_idx):
        x, _ = batch
        return self(x).softmax(dim=-1)

    def configure_optimizers(self):
        optimizer = Adam(self.parameters(), lr=self.hparams.lr)
        return {
            "optimizer": optimizer,
            "lr_scheduler": ReduceLROnPlateau(optimizer, mode="min", factor=0.2, patience=0),
            "monitor": "val_loss",
        }


class LossHistory(pl.Callback):
    def __init__(self):
        self.losses, self.metrics = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            value = trainer.callback_metrics["val_loss"].cpu().item()
            self.metrics.append((trainer.current_epoch, value))


def main(root, weights):
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="test_vit")
    parser.add_argument("--weights", default=weights)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--smoothing", type=float, default=0.05)
    args = parser.parse_args([])
    pl.seed_everything(42, workers=True)
    train = DataLoader(Spots(24, 0), batch_size=8)
    val = DataLoader(Spots(16, 1), batch_size=8)
    test = DataLoader(Spots(16, 2), batch_size=8)
    checkpoint = ModelCheckpoint(monitor="val_auc", mode="max", save_last=True, verbose=False)
    stopping = EarlyStopping(monitor="val_loss", mode="min", patience=2, min_delta=0.01)
    history = LossHistory()
    trainer = pl.Trainer(
        max_epochs=6,
        accelerator="cpu",
        logger=CSVLogger(root),
        callbacks=[checkpoint, stopping, history],
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = SpotClassifier(args)
    trainer.fit(model, train_dataloaders=train, val_dataloaders=val)
    stopped, epochs = stopping.stopped_epoch, trainer.current_epoch
    tested = trainer.test(model, dataloaders=test, ckpt_path="best", verbose=False)
    test_acc = trainer.callback_metrics["test_acc"].item()
    predictions = trainer.predict(model, test)
    best = SpotClassifier.load_from_checkpoint(checkpoint.best_model_path, map_location="cpu")
    best.eval()
    with torch.no_grad():
        again = best(next(iter(test))[0])
    return {
        "epochs": epochs,
        "stopped": stopped,
        "losses": history.losses,
        "validated": history.metrics,
        "best": checkpoint.best_model_score.item(),
        "tested": tested,
        "predictions": [p.argmax(axis=1).tolist() for p in predictions],
        "again": again.tolist(),
        "hparams": dict(best.hparams),
        "test_acc": test_acc,
    }
