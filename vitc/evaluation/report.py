"""The report: one page that needs nothing else, and the same as JSON and CSV."""

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.evaluation.predictions import Predictions
from vitc.files import replacing

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from vitc.evaluation.plots import all_plots
except ImportError:
    raise ImportError('the report needs matplotlib and Jinja2: pip install "vitc[train]"') from None

CARDS = ("balanced_accuracy", "auroc", "accuracy", "brier")
COLUMNS = ("accuracy", "balanced_accuracy", "auroc")
FEW = 30  # images of a class: below, its figures are called uncertain
_SIDE = 220  # pixels of a picture in the page


class Picture(NamedTuple):
    """A picture of the page: what it is of, and one or two JPEGs in base64."""

    id: str
    caption: str
    image: str
    overlay: str


def picture(id: str, caption: str, image: Array, weights: Array | None = None) -> Picture:
    """image: (H, W) or (H, W, 3) uint8. weights: (rows, columns) of patches, laid over it."""
    overlay = "" if weights is None else _jpeg(overlaid(image, weights))
    return Picture(id, caption, _jpeg(image), overlay)


def overlaid(image: Array, weights: Array) -> Array:
    """(H, W, 3) uint8: the image in grey, with the map in colour over it."""
    from matplotlib import colormaps
    from PIL import Image

    height, width = image.shape[:2]
    low, high = np.percentile(weights, [5, 99])
    share = np.clip((weights - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    smooth = Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR)
    colour = colormaps["inferno"](np.asarray(smooth))[..., :3] * 255
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    return np.asarray((0.45 * grey[..., None] + 0.55 * colour).round(), np.uint8)


def _jpeg(image: Array) -> str:
    from PIL import Image

    found = Image.fromarray(image)
    if max(found.size) > _SIDE:
        found.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    else:
        factor = max(1, _SIDE // max(found.size))
        found = found.resize([factor * side for side in found.size], Image.Resampling.NEAREST)
    data = io.BytesIO()
    found.save(data, "JPEG", quality=85)
    return base64.b64encode(data.getvalue()).decode("ascii")


# ---------------------------------------------------------------------------------- the page


def page(
    content: Mapping[str, Any],
    ids: Sequence[str],
    galleries: Iterable[tuple[str, list[Picture]]] = (),
) -> str:
    """The HTML of a content as `write` stores it: {"subject", "study", "leakage", "comparison"}."""
    environment = Environment(
        loader=PackageLoader("vitc.evaluation", ""), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        number=_number, bounds=_bounds, signed=_signed, percent=_percent, p=_p_value
    )
    return environment.get_template("report.html").render(
        **content,
        ids=ids,
        galleries=list(galleries),
        plots=all_plots(content["study"]),
        cards=CARDS,
        columns=COLUMNS,
        alerts=alerts(content),
        limits=limits(content),
    )


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"


def _bounds(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None or interval["high"] is None:
        return "no interval"
    return f"{_number(interval['low'])} to {_number(interval['high'])}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _p_value(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def alerts(content: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    leakage, classes = content["leakage"], content["study"]["per_class"]
    found = []
    if leakage is None:
        found.append("The training images were not given, so leaks from them were not looked for.")
    elif leakage["pairs"] or leakage["groups"]:
        images = len({tuple(pair["second"]) for pair in leakage["pairs"]})
        found.append(
            f"{images} of these images are, or look like, images of the training data, and "
            f"{len(leakage['groups'])} groups are in both: the figures are too good."
        )
    none = [name for name, row in classes.items() if not row["images"]]
    if none:
        found.append(f"There is no image of {', '.join(none[:8])}: nothing is known of it.")
    missed = [name for name, row in classes.items() if row["images"] and not row["found"]]
    if missed:
        found.append(f"Not one image of {', '.join(missed[:8])} was found.")
    return found


def limits(content: Mapping[str, Any]) -> list[str]:
    """What the figures do not say."""
    study = content["study"]
    unit = "groups" if study["grouped"] else "images"
    few = [name for name, row in study["per_class"].items() if row["images"] < FEW]
    drawn = f"{study['resamples']} resamples of {study['units']} {unit}, seed {study['seed']}"
    found = [
        f"Intervals are bootstrap intervals of {100 * study['level']:g} % ({drawn}). Were the "
        "study repeated with as many images of the same kind, about so many of them would hold the "
        "true figure. They say nothing of other cameras, sites or patients than those seen here.",
        "Figures that are undefined, such as the AUROC of a single class, are left out, not 0.",
    ]
    if not study["grouped"]:
        found.append(
            "Every image counts as independent. If several are of one patient, part or lot, the "
            "intervals are too narrow: name the group of each image in a manifest."
        )
    if few:
        found.append(f"Fewer than {FEW} images: {', '.join(few[:8])}. Their figures say little.")
    if study["task"] == "binary":
        name = study["classes"][1]
        found.append(f"F1, AUROC and the curves are of {name}, the second class.")
    found.append(
        "Models and thresholds that are chosen by these figures look better than they are: keep "
        "images for a last look."
    )
    return found


# ---------------------------------------------------------------------------------- files


def write(
    folder: Path,
    content: Mapping[str, Any],
    predictions: Predictions,
    galleries: Iterable[tuple[str, list[Picture]]] = (),
) -> Path:
    """Writes report.html, report.json, figures.csv and predictions.csv; returns the page's path.

    content: "subject" ({"title", "made", "facts"}), "study" (of `study`), "leakage" and
    "comparison" (or None). Each file is whole or not there.
    """
    text = page(content, predictions.ids, galleries)
    _write(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    _write(folder / "figures.csv", _figures_csv(content["study"]))
    _write(folder / "predictions.csv", predictions_csv(predictions))
    _write(folder / "report.html", text)
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def _figures_csv(study: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["column", "value", "images", "figure", "estimate", "low", "high"])
    parts = [("", "", study["images"], study["figures"])]
    for column, values in study["by"].items():
        parts += [(column, v, part["images"], part["figures"]) for v, part in values.items()]
    for column, value, images, found in parts:
        for name, figure in found.items():
            numbers = (figure[key] for key in ("value", "low", "high"))
            cells = ("" if number is None else repr(number) for number in numbers)
            writer.writerow([column, value, images, name, *cells])
    return text.getvalue()


def predictions_csv(predictions: Predictions) -> str:
    """One row per image: id, label, prediction, the probability of each class, and what else is
    known of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more = [*(["group"] if predictions.groups else []), *predictions.columns]
    writer.writerow(["image", "label", "prediction", *predictions.classes, *more])
    for i in range(len(predictions)):
        extra = [predictions.groups[i]] if predictions.groups else []
        extra += [values[i] for values in predictions.columns.values()]
        label, said = _names(predictions, i)
        numbers = [f"{p:.9g}" for p in predictions.probabilities[i]]
        writer.writerow([predictions.ids[i], label, said, *numbers, *extra])
    return text.getvalue()


def _names(predictions: Predictions, i: int) -> tuple[str, str]:
    p, classes = predictions.probabilities[i], predictions.classes
    if predictions.task != "multilabel":
        return classes[predictions.labels[i]], classes[int(p.argmax())]
    label, said = (
        "+".join(name for name, on in zip(classes, row, strict=True) if on)
        for row in (predictions.labels[i], p > 0.5)
    )
    return label, said
