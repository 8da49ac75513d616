"""Where lines begin: blocks of a file with their line numbers and times, so that a reader can begin in the middle.

Rules:
- A block begins where a line begins, about every 256 KiB; the first is at 0 and line 1. A line longer than a block has
  no block within it. A file of more than MOST blocks has larger ones.
- A block's times are the least and the greatest of its lines: logs are not always in order. They are kept apart by
  what the line said: with a zone of its own, or without, which counts as UTC here until a reader says otherwise. They
  may lie up to a second further apart than the lines' own, never nearer.
- A stamp without a year says nothing here: the file is `yearless`, and its times find no block.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retention.text.encodings import Encoding
from retention.text.lines import Block
from retention.text.times import REACH, Stamp, Zone, find_time

STEP = 192 * 1024
"""The least bytes of a block of the index; blocks of text come in about 256 KiB."""
MOST = 8192
_LEAP = 1972
"""The year that a stamp without one gets, so that it shows; a leap year, so that each date exists."""
_BEGINS = r"\d{4}[-/]\d{2}[-/]\d{2}[T \t-]\d{2}:\d{2}:\d{2}"
_OWN_ZONE = r" ?(?:Z|[+-]\d{2}:?\d{2})(?![\d-])"
# Of each line the stamp that it begins with, as nearly all lines of a log do, else as much as can hold one. A literal
# line end at the front is five times as fast as a `^` of many lines.
_HEADS = re.compile(rf"\n(?:{_BEGINS}(?:[.,:]\d{{1,9}})?(?:{_OWN_ZONE})?|[^\n]{{1,{REACH + 1}}})", re.ASCII)
_STAMPED = re.compile(rf"\n({_BEGINS})([.,:]\d{{1,9}})?(.*)", re.ASCII | re.DOTALL)
_SUBSECOND = timedelta(microseconds=999_999)


@dataclass(frozen=True, slots=True)
class Seen:
    """The least and the greatest of some times; None where there were none."""

    first: datetime | None = None
    last: datetime | None = None

    def and_also(self, first: datetime | None, last: datetime | None) -> Seen:
        """Return the same with two more."""
        if first is None or last is None:
            return self
        if self.first is None or self.last is None:
            return Seen(first, last)
        return Seen(min(self.first, first), max(self.last, last))


@dataclass(frozen=True, slots=True)
class Span:
    """A block of the index: where it begins, its first line's number, and the times in it, with a zone and without."""

    offset: int
    number: int
    zoned: Seen = Seen()
    local: Seen = Seen()

    def last_seen(self, zone: Zone) -> datetime | None:
        """Return the greatest time in it, where the others are of this zone."""
        local = None if self.local.last is None else _in_utc(self.local.last, zone)
        return max(filter(None, (self.zoned.last, local)), default=None)

    def joined(self, later: Span) -> Span:
        """Return one block of this and the one behind it."""
        return Span(
            self.offset,
            self.number,
            self.zoned.and_also(later.zoned.first, later.zoned.last),
            self.local.and_also(later.local.first, later.local.last),
        )


@dataclass(frozen=True, slots=True)
class LineIndex:
    """The blocks of a file in order, and its number of lines. `yearless`: a line says a time without its year."""

    spans: tuple[Span, ...]
    lines: int
    yearless: bool = False

    def at_line(self, number: int) -> Span:
        """Return the last block that begins at or before the line. ValueError outside 1 to `lines`."""
        if not 1 <= number <= self.lines:
            raise ValueError(f"line {number} was asked for, the file has {self.lines}")
        return self.spans[bisect_right(self.spans, number, key=lambda span: span.number) - 1]

    def at_time(self, moment: datetime, zone: Zone) -> Span | None:
        """Return a block before which no line is from `moment` or later, the last known; None if no line is."""
        return next(
            (span for span in self.spans if (last := span.last_seen(zone)) is not None and last >= moment),
            None,
        )

    def seen(self) -> Seen:
        """Return the first and the last time in the file, those without a zone taken for UTC."""
        whole = Seen()
        for span in self.spans:
            whole = whole.and_also(span.zoned.first, span.zoned.last)
            whole = whole.and_also(span.local.first, span.local.last)
        return whole


def index_blocks(blocks: Iterable[Block], encoding: Encoding, *, step: int = STEP) -> LineIndex:
    """Index the blocks of a whole file."""
    spans: list[Span] = []
    lines, yearless = 0, False
    for block in blocks:
        found = Span(block.offset, block.number)
        for stamp, last in _stamps(block, encoding):
            if stamp.zoned:
                found = Span(*_place(found), found.zoned.and_also(stamp.at, last), found.local)
            elif stamp.at.year == _LEAP:
                yearless = True
            else:
                found = Span(*_place(found), found.zoned, found.local.and_also(stamp.at, last))
        if not spans or (not block.continues and block.offset - spans[-1].offset >= step):
            spans.append(found)
        else:
            spans[-1] = spans[-1].joined(found)
        if len(spans) > MOST:
            spans, step = _thinned(spans), 2 * step
        ended = block.raw.endswith(encoding.newline) and not block.cut
        lines = block.number + block.lines - ended
    return LineIndex(tuple(spans), lines, yearless)


def _in_utc(local: datetime, zone: Zone) -> datetime:
    """Return the moment; the first or the last that there is for one outside the years 1 to 9999."""
    try:
        return local - zone.offset
    except OverflowError:
        is_later = zone.offset < timedelta(0)
        return datetime.max.replace(tzinfo=UTC) if is_later else datetime.min.replace(tzinfo=UTC)


def _place(span: Span) -> tuple[int, int]:
    return span.offset, span.number


def _thinned(spans: list[Span]) -> list[Span]:
    """Join the blocks by twos."""
    joined = [one.joined(other) for one, other in zip(spans[::2], spans[1::2], strict=False)]
    return joined + spans[2 * len(joined) :]


def _stamps(block: Block, encoding: Encoding) -> Iterator[tuple[Stamp, datetime]]:
    """Yield the block's stamps, equal ones at least once; each with the latest moment that it can mean."""
    text = encoding.decode(block.raw)
    if block.continues:  # what is left of a line has no stamp of its own
        text = "" if block.cut else text.partition("\n")[2]
    zone = Zone(year=_LEAP)
    if "<time=" in text or "$$<" in text:
        for line in text.split("\n"):
            if stamp := find_time(line.removesuffix("\r"), zone):
                yield stamp, stamp.at
        return
    groups: dict[tuple[str, ...], list[str]] = {}
    for head in set(_HEADS.findall("\n" + text)):
        if stamped := _STAMPED.match(head):
            begin, part, own = stamped.groups("")
            groups.setdefault((own, part[:1], begin[4], begin[7], begin[10]), []).append(begin)
        elif stamp := find_time(head[1:].removeprefix("\ufeff"), zone):
            yield stamp, stamp.at
    for (own, part, *_), begins in groups.items():
        yield from _least_and_greatest(begins, own, _SUBSECOND * bool(part), zone)


def _least_and_greatest(
    begins: list[str], own: str, most: timedelta, zone: Zone
) -> Iterator[tuple[Stamp, datetime]]:
    """Yield the least and the greatest of stamps of one form, which their text orders; of all where one is no date."""
    ends = [find_time(begin + own, zone) for begin in (min(begins), max(begins))]
    for stamp in ends if all(ends) else [find_time(begin + own, zone) for begin in begins]:
        if stamp:
            yield stamp, stamp.at + most
