"""A bundle's files as text: a screen of lines, and searching, over a bundle that is open.

Rules:
- Everything here reads an `OpenBundle`, so the decision was made and its entry is durable (P3). What is looked through
  passes its check of the grant; what is handed over is counted: the raw bytes of the lines shown.
- Nothing is kept: memory is a screen of lines, bounded in number and in bytes.
- A file that cannot be read does not end the search of the others: it is named, with the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import chain
from typing import TypeVar

from retention.archive import (
    ArchivedFile,
    ArchiveError,
    FileKind,
    NoSuchFile,
    NotAnArchive,
    list_files,
    open_file,
)
from retention.custody.reading.bundle_reads import OpenBundle
from retention.domain.faults import Invalid
from retention.envelope.bundle_file import SealedFile
from retention.text.encodings import HEAD, Detected, Encoding, detect
from retention.text.lines import Line, split_lines
from retention.text.search import BEGINNING, Hit, Position, Query, SearchEnd, Why, search
from retention.text.times import UNKNOWN_ZONE, Zone, find_time

T = TypeVar("T")
MOST_LINES = 1000
MOST_BYTES = 1 << 20
"""Lines, and their raw bytes, of one screen; at least one line is shown."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Which lines to show: `count` of them from line `line`, or the last ones, or from a time on; `before` of those
    before them too. `zone` is for times without one."""

    count: int
    line: int = 1
    tail: bool = False
    time: datetime | None = None
    before: int = 0
    zone: Zone = UNKNOWN_ZONE


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines shown, how they were decoded, and the number of the line after them (None at the end)."""

    detected: Detected
    lines: list[Line]
    following: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """A line that a search found, or one of its context, with its file's key (None: the bundle is one file)."""

    file: str | None
    encoding: Encoding
    hit: Hit


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that a search has done with; `unread` says why it could not be read."""

    file: str | None
    end: SearchEnd | None
    unread: str | None = None


def show_lines(opened: OpenBundle, path: str, screen: Screen, encoding: Encoding | None) -> Lines:
    """Read one screen of the file with the key `path`. Invalid when nothing is there; ArchiveError."""
    detected, chunks = _as_text(opened, path, encoding)
    lines = split_lines(chunks, detected.encoding)
    shown, more = _tail(lines, screen) if screen.tail else _from(lines, screen, detected.encoding)
    for _ in opened.deliver(iter([line.raw for line in shown])):
        pass
    following = shown[-1].number + (0 if shown[-1].cut else 1) if shown and more else None
    return Lines(detected, shown, following)


def search_bundle(
    opened: OpenBundle,
    query: Query,
    encoding: Encoding | None,
    *,
    only: str | None = None,
    named: str | None = None,
    resume: str | None = None,
    begin: Position = BEGINNING,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Found | Passed]:
    """Search the file with the key `only`, or every file whose key fits the pattern `named`, from `resume` on.

    `begin` is where to begin in the first file. `query.most` counts for all files together; with it reached, or
    stopped, the last thing is that file's Passed.
    """
    left = query.most
    for file in [only] if only is not None else _readable(opened, named):
        if resume is not None and (isinstance(file, Passed) or file != resume):
            continue
        resume = None
        if isinstance(file, Passed):
            yield file
            continue
        one = Query(query.pattern, query.before, query.after, query.since, query.until, left, query.zone)
        end: SearchEnd | None = None
        try:
            detected, chunks = _as_text(opened, file, encoding, begin.offset)
            for told in search(chunks, detected.encoding, one, begin=begin, stop=stop):
                if isinstance(told, SearchEnd):
                    end = told
                else:
                    yield from _handed_over(opened, Found(file, detected.encoding, told))
        except ArchiveError as error:
            if only is not None:
                raise opened.failed(error) from None
            yield Passed(file, None, str(error))
        if end is not None:
            yield Passed(file, end)
            left -= end.found
            if end.why is not Why.COMPLETE:
                return
        begin = BEGINNING
    if resume is not None:
        raise NoSuchFile


def _handed_over(opened: OpenBundle, found: Found) -> Iterator[Found]:
    for _ in opened.deliver(iter((found.hit.line.raw,))):
        yield found


def _as_text(
    opened: OpenBundle, path: str | None, encoding: Encoding | None, offset: int = 0
) -> tuple[Detected, Iterator[bytes]]:
    """Open a file (None: the bundle itself) as bytes from `offset` on, and say what they are encoded in."""
    size = opened.bundle.size
    if path is None:
        chunks = opened.sealed.read(0, size)
        rest = opened.sealed.read(min(offset, size), max(0, size - offset))
    else:
        file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
        chunks, rest = file.chunks, file.part(offset, None)
    checked = _passing(opened, chunks)
    head: list[bytes] = []
    while sum(map(len, head)) < HEAD and (chunk := next(checked, None)) is not None:
        head.append(chunk)
    detected = detect(b"".join(head)) if encoding is None else Detected(encoding, guessed=False)
    return detected, _passing(opened, rest) if offset else chain(head, checked)


def _passing(opened: OpenBundle, found: Iterator[T]) -> Iterator[T]:
    """Pass things on while the grant lives. A file's own fault leaves the bundle open for the others."""
    fault: list[ArchiveError] = []

    def until_fault() -> Iterator[T]:
        try:
            yield from found
        except ArchiveError as error:
            fault.append(error)

    yield from opened.passing(until_fault())
    if fault:
        raise fault[0]


