"""Train a classifier on a folder of images.

DATA is a folder with one folder of images per class, or with `train/`, `val/` and `test/` of that
kind, or a CSV or TSV manifest with the columns image and label (and split: train, val, test; and
group, which stays together), or an .npz file as MedMNIST's. Without a validation set, a part of the
training images is set apart, in proportion from every class. Which ones is kept with the model.

    vitc fit photos/ --model vit_tiny_patch16_224 --epochs 20
"""

import argparse
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitc import data
from vitc.cli import common
from vitc.cli.splits import NAMES, Splits, class_counts, digests, find_splits, write_split
from vitc.cli.validate import report
from vitc.data.loader import ON_ERROR
from vitc.errors import listed
from vitc.models.weights.local_dir import CONFIG, read_config
from vitc.runtime import seed_everything
from vitc.training.callbacks import EarlyStopping, ModelCheckpoint
from vitc.training.tools.classifier import Classifier
from vitc.training.trainer import Trainer

MONITORS = {"val_loss": "min", "val_acc": "max", "val_balanced_accuracy": "max", "val_auroc": "max"}
FIGURES = ("balanced_accuracy", "auroc")
NO_OPTIONS = {"model": "", "num_classes": None, "img_size": None}


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
    add(
        "--monitor",
        choices=tuple(MONITORS),
        help="by which the best epoch is chosen (default: val_auroc of two classes, else val_loss)",
    )
    add("--patience", type=int, metavar="N", help="stop after N epochs without a better one")
    add(
        "--class-weights",
        choices=("balanced",),
        help="weigh the loss of a class by how rare it is",
    )
    add("--balanced-sampling", action="store_true", help="draw rare classes more often")
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
    mode = "L" if options.grey else "RGB"
    splits = find_splits(Path(options.data), mode, options.val, options.val_fraction)
    counts = class_counts(splits.train)
    monitor = chosen_monitor(options.monitor, splits)
    module = Classifier(
        options.model,
        class_names=splits.train.classes,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        class_weights=class_weights(counts) if options.class_weights else None,
        checkpoint_path=options.weights,
        figures=FIGURES,
        img_size=options.img_size,
        in_chans=1 if options.grey else 3,
        drop_path_rate=options.drop_path,
    )
    print(opening(splits, counts))
    digested = {
        name: digests(images, options.workers)
        for name, images in splits._asdict().items()
        if name in NAMES and images is not None
    }
    module.model.pretrained_cfg |= {"split": digested}
    if twice := set(digested["train"]) & {d for n in ("val", "test") for d in digested.get(n, ())}:
        print(f"warning: {len(twice)} images are among those to train on and those set apart")
    set_transforms(module.model, splits, options)
    keeper = ModelCheckpoint(
        monitor=monitor,
        mode=MONITORS[monitor],
        filename=f"{{epoch}}-{{{monitor}:.3f}}",
        save_last=True,
    )
    callbacks: list[Any] = [keeper]
    if options.patience is not None:
        callbacks.append(EarlyStopping(monitor, patience=options.patience, mode=MONITORS[monitor]))
    train, val, test = loaders(splits, options)
    trainer = Trainer(
        max_epochs=options.epochs,
        callbacks=callbacks,
        default_root_dir=options.output,
        log_every_n_steps=min(50, len(train)),  # small data has rows of steps, too
    )
    if options.resume:
        check_same(options.resume, splits, digested)
    try:
        trainer.fit(module, train, val, ckpt_path=options.resume)
    finally:
        if trainer.interrupted and keeper.last_model_path:
            print(f"or: {resumed(options.words, keeper.last_model_path)}")
    if not keeper.best_model_path:
        print("nothing was trained")
        return 0
    write_split(Path(trainer.log_dir or options.output) / "split.csv", splits, digested)
    best, _ = common.trained_model(argparse.Namespace(source=keeper.best_model_path, **NO_OPTIONS))
    for name, loader, images in (("validation", val, splits.val), ("test", test, splits.test)):
        if loader is not None:
            found, labels = common.judged(best, loader)
            print(f"{name}, {len(labels)} images:")
            print(report(found, labels, images.classes))
    print(closing(options, keeper.best_model_path, Path(trainer.log_dir or options.output)))
    return 0


