"""Train a classifier on a folder of images.

DATA is a folder with one folder of images per class, or with `train/` and `val/` of that kind, or a
CSV or TSV manifest with the columns image and label (and split: train, val; and group, which stays
together), or an .npz file as MedMNIST's. Without a validation set, a part of the images is set
apart, in proportion from every class.

    vitc fit photos/ --model vit_tiny_patch16_224 --epochs 20
"""

import argparse
from pathlib import Path
from typing import Any

from vitc import data
from vitc.cli import common
from vitc.data.loader import ON_ERROR
from vitc.errors import listed
from vitc.runtime import seed_everything
from vitc.training.callbacks import ModelCheckpoint
from vitc.training.tools.classifier import Classifier
from vitc.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of class folders, or a CSV manifest")
    add("--val", metavar="DATA", help="validation set of the same kind")
    add("--val-fraction", type=float, default=0.2, metavar="SHARE", help="set apart (default: 0.2)")
    add("--model", default="vit_tiny_patch16_224", metavar="NAME", help="timm's name")
    add(
        "--weights", default="", metavar="FILE", help=".safetensors of the same model to start from"
    )
    add("--img-size", type=int, metavar="PIXELS", help="default: the model's own")
    add("--grey", action="store_true", help="one channel instead of three")
    add("--epochs", type=int, default=20, metavar="N")
    add("--lr", type=float, default=5e-4, metavar="RATE", help="at its peak (default: 5e-4)")
    add("--weight-decay", type=float, default=0.05, metavar="W")
    add("--drop-path", type=float, default=0.1, metavar="RATE")
    add("--label-smoothing", type=float, default=0.1, metavar="SHARE")
    add("--mixup", type=float, default=0.0, metavar="ALPHA", help="mix images (default: 0, off)")
    add("--cutmix", type=float, default=0.0, metavar="ALPHA", help="the same by rectangles")
    add("--output", default=".", metavar="DIR", help="where logs and checkpoints go")
    add("--resume", metavar="CHECKPOINT", help="resume from this checkpoint")
    add("--seed", type=int, default=0)
    add(
        "--on-error",
        choices=ON_ERROR,
        default="raise",
        help="what becomes of images that cannot be read (default: raise)",
    )
    common.add_augmentation_options(parser)
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> int:
    common.apply_run_options(options)
    seed_everything(options.seed)
    train, val = datasets(options)
    module = Classifier(
        options.model,
        class_names=train.classes,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        checkpoint_path=options.weights,
        img_size=options.img_size,
        in_chans=1 if options.grey else 3,
        drop_path_rate=options.drop_path,
    )
    set_transforms(module.model, train, val, options)
    print(f"{len(train)} images to train on, {len(val)} to validate: {listed(train.classes)}")
    keeper = ModelCheckpoint(monitor="val_acc", mode="max", filename="{epoch}-{val_acc:.3f}")
    trainer = Trainer(max_epochs=options.epochs, callbacks=keeper, default_root_dir=options.output)
    size, workers, mix = options.batch_size, options.workers, mixing(options, len(train.classes))
    # An image substituted for another would count twice in the figures of validation.
    unread = "raise" if options.on_error == "raise" else "skip"
    train_loader = data.DataLoader(
        train, size, True, num_workers=workers, collate_fn=mix, on_error=options.on_error
    )
    val_loader = data.DataLoader(val, size, num_workers=workers, on_error=unread)
    try:
        trainer.fit(module, train_loader, val_loader, ckpt_path=options.resume)
    finally:
        if trainer.interrupted:
            print(f"or: vitc fit {options.data} ... --resume {keeper.last_model_path}")
    best = keeper.best_model_path
    print(
        f"best: {common.percent(keeper.best_model_score or 0)} of the validation images are right\n"
        f"  vitc validate {best} {options.data}\n"
        f"  vitc predict {best} IMAGE...\n"
        f"timm opens it with timm.create_model('local-dir:{best}', pretrained=True)"
    )
    return 0


def datasets(options: argparse.Namespace) -> tuple[Any, Any]:
    """The training and validation images, without transforms. Raises `ValueError` if their classes
    differ."""
    path, mode = Path(options.data), "L" if options.grey else "RGB"
    if options.val is not None:
        train, val = (common.labelled_images(p, None, mode) for p in (path, options.val))
    elif (path / "train").is_dir() and (path / "val").is_dir():
        train, val = (common.labelled_images(path / part, None, mode) for part in ("train", "val"))
    elif _has_splits(path):
        train, val = (common.labelled_images(path, None, mode, part) for part in ("train", "val"))
    else:
        train, val = _split(path, mode, options.val_fraction)
    if train.classes != val.classes:
        raise ValueError(
            f"the classes to train on are {listed(train.classes)}, those to validate "
            f"{listed(val.classes)}"
        )
    return train, val


def set_transforms(model: Any, train: Any, val: Any, options: argparse.Namespace) -> None:
    """Augmentation for training, the model's own preparation for validation."""
    settings = data.resolve_data_config(model=model)
    augmented = common.training_transform(settings, options)
    for images, transform in ((train, augmented), (val, common.evaluation_transform(model))):
        whole = images.dataset if isinstance(images, data.Subset) else images
        whole.transform = transform


def mixing(options: argparse.Namespace, classes: int) -> data.FastCollateMixup | None:
    """What makes a batch of training images, if they are to be mixed.

    The loss smooths the labels, which comes to the same before and after mixing.
    """
    if not (options.mixup or options.cutmix):
        return None
    return data.FastCollateMixup(
        options.mixup, options.cutmix, label_smoothing=0.0, num_classes=classes
    )


def _split(path: Path, mode: str, fraction: float) -> tuple[Any, Any]:
    """Two parts of the images at path. Each is a part of a separate data set, since they are to
    have different transforms."""
    wholes = [common.labelled_images(path, None, mode) for _ in range(2)]
    train, val = (
        data.train_test_split(
            whole, fraction, whole.targets, seed=0, groups=getattr(whole, "groups", None)
        )[part]
        for part, whole in enumerate(wholes)
    )
    return train, val


def _has_splits(path: Path) -> bool:
    """Whether a file defines its own splits."""
    if path.suffix.lower() in common.MANIFESTS:
        return "split" in common.columns(path)
    return path.suffix.lower() == ".npz"
