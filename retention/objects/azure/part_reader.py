"""A stored part, read by ranges of its bundle's blob, with the next ranges fetched ahead.

A round trip costs milliseconds and a request processor time, so one read after the other would be slow. Readers of a
part step evenly: whole segments one after the other, or one tag in each segment. After two equal steps of equal reads
the following ones are fetched beside them: up to DEPTH requests at once, and no more than AHEAD bytes. Adjacent reads
are fetched together, RUN bytes in a request. A read that was not predicted costs a request of its own, and discards
what was fetched ahead.

The blob's ETag is a condition of every range: bytes of another blob under the same name are never returned.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future

DEPTH = 16
AHEAD = 8 << 20
RUN = 4 << 20

Fetch = Callable[[int, int], bytes]
Range = tuple[int, int]
"""An offset and a length, in bytes."""


class AzurePartReader:
    """A reader of one part. `fetch` gets a range that lies wholly in the part. Contract: `PartReader`."""

    def __init__(self, fetch: Fetch, size: int, threads: Executor) -> None:
        self._fetch = fetch
        self._size = size
        self._threads = threads
        self._ahead: dict[Range, Future[bytes]] = {}
        self._last: Range = (0, 0)
        self._step = 0

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        foreseen = self._find(offset, length)
        if foreseen is None:
            self._forget()
            self._foresee(offset, length)
            return self._fetch(offset, length)
        fetched = self._ahead[foreseen]
        if offset + length == sum(foreseen):
            del self._ahead[foreseen]
        self._foresee(offset, length)
        try:
            return fetched.result()[offset - foreseen[0] :][:length]
        except Exception:
            if foreseen == (offset, length):
                raise
            self._forget()  # a fault of other bytes in the run is raised when those are read
            return self._fetch(offset, length)

    def _find(self, offset: int, length: int) -> Range | None:
        """Find the range fetched ahead that holds all of this one."""
        holding = (ahead for ahead in self._ahead if ahead[0] <= offset and offset + length <= sum(ahead))
        return next(holding, None)

    def _foresee(self, offset: int, length: int) -> None:
        step = offset - self._last[0]
        steady = step == self._step and step > 0 and length == self._last[1]
        self._last, self._step = (offset, length), step
        if not steady:
            return
        touching = step == length
        together = max(1, RUN // length) if touching else 1
        most = max(1, min(DEPTH, AHEAD // (together * length)))
        start = max([offset + step, *(at + (span if touching else step) for at, span in self._ahead)])
        while len(self._ahead) < most and start + length <= self._size:
            span = min(together, (self._size - start) // length) * length
            self._ahead[start, span] = self._threads.submit(self._fetch, start, span)
            start += span if touching else step

    def _forget(self) -> None:
        for fetched in self._ahead.values():
            fetched.cancel()
        self._ahead.clear()

    def close(self) -> None:
        self._forget()
