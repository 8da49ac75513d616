"""The contents index of a bundle: what every file in it is, written once and read a page at a time. Pure, and plain:
`retention.envelope.sealed_index` seals it. The bytes are described in docs/formats.md.

    index     = blocks and line indexes, in the order in which they were ready | directory | end
    block     = zlib(rows, a JSON list a line): some files of one archive, in its order
    directory = zlib(JSON): each archive by its key, with its blocks
    end       = the directory's place 8 | its length 8 | FORMAT 8

1. It holds what a walk of the archives gives, and what reading each file to its end found. An archive stands in the
   directory once its last file is known: one that does not is listed by walking it.
2. A reader takes the directory, and then only the blocks that it shows; each is bounded before it is unpacked.
3. It is a help and never a truth: what is read of a file comes from the archive and is checked there.
"""

from __future__ import annotations

import json
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from audit.times import from_microseconds, to_microseconds
from retention.archive.model import ArchivedFile, FileKind, Reason
from retention.archive.names import SEPARATOR
from retention.text.encodings import Detected, Encoding
from retention.text.line_index import LineIndex, Seen, Span

FORMAT = b"cvindex1"
END = struct.Struct(">QQ8s")
BLOCK, BLOCK_BYTES = 256, 128 << 10
"""Files of a block at most, and bytes of rows after which one ends."""
MOST_FILES = 1_000_000
MOST_DIRECTORY = 8 << 20
"""Bytes of the unpacked directory, about; what would make it longer is left out, and read by walking."""
_UNPACKED_BLOCK, _UNPACKED_DIRECTORY, _UNPACKED_SPANS = 8 << 20, 2 * MOST_DIRECTORY, 8 << 20
ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> that run of the index."""
Place = tuple[int, int]
"""Offset and length of a run of the index."""


class UnknownIndex(ValueError):
    """An index of another version, or bytes that are none."""


class IndexFull(Exception):
    """More files, or archives, than an index holds."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What a file is as text: its encoding, lines and times (those without a zone taken for UTC), and where its line
    index is, if it has more than one block."""

    detected: Detected
    lines: int
    yearless: bool
    seen: Seen
    blocks: Place | None


@dataclass(frozen=True, slots=True)
class Content:
    """What reading a file to its end found: bytes, CRC-32, what the first bytes say it is, and how it is text."""

    size: int
    crc: int
    what: str
    text: TextFacts | None = None


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file of the index. `fault` says why it could not be read, beside the file's own reason; `content` is None then,
    and for an archive that was entered, whose `what` is its kind."""

    file: ArchivedFile
    content: Content | None = None
    fault: str | None = None
    what: str | None = None


def file_fields(file: ArchivedFile) -> list[Any]:
    """Return a listed file as JSON has it. Of one that must not be read only what is shown is kept: its own name may
    have 65,535 bytes."""
    key: str | bool | None = file.key if file.readable else None
    return [
        *(file.path, True if key == file.path else key, file.kind.value, file.size, file.packed_size),
        None if file.modified is None else to_microseconds(file.modified),
        None if file.reason is None else file.reason.name,
        file.guessed,
    ]


def file_from(fields: Sequence[Any]) -> ArchivedFile:
    """Make the listed file of `file_fields`."""
    path, key, kind, size, packed, modified, reason, guessed = fields
    at = None if modified is None else from_microseconds(modified)
    why = None if reason is None else Reason[reason]
    return ArchivedFile(
        key if isinstance(key, str) else path, path, FileKind(kind), size, packed, at, why, guessed
    )


def _moment(at: datetime | None) -> int | None:
    return None if at is None else to_microseconds(at)


def _seen(first: int | None, last: int | None) -> Seen:
    return (
        Seen() if first is None or last is None else Seen(from_microseconds(first), from_microseconds(last))
    )


def _content_fields(content: Content | None) -> list[Any] | None:
    if content is None:
        return None
    text = content.text
    facts = text and [
        *(text.detected.encoding.name, text.detected.guessed, text.lines, text.yearless),
        *(_moment(text.seen.first), _moment(text.seen.last), text.blocks),
    ]
    return [content.size, content.crc, content.what, facts]


def _content_from(fields: Sequence[Any] | None) -> Content | None:
    if fields is None:
        return None
    size, crc, what, facts = fields
    if facts is None:
        return Content(size, crc, what)
    name, guessed, lines, yearless, first, last, blocks = facts
    detected, place = Detected(Encoding(name), guessed), None if blocks is None else (blocks[0], blocks[1])
    return Content(size, crc, what, TextFacts(detected, lines, yearless, _seen(first, last), place))


def _packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode())


def _unpacked(raw: bytes, most: int) -> bytes:
    out = zlib.decompressobj().decompress(raw, most + 1)
    if len(out) > most:
        raise UnknownIndex(f"a run of the index has more than {most} bytes")
    return out


@dataclass(slots=True)
class _Archive:
    """An archive being written: its blocks, each with its place and the number of its first file, and open rows."""

    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    row_bytes: int = 0
    number: int = 0


