"""The hooks of a run, in the order in which they are called: Lightning's names and arguments.

`HOOKS` is the one table of them. `Callback` and `ModuleHooks` have each as a method that does
nothing; a callback's is called before the module's.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vitc.arrays import Array


class Logs(NamedTuple):
    """What `self.log` does in a hook: its defaults, and whether a step's value may be logged."""

    on_step: bool
    on_epoch: bool
    step_allowed: bool


_STEP = Logs(on_step=True, on_epoch=False, step_allowed=True)
_BATCH = Logs(on_step=False, on_epoch=True, step_allowed=True)
_EPOCH = Logs(on_step=False, on_epoch=True, step_allowed=False)


class Hook(NamedTuple):
    """arguments: of the module's; a callback gets (trainer, module) first. logs: None if nothing
    can be logged there. after_batch: dataloader_idx follows where a stage has several loaders."""

    arguments: tuple[str, ...] = ()
    logs: Logs | None = None
    of_callback: bool = True
    of_module: bool = True


_BATCH_START = ("batch", "batch_idx")
_BATCH_END = ("outputs", "batch", "batch_idx")
_MOVES = Hook(("batch", "dataloader_idx"), of_callback=False)

HOOKS: dict[str, Hook] = {
    "prepare_data": Hook(of_callback=False),
    "setup": Hook(("stage",)),
    "configure_model": Hook(of_callback=False),
    "on_fit_start": Hook(),
    "on_sanity_check_start": Hook(of_module=False),
    "on_sanity_check_end": Hook(of_module=False),
    "on_train_start": Hook(logs=_EPOCH),
    "on_train_epoch_start": Hook(logs=_EPOCH),
    "on_before_batch_transfer": _MOVES,
    "transfer_batch_to_device": Hook(("batch", "device", "dataloader_idx"), of_callback=False),
    "on_after_batch_transfer": _MOVES,
    "on_train_batch_start": Hook(_BATCH_START, _STEP),
    "training_step": Hook(_BATCH_START, _STEP, of_callback=False, of_module=False),
    "on_before_zero_grad": Hook(("optimizer",), _STEP),
    "on_before_backward": Hook(("loss",), _STEP),
    "on_after_backward": Hook(logs=_STEP),
    "on_before_optimizer_step": Hook(("optimizer",), _STEP),
    "on_train_batch_end": Hook(_BATCH_END, _STEP),
    "on_validation_start": Hook(logs=_EPOCH),
    "on_validation_epoch_start": Hook(logs=_EPOCH),
    "on_validation_batch_start": Hook(_BATCH_START, _BATCH),
    "validation_step": Hook(_BATCH_START, _BATCH, of_callback=False, of_module=False),
    "on_validation_batch_end": Hook(_BATCH_END, _BATCH),
    "on_validation_epoch_end": Hook(logs=_EPOCH),
    "on_validation_end": Hook(),
    "on_train_epoch_end": Hook(logs=_EPOCH),
    "on_train_end": Hook(),
    "on_fit_end": Hook(),
    "on_test_start": Hook(logs=_EPOCH),
    "on_test_epoch_start": Hook(logs=_EPOCH),
    "on_test_batch_start": Hook(_BATCH_START, _BATCH),
    "test_step": Hook(_BATCH_START, _BATCH, of_callback=False, of_module=False),
    "on_test_batch_end": Hook(_BATCH_END, _BATCH),
    "on_test_epoch_end": Hook(logs=_EPOCH),
    "on_test_end": Hook(),
    "on_predict_start": Hook(),
    "on_predict_epoch_start": Hook(),
    "on_predict_batch_start": Hook(_BATCH_START),
    "predict_step": Hook(_BATCH_START, of_callback=False, of_module=False),
    "on_predict_batch_end": Hook(_BATCH_END),
    "on_predict_epoch_end": Hook(),
    "on_predict_end": Hook(),
    "on_exception": Hook(("exception",), of_module=False),
    "on_save_checkpoint": Hook(("checkpoint",)),
    "on_load_checkpoint": Hook(("checkpoint",)),
    "teardown": Hook(("stage",)),
}
"""Every hook, and the steps among which they are called."""

