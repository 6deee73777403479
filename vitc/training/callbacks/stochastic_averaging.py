"""Stochastic weight averaging: at the end of a run, the mean of the weights of its last epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitc import checks
from vitc.errors import shown
from vitc.optim.schedules import annealing
from vitc.training.callbacks.averaging import WeightAveraging

if TYPE_CHECKING:
    from vitc.training.module import Module
    from vitc.training.trainer import Trainer


class StochasticWeightAveraging(WeightAveraging):
    """Trains the last epochs at a rate of its own and averages the weights at their beginnings
    (Izmailov et al. 2018); Lightning's `StochasticWeightAveraging`.

    swa_lrs: that rate, or one per parameter group; `lr_scale` of a group multiplies it.
    swa_epoch_start: the first of these epochs, counted from 1, or a share of max_epochs.
    annealing_epochs: over how many of them the rate goes there from where the schedule had brought
    it, along half a cosine or a line (annealing_strategy "cos" or "linear"). device: as of
    `WeightAveraging`.

    Rates, averages and what the module holds at the end are Lightning's. As every average here, and
    unlike there, this one is what is validated and stored in checkpoints.
    """

    state_key = "StochasticWeightAveraging"

    def __init__(
        self,
        swa_lrs: float | Sequence[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        device: str | None = "cpu",
    ) -> None:
        super().__init__(device)
        self.swa_lrs = _rates(swa_lrs)
        self.swa_epoch_start = (
            checks.probability("swa_epoch_start", swa_epoch_start)
            if isinstance(swa_epoch_start, float)
            else checks.integer("swa_epoch_start", swa_epoch_start, 1)
        )
        self.annealing_epochs = checks.integer("annealing_epochs", annealing_epochs, 0)
        self._anneal = annealing(checks.one_of("annealing_strategy", annealing_strategy, _WAYS))

    def _forget(self) -> None:
        super()._forget()
        self._first_epoch: int | None = None  # of those that are averaged, and its rates
        self._first_lrs: list[float] = []

    def on_fit_start(self, trainer: Trainer, module: Module) -> None:
        super().on_fit_start(trainer, module)
        groups = trainer.optimizer.param_groups
        if isinstance(self.swa_lrs, list) and len(self.swa_lrs) != len(groups):
            raise ValueError(
                f"swa_lrs has {len(self.swa_lrs)} rates, and the optimizer {len(groups)} groups"
            )
        if isinstance(self.swa_epoch_start, float) and math.isinf(_epochs(trainer)):
            raise ValueError(
                f"swa_epoch_start is {self.swa_epoch_start}, a share of max_epochs, which has no "
                "end: give the number of an epoch"
            )
        if isinstance(self.swa_epoch_start, int) and self.swa_epoch_start > _epochs(trainer):
            raise ValueError(
                f"swa_epoch_start is {self.swa_epoch_start}, but max_epochs is "
                f"{_epochs(trainer):.0f}: nothing would be averaged"
            )

    def _averages_now(self, trainer: Trainer) -> bool:
        start = self.swa_epoch_start
        if isinstance(start, float):
            start = int(_epochs(trainer) * start)
        return bool(max(start - 1, 0) <= trainer.current_epoch < _epochs(trainer))

    def on_train_epoch_start(self, trainer: Trainer, module: Module) -> None:
        if self._averages_now(trainer):
            self._begin(trainer)
            if trainer.current_epoch > self._latest_update_epoch:
                self._update()
                self._latest_update_epoch = trainer.current_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Only at the beginnings of epochs."""
        return False

    def on_before_optimizer_step(self, trainer: Trainer, module: Module, optimizer: Any) -> None:
        """Whatever the schedule says."""
        if not self._averages_now(trainer):
            return
        first = self._begin(trainer)
        done, length = trainer.current_epoch - first, self.annealing_epochs
        share = min(done / length, 1.0) if length else 1.0
        groups = optimizer.param_groups
        rates = self.swa_lrs if isinstance(self.swa_lrs, list) else [self.swa_lrs] * len(groups)
        for group, start, end in zip(groups, self._first_lrs, rates, strict=True):
            group["lr"] = self._anneal(start, end * group.get("lr_scale", 1.0), share)

    def _begin(self, trainer: Trainer) -> int:
        if self._first_epoch is None:
            self._first_epoch = trainer.current_epoch
            self._first_lrs = [group["lr"] for group in trainer.optimizer.param_groups]
        return self._first_epoch

    def state_dict(self) -> dict[str, Any]:
        own = {"first_epoch": self._first_epoch, "first_lrs": list(self._first_lrs)}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        epoch, rates = state.get("first_epoch"), state.get("first_lrs")
        if not isinstance(rates, list):
            raise ValueError("what it keeps of a StochasticWeightAveraging is damaged")
        first = checks.optional(checks.integer, "first_epoch", epoch, 0)
        lrs = [float(checks.number("first_lrs", rate, 0)) for rate in rates]
        super().load_state_dict(state)
        self._first_epoch, self._first_lrs = first, lrs


_WAYS = ("cos", "linear")


def _rates(given: Any) -> float | list[float]:
    several = isinstance(given, list | tuple)
    for rate in given if several else [given]:
        if not checks.number("swa_lrs", rate, 0) > 0:
            raise ValueError(f"swa_lrs is {shown(given)}, expected rates above 0")
    return [float(rate) for rate in given] if several else float(given)


def _epochs(trainer: Trainer) -> float:
    """How many the run has; infinity for no end."""
    return math.inf if trainer.max_epochs < 0 else trainer.max_epochs
