"""The curves of a report, as SVG text to be put into a page."""

import io
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e7ec",
    "axes.edgecolor": "#7b8794",
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a class may be called "5 $ to 10 $"
    "svg.hashsalt": "vitc",  # names inside the file depend on the drawing alone
}
_COLOURS = ("#0b6e99", "#d1495b", "#2e8b57", "#8a5fbf", "#c47f00", "#4a5568", "#00897b", "#b83280")
_MOST_CLASSES = 8  # in one plot
_SHARE = (-0.02, 1.02)


def svg(draw: Callable[[Any], None]) -> str:
    """One plot, drawn on a matplotlib axis, as an <svg> element."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.5), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        nameless = {"Date": None, "Creator": None}
        figure.savefig(text, format="svg", metadata=nameless, transparent=True)
    found = text.getvalue()
    return found[found.index("<svg") :]


def all_plots(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, SVG) of what a study holds."""
    plots: list[tuple[str, Callable[[Any], None]]] = []
    if study["curves"]:
        plots += [
            ("ROC curve", lambda axis: _roc(axis, study["curves"])),
            ("Precision and recall", lambda axis: _precision(axis, study["curves"])),
        ]
    if study["calibration"]:
        plots.append(("Reliability", lambda axis: _reliability(axis, study["calibration"])))
    if study["selective"]:
        plots.append(("Risk and coverage", lambda axis: _risk(axis, study["selective"])))
    return [(title, svg(draw)) for title, draw in plots]


def _several(axis: Any, curves: Mapping[str, Any], x: str, y: str) -> None:
    for colour, (name, curve) in zip(_COLOURS, list(curves.items())[:_MOST_CLASSES], strict=False):
        axis.step(curve[x], curve[y], where="post", color=colour, label=name)
    if len(curves) > 1:
        rest = len(curves) - _MOST_CLASSES
        axis.legend(fontsize=7, title=f"and {rest} more" if rest > 0 else None)
    axis.set(xlim=_SHARE, ylim=_SHARE)


def _roc(axis: Any, curves: Mapping[str, Any]) -> None:
    axis.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=1, linestyle=":")
    _several(axis, curves, "false_positive_rate", "true_positive_rate")
    axis.set(xlabel="1 - specificity", ylabel="sensitivity")


def _precision(axis: Any, curves: Mapping[str, Any]) -> None:
    _several(axis, curves, "recall", "precision")
    if len(curves) == 1:
        (curve,) = curves.values()
        axis.axhline(curve["share"], color="#9aa5b1", linewidth=1, linestyle=":")
    axis.set(xlabel="recall", ylabel="precision")


def _reliability(axis: Any, calibration: Mapping[str, Any]) -> None:
    axis.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=1, linestyle=":")
    for colour, when in zip(_COLOURS[1::-1], ("before", "after"), strict=True):
        found = calibration[when]["reliability"]
        label = f"{when} temperature scaling"
        axis.plot(found["confidence"], found["accuracy"], "o-", ms=4, color=colour, label=label)
    axis.legend(fontsize=7)
    axis.set(xlim=_SHARE, ylim=_SHARE, xlabel="confidence", ylabel="share that is so")


def _risk(axis: Any, selective: Mapping[str, Any]) -> None:
    axis.plot(selective["coverage"], selective["risk"], color=_COLOURS[0])
    axis.set(xlim=_SHARE, xlabel="share of the images that is answered", ylabel="share of errors")
    axis.set_ylim(bottom=0)
