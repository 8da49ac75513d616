"""Making a contents index: one walk of all archives of a bundle, in which each file is read once, to its end.

1. What a walk of the archives cannot read costs the index that file, or that archive, and nothing else. What is read is
   not kept: memory is a few blocks, beside what the decoders lease.
2. `stop` is asked at every read of the bundle. When it says so the index ends there: the archives whose last file was
   reached by then are in it.
3. A fault that passes (no memory for a decoder now) ends the making with ArchiveBusy: it is made another time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from retention.archive.contents import (
    Content,
    ContentsWriter,
    IndexedFile,
    IndexFull,
    TextFacts,
)
from retention.archive.inflate import plain
from retention.archive.limits import Limits, Memory
from retention.archive.model import ArchiveBusy, ArchiveError, NotAnArchive, Walked
from retention.archive.reader import walk_files
from retention.archive.source import Source, whole
from retention.sandbox.children import ChildFailed
from retention.text.encodings import HEAD, detect
from retention.text.line_index import index_blocks
from retention.text.lines import split_blocks

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"ElfFile\0", "event log"),
    (b"MDMP", "minidump"),
    (b"PAGEDU64", "kernel dump"),
    (b"regf", "registry hive"),
    (b"MSCF", "cab"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"SQLite format 3\0", "sqlite"),
    (b"MZ", "program"),
    (b"\x7fELF", "program"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"%PDF-", "pdf"),
)
"""How files begin, and what they are; the rest is text or binary."""


class _Stopped(Exception):
    """The end of the time for an index."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A source that asks whether to stop before each read."""

    source: Source
    stop: Callable[[], bool]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.source.seek(offset, whence)

    def readinto(self, buffer: memoryview, /) -> int | None:
        if self.stop():
            raise _Stopped
        return self.source.readinto(buffer)


def write_index(
    source: Source,
    name: str,
    write: Callable[[bytes], None],
    memory: Memory,
    *,
    limits: Limits | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Write the index of the bundle called `name`; return whether all of it is in it. ArchiveBusy; faults of the source
    pass unchanged."""
    out = ContentsWriter(write)
    asking = _Asking(source, stop)
    try:
        _Pass(out).run(walk_files(asking, name, limits or Limits(), memory=memory))
        is_whole = True
    except NotAnArchive:
        is_whole = _plain_bundle(out, asking)
    except ArchiveBusy:
        raise
    except ArchiveError:  # nothing can be listed: reading says why
        is_whole = True
    except (_Stopped, IndexFull):
        is_whole = False
    out.finish()
    return is_whole


def _plain_bundle(out: ContentsWriter, source: Source) -> bool:
    try:
        content, _ = _read(out, plain(whole(source)))
    except _Stopped:
        return False
    if content is not None:
        out.whole_bundle(content)
    return True


class _Pass:
    """The walk's files put where they belong: each into the block of the archive that it lies in."""

    def __init__(self, out: ContentsWriter) -> None:
        self._out = out
        self._around: list[str] = []

    def run(self, walk: Iterator[Walked]) -> None:
        """Add all files of the walk. What only ends the list of the bundle itself is noted there."""
        incomplete, is_lost = None, False
        self._begin("")
        try:
            for met in walk:
                self._add(met)
        except (NotAnArchive, ArchiveBusy):
            raise
        except ArchiveError as error:
            incomplete, is_lost = str(error), isinstance(error.__cause__, ChildFailed)
        self._end_down_to("")
        self._end(incomplete, is_lost=is_lost)

    def _add(self, met: Walked) -> None:
        if met.busy:
            raise ArchiveBusy
        entered = met.file.readable and met.file.key in self._around
        if met.fault is not None and entered:  # it is damaged further on
            self._end_down_to(met.file.key)
            self._end(met.fault, is_lost=met.lost)
            return
        self._end_down_to(met.inside)
        if met.entered is not None:
            self._out.add(met.inside, IndexedFile(met.file, what=met.entered.value))
            self._begin(met.file.key)
            return
        content, fault = None, met.fault if met.file.readable else None
        if met.opened is not None:
            content, fault = _read(self._out, met.opened.chunks)
        self._out.add(met.inside, IndexedFile(met.file, content, fault))

    def _begin(self, key: str) -> None:
        self._out.begin(key)
        self._around.append(key)

    def _end(self, incomplete: str | None, *, is_lost: bool) -> None:
        """End the innermost archive. What only a lost child ended may be whole: the index does not say otherwise."""
        key = self._around.pop()
        if is_lost:
            self._out.leave_out(key)
        else:
            self._out.end(key, incomplete)

    def _end_down_to(self, key: str) -> None:
        while self._around[-1] != key:
            self._out.end(self._around.pop())


def _read(out: ContentsWriter, chunks: Iterator[bytes]) -> tuple[Content | None, str | None]:
    """Read a file to its end; return what was found, or why it cannot be read."""
    crc = size = 0

    def counted() -> Iterator[bytes]:
        nonlocal crc, size
        for chunk in chunks:
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            yield chunk

    rest, head = counted(), list[bytes]()
    try:
        while sum(map(len, head)) < HEAD and (chunk := next(rest, None)) is not None:
            head.append(chunk)
        what, facts = _look(out, b"".join(head)[:HEAD], chain(head, rest))
    except ArchiveBusy:
        raise
    except ArchiveError as error:
        return None, str(error)
    return Content(size, crc, what, facts), None


def _look(out: ContentsWriter, head: bytes, chunks: Iterable[bytes]) -> tuple[str, TextFacts | None]:
    """Take all chunks; return what they are."""
    detected = detect(head)
    known = next((what for begins, what in _BEGINNINGS if head.startswith(begins)), None)
    if known is not None or detected.binary:
        for _ in chunks:
            pass
        return known or "binary", None
    index = index_blocks(split_blocks(chunks, detected.encoding), detected.encoding)
    place = out.line_index(index) if len(index.spans) > 1 else None
    return "text", TextFacts(detected, index.lines, index.yearless, index.seen(), place)
