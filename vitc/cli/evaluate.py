"""Evaluate a model with intervals, by group, with leaks and mistakes, as a report.

vitc evaluate lightning_logs/version_0/checkpoints/last.ckpt photos.csv --split test
vitc evaluate last.ckpt photos.csv --split test --train-split train --by site --by device
vitc evaluate new.ckpt test/ --compare old.ckpt --output comparison

The folder that is written holds report.html, which needs nothing else; report.json and figures.csv,
the same for programs; and predictions.csv, a row per image. A manifest's column "group" (a patient,
a part) keeps the images of a group together wherever images are drawn.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vitc import __version__, data, explain
from vitc.arrays import Array
from vitc.cli import common
from vitc.cli.splits import add_judging_options, to_judge
from vitc.errors import shown
from vitc.files import check_place

CARDS = ("accuracy", "balanced_accuracy", "auroc")
GALLERIES = {
    "most_wrong": "Surest wrong answers",
    "most_uncertain": "Most uncertain answers",
    "typical": "Typical right answers",
}
_FORMAT = "vitc evaluation 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model_options(parser)
    add = parser.add_argument
    add_judging_options(parser)
    add("--train", metavar="DATA", help="the training images, to look for leaks (default: none)")
    add("--train-split", metavar="NAME", help="the split of --train, or of DATA, that was trained")
    add("--positive", metavar="CLASS", help="of two, the one to find (default: the second)")
    add("--compare", metavar="MODEL", help="a second model, on the same images")
    add(
        "--by",
        metavar="COLUMN",
        action="append",
        default=[],
        help="also the figures for each value of this column of the manifest; may be repeated",
    )
    add(
        "--output",
        metavar="DIR",
        default="evaluation",
        help="where the report is written (default: evaluation)",
    )
    add(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="of the bootstrap, from 100 (default: 1000)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of everything that is drawn (default: 0)")
    common.add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    from vitc import evaluation
    from vitc.evaluation import report
    from vitc.evaluation.study import comparison, plain, study

    folder = output_folder(options.output)
    evaluation.check_resamples(options.resamples)
    common.apply_run_options(options)
    model, names = common.trained_model(options)
    second = None if options.compare is None else _second(options, names)
    others = [] if second is None else [second]
    images, said = to_judge(options, model, names, others, options.by)
    trained = _trained(options, model)
    labels = common.as_labels(images, names)
    found = _predictions(evaluation, options, model, names, images, labels)
    drawn = dict(resamples=options.resamples, seed=options.seed)
    content: dict[str, Any] = {
        "format": _FORMAT,
        "subject": _subject(options, model, images, said, evaluation.VERSIONS),
        "study": study(found, by=options.by, **drawn),
        "leakage": None if trained is None else plain(_leaks(evaluation, images, trained)),
        "comparison": None,
    }
    if second is not None:
        again, _ = to_judge(options, second, names, [model], options.by)
        other = _predictions(evaluation, options, second, names, again, labels)
        compared = comparison(evaluation.compare(other, found, **drawn))
        content["comparison"] = {"other": options.compare, **compared}
    galleries = _galleries(model, images, found, content["study"])
    folder.mkdir(exist_ok=True)
    page = report.write(folder, content, found, galleries)
    print(summary(content))
    print(f"{page}")


def output_folder(name: str) -> Path:
    """The folder of a report, new, empty, or with an older report. Raises `ValueError` for one that
    holds something else, `OSError` for one that cannot be."""
    folder = Path(name).expanduser()
    if folder.exists() and any(folder.iterdir()):
        try:
            mine = json.loads((folder / "report.json").read_bytes()).get("format") == _FORMAT
        except (OSError, ValueError, AttributeError):
            mine = False
        if not mine:
            raise ValueError(f"{folder} holds other files: name a new folder with --output")
    if not folder.is_dir():
        check_place(folder)
    return folder


def summary(content: Mapping[str, Any]) -> str:
    """The first figures with their intervals, and what a reader must know."""
    from vitc.evaluation.report import alerts

    study = content["study"]
    unit = f" of {study['units']} groups" if study["grouped"] else ""
    lines = [f"{study['images']} images{unit}"]
    for name in CARDS:
        figure = study["figures"][name]
        lines.append(f"{figure['title']:18} {_number(figure)}")
    width = max(map(len, study["per_class"]))
    for name, part in study["per_class"].items():
        lines.append(f"  {name:{width}}  {part['found']} of {part['images']} found")
    return "\n".join([*lines, *alerts(content)])


def _number(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f}  ({figure['low']:.3f} to {figure['high']:.3f})"


# ---------------------------------------------------------------------------------- the images


def _trained(options: argparse.Namespace, model: Any) -> Any:
    """The training images, None if nothing says which these are."""
    if options.train is None and options.train_split is None:
        return None
    if options.train is None and options.train_split == options.split:
        raise ValueError(f"--split and --train-split are both {shown(options.split)}")
    path = options.train or options.data
    found = common.labelled_images(path, None, common.mode_of(model), options.train_split)
    if not hasattr(found, "samples"):
        raise ValueError(f"{path}: leaks are looked for among image files")
    return found


def _leaks(evaluation: Any, images: Any, trained: Any) -> dict[str, Any]:
    """Pairs of a training image and one that is evaluated, and the groups that are in both."""
    splits = {"training": trained, "evaluated": images}
    paths = {name: [path for path, _ in part.samples] for name, part in splits.items()}
    grouped = all(hasattr(part, "groups") for part in splits.values())
    groups = {name: part.groups for name, part in splits.items()} if grouped else {}
    pairs = evaluation.duplicates(paths, decode=trained.decode)
    return {
        "trained_on": len(trained),
        "pairs": [pair._asdict() for pair in pairs],
        "groups": list(evaluation.shared_groups(groups)),
        "grouped": grouped,
    }


def _second(options: argparse.Namespace, names: list[str]) -> Any:
    """The second model. Raises `ValueError` unless it has the classes of the first."""
    other = argparse.Namespace(**{**vars(options), "source": options.compare})
    model, classes = common.trained_model(other)
    if classes != names:
        raise ValueError(f"{options.compare} has other classes: they cannot be compared")
    return model


def _predictions(
    evaluation: Any,
    options: argparse.Namespace,
    model: Any,
    names: list[str],
    images: Any,
    labels: Array,
) -> Any:
    """What a model says of the images."""
    loader = data.DataLoader(images, options.batch_size, num_workers=options.workers)
    samples = getattr(images, "samples", None)
    found = evaluation.Predictions(
        common.probabilities(model, loader),
        labels,
        names,
        [path for path, _ in samples] if samples else (),
        getattr(images, "groups", None),
        getattr(images, "facts", {}),
    )
    return found if options.positive is None else found.with_positive(options.positive)


# ---------------------------------------------------------------------------------- the report


def _subject(
    options: argparse.Namespace, model: Any, images: Any, said: str, versions: Mapping[str, str]
) -> dict[str, Any]:
    prepared = data.resolve_data_config(model=model)
    facts = {
        "model": str(options.source),
        "architecture": f"{model.name}, {model.precision}"
        + (f", int8 {model.quantized}" if model.quantized else ""),
        "SHA-256 of the weights": weights_hash(model),
        "data": f"{options.data}: {said}",
        "SHA-256 of the images and labels": data_hash(images),
        "preparation": ", ".join(f"{name} {value}" for name, value in prepared.items()),
        "training images": options.train or options.train_split or "not given",
        "vitc": __version__,
        **versions,
        "resamples, seed": f"{options.resamples}, {options.seed}",
    }
    return {
        "title": f"{Path(options.source).name} on {Path(options.data).name}",
        "made": f"Written on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by vitc {__version__}.",
        "facts": facts,
    }


def weights_hash(model: Any) -> str:
    """Of every name, dtype, shape and value of the state dict, in its order."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def data_hash(images: Any) -> str:
    """Of each image's file, or pixels, with its label, in their order."""
    digest = hashlib.sha256()
    samples = getattr(images, "samples", None)
    for i in range(len(images)):
        if samples is not None:
            with open(samples[i][0], "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(np.ascontiguousarray(images[i][0]).tobytes())
        digest.update(f"{images.classes[int(images.targets[i])]}\0".encode())
    return digest.hexdigest()


def _galleries(
    model: Any, images: Any, found: Any, study: Mapping[str, Any]
) -> list[tuple[str, list[Any]]]:
    """Pictures as the model saw them, with what it attended to where that can be said."""
    from vitc.evaluation.report import picture

    galleries = []
    for kind, title in GALLERIES.items():
        pictures = []
        for i in study["mistakes"][kind]:
            pixels = np.asarray(images[i][0])
            said = int(found.probabilities[i].argmax())
            caption = (
                f"{found.classes[found.labels[i]]}; says {found.classes[said]}, "
                f"{common.percent(found.probabilities[i, said])}"
            )
            weights = explain.attention_rollout(model, pixels[None])[0]
            pictures.append(picture(found.ids[i], caption, _seen(model, pixels), weights))
        galleries.append((title, pictures))
    return galleries


def _seen(model: Any, pixels: Array) -> Array:
    """(H, W) or (H, W, 3) uint8 of normalised pixels (C, H, W)."""
    config = data.resolve_data_config(model=model)
    mean, std = (np.reshape(config[name], (-1, 1, 1)) for name in ("mean", "std"))
    shown_as = ((pixels * std + mean).clip(0, 1) * 255).round().astype(np.uint8)
    return shown_as[0] if len(shown_as) == 1 else np.moveaxis(shown_as, 0, 2)
