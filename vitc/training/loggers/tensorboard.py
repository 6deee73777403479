"""Metrics as TensorBoard reads them, through tensorboardX."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from vitc.training.loggers.parameters import Parameters, as_dict
from vitc.training.loggers.versions import Versioned


class TensorBoardLogger(Versioned):
    """Writes event files to `save_dir/name/version_N`, for `tensorboard --logdir save_dir/name`.

    version: by default the next free number. Raises `ImportError` where tensorboardX is not
    installed.
    """

    def __init__(
        self,
        save_dir: str | PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
    ) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise ImportError(
                'TensorBoardLogger needs tensorboardX: pip install "vitc[train]"'
            ) from None
        super().__init__(save_dir, name, version)
        self._step = 0
        self._purge_step: int | None = None
        self._writer: Any = None

    def renew(self) -> None:
        super().renew()
        self._step, self._purge_step = 0, None

    @property
    def experiment(self) -> Any:
        """The SummaryWriter, for images, histograms and whatever else it takes."""
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self.log_dir), purge_step=self._purge_step)
        return self._writer

    def log_hyperparams(self, params: Parameters) -> None:
        text = "\n".join(f"{name} = {value!r}  " for name, value in as_dict(params).items())
        self.experiment.add_text("hparams", text)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """step: by default the one that was logged last."""
        at = self._step if step is None else step
        self._step = max(self._step, at)  # validations count batches of their own
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, at)

    def save(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def finalize(self, status: str = "success") -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def state_dict(self) -> dict[str, Any]:
        return {"version": self.version, "identity": self.identity, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on beside the events of the run that is resumed; what came after its checkpoint is
        hidden."""
        step = state.get("step")
        if not isinstance(step, int):
            raise ValueError("what it keeps of a logger is damaged")
        if self.go_on(state):
            self._purge_step = step + 1
