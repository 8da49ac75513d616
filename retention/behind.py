"""Work done behind the back of the thread that asked for it: one job at a time, its error handed over later.

A thread that seals does not wait for the disk: it hands over what is to be written and seals on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class Behind:
    """At most one job under way. One thread at a time asks; its own thread exists from the first job to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self._under_way = False

    def start(self, job: Job) -> None:
        """Have `job` done, once the one before is; raises that one's error, and then `job` is not begun."""
        self.settle()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._under_way = True
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait for the job under way, if any; raises its error, once."""
        if self._under_way:
            outcome = self._outcomes.get()
            self._under_way = False
            if outcome is not None:
                raise outcome

    def close(self) -> None:
        """Wait for the job under way and forget how it went."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()
        self._under_way = False

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            outcome: BaseException | None = None
            try:
                job()
            except BaseException as error:  # whatever it is, the thread that asked must hear of it
                outcome = error
            del job  # what it holds is not kept until the next
            self._outcomes.put(outcome)
