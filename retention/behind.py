"""Work done behind the back of the thread that asked for it: one job at a time, its error handed over later.

A thread that seals does not wait for the disk: it hands over what is to be written and seals on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
    """At most one job under way. One thread at a time asks; its own thread exists from the first job to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: ThreadPoolExecutor | None = None
        self._job: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Have `job` done, once the one before is; raises that one's error, and then `job` is not begun."""
        self.settle()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
        self._job = self._thread.submit(job)

    def settle(self) -> None:
        """Wait for the job under way, if any; raises its error, once."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def close(self) -> None:
        """Wait for the job under way and forget how it went."""
        self._job = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
