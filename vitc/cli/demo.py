"""Train a Vision Transformer from scratch on photographs of solar cells, in minutes.

2,624 electroluminescence photographs; a cell counts as defective if its probability of a defect is
1/2 or more. A quarter of them, drawn by label and cell type, is only looked at when training is
over.
"""

import argparse
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc import data
from vitc.arrays import Array
from vitc.cli import common
from vitc.cli.predict import Table
from vitc.data import transforms as T
from vitc.explain import attention_figure, attention_rollout
from vitc.runtime import seed_everything
from vitc.training.tools.classifier import Classifier
from vitc.training.tools.metrics import classification_metrics
from vitc.training.trainer import Trainer

CLASSES = ["functional", "defective"]

# The recipe, chosen on a part of the training photographs. Random crops and quarter turns cost more
# than they bring (AUROC there 0.81 with them, 0.87 without): they hide where the wires run.
EPOCHS, BATCH_SIZE, PIXELS = 48, 16, 96
MODEL: dict[str, Any] = dict(
    img_size=PIXELS, patch_size=12, embed_dim=96, depth=4, num_heads=4, in_chans=1
)
TRAINING: dict[str, Any] = dict(
    lr=1e-3, weight_decay=0.05, warmup=0.1, label_smoothing=0.0, drop_path_rate=0.1
)
CLIP = 1.0
# Mean and standard deviation of the training photographs; the whole cell is shown.
PREPARATION: dict[str, Any] = dict(
    mean=(0.595,), std=(0.158,), crop_pct=1.0, interpolation="bilinear"
)

NOTICE = """\
Data: ELPV, 2,624 photographs of solar cells, licence CC BY-NC-SA 4.0 (not for commercial use).
  Buerhop-Lutz, Deitsch, Maier, Gallwitz, Berger, Doll, Hauch, Camus, Brabec: A Benchmark for Visual
  Identification of Defective Solar Cells in Electroluminescence Imagery. EU PVSEC 2018.
  Deitsch, Christlein, Berger, Buerhop-Lutz, Maier, Gallwitz, Riess: Automatic Classification of
  Defective Photovoltaic Module Cells in Electroluminescence Images. Solar Energy 185, 2019.
"""


class Cells(NamedTuple):
    """Part of the photographs. images: (N, 300, 300) uint8. defect: (N,) its probability."""

    names: list[str]
    images: Array
    defect: Array

    @property
    def labels(self) -> Array:
        return (self.defect >= 0.5).astype(np.int64)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="vitc-demo", metavar="DIR", help="default: vitc-demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="for a shorter try")
    common.add_run_options(parser, batch_size=BATCH_SIZE)


def run(options: argparse.Namespace) -> int:
    common.apply_run_options(options)
    start = time.monotonic()
    print(NOTICE)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    seed_everything(options.seed)
    train, test = load_cells()
    module = make_classifier()
    trainer = Trainer(max_epochs=options.epochs, gradient_clip_val=CLIP, default_root_dir=output)
    trainer.fit(module, training_loader(train, options))
    checkpoint = trainer.checkpoint_callback
    assert checkpoint is not None
    loader = data.DataLoader(test_images(test, module), options.batch_size)
    found = common.probabilities(module.model.eval(), loader)
    print(table(train, test, found))
    with Table(output / "predictions.csv", CLASSES) as predictions:
        for name, row in zip(test.names, found, strict=True):
            predictions.add(name, row)
    picture(module, test, found).savefig(output / "attention.png", dpi=110)
    print(closing(output, checkpoint.best_model_path, time.monotonic() - start))
    return 0


# ------------------------------------------------------------------------------------- the data


def load_cells() -> tuple[Cells, Cells]:
    """Three quarters to train on and one to test, the same for every seed."""
    try:
        from elpv_dataset.utils import load_dataset
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(f'the demo needs {error.name}: pip install "vitc[demo]"') from None
    images, probabilities, types = load_dataset()
    labels = probabilities >= 0.5
    kinds = [f"{int(label)} {kind}" for label, kind in zip(labels, types, strict=True)]
    parts = train_test_split(np.arange(len(images)), test_size=0.25, stratify=kinds, random_state=0)
    train, test = (
        Cells([f"cell{i + 1:04d}.png" for i in part], images[part], probabilities[part])
        for part in parts
    )
    return train, test


