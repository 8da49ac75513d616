"""A stored part, read by ranges of its bundle's blob, with the next ranges fetched ahead.

A round trip costs milliseconds, so one read after the other would be slow. Readers of a part step evenly: whole
segments one after the other, or one tag in each segment. After two equal steps of equal reads the following ones are
fetched beside them: up to DEPTH at once, and no more than AHEAD bytes. A read that was not foreseen costs what it
costs alone, and forgets what was fetched ahead.

The blob's ETag is a condition of every range: bytes of another blob under the same name are never returned.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future

DEPTH = 16
AHEAD = 4 << 20

Fetch = Callable[[int, int], bytes]


class AzurePartReader:
    """Contract: `PartReader`. `fetch` gets a range of the part that lies wholly in it."""

    def __init__(self, fetch: Fetch, size: int, threads: Executor) -> None:
        self._fetch = fetch
        self._size = size
        self._threads = threads
        self._ahead: dict[tuple[int, int], Future[bytes]] = {}
        self._last = (0, 0)
        self._step = 0

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        fetched = self._ahead.pop((offset, length), None)
        if fetched is None:
            self._forget()
        self._foresee(offset, length)
        return self._fetch(offset, length) if fetched is None else fetched.result()

    def _foresee(self, offset: int, length: int) -> None:
        step = offset - self._last[0]
        steady = step == self._step and step > 0 and length == self._last[1]
        self._last, self._step = (offset, length), step
        if not steady:
            return
        for ahead in range(1, max(1, min(DEPTH, AHEAD // length)) + 1):
            start = offset + ahead * step
            if start + length > self._size:
                break
            if (start, length) not in self._ahead:
                self._ahead[start, length] = self._threads.submit(self._fetch, start, length)

    def _forget(self) -> None:
        for fetched in self._ahead.values():
            fetched.cancel()
        self._ahead.clear()

    def close(self) -> None:
        self._forget()