def _readable(opened: OpenBundle, named: str | None) -> Iterator[str | Passed | None]:
    """Yield the keys of the files to search, also in nested archives; a Passed for each that cannot be read."""
    try:
        yield from _inside(opened, "", named)
    except NotAnArchive:
        yield None


def _inside(opened: OpenBundle, inside: str, named: str | None) -> Iterator[str | Passed | None]:
    listed = list_files(SealedFile(opened.sealed), opened.bundle.file_name, inside=inside)
    for file in _passing(opened, listed):
        if file.kind is FileKind.FOLDER:
            continue
        if file.kind is FileKind.ARCHIVE and file.readable:
            yield from _nested(opened, file, named)
        elif _fits(file.path, named):
            why = file.reason
            yield (
                file.key
                if why is None
                else Passed(file.path, None, f"The file cannot be read: {why.message}.")
            )


def _nested(opened: OpenBundle, file: ArchivedFile, named: str | None) -> Iterator[str | Passed | None]:
    try:
        yield from _inside(opened, file.key, named)
    except NotAnArchive:
        if _fits(file.path, named):
            yield file.key
    except ArchiveError as error:
        yield Passed(file.path, None, str(error))


def _fits(path: str, named: str | None) -> bool:
    if named is None:
        return True
    path, named = path.lower(), named.lower()  # as Windows does
    return fnmatchcase(path, named) or fnmatchcase(path.rsplit("/", 1)[-1], named)


def _tail(lines: Iterator[Line], screen: Screen) -> tuple[list[Line], bool]:
    last: deque[Line] = deque()
    size = 0
    for line in lines:
        last.append(line)
        size += len(line.raw)
        while len(last) > max(1, screen.count) or (size > MOST_BYTES and len(last) > 1):
            size -= len(last.popleft().raw)
    return list(last), False


def _from(lines: Iterator[Line], screen: Screen, encoding: Encoding) -> tuple[list[Line], bool]:
    before: deque[Line] = deque(maxlen=screen.before)
    shown: list[Line] = []
    size = last = 0
    for line in lines:
        last = line.number
        if not shown and not _begins(line, screen, encoding):
            before.append(line)
            continue
        shown = shown or [*before]
        if len(shown) - len(before) >= screen.count or (shown and size + len(line.raw) > MOST_BYTES):
            return shown, True
        shown.append(line)
        size += len(line.raw)
    if not shown and (screen.time is not None or screen.line > max(last, 1)):
        raise _nothing_there(screen, last)
    return shown, False


def _begins(line: Line, screen: Screen, encoding: Encoding) -> bool:
    if screen.time is None:
        return line.number >= screen.line
    stamp = None if line.continues else find_time(encoding.decode(line.raw), screen.zone)
    return stamp is not None and stamp.at >= screen.time


def _nothing_there(screen: Screen, lines: int) -> Invalid:
    if screen.time is not None:
        return Invalid(
            f"no line of the file says that it is from {screen.time.isoformat()} or later; it has {lines} lines",
            {"time": "must not be past the last time in the file"},
        )
    return Invalid(
        f"line {screen.line} was asked for, the file has {lines}", {"line": f"must be 1 to {lines}"}
    )
