"""A learning rate by trial: Lightning's `Tuner.lr_find`."""

from copy import copy
from typing import Any

import numpy as np

from vitc.errors import shown
from vitc.tape import clock
from vitc.training.hooks import Callback

_MODES = ("exponential", "linear")


class LRFinder:
    """What `Tuner.lr_find` saw. results: {"lr": [...], "loss": [...]}, one entry per step; the
    losses are smoothed."""

    def __init__(self) -> None:
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss fell fastest, without the first and the last steps; None if
        they leave too few."""
        losses = np.array(self.results["loss"][skip_begin : len(self.results["loss"]) - skip_end])
        finite = np.flatnonzero(np.isfinite(losses))
        if len(finite) < 2:
            return None
        steepest = finite[int(np.argmin(np.gradient(losses[finite])))]
        return self.results["lr"][skip_begin + int(steepest)]


class Tuner:
    """Finds settings by short trials. trainer: whose settings the trial runs under."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def lr_find(
        self,
        model: Any,
        train_dataloaders: Any = None,
        datamodule: Any = None,
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

        mode: how the rates rise, "exponential" or "linear". early_stop_threshold: the trial ends
        when the loss is this many times its best, None: never. update_attr: writes the suggestion
        into the module's `lr` or `learning_rate` (or attr_name), or that of its hparams.

        Raises `ValueError` for another mode, for rates that do not rise, or if there is no such
        attribute.
        """
        if mode not in _MODES or not 0 < min_lr < max_lr or num_training < 2:
            raise ValueError(
                f"mode is {shown(mode)}, min_lr {min_lr}, max_lr {max_lr} and num_training "
                f"{num_training}: expected {' or '.join(map(repr, _MODES))}, 0 < min_lr < max_lr "
                "and at least 2 steps"
            )
        owner, name = _attribute(model, attr_name) if update_attr else (None, "")
        rates = np.geomspace if mode == "exponential" else np.linspace
        finder = LRFinder()
        trial = _Trial(finder, rates(min_lr, max_lr, num_training).tolist(), early_stop_threshold)
        self._run(model, train_dataloaders, datamodule, trial)
        found = finder.suggestion()
        if found is not None and owner is not None:
            setattr(owner, name, found)
        return finder

    def _run(self, module: Any, loaders: Any, datamodule: Any, trial: "_Trial") -> None:
        """A fit of the trainer's twin, after which everything is as before."""
        twin = copy(self.trainer)
        twin.callbacks, twin.loggers, twin.enable_model_summary = [trial], [], False
        twin.max_epochs, twin.max_steps, twin.fast_dev_run = None, len(trial.rates), 0
        twin.num_sanity_val_steps, twin.limits = 0, {**twin.limits, "val": 0}
        models = [model for _, model in module.named_models()]
        before = [{k: v.copy() for k, v in model.state_dict().items()} for model in models]
        place, trainer = (clock.step, clock.row, clock.forward), module.trainer
        try:
            twin.fit(module, loaders, datamodule=datamodule)
        finally:
            for model, state in zip(models, before, strict=True):
                model.load_state_dict(state, allow_nonfinite=True)
                model.zero_grad()
            clock.step, clock.row, clock.forward = place
            module.trainer = trainer


class _Trial(Callback):
    """Gives each step its rate, and notes the loss before it."""

    def __init__(self, finder: LRFinder, rates: list[float], threshold: float | None) -> None:
        self.finder, self.rates, self.threshold = finder, rates, threshold
        self.mean = self.best = self.value = self.weight = 0.0

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        self.value += loss.value
        self.weight += loss.weight

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
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


def _attribute(module: Any, name: str) -> tuple[Any, str]:
    """The attribute that holds the learning rate, to which a suggestion is written."""
    names = [name] if name else ["lr", "learning_rate"]
    for owner in (module, module.hparams):
        for candidate in names:
            if hasattr(owner, candidate):
                return owner, candidate
    raise ValueError(
        f"the module has no {' or '.join(names)}, nor have its hparams: name it with attr_name=, "
        "or set update_attr=False"
    )
