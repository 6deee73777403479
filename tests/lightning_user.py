"""A program as users of Lightning and timm write it: only the imports say which engine runs it.

    python lightning_user.py vitc|torch FOLDER

Fine-tunes a classifier on a folder of images, distils a larger one into it, and exports it to ONNX.
MODEL, TEACHER, EPOCHS, BATCH and DEVICES come from the environment.
"""

import os
import sys

if sys.argv[1] == "vitc":
    from numpy.random import randn

    import vitc as pl
    import vitc as timm
    import vitc.functional as F
    from vitc import no_grad, onnx
    from vitc.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
    from vitc.data import DataLoader, ImageFolder, transforms
    from vitc.optim import AdamW
else:
    import oracle  # noqa: F401  torchvision imports after this

    # isort: split
    import pytorch_lightning as pl
    import timm
    import torch.nn.functional as F
    from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
    from torch import no_grad, onnx, randn
    from torch.optim import AdamW
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    timm.layers.set_fused_attn(False)  # opset 13 has no fused attention


class Data(pl.LightningDataModule):
    def __init__(self, folder, batch_size):
        super().__init__()
        self.folder, self.batch_size = folder, batch_size

    def setup(self, stage):
        normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        train = transforms.Compose(
            [
                transforms.RandomResizedCrop(224, scale=(0.4, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.1, 0.1, 0.1),
                transforms.ToTensor(),
                normalize,
            ]
        )
        plain = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()]
        self.train = ImageFolder(self.folder, transform=train)
        self.val = ImageFolder(self.folder, transform=transforms.Compose([*plain, normalize]))

    def train_dataloader(self):
        return DataLoader(
            self.train, batch_size=self.batch_size, shuffle=True, num_workers=2, drop_last=True
        )

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)


class Classifier(pl.LightningModule):
    def __init__(self, name, num_classes, lr=1e-4):
        super().__init__()
        self.save_hyperparameters()
        self.model = timm.create_model(name, pretrained=False, num_classes=num_classes)

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", float((logits.argmax(dim=1) == y).sum()) / len(y))

    def configure_optimizers(self):
        return AdamW(self.parameters(), lr=self.hparams.lr)


class Distilled(Classifier):
    def __init__(self, name, teacher, num_classes, temperature=3.0, alpha=0.6):
        super().__init__(name, num_classes)
        self.temperature, self.alpha = temperature, alpha
        self.teacher = timm.create_model(teacher, pretrained=False, num_classes=num_classes)
        self.teacher.eval()
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits, t = self(x), self.temperature
        with no_grad():
            told = self.teacher(x)
        soft = F.kl_div(
            F.log_softmax(logits / t, dim=1),
            F.softmax(told.detach() / t, dim=1),
            reduction="batchmean",
        )
        loss = self.alpha * soft * t * t + (1 - self.alpha) * F.cross_entropy(logits, y)
        self.log("train_loss", loss)
        return loss


def main():
    epochs, batch, devices = (
        int(os.environ.get(name, default))
        for name, default in (("EPOCHS", 2), ("BATCH", 4), ("DEVICES", 4))
    )
    name = os.environ.get("MODEL", "vit_tiny_patch16_224")
    teacher = os.environ.get("TEACHER", "vit_small_patch16_224")
    pl.seed_everything(0)
    data = Data(sys.argv[2], batch)
    accelerator = "gpu" if sys.argv[1] == "vitc" else "cpu"  # as on the machine it was written for

    def trainer(*callbacks):
        return pl.Trainer(
            precision=16,
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            max_epochs=epochs,
            accumulate_grad_batches=4,
            gradient_clip_val=1.0,
            log_every_n_steps=1,
            callbacks=list(callbacks),
        )

    best = ModelCheckpoint(monitor="val_loss", filename="{epoch}-{val_loss:.2f}", save_last=True)
    run = trainer(best, EarlyStopping(monitor="val_loss", patience=5), LearningRateMonitor())
    run.fit(Classifier(name, 2), datamodule=data)
    print({key: round(float(value), 4) for key, value in run.callback_metrics.items()})

    trainer().fit(Distilled(name, teacher, 2), data.train_dataloader())

    net = Classifier.load_from_checkpoint(best.best_model_path)
    net.eval()
    onnx.export(
        net.model,
        randn(1, 3, 224, 224),
        "vit_model.onnx",
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        opset_version=13,
        dynamo=False,
    )


if __name__ == "__main__":
    main()
