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
    ArchiveBusy,
    ArchivedFile,
    ArchiveError,
    FileKind,
    NoSuchFile,
    NotAnArchive,
    Walked,
    open_file,
    walk_files,
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
CHECKED = 256
"""Lines between two looks at the clock."""
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


def show_lines(
    opened: OpenBundle,
    path: str,
    screen: Screen,
    encoding: Encoding | None,
    stop: Callable[[], bool] = lambda: False,
) -> Lines:
    """Read one screen of the file with the key `path`. Invalid when nothing is there, or `stop` says that getting there
    takes too long; ArchiveError."""
    detected, chunks = _as_text(opened, _open(opened, path), encoding)
    lines = _in_time(split_lines(chunks, detected.encoding), stop)
    shown, more = _tail(lines, screen) if screen.tail else _from(lines, screen, detected.encoding)
    for _ in opened.deliver(iter([line.raw for line in shown])):
        pass
    following = _following(shown) if more else None
    return Lines(detected, shown, following)


def _in_time(lines: Iterator[Line], stop: Callable[[], bool]) -> Iterator[Line]:
    for number, line in enumerate(lines):
        if number % CHECKED == 0 and stop():
            raise Invalid(
                f"coming to these lines takes too long: line {line.number} was reached; search for what you need, or "
                "download the file"
            )
        yield line


def _following(shown: list[Line]) -> int:
    """Return the line to go on from. What is left of a line that fills a screen is passed over: it has no number."""
    last = shown[-1]
    return last.number if last.cut and shown[0].number < last.number else last.number + 1


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
    stopped, the last thing is that file's Passed. `stop` is asked before each file but the first, searched or not, and
    before each block of text: each call gets further.
    """
    left, is_first = query.most, True
    for walked in [_open(opened, only)] if only is not None else _walk(opened):
        if isinstance(walked, str):  # what is left of a damaged bundle
            yield Passed(None, None, walked)
            continue
        file = None if walked is None else walked.file.key
        fault = None if walked is None else walked.fault
        if resume is not None and (fault is not None or file != resume):
            continue
        resume = None
        if walked is not None and fault is not None:
            if _fits(walked.file, named):
                yield Passed(walked.file.path, None, fault)
            continue
        if not is_first and stop():
            yield Passed(file, SearchEnd(Why.STOPPED, 0, BEGINNING))
            return
        is_first = False
        if walked is not None and (walked.opened is None or not _fits(walked.file, named)):
            continue
        one = Query(query.pattern, query.before, query.after, query.since, query.until, left, query.zone)
        end: SearchEnd | None = None
        try:
            detected, chunks = _as_text(opened, walked, encoding, begin.offset)
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


def _open(opened: OpenBundle, path: str) -> Walked:
    file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
    return Walked(file.file, file)


def _as_text(
    opened: OpenBundle, walked: Walked | None, encoding: Encoding | None, offset: int = 0
) -> tuple[Detected, Iterator[bytes]]:
    """Take a file (None: the bundle itself) as bytes from `offset` on, and say what they are encoded in."""
    size = opened.bundle.size
    if walked is None or walked.opened is None:
        chunks = opened.sealed.read(0, size)
        rest = opened.sealed.read(min(offset, size), max(0, size - offset))
    else:
        chunks, rest = walked.opened.chunks, walked.opened.part(offset, None)
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


def _walk(opened: OpenBundle) -> Iterator[Walked | str | None]:
    """Yield every file, also in nested archives; None if the bundle is no archive. Where it is damaged after some of
    them, the walk ends with the reason; ArchiveError if nothing can be listed."""
    number = 0
    try:
        walk = walk_files(SealedFile(opened.sealed), opened.bundle.file_name)
        for walked in _passing(opened, walk):
            number += 1
            if walked.file.kind is not FileKind.FOLDER:
                yield walked
    except NotAnArchive:
        yield None
    except ArchiveBusy:
        raise
    except ArchiveError as error:
        if not number:
            raise
        yield str(error)


def _fits(file: ArchivedFile, named: str | None) -> bool:
    if named is None:
        return True
    path, named = file.path.lower(), named.lower()  # as Windows does
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
        if not shown and before:
            shown = _that_fit(before)
            size = sum(len(earlier.raw) for earlier in shown)
            before = deque(shown)
        if len(shown) - len(before) >= screen.count or (shown and size + len(line.raw) > MOST_BYTES):
            return shown, True
        shown.append(line)
        size += len(line.raw)
    if not shown and (screen.time is not None or screen.line > max(last, 1)):
        raise _nothing_there(screen, last)
    return shown, False


def _that_fit(before: deque[Line]) -> list[Line]:
    """Return the last of these lines that leave half of the screen's bytes for those after them."""
    size = sum(len(line.raw) for line in before)
    while before and size > MOST_BYTES // 2:
        size -= len(before.popleft().raw)
    return [*before]


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