_WHEN = {
    "prepare_data": "Before setup: what is done once on a machine, such as a download.",
    "setup": 'Before everything; stage is "fit", "validate", "test" or "predict".',
    "configure_model": "After setup, before configure_optimizers: models may be made here as well.",
    "on_before_batch_transfer": "Gives back the batch, perhaps changed; the first to see it.",
    "transfer_batch_to_device": "Gives back the batch. There is one memory: nothing to do.",
    "on_after_batch_transfer": "Gives back the batch, perhaps changed.",
    "on_train_batch_start": "A module that returns -1 leaves out the rest of the epoch.",
    "on_before_zero_grad": "Before the first backward pass of a window of accumulated batches.",
    "on_before_optimizer_step": "The gradients are the mean over the window, not yet clipped.",
    "on_train_batch_end": 'outputs is a dict with "loss"; None if the step returned None.',
    "on_save_checkpoint": "May add entries, as JSON takes them, to what a checkpoint keeps.",
    "on_load_checkpoint": "Gets them back.",
}


def _nothing(name: str, arguments: tuple[str, ...]) -> Callable[..., Any]:
    """A method of that name that does nothing; of a batch's way in, which gives back the batch."""

    def hook(*args: Any) -> Any:
        return args[1] if "transfer" in name else None

    kind = Parameter.POSITIONAL_OR_KEYWORD
    hook.__name__, hook.__doc__ = name, _WHEN.get(name)
    hook.__signature__ = Signature([Parameter(n, kind) for n in ("self", *arguments)])  # type: ignore[attr-defined]
    return hook


class Callback:
    """An observer of a trainer. Override the hooks that you need; here they do nothing.

    monitoring: whether its on_train_batch_end and on_train_epoch_end come after the module's, when
    the metrics are there. During a run `log` and `log_dict` are the module's.
    """

    monitoring = False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback, as JSON takes it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def validated_weights(self) -> dict[str, dict[str, Array]]:
        """State dicts, by model, of the weights that are validated in place of the trained ones. A
        checkpoint holds them as the weights of the models, and the trained ones beside them."""
        return {}

    def trained_weights(self) -> dict[str, dict[str, Array]]:
        """State dicts of the trained weights where the models hold others: after `fit`."""
        return {}

    def load_validated_weights(self, weights: dict[str, dict[str, Array]]) -> None:
        """Gets them back when a run is resumed, if the checkpoint has trained ones beside them."""

    def memory(self, parts: dict[str, int]) -> dict[str, int]:
        """The bytes that it will hold, by what they are for; parts: those of the run without it."""
        return {}

    @property
    def state_key(self) -> str:
        """Under which name a checkpoint keeps it."""
        return type(self).__name__


class ModuleHooks:
    """The hooks of a `Module`; see `HOOKS` for when they are called."""


class DataHooks:
    """Those of a `DataModule`: what becomes of a batch on its way to the step."""


for _name, _hook in HOOKS.items():
    if _hook is _MOVES or _name == "transfer_batch_to_device":
        setattr(DataHooks, _name, _nothing(_name, _hook.arguments))
    if _hook.of_callback:
        setattr(Callback, _name, _nothing(_name, ("trainer", "module", *_hook.arguments)))
    if _hook.of_module:
        setattr(ModuleHooks, _name, _nothing(_name, _hook.arguments))


def overrides(owner: object, name: str) -> bool:
    """Whether a module or data module has a method of its own of this name."""
    own = getattr(owner, name, None)
    if own is None:
        return False
    plain = next((c for c in reversed(type(owner).__mro__) if name in vars(c)), None)
    return getattr(own, "__func__", own) is not (None if plain is None else vars(plain)[name])


def accepted(method: Callable[..., Any], *place: int) -> tuple[int, ...]:
    """Of (batch_idx, dataloader_idx), which follow the batch, as many as a method takes. With one
    loader there is no dataloader_idx, but for a method that must have it."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature(method).parameters.values()
    if any(p.kind == Parameter.VAR_POSITIONAL for p in parameters):
        return place
    wanted = [p for p in parameters if p.kind in kinds][1:]
    if [p.name for p in wanted] == ["dataloader_idx"]:
        place = place[1:]
    if len(place) < len(wanted) and wanted[len(place)].default is Parameter.empty:
        place = (*place, 0)
    return place[: len(wanted)]
