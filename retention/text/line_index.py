"""Where lines begin: blocks of a file with their line numbers and times, so that a reader can begin in the middle.

Rules:
- A block begins where a line begins, about every STEP bytes; the first is at 0 and line 1. A line longer than a block
  has no block within it.
- `first_seen` and `last_seen` are the least and the greatest time in the block: logs are not always in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from retention.text.encodings import Encoding
from retention.text.lines import Line
from retention.text.times import Zone, find_time

STEP = 256 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """A block of the index: where it begins, its first line's number, and the times in it."""

    offset: int
    number: int
    first_seen: datetime | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class LineIndex:
    """The blocks of a file in order, and its number of lines."""

    spans: tuple[Span, ...]
    lines: int

    def at_line(self, number: int) -> Span:
        """Return the last block that begins at or before the line. ValueError outside 1 to `lines`."""
        if not 1 <= number <= self.lines:
            raise ValueError(f"line {number} was asked for, the file has {self.lines}")
        return self.spans[bisect_right(self.spans, number, key=lambda span: span.number) - 1]

    def at_offset(self, offset: int) -> Span:
        """Return the last block that begins at or before the offset. ValueError below 0 or in an empty file."""
        if offset < 0 or not self.spans:
            raise ValueError(f"offset {offset} was asked for; an offset is from 0, in a file with lines")
        return self.spans[bisect_right(self.spans, offset, key=lambda span: span.offset) - 1]

    def at_time(self, moment: datetime) -> Span | None:
        """Return the first block with a line from `moment` or later, or None."""
        return next((span for span in self.spans if span.last_seen and span.last_seen >= moment), None)


def index_lines(lines: Iterable[Line], encoding: Encoding, zone: Zone, *, step: int = STEP) -> LineIndex:
    """Index the lines of a whole file."""
    spans: list[Span] = []
    begun: Line | None = None
    seen: list[datetime] = []
    number = 0
    for line in lines:
        if not line.continues and (begun is None or line.offset - begun.offset >= step):
            if begun is not None:
                spans.append(_span(begun, seen))
            begun, seen = line, []
        if not line.continues and (stamp := find_time(encoding.decode(line.raw), zone)):
            seen = [min(*seen, stamp.at), max(*seen, stamp.at)] if seen else [stamp.at, stamp.at]
        number = line.number
    if begun is not None:
        spans.append(_span(begun, seen))
    return LineIndex(tuple(spans), number)


def _span(begun: Line, seen: list[datetime]) -> Span:
    return Span(begun.offset, begun.number, *(seen or (None, None)))
