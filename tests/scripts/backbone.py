"""A backbone that is made outside of its module, a data module, and all four stages."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import timm
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from torch.utils.data import DataLoader, Subset


class Rings:
    """Noise that is brighter in the middle for one of the classes."""

    def __init__(self, train):
        rng = np.random.default_rng(train)
        self.labels = rng.integers(0, 2, 24)
        self.images = rng.standard_normal((24, 3, 32, 32)).astype(np.float32)
        self.images[self.labels == 1, :, 8:24, 8:24] += 1.0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class LitClassifier(LightningModule):
    def __init__(self, backbone=None, learning_rate=1e-3):
        super().__init__()
        self.save_hyperparameters(ignore=["backbone"])
        if backbone is None:
            backbone = timm.create_model("test_vit", num_classes=2, img_size=32)
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        self.shared_step("valid", batch)

    def test_step(self, batch, batch_idx):
        self.shared_step("test", batch)

    def shared_step(self, stage, batch):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log(f"{stage}_loss", loss, on_step=True, on_epoch=True, sync_dist=True)

    def predict_step(self, batch, batch_idx, dataloader_idx=None):
        x, _ = batch
        return self(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


class RingsData(LightningDataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size

    def setup(self, stage):
        everything = Rings(train=True)
        self.train, self.val = Subset(everything, range(16)), Subset(everything, range(16, 24))
        self.test = Rings(train=False)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=self.batch_size)

    def predict_dataloader(self):
        return DataLoader(self.test, batch_size=self.batch_size)


def main(root, weights):
    pl.seed_everything(1234)
    backbone = timm.create_model("test_vit", num_classes=2, img_size=32, checkpoint_path=weights)
    module, data = LitClassifier(backbone), RingsData()
    keep = ModelCheckpoint(monitor="valid_loss_epoch", filename="{epoch}-{valid_loss_epoch:.3f}")
    trainer = Trainer(
        accelerator="cpu",
        strategy="auto",
        devices=1,
        max_epochs=3,
        log_every_n_steps=1,
        default_root_dir=root,
        callbacks=[keep, TQDMProgressBar(refresh_rate=20)],
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    tested = trainer.test(module, datamodule=data, verbose=False)
    best = trainer.test(ckpt_path="best", datamodule=data, verbose=False)
    validated = trainer.validate(datamodule=data, verbose=False)
    predictions = trainer.predict(module, datamodule=data)
    again = LitClassifier.load_from_checkpoint(
        keep.best_model_path, backbone=timm.create_model("test_vit", num_classes=2, img_size=32)
    )
    again.eval()
    with torch.no_grad():
        loaded = again(next(iter(data.val_dataloader()))[0])
    return {
        "tested": tested,
        "best": best,
        "validated": validated,
        "predictions": [p.argmax(1) for p in predictions],
        "loaded": loaded,
        "hparams": dict(again.hparams),
        "data": dict(data.hparams),
        "files": sorted(p.name.split("-")[0] for p in Path(keep.dirpath).iterdir()),
        "best_score": keep.best_model_score.item(),
        "stopped": (trainer.current_epoch, trainer.global_step, trainer.state.finished),
    }
