"""Writes in the background: training continues while a checkpoint goes to the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from vitc.arrays import Array


class Writer:
    """Runs jobs in a thread, one at a time and in order.

    An error of a job is raised by the next call of any method here. buffers: memory that a job
    reads, for whoever submits one to keep between jobs.
    """

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, str], Array] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._job: Future[None] | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Waits for the job before, and starts this one."""
        self.wait()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="vitc.checkpoint")
        self._job = self._pool.submit(job)

    def check(self) -> None:
        """Raises the error of a job that has failed since."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is being written."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def close(self) -> None:
        """Ends the thread when its job is done; errors were asked for before."""
        self.buffers = {}
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
