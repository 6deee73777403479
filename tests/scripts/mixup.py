"""Fine-tunes with mixup, SGD with momentum, a warm-up and a cosine; validates on two sets."""

import math
import os

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader


class Stripes:
    def __init__(self, count, noise, seed):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, 3, count)
        stripes = np.sin(np.arange(32) * (self.labels[:, None] + 1))[:, None, None, :]
        noise = noise * rng.standard_normal((count, 3, 32, 32))
        self.images = (stripes + noise).astype(np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


def cosine_with_warmup(optimizer, warmup, total, last_epoch=-1):
    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, total - warmup)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))

    return LambdaLR(optimizer, factor, last_epoch)


class FineTuner(pl.LightningModule):
    def __init__(self, weights, num_classes=3, lr=0.05, warmup=2, schedule="lambda", mixup=0.0):
        super().__init__()
        self.save_hyperparameters(ignore=["weights"])
        self.backbone = timm.create_model(
            "test_vit", num_classes=num_classes, img_size=32, checkpoint_path=weights
        )
        self.mixup = Mixup(mixup_alpha=mixup, num_classes=num_classes) if mixup else None
        self.soft = SoftTargetCrossEntropy()
        self.hard = torch.nn.CrossEntropyLoss()

    def forward(self, x):
        return self.backbone(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        if self.mixup is not None:
            x, y = self.mixup(x, y)
            loss = self.soft(self(x), y)
        else:
            loss = self.hard(self(x), y)
        self.log("loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return {"loss": loss}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        logits = self(x)
        self.log("val_loss", self.hard(logits, y), on_epoch=True, prog_bar=True)
        name = ["internal", "external"][dataloader_idx]
        right = (logits.argmax(dim=-1) == y).sum().item()
        self.log(f"{name}_acc", right / len(y), add_dataloader_idx=False, batch_size=len(y))

    def configure_optimizers(self):
        head = [p for n, p in self.named_parameters() if ".head" in n]
        body = [p for n, p in self.named_parameters() if ".head" not in n]
        optimizer = SGD(
            [{"params": body, "lr": self.hparams.lr * 0.1}, {"params": head}],
            lr=self.hparams.lr,
            momentum=0.9,
            weight_decay=1e-4,
        )
        total, warmup = self.trainer.estimated_stepping_batches, self.hparams.warmup
        if self.hparams.schedule == "lambda":
            scheduler = cosine_with_warmup(optimizer, warmup, total)
        else:
            warm = LinearLR(optimizer, start_factor=0.1, total_iters=warmup)
            cosine = CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=1e-5)
            scheduler = SequentialLR(optimizer, [warm, cosine], milestones=[warmup])
        return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": 1}]


def train(root, weights, **options):
    pl.seed_everything(1)
    model = FineTuner(weights, **options)
    checkpoint = ModelCheckpoint(
        dirpath=f"{root}/kept",
        monitor="internal_acc",
        mode="max",
        save_top_k=2,
        save_last=True,
        filename="{step}-{internal_acc:.2f}",
    )
    trainer = pl.Trainer(
        max_steps=6,
        accelerator="cpu",
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        val_check_interval=4,
        logger=CSVLogger(root, name="mixup", version=options["schedule"]),
        callbacks=[checkpoint, LearningRateMonitor()],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = [DataLoader(Stripes(4, 0.3, 1), 2), DataLoader(Stripes(3, 0.9, 2), 2)]
    trainer.fit(model, DataLoader(Stripes(16, 0.3, 0), batch_size=2), loaders)
    first, second = trainer.validate(model, loaders, verbose=False)
    return trainer, checkpoint, first, second


def main(root, weights):
    found = {}
    for schedule, mixup in (("lambda", 0.0), ("sequential", 0.0), ("mixed", 0.4)):
        trainer, checkpoint, first, second = train(
            f"{root}/{schedule}", weights, schedule=schedule, mixup=mixup
        )
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        found[schedule] = {
            "steps": trainer.global_step,
            "names": sorted(metrics),
            "lr": [group["lr"] for group in trainer.optimizers[0].param_groups],
            "log": os.path.basename(trainer.log_dir),
        }
        if not mixup:  # what is drawn at random is another thing in every library
            found[schedule] |= {"metrics": metrics, "first": first, "second": second}
            found[schedule]["kept"] = sorted(p.split("/")[-1] for p in checkpoint.best_k_models)
    return found
