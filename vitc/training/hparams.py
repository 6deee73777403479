"""The arguments a module was made with, which a checkpoint keeps to make it again."""

import inspect
import json
from argparse import Namespace
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any

from vitc.errors import nearest, shown


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
        self._initial = HyperParameters()
        self.logs_hparams = True
        self.hparams_name = ""  # of the argument that holds them all, if one does

    @property
    def hparams_initial(self) -> HyperParameters:
        """As they were when they were saved."""
        return HyperParameters(self._initial)

    @property
    def hparams(self) -> HyperParameters:
        return self._hparams

    def save_hyperparameters(
        self,
        *chosen: Any,
        ignore: str | Collection[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Called in `__init__`: remembers its arguments in `hparams`.

        chosen: the names of those to remember, or one dict or Namespace that holds them all; none
        for all arguments. ignore: names that are left out. frame: of the `__init__`, if something
        stands between. logger: whether the loggers of a run write them down.

        Raises `TypeError` for anything else, `ValueError` for a name that is not an argument.
        """
        here = inspect.currentframe()
        given = init_arguments(self, frame or (here.f_back if here else None))
        found = self._chosen(chosen, given)
        left_out = {ignore} if isinstance(ignore, str) else set(ignore or ())
        self.logs_hparams = logger
        self._hparams.update({n: value for n, value in found.items() if n not in left_out})
        self._initial = HyperParameters(self._hparams)

    def _chosen(self, chosen: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        if not chosen:
            return given
        if len(chosen) == 1 and isinstance(chosen[0], Mapping | Namespace):
            whole = chosen[0]
            self.hparams_name = next((n for n, value in given.items() if value is whole), "")
            return dict(whole if isinstance(whole, Mapping) else vars(whole))
        for name in chosen:
            if not isinstance(name, str):
                raise TypeError(
                    f"save_hyperparameters() got {shown(name)}, expected names of arguments, or "
                    "one dict or Namespace"
                )
            if name not in given:
                raise ValueError(
                    f"save_hyperparameters({shown(name)}): there is no such argument; "
                    + nearest(name, given)
                )
        return {name: given[name] for name in chosen}


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


def read_hparams(path: str | PathLike[str]) -> dict[str, Any]:
    """Hyperparameters of a file, JSON or YAML; such as the hparams.yaml of a logger.

    Raises `ValueError`, naming the path, for another content, `ImportError` for YAML without
    PyYAML.
    """
    text = Path(path).read_text()
    try:
        found = json.loads(text)
    except ValueError:
        found = _yaml(text, path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold names and values")
    return found


def _yaml(text: str, path: str | PathLike[str]) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(f"{path} is not JSON, and YAML needs PyYAML") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is neither JSON nor YAML: {error}") from None