def training_loader(cells: Cells, options: argparse.Namespace) -> data.DataLoader:
    """The target is the defect probability itself: it says more than a label."""
    targets = np.stack([1 - cells.defect, cells.defect], axis=1).astype(np.float32)
    small = shrunk(cells.images, T.Resize(PIXELS, "bilinear"))
    images = data.ArrayDataset(small, targets, augmentation(), mode="L")
    return data.DataLoader(
        images, options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers
    )


def shrunk(images: Array, resize: T.Resize) -> Array:
    """(N, 300, 300) -> (N, size, size): once, instead of in every epoch."""
    from PIL import Image

    return np.stack([np.asarray(resize(Image.fromarray(image))) for image in images])


def augmentation() -> T.Compose:
    """A cell may be mirrored, and a little brighter."""
    return T.Compose(
        [
            T.RandomHorizontalFlip(),
            T.RandomVerticalFlip(),
            T.ColorJitter(brightness=0.1, contrast=0.1),
            T.ToTensor(),
            T.Normalize(PREPARATION["mean"], PREPARATION["std"]),
        ]
    )


def test_images(cells: Cells, module: Classifier) -> data.ArrayDataset:
    transform = common.evaluation_transform(module.model)
    return data.ArrayDataset(cells.images, cells.labels, transform, classes=CLASSES, mode="L")


# ------------------------------------------------------------------------------------- the model


def make_classifier() -> Classifier:
    return Classifier(
        "vit_tiny_patch16_224", class_names=CLASSES, data_config=PREPARATION, **MODEL, **TRAINING
    )


def logistic_regression(train: Cells, test: Cells) -> Array:
    """Probabilities (N, 2) of scikit-learn's logistic regression on 32 x 32 pixels."""
    from sklearn.linear_model import LogisticRegression

    resize = T.Resize(32, "box")
    pixels, unseen = (
        shrunk(cells.images, resize).reshape(len(cells.images), -1) / 255 for cells in (train, test)
    )
    model = LogisticRegression(max_iter=1000).fit(pixels, train.labels)
    return np.asarray(model.predict_proba(unseen))


# ------------------------------------------------------------------------------------- the result


def table(train: Cells, test: Cells, found: Array) -> str:
    """Three rows of figures on the photographs that were set apart."""
    majority = np.tile(1.0 - np.eye(2)[int(train.labels.mean() < 0.5)], (len(test.labels), 1))
    rows = {
        "always the more frequent class": majority,
        "logistic regression, 32 x 32": logistic_regression(train, test),
        "this Vision Transformer": found,
    }
    lines = [f"\nOn {len(test.labels)} photographs it has not seen:"]
    lines.append(f"{'':32}accuracy  balanced  AUROC")
    for name, probabilities in rows.items():
        figures = classification_metrics(probabilities, test.labels)
        lines.append(
            f"{name:32}{100 * figures['accuracy']:6.1f} %  "
            f"{100 * figures['balanced_accuracy']:6.1f} %  {figures['auroc']:.3f}"
        )
    return "\n".join(lines)


def picture(module: Classifier, test: Cells, found: Array) -> Any:
    """The surest right and the surest wrong answers, with what the model looked at."""
    chosen = [*_surest(test.labels, found, right=True), *_surest(test.labels, found, right=False)]
    images = test_images(test, module)
    maps = attention_rollout(module.model, np.stack([images[i][0] for i in chosen]))
    titles = [
        f"{CLASSES[test.labels[i]]}, {test.names[i]}\nsays: {common.percent(found[i, 1])} defective"
        for i in chosen
    ]
    figure = attention_figure([test.images[i] for i in chosen], list(maps), titles)
    figure.suptitle("The surest right answers, above, and the surest wrong ones", fontsize=11)
    return figure


def _surest(labels: Array, found: Array, right: bool) -> list[int]:
    """Two photographs of each class, those with the most certain right (or wrong) answers."""
    chosen: list[int] = []
    for label in (1, 0):
        certainty = np.abs(found[:, 1] - 0.5)
        certainty[(labels != label) | ((found.argmax(axis=1) == label) != right)] = -1
        chosen += [int(i) for i in np.argsort(-certainty, kind="stable")[:2] if certainty[i] >= 0]
    return chosen


def closing(output: Path, checkpoint: str, seconds: float) -> str:
    return f"""
{output}/predictions.csv  every prediction
{output}/attention.png    some of them, with what the model looked at
{checkpoint}
                 the checkpoint; timm opens it too
{seconds:.0f} seconds in all. Other photographs of solar cells:
  {shlex.join(["vitc", "predict", checkpoint])} IMAGE...
To train on your own photographs, in one folder per class:
  vitc fit PHOTOS/ --grey --img-size {PIXELS}"""
