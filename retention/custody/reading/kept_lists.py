"""Lists of files in bundles, kept for the further pages of whoever is reading them.

1. An archive is walked once for a list and its pages, and entered once. A page comes from here only while `standing`
   (the same check as of a read under way) passes; else the list is dropped, and the caller's next step is a new read.
2. Kept packed, in memory alone (P1), for five minutes at most, under the process's one memory budget and at most
   MOST of it: the list that was used longest ago goes first. What does not fit is not kept, and is walked again.
   Unpacked, a list is never in memory but for the block that is being made or shown, which is bounded in bytes.
3. Of a list that comes from the bundle's contents index nothing is kept but where to look (`file_lists`).
4. A list belongs to one actor, bundle and place inside it; a first page makes it anew.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from retention.archive import PROCESS, ArchivedFile, Memory
from retention.archive.contents import file_fields, file_from
from retention.archive.limits import Lease
from retention.domain.actor import Actor

SECONDS = 300.0
MOST = 32 << 20
"""Bytes of all kept lists."""
BLOCK = 256
"""Files of a list that are packed together, at most."""
BLOCK_BYTES = 128 << 10
"""Bytes after which a block is packed, whatever the number of its files."""
Key = tuple[object, ...]


def list_key(actor: Actor, bundle: str, inside: str) -> Key:
    """Name a list: whose it is, by all that the token says of them, and of what."""
    return actor.id, actor.roles, actor.tenant, actor.partner, actor.company, bundle, inside


def _unpacked(block: bytes) -> Iterator[ArchivedFile]:
    for row in zlib.decompress(block).splitlines():
        yield file_from(json.loads(row))


class Files(Protocol):
    """The files of a whole list: `number` of them; `size` bytes are held for it."""

    number: int
    size: int

    def files(self, start: int) -> Generator[ArchivedFile]:
        """Yield the files from place `start` on."""


class ListKeeper:
    """A list being kept while it is walked. `able` is False once there is no memory for it: nothing is kept then."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._open: list[bytes] = []
        self._open_bytes = 0
        self.blocks: list[bytes] = []
        self.starts: list[int] = []  # the number of each block's first file
        self.leases: list[Lease] = []
        self.size = self.number = 0
        self.able = True

    def add(self, file: ArchivedFile) -> None:
        """Keep one more file."""
        if not self.able:
            return
        row = json.dumps(file_fields(file)).encode()
        self._open.append(row)
        self._open_bytes += len(row)
        self.number += 1
        if len(self._open) == BLOCK or self._open_bytes >= BLOCK_BYTES:
            self.finish()

    def finish(self) -> None:
        """Pack what is not packed yet."""
        if not self._open:
            return
        block, start = zlib.compress(b"\n".join(self._open), 1), self.number - len(self._open)
        self._open, self._open_bytes = [], 0
        lease = self._memory.lease(len(block)) if self.size + len(block) <= MOST else None
        if lease is None:
            self.able = False
            self.blocks, self.starts, self.leases = [], [], []
            return
        self.blocks.append(block)
        self.starts.append(start)
        self.leases.append(lease)
        self.size += len(block)

    def files(self, start: int) -> Generator[ArchivedFile]:
        """Yield the files from place `start` on, once all are packed."""
        if start >= self.number:
            return
        first = bisect_right(self.starts, start) - 1
        files = (file for block in self.blocks[first:] for file in _unpacked(block))
        yield from islice(files, start - self.starts[first], None)


@dataclass(frozen=True, slots=True)
class KeptList:
    """A whole list: its files, why it ends before its archive does, and the check of the access to it."""

    kept: Files
    incomplete: str | None
    standing: Callable[[], None]
    ends: float


class KeptLists:
    """The lists that this process keeps. Thread-safe. `now` is a monotonic clock in seconds."""

    def __init__(self, memory: Memory = PROCESS, now: Callable[[], float] = time.monotonic) -> None:
        self.memory = memory
        self._now = now
        self._lists: OrderedDict[Key, KeptList] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: Key, kept: Files, incomplete: str | None, standing: Callable[[], None]) -> None:
        """Keep a list, in the place of an earlier one."""
        with self._lock:
            self._lists.pop(key, None)
            self._lists[key] = KeptList(kept, incomplete, standing, self._now() + SECONDS)
            self._tidy()

    def find(self, key: Key) -> KeptList | None:
        """Return the list whose access still stands; one whose access ended is dropped."""
        with self._lock:
            self._tidy()
            found = self._lists.get(key)
            if found is None:
                return None
            self._lists.move_to_end(key)
        try:
            found.standing()
        except Exception:  # whatever it is: the new read decides, and enters why it is refused
            self.drop(key)
            return None
        return found

    def drop(self, key: Key) -> None:
        """Forget a list."""
        with self._lock:
            self._lists.pop(key, None)

    def _tidy(self) -> None:
        now = self._now()
        for key in [key for key, kept in self._lists.items() if kept.ends <= now]:
            del self._lists[key]
        while sum(kept.kept.size for kept in self._lists.values()) > MOST:
            self._lists.popitem(last=False)
