"""The source of an archive's bytes, the guards that parsers read it through, and a format's view of a file.

1. A source is an opened bundle: reading a range opens only its segments, so reads stay local.
2. A `Window` is a run of a source: a stored nested archive is read in place, without a copy.
3. tarfile trusts the lengths it finds. It sees the bytes through `GuardedReads`, which refuses a read before it happens
   when the archive's own headers ask for more than the limits allow.
4. A fault of the source (a store that errs, a segment that does not open) is never reported as a damaged archive.
5. A `Member` is a file as its format's reader finds it, before the rules common to all formats judge it.
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, FileKind, Reason

CHUNK = 256 * 1024
READ_AHEAD = 64 * 1024  # headers lie beside their data: one read gets both
_PARSER_ERRORS = (
    tarfile.TarError,
    struct.error,
    ValueError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    EOFError,
)


class Source(Protocol):
    """Read-only, seekable bytes: an `io.RawIOBase` or `io.BufferedIOBase` serves."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def readinto(self, buffer: memoryview, /) -> int | None: ...


def size_of(source: Source) -> int:
    """Return the size of a source in bytes."""
    return source.seek(0, io.SEEK_END)


class Window(io.RawIOBase):
    """A run of `length` bytes of a source from `start`, as a file. A read is full unless the source ends first."""

    def __init__(self, source: Source, start: int, length: int) -> None:
        super().__init__()
        self._source, self._start, self._length, self._position = source, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        if target < 0:
            raise io.UnsupportedOperation("cannot seek before the start")
        self._position = target
        return target

    def read(self, size: int = -1, /) -> bytes:
        return super().read(size) or b""

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        want = memoryview(buffer)[: max(0, self._length - self._position)]
        self._source.seek(self._start + self._position)
        filled = 0
        while filled < len(want) and (got := self._source.readinto(want[filled:])):
            filled += got
        self._position += filled
        return filled


def whole(source: Source) -> Window:
    """Return a window over all of a source."""
    return Window(source, 0, size_of(source))


class GuardedReads:
    """A file object for a standard library parser: it reads at most what `allow` last granted."""

    def __init__(self, raw: io.RawIOBase | io.BufferedReader, allowed: int, what: str) -> None:
        self._raw, self._left, self._what = raw, allowed, what
        self.fault: Exception | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._noting_faults():
            return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        if size > self._left:
            raise ArchiveTooLarge(self._what)
        with self._noting_faults():
            data = self._raw.read(size if size >= 0 else self._left + 1) or b""
        self._left -= len(data)
        if self._left < 0:
            raise ArchiveTooLarge(self._what)
        return data

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except io.UnsupportedOperation:  # the parser asked for a place that does not exist
            raise
        except Exception as fault:
            self.fault = fault
            raise


@contextmanager
def parsing(reads: GuardedReads, what: str) -> Iterator[None]:
    """Turn any failure of the parser into one clear error, unless the source itself was at fault."""
    try:
        yield
    except _PARSER_ERRORS as error:
        if reads.fault is not None:
            raise reads.fault from None
        raise ArchiveDamaged(what) from error


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FILETIME_EPOCH_SECONDS = 11_644_473_600  # from 1601 to 1970


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. `chunks` and `source` work while the iterator is at it (a packed tar cannot go back)."""

    name: str
    kind: FileKind
    size: int | None
    packed_size: int | None
    modified: datetime | None
    reason: Reason | None  # one that only the format can know: encrypted, a link, overlapping
    chunks: Callable[[], Iterator[bytes]]
    source: Callable[[], Source]  # the same bytes to seek in, for an archive in it
    guessed: str | None = None


def since_epoch(seconds: float) -> datetime | None:
    """Convert a time that an archive claims, or return None where it is not one."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None


def since_1601(ticks: int) -> datetime | None:
    """Convert a Windows time (FILETIME: 100 ns since 1601), or return None where it is none."""
    return since_epoch(ticks / 10**7 - _FILETIME_EPOCH_SECONDS)


def dos_time(date: int, time: int) -> datetime | None:
    """Convert a time of DOS, which has no zone, as if it were UTC; None where it is none."""
    try:
        return datetime(
            *((date >> 9) + 1980, date >> 5 & 15, date & 31),
            *(time >> 11, time >> 5 & 63, (time & 31) * 2),
            tzinfo=UTC,
        )
    except ValueError:
        return None
