"""Fine-tunes a model of timm on a folder of pictures, at a rate that is found by trial."""

import pytorch_lightning as pl
import timm
import torch.nn.functional as F
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder


class PictureData(pl.LightningDataModule):
    def __init__(self, root, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.transform = transforms.Compose(
            [
                transforms.Resize((32, 32)),
                transforms.ToTensor(),
                transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
            ]
        )

    def setup(self, stage=None):
        self.train_set = ImageFolder(f"{self.hparams.root}/train", transform=self.transform)
        self.val_set = ImageFolder(f"{self.hparams.root}/val", transform=self.transform)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.hparams.batch_size, num_workers=0)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.hparams.batch_size)


class PictureModel(pl.LightningModule):
    def __init__(self, arch, weights, num_classes, lr=1e-3, weight_decay=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = timm.create_model(
            arch, num_classes=num_classes, img_size=32, checkpoint_path=weights
        )

    def forward(self, x):
        return self.net(x)

    def _step(self, batch, stage):
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        acc = (logits.argmax(dim=1) == labels).sum() / len(labels)
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": acc}, prog_bar=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self._step(batch, "train")

    def validation_step(self, batch, batch_idx):
        self._step(batch, "val")

    def configure_optimizers(self):
        optimizer = AdamW(self.parameters(), lr=self.lr, weight_decay=self.hparams.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        scheduler = CosineAnnealingLR(optimizer, T_max=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def main(root, weights):
    pl.seed_everything(7)
    data = PictureData(root)
    data.setup()
    model = PictureModel("test_vit", weights, num_classes=len(data.train_set.classes))
    checkpoint = ModelCheckpoint(
        monitor="val/acc", mode="max", filename="best-{epoch:02d}", auto_insert_metric_name=False
    )
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=2,
        logger=CSVLogger(root, name="runs"),
        callbacks=[checkpoint, LearningRateMonitor(logging_interval="step")],
        gradient_clip_val=1.0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    finder = Tuner(trainer).lr_find(
        model, datamodule=data, num_training=20, min_lr=1e-5, update_attr=False
    )
    rate = finder.suggestion(skip_begin=1, skip_end=1)
    trainer.fit(model, datamodule=data)
    found = trainer.validate(model, datamodule=data, ckpt_path="best", verbose=False)
    best = PictureModel.load_from_checkpoint(checkpoint.best_model_path)
    best.eval()
    return {
        "found a rate": 1e-5 < rate < 1,
        "lr": model.lr,
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "validated": found,
        "best": checkpoint.best_model_path.split("/")[-1],
        "score": checkpoint.best_model_score.item(),
        "classes": data.train_set.classes,
        "hparams": dict(best.hparams),
    }
