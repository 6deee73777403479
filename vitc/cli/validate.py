"""Evaluate a model on labelled images.

vitc validate lightning_logs/version_0/checkpoints/epoch=9-val_acc=0.930.ckpt photos/
"""

import argparse

import numpy as np

from vitc import data
from vitc.arrays import Array
from vitc.cli import common
from vitc.cli.splits import add_judging_options, to_judge
from vitc.training.tools.metrics import classification_metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    add_judging_options(parser)
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    common.apply_run_options(options)
    model, names = common.trained_model(options)
    images, said = to_judge(options, model, names)
    labels = common.as_labels(images, names)
    loader = data.DataLoader(images, options.batch_size, num_workers=options.workers)
    print(said)
    print(report(common.probabilities(model, loader), labels, names))


def report(probabilities: Array, labels: Array, names: list[str]) -> str:
    """The figures, and per class how many images there are and how many are found."""
    figures = classification_metrics(probabilities, labels)
    lines = [
        f"accuracy           {common.percent(figures['accuracy'])}",
        f"balanced accuracy  {common.percent(figures['balanced_accuracy'])}",
        f"AUROC              {figures['auroc']:.3f}",
    ]
    chosen, width = probabilities.argmax(axis=1), max(map(len, names))
    for label, name in enumerate(names):
        there = labels == label
        if np.any(there):
            right = int(np.sum(chosen[there] == label))
            lines.append(f"  {name:{width}}  {right} of {int(there.sum())} found")
    return "\n".join(lines)
