"""The two engines under the names that a script uses: pytorch-lightning with torch, and vitc.

A script is a function of an engine and a folder, written once, that returns what its user sees:
numbers, names, arguments. `seen` runs it and makes the answers comparable.
"""

import csv
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional

import oracle  # noqa: F401  torchvision, which torchmetrics imports, imports after this
import vitc
import vitc.functional
import vitc.optim.lr_scheduler
from vitc.tape import Loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl
    import torchmetrics  # noqa: F401  for scripts
    from pytorch_lightning.tuner import Tuner

for _name in ("pytorch_lightning", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.ERROR)

FEATURES, CLASSES = 4, 3
QUIET = dict(enable_progress_bar=False, enable_model_summary=False)


class Points:
    """A dataset of `count` points and their classes, which depend on the seed only."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((count, FEATURES)).astype(np.float32)
        self.y = generator.integers(0, CLASSES, count)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.x[index], int(self.y[index])


def weights(seed: int = 0, classes: int = CLASSES) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    shapes = {"weight": (classes, FEATURES), "bias": (classes,)}
    return {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


class Lightning:
    """The original."""

    name = "lightning"
    pl, nn, F, optim = pl, torch.nn, torch.nn.functional, torch.optim
    schedulers, callbacks, loggers = torch.optim.lr_scheduler, pl.callbacks, pl.loggers
    DataLoader, Tuner, no_grad = torch.utils.data.DataLoader, Tuner, torch.no_grad
    tensor = staticmethod(torch.tensor)

    @classmethod
    def linear(cls, seed: int = 0, classes: int = CLASSES) -> Any:
        model = torch.nn.Linear(FEATURES, classes)
        model.load_state_dict({n: torch.tensor(x) for n, x in weights(seed, classes).items()})
        return model


class Vitc:
    """The same on vitc."""

    name = "vitc"
    pl, nn, F, optim = vitc, vitc.nn, vitc.functional, vitc.optim
    schedulers, callbacks, loggers = vitc.optim.lr_scheduler, vitc.callbacks, vitc.loggers
    DataLoader, Tuner, no_grad = vitc.data.DataLoader, vitc.Tuner, vitc.no_grad
    tensor = staticmethod(np.array)

    @classmethod
    def linear(cls, seed: int = 0, classes: int = CLASSES) -> Any:
        model = vitc.nn.Linear(FEATURES, classes)
        model.load_state_dict(weights(seed, classes))
        return model


Engine = type[Lightning] | type[Vitc]
Script = Callable[[Any, Path], Any]


def small(e: Engine) -> Any:
    """A module with the steps that most scripts need."""

    class Small(e.pl.LightningModule):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = e.linear()

        def forward(self, x: Any) -> Any:
            return self.model(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            loss = e.F.cross_entropy(self(x), y)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("val_loss", e.F.cross_entropy(self(x), y))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0])

        def configure_optimizers(self) -> Any:
            return e.optim.SGD(self.parameters(), lr=self.hparams.lr)

    return Small


def loader(e: Engine, count: int = 10, seed: int = 0, batch_size: int = 2) -> Any:
    return e.DataLoader(Points(count, seed), batch_size=batch_size)


def trainer(e: Engine, path: Path, **options: Any) -> Any:
    options = {"max_epochs": 2, "log_every_n_steps": 1, "accelerator": "cpu", **options}
    options.setdefault("logger", e.loggers.CSVLogger(path, name="logs"))
    return e.pl.Trainer(default_root_dir=path, **{**QUIET, **options})


def rows(run: Any) -> list[dict[str, Any]]:
    """What metrics.csv holds: the row's values by name, without the empty ones."""
    with (Path(run.logger.log_dir) / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{n: float(v) for n, v in sorted(row.items()) if v != ""} for row in found]


def state(module: Any) -> dict[str, Any]:
    """Its weights."""
    return plain(dict(module.state_dict()))


def refusal(action: Callable[[], Any]) -> Any:
    """What an action returns, or that it was refused."""
    try:
        return plain(action())
    except Exception as error:
        assert str(error), f"{type(error).__name__} without a word"
        return "refused"


def plain(value: Any) -> Any:
    """Numbers and containers of the standard library for what an engine gave."""
    if isinstance(value, Loss):
        return float(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if isinstance(value, Mapping):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    return value


def seen(engine: Engine, script: Script, path: Path) -> Any:
    path = path / engine.name
    path.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what is computed is tiny
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            engine.pl.seed_everything(0)
            return plain(script(engine, path))
    finally:
        torch.set_num_threads(threads)


def check(script: Script, path: Path) -> None:
    """Runs a script under both; the answers have to be the same."""
    theirs, ours = seen(Lightning, script, path), seen(Vitc, script, path)
    assert theirs
    differing = same(theirs, ours)
    assert not differing, "\n".join(differing[:20])


def scripts() -> tuple[Callable[[Script], Script], Any]:
    """A decorator for scripts, and a test that checks each of them."""
    known: dict[str, Script] = {}

    def script(function: Script) -> Script:
        known[function.__name__] = function
        return function

    @pytest.mark.parametrize("name", known)
    def test(name: str, tmp_path: Path) -> None:
        check(known[name], tmp_path)

    return script, test


def same(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """Where the answers differ: numbers by more than 1e-5, all else at all."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = [f"{where}: keys {sorted(map(str, theirs))} | {sorted(map(str, ours))}"] * (
            set(theirs) != set(ours)
        )
        return found + [
            x for k in theirs if k in ours for x in same(theirs[k], ours[k], f"{where}.{k}")
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        found = [f"{where}: lengths {len(theirs)} | {len(ours)}: {theirs} | {ours}"] * (
            len(theirs) != len(ours)
        )
        pairs = zip(theirs, ours, strict=False)
        return found + [x for i, (a, b) in enumerate(pairs) for x in same(a, b, f"{where}[{i}]")]
    numbers = [isinstance(x, float | int) and not isinstance(x, bool) for x in (theirs, ours)]
    if all(numbers):
        close = np.isclose(theirs, ours, rtol=1e-5, atol=1e-5, equal_nan=True)
        return [] if close else [f"{where}: {theirs} | {ours}"]
    equal = theirs == ours and type(theirs) is type(ours)
    return [] if equal else [f"{where}: {theirs!r} | {ours!r}"]
