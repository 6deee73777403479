"""What a transform is, and transforms made of others."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitc import checks
from vitc.data.random import generator
from vitc.errors import shown

Step = Callable[[Any], Any]


class Transform:
    """What has a `__call__` and prints the attributes named in `shown`."""

    shown: tuple[str, ...] = ()
    gives_array = False  # (C, H, W)

    def __call__(self, img: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __call__()")

    def with_next(self, step: Step) -> Step | None:
        """One transform for this and the step after it, if there is a faster one to the bit."""
        return None

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)
        return f"{type(self).__name__}({arguments})"


class RandomTransform(Transform):
    """Draws parameters, then applies them.

    draw: the parameters, as a tuple, for this image. apply: the image changed by them.
    """

    def __call__(self, img: Any) -> Any:
        return self.apply(img, *self.draw(img, generator()))

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        raise NotImplementedError(f"{type(self).__name__} has no draw()")

    def apply(self, img: Any, *params: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no apply()")


class Occasional(RandomTransform):
    """Does `change` to the image with probability p, else nothing."""

    shown: tuple[str, ...] = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.probability("p", p)

    def draw(self, img: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        """(whether to act,)."""
        return (bool(rng.random() < self.p),)

    def apply(self, img: Any, *params: Any) -> Any:
        return self.change(img) if params[0] else img

    def change(self, img: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no change()")


def antialiased(antialias: bool | None) -> bool | None:
    """antialias itself. Raises `ValueError` for False."""
    if antialias is False:
        raise ValueError("antialias=False: images are always antialiased when shrunk")
    return antialias


def listed(name: str, lines: Sequence[Any]) -> str:
    """A transform that is made of others, one of them a line."""
    return "\n".join([f"{name}(", *(f"    {line}" for line in lines), ")"])


class Identity(Transform):
    """The image as it is."""

    def __call__(self, img: Any) -> Any:
        return img


class Lambda(Transform):
    """A function as a transform."""

    def __init__(self, lambd: Step) -> None:
        if not callable(lambd):
            raise TypeError(f"lambd must be callable, got {shown(lambd)}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)


class Compose(Transform):
    """The transforms one after the other."""

    def __init__(self, transforms: Sequence[Step]) -> None:
        self.transforms = list(transforms)
        for step in self.transforms:
            if not callable(step):
                raise TypeError(f"a transform must be callable, got {shown(step)}")
        self._joined: tuple[list[Step], list[Step]] = [], []

    def __call__(self, img: Any) -> Any:
        steps = self._steps()
        if getattr(img, "mode", None) in ("L", "RGB") and _end_in_arrays(steps):
            img = np.asarray(img)  # once, instead of there and back in every step
        for step in steps:
            img = step(img)
        return img

    def _steps(self) -> list[Step]:
        """The transforms, joined; anew when someone has changed the list."""
        known, joined = self._joined
        if known != self.transforms:
            joined = _joined(self.transforms)
            self._joined = list(self.transforms), joined  # at once, for other threads
        return joined

    def __repr__(self) -> str:
        return listed(type(self).__name__, self.transforms)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """The steps, those that have one pass for both taken together: see `Transform.with_next`."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        both = last.with_next(step) if isinstance(last, Transform) else None
        if both is None:
            joined.append(step)
        else:
            joined[-1] = both
    return joined


def _end_in_arrays(steps: Sequence[Step]) -> bool:
    """Whether no one will see that the image was made an array before the first step."""
    for step in steps:
        if not _takes_arrays(step):
            return False
        if getattr(step, "gives_array", False):
            return True
    return False


def _takes_arrays(step: Step) -> bool:
    """Whether an array in place of a Pillow image gives the same pixels: of all transforms of this
    package, unless they hold a function of the user's."""
    ours = type(step).__module__.startswith("vitc.") and not isinstance(step, Lambda)
    return ours and all(map(_takes_arrays, getattr(step, "transforms", ())))


class RandomApply(Compose):
    """All of the transforms with probability p, else none."""

    def __init__(self, transforms: Sequence[Step], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = checks.probability("p", p)

    def __call__(self, img: Any) -> Any:
        return super().__call__(img) if generator().random() < self.p else img

    def __repr__(self) -> str:
        return listed(type(self).__name__, [f"p={self.p}", *self.transforms])


class RandomOrder(Compose):
    """All of the transforms, each time in another order."""

    def __call__(self, img: Any) -> Any:
        for i in generator().permutation(len(self.transforms)):
            img = self.transforms[i](img)
        return img


class RandomChoice(Compose):
    """One of the transforms, with equal chances or with weights p."""

    def __init__(self, transforms: Sequence[Step], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if not self.transforms:
            raise ValueError("RandomChoice got no transforms")
        weights = np.ones(len(self.transforms)) if p is None else np.asarray(p, np.float64)
        if weights.shape != (len(self.transforms),) or (weights < 0).any() or not weights.any():
            raise ValueError(
                f"p is {shown(p)}, expected {len(self.transforms)} weights of 0 or more"
            )
        self.p = p
        self._borders = np.cumsum(weights / weights.sum())

    def __call__(self, img: Any) -> Any:
        # The last border may come out just below 1.
        drawn = np.searchsorted(self._borders[:-1], generator().random(), side="right")
        return self.transforms[drawn](img)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"
