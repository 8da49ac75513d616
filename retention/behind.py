"""Work done behind the back of the thread that asked for it: job after job, their errors handed over later.

A thread that seals does not wait for the disk: it hands over what is to be written and seals on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class Behind:
    """At most `depth` jobs waiting or under way, done in order. One thread at a time asks; the thread that does them
    exists from the first job to `close`."""

    def __init__(self, name: str, depth: int) -> None:
        self._name = name
        self._depth = depth
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self._begun = 0

    def start(self, job: Job) -> None:
        """Have `job` done, as soon as fewer than `depth` are begun. Raises an earlier job's error instead."""
        if self._begun == self._depth:
            self._finish_one()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._begun += 1
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait for all jobs begun; raises the first error."""
        while self._begun:
            self._finish_one()

    def _finish_one(self) -> None:
        outcome = self._outcomes.get()
        self._begun -= 1
        if outcome is not None:
            raise outcome

    def close(self) -> None:
        """Wait for all jobs begun and forget how they went."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()
        self._begun = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            outcome: BaseException | None = None
            try:
                job()
            except BaseException as error:  # whatever it is, the thread that asked must hear of it
                outcome = error
            del job  # what it holds is not kept until the next
            self._outcomes.put(outcome)
