"""What quantisation changed, layer by layer and image by image, for people and for programs."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitc.arrays import Array
from vitc.files import replacing
from vitc.models.model import Model
from vitc.quantization.comparison import Comparison, Estimate, compare, mcnemar
from vitc.quantization.images import MOST, Images, calibration_images
from vitc.quantization.layers import Layer, layer_table
from vitc.quantization.validation import Validation
from vitc.tape import no_grad

_FEW = 64  # images for the table of layers


class Report(NamedTuple):
    """mode: of the quantised model. images: that the layers were compared on."""

    architecture: str
    mode: str
    images: int
    layers: list[Layer]
    comparison: Comparison

    @property
    def in_float(self) -> list[str]:
        """The linear layers that are not in 8 bits."""
        return [layer.name for layer in self.layers if layer.precision != "int8"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is infinite is None."""
        return {
            "architecture": self.architecture,
            "mode": self.mode,
            "images": self.images,
            "comparison": self.comparison.as_dict(),
            "layers": [_finite(layer._asdict()) for layer in self.layers],
        }

    def markdown(self) -> str:
        """Two tables, with what was measured how."""
        return "\n".join([*self._head(), "", *self._table()]) + "\n"

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Writes a page and, for programs, the same with the ending `.json`; returns both paths.

        path: of the page, which ends in `.md`. Raises `ValueError` for another ending, `OSError`
        if it cannot write.
        """
        page = Path(path)
        if page.suffix != ".md":
            raise ValueError(f"{page}: the report is a page in Markdown, expected a path in .md")
        return write_page(page, self.markdown(), self.as_dict())

    def _head(self) -> list[str]:
        c = self.comparison
        lines = [f"# {self.architecture}, int8 {self.mode}", ""]
        lines.append(f"On {c.images} images, against the float32 model:")
        lines.append("")
        lines.append(f"- same class: {percent(c.agreement)} of images")
        lines.append(f"- relative error of the logits: {c.error:.4f}")
        if c.accuracy and c.drop and c.lost is not None and c.won is not None:
            lines.append(f"- accuracy: {percent(c.accuracy)}")
            lines.append(f"- accuracy lost: {points(c.drop)} points")
            lines.append(
                f"- flips: {c.lost} right answers became wrong, {c.won} wrong ones right "
                f"(McNemar p = {mcnemar(c.lost, c.won):.2g})"
            )
        lines += [
            "",
            "Intervals are of 95 %: Wilson's for shares, Agresti and Min's for the paired",
        ]
        lines.append("difference.")
        return lines

    def _table(self) -> list[str]:
        lines = [f"Outputs of the linear layers, on {self.images} images:", ""]
        lines.append("| layer | weight | precision | input range | SQNR, dB | cosine |")
        lines.append("|---|---|---|---|---|---|")
        for x in self.layers:
            shape = " x ".join(map(str, x.shape))
            ends = f"{x.range[0]:.4g} to {x.range[1]:.4g}" if x.range else ""
            lines.append(
                f"| {x.name} | {shape} | {x.precision} | {ends} | {x.sqnr:.1f} | {x.cosine:.6f} |"
            )
        return lines


def report(model: Model, changed: Model, images: Any, validation: Any = None) -> Report:
    """How far a quantised model is from the one that it was made of.

    images: those of its calibration or others, as `vitc.quantization.calibrate` takes them; the
    layers are compared on 64 of them. validation: labelled images, as `vitc.quantize` takes them,
    for accuracies and flips; without them only the classes of `images` are compared.

    Raises `ValueError` and `OSError` as those do.
    """
    seen = calibration_images(model, images, MOST)
    few = seen.first(_FEW)
    layers = layer_table(model, changed, few)
    mode = changed.quantized or "none"
    return Report(model.name, mode, len(few), layers, _comparison(model, changed, seen, validation))


def _comparison(model: Model, changed: Model, images: Images, validation: Any) -> Comparison:
    if validation is None:
        return compare(_logits(model, images), _logits(changed, images))
    given = isinstance(validation, Validation)
    labelled = validation if given else Validation(model, validation)
    before, after = labelled.logits(model), labelled.logits(changed)
    return compare(before, after, labelled.labels)


def _logits(model: Model, images: Images) -> Array:
    with no_grad():
        return np.concatenate([np.asarray(model(x)) for x in images.batches(32)])


def write_page(page: Path, text: str, content: dict[str, Any]) -> tuple[Path, Path]:
    """Writes a page in Markdown, and beside it the content as `.json`; returns both paths."""
    figures = page.with_suffix(".json")
    for file, written in ((page, text), (figures, json.dumps(content, indent=1))):
        with replacing(file) as unfinished:
            unfinished.write_text(written, encoding="utf-8")
    return page, figures


def percent(x: Estimate) -> str:
    return f"{100 * x.value:.2f} % ({100 * x.low:.2f} to {100 * x.high:.2f})"


def points(x: Estimate) -> str:
    return f"{100 * x.value:.2f} ({100 * x.low:+.2f} to {100 * x.high:+.2f})"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()
    }
