"""A table of the parameters of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vitc import checks
from vitc.training.hooks import Callback

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class Part(NamedTuple):
    """A row: the path of a part, its parameters, those of them that are trained, and its mode."""

    name: str
    parameters: int
    trained: int
    mode: str


class ModelSummary(Callback):
    """Prints the parameters of each part when `fit` starts; Lightning's `ModelSummary`.

    max_depth: how many names deep, 1 for the models of the module, -1 for all that have parameters.
    """

    def __init__(self, max_depth: int = 1) -> None:
        self.max_depth = checks.integer("max_depth", max_depth, -1)

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        if self.max_depth:
            self.summarize(parts(module, self.max_depth))

    def summarize(self, rows: list[Part]) -> None:
        """Prints the table."""
        width = max([len(row.name) for row in rows] + [len("total")])
        print(f"{'':{width}}  {'parameters':>12}  {'trained':>12}  mode")
        for row in (*rows, total(rows)):
            print(f"{row.name:{width}}  {row.parameters:12,}  {row.trained:12,}  {row.mode}")


class RichModelSummary(ModelSummary):
    """The same as a table of rich."""

    def __init__(self, max_depth: int = 1) -> None:
        _rich()
        super().__init__(max_depth)

    def summarize(self, rows: list[Part]) -> None:
        table, console = _rich()
        for heading in Part._fields:
            table.add_column(heading, justify="left" if heading in ("name", "mode") else "right")
        for row in (*rows, total(rows)):
            table.add_row(row.name, f"{row.parameters:,}", f"{row.trained:,}", row.mode)
        console.print(table)


def parts(module: Module, depth: int) -> list[Part]:
    """The parts of a module whose path has at most so many names, in order; -1 for all."""
    modes = {name: model.training for name, model in module.named_models()}
    counts: dict[str, list[int]] = {}
    for name, parameter in module.named_parameters():
        owner = name.rpartition(".")[0]
        path = owner if depth < 0 else ".".join(owner.split(".")[:depth])
        count = counts.setdefault(path, [0, 0])
        count[0] += parameter.numel()
        count[1] += parameter.numel() * parameter.requires_grad
    return [
        Part(name, count, trained, _mode(name, modes)) for name, (count, trained) in counts.items()
    ]


def total(rows: list[Part]) -> Part:
    return Part("total", sum(r.parameters for r in rows), sum(r.trained for r in rows), "")


def _mode(path: str, modes: dict[str, bool]) -> str:
    """Of the model that the part belongs to, or that belongs to it."""
    found = {mode for name, mode in modes.items() if f"{path}.".startswith(f"{name}.")}
    found = found or {mode for name, mode in modes.items() if name.startswith(f"{path}.")}
    return "/".join(sorted({True: "train", False: "eval"}[mode] for mode in found))


def _rich() -> Any:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        raise ImportError('RichModelSummary needs rich: pip install "vitc[train]"') from None
    return Table(), Console()
