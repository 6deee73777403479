"""The arguments a module was made with, which a checkpoint keeps to make it again."""

import inspect
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
