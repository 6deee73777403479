"""Ctrl-C and SIGTERM during a run: the first asks to stop, a second Ctrl-C stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def listen(stop: Callable[[int], None]) -> Iterator[None]:
    """Within it, SIGINT and SIGTERM call stop(signal) instead of ending the process.

    A step in C is never cut: Python calls the handler when it is back. A second SIGTERM does
    nothing, since schedulers send it to a process and to its group. Outside the main thread, where
    Python takes no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not seen:
            stop(number)
        seen.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(number: int) -> None:
    """Ends the program as the signal would have: by `KeyboardInterrupt`, or by `SystemExit` with
    status 143 after SIGTERM. In a notebook it returns, so that the next cell can go on."""
    if _in_notebook():
        return
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    try:
        shell = get_ipython()  # type: ignore[name-defined]  # IPython defines it
    except NameError:
        return False
    return hasattr(shell, "kernel")