class ContentsWriter:
    """A writer of an index, front to back into `write`. Memory: one open block for each archive that is open."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._at = self._files = self._directory_bytes = 0
        self._open: dict[str, _Archive] = {}
        self._done: list[list[Any]] = []
        self._bundle: Content | None = None

    def begin(self, key: str) -> None:
        """Begin an archive; the bundle's own key is empty."""
        self._open[key] = _Archive()

    def add(self, inside: str, one: IndexedFile) -> None:
        """Add the next file of an archive that was begun. IndexFull."""
        self._files += 1
        if self._files > MOST_FILES:
            raise IndexFull
        archive = self._open[inside]
        fields = [*file_fields(one.file), _content_fields(one.content), one.fault, one.what]
        archive.rows.append(json.dumps(fields, separators=(",", ":")).encode())
        archive.row_bytes += len(archive.rows[-1])
        archive.number += 1
        if len(archive.rows) == BLOCK or archive.row_bytes >= BLOCK_BYTES:
            self._end_block(archive)

    def end(self, key: str, incomplete: str | None = None) -> None:
        """End an archive: all its files were added, or `incomplete` says why not more. IndexFull."""
        archive = self._open.pop(key)
        self._end_block(archive)
        entry = [key, archive.number, incomplete, archive.blocks]
        self._directory_bytes += len(json.dumps(entry))
        if self._directory_bytes > MOST_DIRECTORY:
            raise IndexFull
        self._done.append(entry)

    def leave_out(self, key: str) -> None:
        """Leave out an archive that was begun: it is listed by walking it."""
        self._open.pop(key)

    def line_index(self, index: LineIndex) -> Place:
        """Keep where the lines of a file begin; return its place."""
        return self._keep(
            _packed(
                [
                    [
                        *(span.offset, span.number, _moment(span.zoned.first), _moment(span.zoned.last)),
                        *(_moment(span.local.first), _moment(span.local.last)),
                    ]
                    for span in index.spans
                ]
            )
        )

    def whole_bundle(self, content: Content) -> None:
        """Keep what the bundle is: it is no archive."""
        self._bundle = content

    def finish(self) -> None:
        """Write directory and end. Archives that were not ended are not in it."""
        directory = {"archives": self._done, "bundle": _content_fields(self._bundle)}
        at, length = self._keep(_packed(directory))
        self._write(END.pack(at, length, FORMAT))

    def _end_block(self, archive: _Archive) -> None:
        if not archive.rows:
            return
        at, length = self._keep(zlib.compress(b"\n".join(archive.rows)))
        archive.blocks.append((at, length, archive.number - len(archive.rows)))
        archive.rows, archive.row_bytes = [], 0

    def _keep(self, raw: bytes) -> Place:
        at = self._at
        self._write(raw)
        self._at += len(raw)
        return at, len(raw)


@dataclass(frozen=True, slots=True)
class IndexedArchive:
    """An archive in an index: how many files it lists, why the list ends before it does, and its blocks."""

    number: int
    incomplete: str | None
    blocks: Sequence[tuple[int, int, int]]


class ContentsIndex:
    """An index being read. UnknownIndex if it is not one that this version wrote."""

    def __init__(self, read_at: ReadAt, length: int) -> None:
        self._read_at = read_at
        try:
            at, size, told = END.unpack(read_at(length - END.size, END.size))
            if told != FORMAT or at + size + END.size != length:
                raise UnknownIndex(f"the index is of the format {told!r}; {FORMAT!r} is known here")
            directory = json.loads(_unpacked(read_at(at, size), _UNPACKED_DIRECTORY))
            self.bundle = _content_from(directory["bundle"])
            self._archives = {
                key: IndexedArchive(number, incomplete, blocks)
                for key, number, incomplete, blocks in directory["archives"]
            }
        except (struct.error, zlib.error, ValueError, KeyError, TypeError) as error:
            raise UnknownIndex(f"the index cannot be read: {type(error).__name__}") from None

    def archive(self, key: str) -> IndexedArchive | None:
        """Return the archive with this key, if it is in the index and has files, or is known to have none."""
        found = self._archives.get(key)
        return None if found is None or (found.incomplete and not found.number) else found

    @property
    def archives(self) -> Sequence[str]:
        """The keys of the archives in it."""
        return tuple(self._archives)

    def files(self, archive: IndexedArchive, start: int = 0) -> Iterator[IndexedFile]:
        """Yield the archive's files from place `start` on, unpacking a block at a time."""
        first = max(0, bisect_right(archive.blocks, start, key=lambda block: block[2]) - 1)
        for at, length, number in archive.blocks[first:]:
            rows = self._rows(at, length)
            yield from map(_indexed, rows[max(0, start - number) :])

    def find(self, key: str) -> IndexedFile | None:
        """Find the file with this key, if its archive is in the index."""
        archive = self._archives.get(key.rpartition(SEPARATOR)[0])
        wanted = json.dumps(key).encode()
        for at, length, _ in archive.blocks if archive else ():
            for row in self._rows(at, length):
                if wanted in row and (found := _indexed(row)).file.key == key and found.file.readable:
                    return found
        return None

    def line_index(self, text: TextFacts) -> LineIndex | None:
        """Return where the lines of a file begin; None if it has one block only."""
        if text.blocks is None:
            return None
        rows = json.loads(_unpacked(self._read_at(*text.blocks), _UNPACKED_SPANS))
        spans = (Span(offset, number, _seen(*seen[:2]), _seen(*seen[2:])) for offset, number, *seen in rows)
        return LineIndex(tuple(spans), text.lines, text.yearless)

    def _rows(self, at: int, length: int) -> list[bytes]:
        return _unpacked(self._read_at(at, length), _UNPACKED_BLOCK).split(b"\n")


def _indexed(row: bytes) -> IndexedFile:
    *file, content, fault, what = json.loads(row)
    return IndexedFile(file_from(file), _content_from(content), fault, what)
