"""What bf16 and int8 cost: flips on the test sets of models that are trained here.

Digits of scikit-learn at 64 pixels, and the solar cells of the demo; each model also with outliers
injected: one channel of every norm that a linear layer reads times 30, its weights divided by 30,
which changes no function. Calibration images are training images. Then the agreement of full-size
models with weights drawn from a seed, on photographs of the cells.

    python benchmarks/int8_accuracy.py > benchmarks/results/int8_accuracy.md
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

import vitc
from vitc import data
from vitc.cli import demo
from vitc.data import transforms as T
from vitc.models.model import Model
from vitc.quantization import Calibration, calibrate, quantize
from vitc.quantization.comparison import compare
from vitc.quantization.methods import METHODS
from vitc.quantization.report import percent, points
from vitc.quantization.smooth import norm_pairs
from vitc.tape import no_grad
from vitc.training.tools.classifier import Classifier

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # images to calibrate and to test with, labels
QUIET: dict[str, Any] = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)


def prepared(dataset: Any) -> np.ndarray:
    return np.stack([dataset[i][0] for i in range(len(dataset))])


def digits(epochs: int) -> tuple[Model, Arrays]:
    """1,200 digits to train on, 597 to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    pixels = (source.images * 255 / 16).astype(np.uint8)
    parts = train_test_split(np.arange(1797), test_size=597, stratify=source.target, random_state=0)
    transform = T.Compose([T.Resize(64), T.ToTensor(), T.Normalize((0.3,), (0.35,))])
    train, test = (
        data.ArrayDataset(pixels[part], source.target[part], transform, mode="L") for part in parts
    )
    vitc.seed_everything(0)
    shape = dict(img_size=64, patch_size=16, in_chans=1, depth=4, embed_dim=64, num_heads=4)
    preparation = dict(mean=(0.3,), std=(0.35,))
    module = Classifier("test_vit", 10, lr=2e-3, data_config=preparation, **shape)
    trainer = vitc.Trainer(max_epochs=epochs, enable_model_summary=False, **QUIET)
    trainer.fit(module, data.DataLoader(train, 32, shuffle=True))
    return module.model.eval(), (prepared(train)[:512], prepared(test), test.targets)


def cells(epochs: int) -> tuple[Model, Arrays]:
    """The model of `vitc demo`: 1,968 photographs to train on, 656 to test."""
    vitc.seed_everything(0)
    train, test = demo.load_cells()
    module = demo.make_classifier()
    options = argparse.Namespace(batch_size=demo.BATCH_SIZE, workers=2)
    trainer = vitc.Trainer(
        max_epochs=epochs, gradient_clip_val=demo.CLIP, enable_model_summary=False, **QUIET
    )
    trainer.fit(module, demo.training_loader(train, options))
    known, unseen = (demo.test_images(part, module) for part in (train, test))
    chosen = data.Subset(known, range(0, len(known), 4))
    return module.model.eval(), (prepared(chosen), prepared(unseen), test.labels)


def with_outliers(model: Model, factor: float = 30.0) -> Model:
    made = deepcopy(model)
    with made.edit() as weights:
        for channel, pair in enumerate(norm_pairs(made.program(), made.params.names)):
            place = 3 * channel % made.embed_dim
            for name in (pair.norm_weight, pair.norm_bias):
                weights[name][place] *= factor
            for name in pair.weights:
                weights[name].reshape(len(weights[name]), -1)[:, place] /= factor
    return made


def as_bf16(model: Model) -> Model:
    made = deepcopy(model)
    made.precision = "bf16"
    return made


def precisions(model: Model, images: np.ndarray) -> Iterator[tuple[str, Model]]:
    yield "bf16", as_bf16(model)
    yield "int8 dynamic", quantize(model)
    yield "int8 dynamic, with calibration", quantize(model, calibration=images)
    for method in METHODS:
        found = calibrate(model, images, method=method)
        yield f"int8 static, {method}", quantize(model, "static", calibration=found)
    plain = partial(calibrate, model, images)
    for what, found in (
        ("no bias correction", plain(bias_correction=False)),
        ("neither", plain(bias_correction=False, smooth=False)),
    ):
        yield f"int8 static, minmax, {what}", static(model, found)


