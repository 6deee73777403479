"""The arguments a module was made with, which a checkpoint keeps to make it again."""

import inspect
from collections.abc import Collection
from types import FrameType
from typing import Any


class HyperParameters(dict[str, Any]):
    """A dict whose items are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyperparameter {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class WithHyperParameters:
    """What remembers the arguments of its `__init__`."""

    def __init__(self) -> None:
        self._hparams = HyperParameters()
        self.logs_hparams = True

    @property
    def hparams(self) -> HyperParameters:
        return self._hparams

    def save_hyperparameters(
        self, *names: str, ignore: str | Collection[str] = (), logger: bool = True
    ) -> None:
        """Called in `__init__`: remembers its arguments (or only the named ones) in `hparams`.

        logger: whether the loggers of a run write them down.
        """
        self.logs_hparams = logger
        frame = inspect.currentframe()
        given = init_arguments(self, frame.f_back if frame else None)
        left_out = {ignore} if isinstance(ignore, str) else set(ignore)
        chosen = names or tuple(given)
        self._hparams.update({n: given[n] for n in chosen if n in given and n not in left_out})


def init_arguments(module: object, frame: FrameType | None) -> dict[str, Any]:
    """The arguments of the `__init__` calls of `module` that are running, the outermost first.

    frame: of the innermost. Several run at once where a class calls `super().__init__`.
    """
    found: list[dict[str, Any]] = []
    while frame is not None and frame.f_code.co_name == "__init__":
        names = inspect.getargvalues(frame)
        if not names.args or names.locals.get(names.args[0]) is not module:
            break
        arguments = {name: names.locals[name] for name in names.args[1:]}
        # Keyword-only arguments are not among `args`.
        count = frame.f_code.co_kwonlyargcount
        first = frame.f_code.co_argcount
        for name in frame.f_code.co_varnames[first : first + count]:
            arguments[name] = names.locals[name]
        if names.keywords:
            arguments.update(names.locals[names.keywords])
        found.append(arguments)
        frame = frame.f_back
    return {name: value for arguments in found for name, value in arguments.items()}
