"""A screen of a file's lines, over a bundle that is open.

Rules:
- What is looked through passes the check of the grant; what is handed over is counted: the raw bytes of the lines
  shown.
- Nothing is kept: memory is a screen of lines, bounded in number and in bytes.
- Where the bundle's contents index knows where the file's lines begin, a screen is read from the last such place before
  it; what is shown is the same. Otherwise the file is read from its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from retention.archive import Walked
from retention.custody.contents_index import UNREADABLE
from retention.custody.reading.bundle_reads import OpenBundle
from retention.custody.reading.file_bytes import as_text, open_inside, passing_on
from retention.domain.faults import Invalid
from retention.text.encodings import Detected, Encoding
from retention.text.line_index import LineIndex, Span
from retention.text.lines import Line, split_lines
from retention.text.times import UNKNOWN_ZONE, Zone, find_time

MOST_LINES = 1000
CHECKED = 256
"""Lines between two looks at the clock."""
STRIDE = 64 << 20
"""Bytes of a file between two looks at clock and grant, on the way to a place in it."""
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


def show_lines(
    opened: OpenBundle,
    path: str,
    screen: Screen,
    encoding: Encoding | None,
    stop: Callable[[], bool] = lambda: False,
) -> Lines:
    """Read one screen of the file with the key `path`. Invalid when nothing is there, or `stop` says that getting there
    takes too long; ArchiveError."""
    file = open_inside(opened, path)
    detected, lines = _from_its_place(opened, file, screen, encoding, stop) or _from_its_beginning(
        opened, file, encoding
    )
    lines = _in_time(lines, stop)
    shown, more = _tail(lines, screen) if screen.tail else _from(lines, screen, detected.encoding)
    for _ in opened.deliver(iter([line.raw for line in shown])):
        pass
    following = _following(shown) if more else None
    return Lines(detected, shown, following)


def _from_its_beginning(
    opened: OpenBundle, file: Walked, encoding: Encoding | None
) -> tuple[Detected, Iterator[Line]]:
    detected, chunks = as_text(opened, file, encoding)
    return detected, split_lines(chunks, detected.encoding)


def _from_its_place(
    opened: OpenBundle,
    file: Walked,
    screen: Screen,
    encoding: Encoding | None,
    stop: Callable[[], bool],
) -> tuple[Detected, Iterator[Line]] | None:
    """Take the lines from a place shortly before the screen; None where the contents index knows none."""
    index = opened.contents
    if index is None or file.opened is None:
        return None
    try:
        found = index.find(file.file.key)
        text = found.content.text if found and found.content else None
        lines = index.line_index(text) if text else None
    except UNREADABLE:
        return None
    if text is None or lines is None or (encoding or text.detected.encoding) != text.detected.encoding:
        return None
    span = _span(lines, screen)
    if span is None:
        return None
    for at in range(STRIDE, span.offset, STRIDE):  # where it is packed, coming there takes time
        for _ in passing_on(opened, file.opened.part(at, 1)):
            pass
        if stop():
            raise _too_long(max(one.number for one in lines.spans if one.offset <= at))
    rest = passing_on(opened, file.opened.part(span.offset, None))
    detected = text.detected if encoding is None else Detected(encoding, guessed=False)
    return detected, split_lines(rest, detected.encoding, offset=span.offset, number=span.number)


def _span(index: LineIndex, screen: Screen) -> Span | None:
    """Return the block of the index to begin in: nothing before it is shown, or tells where the screen begins."""
    if screen.tail:
        return index.at_line(max(1, index.lines - screen.count + 1))
    if screen.time is None:
        return index.at_line(min(max(1, screen.line - screen.before), index.lines))
    if index.yearless:
        return None
    reached = index.at_time(screen.time, screen.zone)
    first = index.lines if reached is None else reached.number
    return index.at_line(max(1, first - screen.before))


def _in_time(lines: Iterator[Line], stop: Callable[[], bool]) -> Iterator[Line]:
    for number, line in enumerate(lines):
        if number % CHECKED == 0 and stop():
            raise _too_long(line.number)
        yield line


def _too_long(reached: int) -> Invalid:
    return Invalid(
        f"coming to these lines takes too long: line {reached} was reached; search for what you need, or download the "
        "file"
    )


def _following(shown: list[Line]) -> int:
    """Return the line to go on from. What is left of a line that fills a screen is passed over: it has no number."""
    last = shown[-1]
    return last.number if last.cut and shown[0].number < last.number else last.number + 1


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
