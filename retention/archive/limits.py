"""The limits on opening an archive, and the two budgets that hold what opening may cost.

- An archive is written by others: every size in it is a claim until counted. So no size and no ratio is refused where
  bytes only stream; only what is kept is limited.
- `Work` counts what is decoded without a byte or a name being handed over, over all levels of one call. It is renewed
  by each piece that the caller takes: a long file is read to its end, a bomb that stands before it is not.
- `Memory` is one for the process: seek points, held archives and decoders' dictionaries are leased from it, whatever
  the number of readers. What can do with less (seek points, held archives) does; what cannot is refused as busy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from retention.archive.model import ArchiveBusy, ArchiveTooLarge
from retention.sandbox.children import Sandbox, Session

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on opening an archive, in bytes unless named otherwise."""

    max_entries: int = 500_000
    max_directory_bytes: int = 256 * MIB  # a zip's central directory, read a block at a time
    max_header_bytes: int = 32 * KIB  # one tar member's extended headers
    max_index_bytes: int = 16 * MIB  # a cab's or a 7z's list of files, held while it is read
    max_name: int = 1024
    max_depth: int = 6  # archives opened to reach a file; the bundle itself is the first
    max_work: int = 32 * GIB  # decoded at all levels, with nothing handed over
    max_held: int = 64 * MIB  # one packed archive that is held decoded, never on a disk (P1)
    max_dictionary: int = 128 * MIB  # one decoder's window
    seek_point_every: int = 4 * MIB  # of what is decoded


class Work:
    """The bytes that may still be decoded before something is handed over; spending more raises."""

    def __init__(self, limits: Limits) -> None:
        self._most = self._left = limits.max_work

    def spend(self, size: int) -> None:
        """Count bytes that were decoded. ArchiveTooLarge once they are too many."""
        self._left -= size
        if self._left < 0:
            raise ArchiveTooLarge(
                f"{self._most} bytes were decoded inside it without reaching what was asked for; it looks like a "
                "decompression bomb"
            )

    def renew(self) -> None:
        """Note that something was handed over."""
        self._left = self._most


class Lease:
    """A share of the memory; it ends with `release`, or with the thing that holds it."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: Memory, size: int) -> None:
        self._memory, self.size = memory, size

    def release(self) -> None:
        """Give the share back. Repeating it does nothing."""
        size, self.size = self.size, 0
        self._memory.give_back(size)

    def __del__(self) -> None:
        self.release()


class Memory:
    """The bytes that all readers of a process may hold together. Thread-safe."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.peak = 0
        self._lock = threading.RLock()  # a lease may end in a garbage collection while the lock is held

    def lease(self, size: int) -> Lease | None:
        """Lease `size` bytes, or return None where they are not to be had now."""
        with self._lock:
            if self.held + size > self.most:
                return None
            self.held += size
            self.peak = max(self.peak, self.held)
        return Lease(self, size)

    def need(self, size: int, what: str) -> Lease:
        """Lease what there is no doing without. ArchiveTooLarge if it never fits; ArchiveBusy if it does not now."""
        if size > self.most:
            raise ArchiveTooLarge(f"{what} needs {size} bytes of memory, and {self.most} are the limit")
        lease = self.lease(size)
        if lease is None:
            raise ArchiveBusy
        return lease

    def give_back(self, size: int) -> None:
        """End a lease of `size` bytes; `Lease.release` calls it."""
        with self._lock:
            self.held -= size


PROCESS = Memory(256 * MIB)
"""What every reader of this process shares."""
CHILDREN = Sandbox(8)
"""The child processes that its readers share: for the decoders that are not Python's own."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds one call: its limits, its work, the memory that it shares with all others, its children."""

    limits: Limits
    work: Work
    memory: Memory
    session: Session

    @classmethod
    def of(cls, limits: Limits, memory: Memory) -> Bounds:
        """Make the bounds of a call that begins now."""
        return cls(limits, Work(limits), memory, CHILDREN.session())
