"""A new file written front to back at the speed of the disk, by a background thread.

Bytes gather in page-aligned memory and go out a MiB at a time past the page cache (O_DIRECT): a sealed bundle is not
read soon, and copying it through the cache costs more processor time than sealing it. There are MEMORIES such buffers:
while one fills, a background thread writes the others out, so a thread that seals does not wait for the disk; the
background thread's errors are raised at a later call. The rest at the end, which has no aligned length, goes through
the cache, and fdatasync makes all of it durable. Where the file system lacks O_DIRECT (EINVAL, as on some in-memory
ones) everything goes through the cache; nothing else changes.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from retention.objects.store import RESERVE_MAX

Job = Callable[[], None]


class BackgroundWriter:
    """A background thread that does jobs in order, at most `depth` waiting or under way. One thread at a time starts
    jobs; the background thread exists from the first job to `close`."""

    def __init__(self, name: str, depth: int) -> None:
        self._name = name
        self._depth = depth
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self._begun = 0

    def start(self, job: Job) -> None:
        """Queue `job` once fewer than `depth` are pending; raise an earlier job's error instead."""
        if self._begun == self._depth:
            self._finish_one()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._begun += 1
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait for all queued jobs; raise the first error."""
        while self._begun:
            self._finish_one()

    def _finish_one(self) -> None:
        outcome = self._outcomes.get()
        self._begun -= 1
        if outcome is not None:
            raise outcome

    def close(self) -> None:
        """Wait for all queued jobs, ignoring their errors."""
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
            except BaseException as error:  # whatever it is, the caller must get it
                outcome = error
            del job  # do not keep what it holds until the next
            self._outcomes.put(outcome)


CHUNK = 1 << 20
MEMORIES = 3


class AlignedFile:
    """A new file, mode 0600, locked (flock) while it is open: a file without a lock is a dead writer's."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._filled = 0
        self._offset = 0
        try:
            self._lock(path)
            # Set after opening: some file systems would create the file and then refuse O_DIRECT.
            self._direct = self._set_direct(True)
            self._memories = deque(
                _aligned_memory() for _ in range(MEMORIES)
            )  # the first is the one that fills
            self._background = BackgroundWriter("part-writer", MEMORIES - 1)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self, path: Path) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "removed before it was locked", str(path))

    def _set_direct(self, on: bool) -> bool:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return on

    def reserve(self, length: int) -> memoryview:
        """Return writable memory for the next `length` bytes."""
        if not 0 <= length <= RESERVE_MAX:
            raise ValueError(f"cannot reserve {length} bytes: at most {RESERVE_MAX} at once")
        return self._memories[0][self._filled : self._filled + length]

    def advance(self, length: int) -> None:
        """Take the first `length` reserved bytes into the file, and have every full chunk written out. Raises the error
        of an earlier chunk."""
        self._filled += length
        if self._filled >= CHUNK:
            full, rest = self._memories[0], self._filled - CHUNK
            self._background.start(lambda: self._write_out(full[:CHUNK]))
            self._memories.rotate(
                -1
            )  # the job that wrote this buffer out is done: the last but one was waited for
            self._memories[0][:rest] = full[CHUNK : self._filled]
            self._filled = rest

    def _write_out(self, pending: memoryview) -> None:
        while len(pending):
            try:
                written = os.pwrite(self._fd, pending, self._offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._direct = self._set_direct(False)  # refused only now, or after a short write
                continue
            self._offset += written
            pending = pending[written:]

    def flush(self) -> None:
        """Write the rest and make all of it durable. Nothing can be added afterwards."""
        self._background.settle()
        if self._direct:
            self._direct = self._set_direct(False)
        self._write_out(self._memories[0][: self._filled])
        self._filled = 0
        os.fdatasync(self._fd)

    def close(self) -> None:
        self._background.close()  # first: the descriptor's number may soon be another file's
        self._memories.clear()
        os.close(self._fd)


def _aligned_memory() -> memoryview:
    """Map memory for a chunk and one more reservation, so that a reservation always lies in one piece."""
    return memoryview(mmap.mmap(-1, CHUNK + RESERVE_MAX, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
