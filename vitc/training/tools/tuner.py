"""Settings found by trial: Lightning's `Tuner`, with `lr_find` and `scale_batch_size`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from vitc import checks
from vitc.errors import shown
from vitc.metrics import Metric
from vitc.tape import clock
from vitc.training.datamodule import DataModule
from vitc.training.hooks import Callback
from vitc.training.results import named_metrics
from vitc.training.settings import notice
from vitc.training.state import State
from vitc.training.tools.estimate import estimate, free_memory

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer

MODES = ("exponential", "linear")
_SEARCHES = ("power", "binsearch")


class LRFinder:
    """What `Tuner.lr_find` saw. results: {"lr": [...], "loss": [...]}, one entry per step; the
    losses are smoothed."""

    def __init__(self, mode: str = "exponential") -> None:
        self.mode = checks.one_of("mode", mode, MODES)
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss fell fastest from step to step, without the first and the last
        steps; None if they leave too few."""
        place = self._steepest(skip_begin, skip_end)
        return None if place is None else self.results["lr"][place]

    def _steepest(self, skip_begin: int, skip_end: int) -> int | None:
        losses = np.array(self.results["loss"][skip_begin : len(self.results["loss"]) - skip_end])
        finite = np.flatnonzero(np.isfinite(losses))
        if len(finite) < 2:
            return None
        return skip_begin + int(finite[int(np.argmin(np.gradient(losses[finite])))])

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """A matplotlib figure of the losses by rate; suggest: with the suggestion in red.

        show: opens a window. ax: axes to draw on; the figure is theirs. Raises `ImportError` if
        matplotlib is not installed.
        """
        figure, axes = _axes(show, ax)
        rates, losses = self.results["lr"], self.results["loss"]
        axes.plot(rates, losses)
        axes.set_xscale("log" if self.mode == "exponential" else "linear")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        place = self._steepest(10, 1) if suggest else None
        if place is not None:
            axes.plot(rates[place], losses[place], "o", markersize=10, color="red")
        if show:
            from matplotlib import pyplot

            pyplot.show()
        return figure


def _axes(show: bool, ax: Any) -> tuple[Any, Any]:
    """A figure and its axes: those given, or new ones, which pyplot has to know to show them."""
    if ax is not None:
        return ax.figure, ax
    try:
        from matplotlib import pyplot
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plot() needs matplotlib: pip install "vitc[train]"') from None
    figure = pyplot.figure() if show else Figure()
    return figure, figure.subplots()