def static(model: Model, found: Calibration) -> Model:
    return quantize(model, "static", calibration=found)


def logits(model: Model, images: np.ndarray) -> np.ndarray:
    with no_grad():
        parts = [np.array(model(images[i : i + 16])) for i in range(0, len(images), 16)]
    return np.concatenate(parts)


def trained(title: str, model: Model, arrays: Arrays) -> None:
    images, unseen, labels = arrays
    for kind, made in (("as trained", model), ("with outliers", with_outliers(model))):
        before = logits(made, unseen)
        accuracy = 100 * np.mean(before.argmax(axis=1) == labels)
        print(f"\n## {title}, {kind}\n\n{len(labels)} images, float32 {accuracy:.2f} %\n")
        print("| precision | lost, points | flips: lost, won | same class | logits, relative |")
        print("|---|---|---|---|---|")
        for name, other in precisions(made, images):
            c = compare(before, logits(other, unseen), labels)
            assert c.drop is not None
            print(
                f"| {name} | {points(c.drop)} | {c.lost}, {c.won} | {percent(c.agreement)} | "
                f"{c.error:.4f} |",
                flush=True,
            )


def drawn(name: str) -> Model:
    """Matrices N(0, 1/fan_in), norm weights 1 + 0.3 N, biases 0.2 N, tokens and tables 0.5 N."""
    model = vitc.create_model(name).eval()
    generator, state = np.random.default_rng(0), {}
    for key, shape in model.shapes.items():
        noise = generator.standard_normal(shape)
        if len(shape) in (2, 4):
            value = noise / np.sqrt(np.prod(shape[1:]))
        elif key.endswith(".weight"):
            value = 1 + 0.3 * noise
        else:
            value = (0.2 if key.endswith("bias") else 0.5) * noise
        state[key] = value.astype(np.float32)
    model.load_state_dict(state)
    return model


def full_size(names: list[str], count: int) -> None:
    train, test = demo.load_cells()
    print("\n## Full-size models with weights drawn from a seed\n")
    print(f"{count} photographs of the test set at 224 pixels, 64 others to calibrate with.\n")
    print("| model | precision | same class of 1,000 | logits, relative |\n|---|---|---|---|")
    for name in names:
        model = drawn(name)
        transform = data.create_transform(**data.resolve_data_config(model=model))
        images, unseen = (
            prepared(
                data.ArrayDataset(np.repeat(x[..., None], 3, 3), np.zeros(len(x), int), transform)
            )
            for x in (train.images[:64], test.images[:count])
        )
        before = logits(model, unseen)
        for precision, other in seeded(model, images):
            c = compare(before, logits(other, unseen))
            print(f"| {name} | {precision} | {percent(c.agreement)} | {c.error:.4f} |", flush=True)


def seeded(model: Model, images: np.ndarray) -> Iterator[tuple[str, Model]]:
    yield "bf16", as_bf16(model)
    yield "int8 dynamic", quantize(model)
    yield "int8 dynamic, with calibration", quantize(model, calibration=images)
    yield "int8 static", quantize(model, "static", calibration=images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits-epochs", type=int, default=30)
    parser.add_argument("--cells-epochs", type=int, default=16)
    parser.add_argument("--count", type=int, default=512, help="images of full-size models")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"# What bf16 and int8 cost\n\n`python {' '.join(sys.argv)}`. Intervals are of 95 %:")
    print("Agresti and Min's for the paired difference of accuracies, Wilson's for shares.")
    trained("Digits at 64 pixels", *digits(options.digits_epochs))
    trained("Solar cells (ELPV)", *cells(options.cells_epochs))
    full_size(["vit_tiny_patch16_224", "vit_small_patch16_224"], options.count)


if __name__ == "__main__":
    main()
