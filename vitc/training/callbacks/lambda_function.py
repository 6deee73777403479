"""A callback out of functions."""

from collections.abc import Callable
from typing import Any

from vitc.errors import nearest, shown
from vitc.training.hooks import HOOKS, Callback

_HOOKS = [name for name, hook in HOOKS.items() if hook.of_callback]


class LambdaCallback(Callback):
    """Calls the given functions, which have the names and arguments of hooks.

        LambdaCallback(on_train_epoch_end=lambda trainer, module: print(trainer.current_epoch))

    Raises `TypeError` for a name that is not a hook, or no function.
    """

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if name not in _HOOKS:
                raise TypeError(f"there is no hook {shown(name)}; {nearest(name, _HOOKS)}")
            if not callable(function):
                raise TypeError(f"{name} is {shown(function)}, expected a function")
            setattr(self, name, function)