class Tuner:
    """Finds settings by short trials. trainer: whose settings a trial runs under.

    A trial leaves no trace: weights, random numbers, metrics and the module's trainer are as
    before, also after an error or Ctrl-C, which it passes on. It runs without loggers and without
    callbacks, those of `configure_callbacks` included.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def lr_find(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder:
        """Trains num_training steps with rates from min_lr to max_lr (Smith 2017), then puts the
        weights back.

        val_dataloaders: taken as by `fit`, but the trial does not validate. mode: how the rates
        rise, "exponential" or "linear". early_stop_threshold: the trial ends when the loss is this
        many times its best, None: never; it also ends at one that is infinite or NaN. update_attr:
        writes the suggestion into `lr` or `learning_rate` (or attr_name) of the module and of its
        hparams, where there is one.

        Raises `ValueError` for another mode, for rates that do not rise, or if there is no such
        attribute.
        """
        _only_fit(method, dataloaders)
        if mode not in MODES or not 0 < min_lr < max_lr or num_training < 2:
            raise ValueError(
                f"mode is {shown(mode)}, min_lr {min_lr}, max_lr {max_lr} and num_training "
                f"{num_training}: expected {' or '.join(map(repr, MODES))}, 0 < min_lr < max_lr "
                "and at least 2 steps"
            )
        names = [attr_name] if attr_name else ["lr", "learning_rate"]
        holders = _holders(names, model, datamodule) if update_attr else []
        rates = np.geomspace if mode == "exponential" else np.linspace
        finder = LRFinder(mode)
        trial = _Trial(finder, rates(min_lr, max_lr, num_training).tolist(), early_stop_threshold)
        twin = self._twin([trial], num_training)
        _run(twin, model, train_dataloaders, val_dataloaders, datamodule)
        found = finder.suggestion()
        if found is not None:
            _write(holders, found)
        return finder

    def scale_batch_size(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Writes into `batch_size` (or batch_arg_name) of the module, its hparams or the datamodule
        the largest batch that fits into the free memory, and returns it.

        The loaders must be made from that attribute, by `train_dataloader` of the module or the
        datamodule. What a batch takes is known without a trial, so sizes are tried by computing it:
        twice the one before, from init_val on, until one does not fit or is above max_val or the
        data set; mode "binsearch" then looks for the largest in between, and takes `margin` (a
        share) off. steps_per_trial steps are trained with what is found, half as much if the memory
        does not suffice after all. A batch counts whole unless the trainer has a micro_batch: by
        default any batch fits, in parts.

        Raises `ValueError` if there is no such attribute, or the loaders are given; `MemoryError`
        if not even one sample fits. Returns None in a fast_dev_run.
        """
        _only_fit(method, dataloaders)
        checks.one_of("mode", mode, _SEARCHES)
        steps = checks.integer("steps_per_trial", steps_per_trial, 1)
        start, most = checks.integer("init_val", init_val, 1), checks.integer("max_val", max_val, 1)
        checks.integer("max_trials", max_trials, 1)
        checks.below_one("margin", margin)
        datamodule = train_dataloaders if isinstance(train_dataloaders, DataModule) else datamodule
        given = None if isinstance(train_dataloaders, DataModule) else train_dataloaders
        if given is not None or val_dataloaders is not None:
            raise ValueError(
                "a loader that is given has its batch size: define train_dataloader() in the "
                f"module or the datamodule, with {batch_arg_name} as an attribute"
            )
        if self.trainer.fast_dev_run:
            notice("scale_batch_size does nothing in a fast_dev_run")
            return None
        holders = _holders([batch_arg_name], model, datamodule)
        before = [getattr(owner, name) for owner, name in holders]
        try:
            _write(holders, start)
            samples, validates = _data(model, datamodule)
            fits = self._fitting(model, validates)
            size = _largest(fits, start, min(most, samples or most), max_trials, mode, margin)
            found = self._tried(model, datamodule, holders, size, steps)
        except BaseException:
            for (owner, name), value in zip(holders, before, strict=True):
                setattr(owner, name, value)
            raise
        return found

    def _fitting(self, module: Module, validates: bool) -> Callable[[int], bool]:
        """Whether a batch of a size fits, by what a run with it takes."""
        models, micro = [m for _, m in module.named_models()], self.trainer.given_micro_batch

        def fits(size: int) -> bool:
            at_a_time = min(size, micro or size)
            with self.trainer.run.prepared(models):
                return estimate(module, at_a_time, size * validates).growth <= free_memory()

        return fits

    def _tried(
        self, module: Module, datamodule: Any, holders: list[tuple[Any, str]], size: int, steps: int
    ) -> int:
        """size, or what of it is left after halving until the steps have the memory they need."""
        while True:
            _write(holders, size)
            twin = self._twin([], steps)
            twin.given_micro_batch = self.trainer.given_micro_batch or size
            try:
                _run(twin, module, None, None, datamodule)
                return size
            except MemoryError:
                if size == 1:
                    raise
                size //= 2

    def _twin(self, callbacks: list[Callback], steps: int) -> Trainer:
        """The trainer as it runs a trial of so many steps."""
        twin = copy(self.trainer)
        twin.state = State()  # which may run, where a callback makes the trial
        twin.callbacks, twin.loggers, twin.enable_model_summary = callbacks, [], False
        twin.max_epochs, twin.max_steps, twin.fast_dev_run = -1, steps, 0
        twin.min_epochs, twin.min_steps = 0, None
        twin.num_sanity_val_steps, twin.limits = 0, {**twin.limits, "val": 0}
        twin.on_nonfinite, twin.detect_anomaly = "skip", False
        return twin


def _run(twin: Trainer, module: Module, loaders: Any, val_loaders: Any, datamodule: Any) -> None:
    """A fit of a trainer's twin, after which everything is as before. Ctrl-C is passed on, also in
    a notebook, where `fit` returns."""
    data = loaders if isinstance(loaders, DataModule) else datamodule
    with _put_back(module, data):
        twin.fit(module, loaders, val_loaders, datamodule=datamodule)
    if twin.interrupted:
        raise KeyboardInterrupt


