"""Threads that load in advance, and hold up nobody who leaves."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

PATIENCE = 1.0
"""Seconds that `Threads.close` waits for jobs that run, such as a read from a share that hangs."""

_Job = tuple[Future[Any], Callable[[], Any]]


class Threads:
    """Runs jobs, the first first. As a ThreadPoolExecutor, whose threads the interpreter waits for
    at its end, however long a read takes; these it does not."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}_{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        return future

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            _run(*item)
            del item  # nothing of the batch is held while the next one is waited for

    def close(self) -> None:
        """Forgets the jobs that wait, and ends the threads; one that is not back in time is left to
        itself."""
        try:
            while True:
                item = self._jobs.get_nowait()
                if item is not None:
                    item[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))


def _run(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)
