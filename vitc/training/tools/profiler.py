"""Where the time of a run goes."""

import time
from collections.abc import Iterator
from functools import wraps
from typing import Any

from vitc.runtime import engines


class SimpleProfiler:
    """Adds up the seconds of what a run calls: `Trainer(profiler="simple")` prints them at its end.

    It watches methods of objects until `release`, so that nothing else knows of it.
    """

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, int]] = {}  # action -> seconds, calls
        self._watched: list[tuple[Any, str]] = []

    def watch(self, owner: Any, method: str, action: str | None = None) -> None:
        """Counts the calls of a method of this object."""
        original = getattr(owner, method)

        @wraps(original)
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                self._add(action or method, time.perf_counter() - start)

        setattr(owner, method, timed)
        self._watched.append((owner, method))

    def watch_batches(self, feed: Any, action: str) -> None:
        """Counts how long the loop waits for each batch."""
        original = feed.batches

        def timed(*args: Any) -> Iterator[Any]:
            batches, end = original(*args), object()  # a batch may be anything, None included
            while True:
                start = time.perf_counter()
                batch = next(batches, end)
                self._add(action, time.perf_counter() - start)
                if batch is end:
                    return
                yield batch

        feed.batches = timed
        self._watched.append((feed, "batches"))

    def _add(self, action: str, seconds: float) -> None:
        before, calls = self.spent.get(action, (0.0, 0))
        self.spent[action] = before + seconds, calls + 1

    def release(self) -> None:
        """Leaves the objects as they were."""
        for owner, method in self._watched:
            delattr(owner, method)
        self._watched = []

    def summary(self) -> str:
        """A line per action, the longest first: seconds in all, calls, milliseconds of each; and
        one that names what multiplies here."""
        rows = sorted(self.spent.items(), key=lambda row: -row[1][0])
        lines = [f"{'':22}{'seconds':>10}{'calls':>8}{'ms each':>10}"]
        for action, (seconds, calls) in rows:
            lines.append(f"{action:22}{seconds:10.2f}{calls:8}{seconds / calls * 1e3:10.2f}")
        products = ", ".join(f"{name} by {engine}" for name, engine in engines().items())
        return "\n".join([*lines, f"matrix products: {products}"])