@contextmanager
def _put_back(module: Module, datamodule: Any) -> Iterator[None]:
    models = [model for _, model in module.named_models()]
    weights = [{k: v.copy() for k, v in model.state_dict().items()} for model in models]
    kept = [m for m in named_metrics(module).values() if isinstance(m, Metric)]
    metrics = [(m, m.state_dict()) for m in kept]
    place, owned = (clock.step, clock.row, clock.forward), vars(module).copy()
    drawn = random.getstate(), np.random.get_state()
    owner = getattr(datamodule, "trainer", None)
    vars(module)["configure_callbacks"] = list  # none, while the trial runs
    try:
        yield
    finally:
        for model, state in zip(models, weights, strict=True):
            model.load_state_dict(state, allow_nonfinite=True)
            model.zero_grad()
        for metric, state in metrics:
            metric.load_state_dict(state)
        clock.step, clock.row, clock.forward = place
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        for name in ("configure_callbacks", "trainer"):
            vars(module).pop(name, None)
            if name in owned:
                vars(module)[name] = owned[name]
        if datamodule is not None:
            datamodule.trainer = owner


class _Trial(Callback):
    """Gives each step its rate, and notes the loss before it."""

    def __init__(self, finder: LRFinder, rates: list[float], threshold: float | None) -> None:
        self.finder, self.rates, self.threshold = finder, rates, threshold
        self.mean = self.best = self.value = self.weight = 0.0

    def on_before_backward(self, trainer: Trainer, module: Module, loss: Any) -> None:
        self.value += loss.value
        self.weight += loss.weight
        if not math.isfinite(float(loss)):
            trainer.should_stop = True

    def on_before_optimizer_step(self, trainer: Trainer, module: Module, optimizer: Any) -> None:
        results, beta = self.finder.results, 0.98
        count = len(results["lr"])
        self.mean = beta * self.mean + (1 - beta) * self.value / self.weight
        smooth = self.mean / (1 - beta ** (count + 1))
        self.value = self.weight = 0.0
        results["lr"].append(self.rates[count])
        results["loss"].append(smooth)
        for group in optimizer.param_groups:
            group["lr"] = self.rates[count]
        self.best = min(self.best, smooth) if count else smooth
        if self.threshold is not None and count > 1 and smooth > self.threshold * self.best:
            trainer.should_stop = True


# ------------------------------------------------------------------------------- batch sizes


def _largest(
    fits: Callable[[int], bool], start: int, most: int, trials: int, mode: str, margin: float
) -> int:
    """The largest size that fits, as far as so many trials tell. Raises `MemoryError` if none."""
    size, failed = min(start, most), 0  # failed: the smallest that does not fit, once it is known
    while not fits(size):
        if size == 1:
            raise MemoryError("a batch of one sample does not fit into the free memory")
        size //= 2
    while trials > 1 and not failed and size < most:
        larger, trials = min(2 * size, most), trials - 1
        size, failed = (larger, 0) if fits(larger) else (size, larger)
    if mode == "power":
        return size
    while trials > 1 and failed - size > 1:
        middle, trials = (size + failed) // 2, trials - 1
        size, failed = (middle, failed) if fits(middle) else (size, middle)
    return max(1, int(size * (1 - margin)))


def _data(module: Module, datamodule: Any) -> tuple[int | None, bool]:
    """How many samples there are to train, None if the loader does not say; whether some are to
    validate."""
    if datamodule is not None:
        datamodule.prepare_data()
        datamodule.setup("fit")
    owners = [owner for owner in (datamodule, module) if owner is not None]
    train, val = (
        next((x for x in (getattr(o, name)() for o in owners) if x is not None), None)
        for name in ("train_dataloader", "val_dataloader")
    )
    dataset = getattr(train, "dataset", None)
    return (len(dataset) if isinstance(dataset, Sized) else None), val is not None


# ------------------------------------------------------------------------------- attributes


def _only_fit(method: str, dataloaders: Any) -> None:
    checks.one_of("method", method, ("fit",))
    if dataloaders is not None:
        raise ValueError("dataloaders are for another method than fit: give train_dataloaders")


def _holders(names: list[str], module: Module, datamodule: Any) -> list[tuple[Any, str]]:
    """Who has the first of the attributes that anybody has: (owner, name) of each."""
    owners = [module, module.hparams]
    owners += [] if datamodule is None else [datamodule, getattr(datamodule, "hparams", None)]
    for name in names:
        found = [(owner, name) for owner in owners if hasattr(owner, name)]
        if found:
            return found
    raise ValueError(
        f"the module has no {' or '.join(names)}, nor have its hparams: name it with attr_name= or "
        "batch_arg_name=, or set update_attr=False"
    )


def _write(holders: list[tuple[Any, str]], value: Any) -> None:
    for owner, name in holders:
        setattr(owner, name, value)
