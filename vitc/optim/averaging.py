"""Moving averages of a model's weights."""

from copy import deepcopy

from vitc import _vitc
from vitc.errors import shown
from vitc.models.model import Model


class ModelEmaV3:
    """An exponential moving average of a model's weights, as timm.utils.ModelEmaV3.

    `module` is a copy of the model in evaluation mode that holds the averages. decay: how much of
    them an update keeps; "auto": a horizon of 5 % of total_steps, which short runs need (0.9999
    averages over 10,000 steps). use_warmup: the decay of update s is 1 - (1 + s / warmup_gamma) **
    -warmup_power, between min_decay and decay. Up to update_after_step the average is a copy.

    Raises `ValueError` for a decay outside of 0 to 1, or "auto" without total_steps.
    """

    def __init__(
        self,
        model: Model,
        decay: float | str = 0.9999,
        min_decay: float = 0.0,
        update_after_step: int = 0,
        use_warmup: bool = False,
        warmup_gamma: float = 1.0,
        warmup_power: float = 2 / 3,
        *,
        total_steps: int | None = None,
    ) -> None:
        self.decay = _decay(decay, total_steps)
        self.module = deepcopy(model).eval()
        self.min_decay = min_decay
        self.update_after_step = update_after_step
        self.use_warmup = use_warmup
        self.warmup_gamma, self.warmup_power = warmup_gamma, warmup_power

    def get_decay(self, step: int | None = None) -> float:
        """The share of the average that update number `step` keeps; None: the usual one."""
        if step is None:
            return self.decay
        step = step - self.update_after_step - 1
        if step <= 0:
            return 0.0
        if not self.use_warmup:
            return self.decay
        rising: float = 1 - (1 + step / self.warmup_gamma) ** -self.warmup_power
        return max(min(rising, self.decay), self.min_decay)

    def update(self, model: Model, step: int | None = None) -> None:
        """Moves the average towards the model's weights; step: of the optimizer, from 1.

        Raises `ValueError` for a model with other parameters.
        """
        _vitc.average(self.module.params, model.params, 1.0 - self.get_decay(step))


def _decay(decay: float | str, total_steps: int | None) -> float:
    if isinstance(decay, str) and decay == "auto":
        if not total_steps:
            raise ValueError("decay='auto' needs total_steps, the number of optimizer steps")
        return max(0.0, 1.0 - 20.0 / total_steps)
    if isinstance(decay, str) or not 0 <= decay <= 1:
        raise ValueError(f"decay is {shown(decay)}, expected 0 to 1 or 'auto'")
    return decay