def chosen_monitor(asked: str | None, splits: Splits) -> str:
    """By which figure the best epoch is chosen: AUROC of two classes, else the loss."""
    present = len(set(np.asarray(splits.val.targets).tolist()))
    if asked is None:
        return "val_auroc" if present == len(splits.val.classes) == 2 else "val_loss"
    if asked == "val_auroc" and present < len(splits.val.classes):
        raise ValueError("--monitor val_auroc needs images of every class to validate on")
    return asked


def class_weights(counts: Mapping[str, int]) -> list[float]:
    """One per class, as scikit-learn's "balanced": images / (classes x images of the class)."""
    return [sum(counts.values()) / (len(counts) * count) for count in counts.values()]


def opening(splits: Splits, counts: Mapping[str, int]) -> str:
    """How many images of each class there are, and what was passed over."""
    apart = class_counts(splits.val)
    width = max(map(len, counts))
    lines = [
        f"{len(splits.train)} images to train on, {len(splits.val)} to validate"
        + (f", {len(splits.test)} to test" if splits.test is not None else "")
        + f": {splits.said}"
    ]
    lines += [f"  {name:{width}}  {n} and {apart[name]}" for name, n in counts.items()]
    passed = Counter[str]()
    for images in (splits.train, splits.val, splits.test):
        whole = images.dataset if isinstance(images, data.Subset) else images
        passed |= getattr(whole, "left_out", Counter())
    if passed:
        lines.append(f"passed over: {listed([f'{n} {name}' for name, n in passed.items()])}")
    return "\n".join(lines)


def loaders(splits: Splits, options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Of the images to train on, to validate on, and to test on or None."""
    size, workers = options.batch_size, options.workers
    mix = mixing(options, len(splits.train.classes))
    # An image substituted for another would count twice in the figures of validation.
    unread = "raise" if options.on_error == "raise" else "skip"
    balanced = (
        data.ClassBalancedSampler(splits.train.targets, seed=options.seed)
        if options.balanced_sampling
        else None
    )
    train = data.DataLoader(
        splits.train,
        size,
        balanced is None,
        sampler=balanced,
        num_workers=workers,
        collate_fn=mix,
        on_error=options.on_error,
    )
    val, test = (
        None
        if images is None
        else data.DataLoader(images, size, num_workers=workers, on_error=unread)
        for images in (splits.val, splits.test)
    )
    return train, val, test


def check_same(checkpoint: str, splits: Splits, digested: Mapping[str, list[str]]) -> None:
    """Raises `ValueError` unless a checkpoint was trained on these images and classes."""
    cfg = read_config(Path(checkpoint) / CONFIG).cfg
    known = list(cfg.get("label_names") or ())
    if known != splits.train.classes:
        raise ValueError(
            f"--resume {checkpoint} has the classes {listed(known)}, the images "
            f"{listed(splits.train.classes)}"
        )
    before = cfg.get("split", {}).get("train")
    if before is not None and sorted(before) != sorted(digested["train"]):
        raise ValueError(f"--resume {checkpoint} was trained on other images than these")


def resumed(words: Sequence[str], checkpoint: str) -> str:
    """The same command, going on from a checkpoint."""
    kept = list(words)
    for i, word in enumerate(words):
        if word == "--resume":
            kept = [*words[:i], *words[i + 2 :]]
        elif word.startswith("--resume="):
            kept = [*words[:i], *words[i + 1 :]]
    return shlex.join([*kept, "--resume", checkpoint])


def closing(options: argparse.Namespace, best: str, folder: Path) -> str:
    """The next commands, as they can be run."""
    return "\n".join(
        [
            f"{folder / 'split.csv'} says which images were set apart",
            f"  {shlex.join(['vitc', 'validate', best, options.data])}",
            f"  {shlex.join(['vitc', 'evaluate', best, options.data])}",
            f"  {shlex.join(['vitc', 'predict', best])} IMAGE...",
            f"timm opens it with timm.create_model({'local-dir:' + best!r}, pretrained=True)",
        ]
    )


def set_transforms(model: Any, splits: Splits, options: argparse.Namespace) -> None:
    """Augmentation for training, the model's own preparation for all others."""
    plain = common.evaluation_transform(model)
    augmented = common.training_transform(data.resolve_data_config(model=model), options)
    for images, transform in ((splits.train, augmented), (splits.val, plain), (splits.test, plain)):
        whole = images.dataset if isinstance(images, data.Subset) else images
        if whole is not None:
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
