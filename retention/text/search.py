"""Searching lines as they arrive, with context, bounded, to be gone on with.

Rules:
- A block is searched as a whole; only lines that are found, or stand around them, are made into lines.
- A line cut into pieces (lines.py) is searched by its pieces: a match across two of them is not found.
- With a time window only lines in it are found; a line without a time has that of the line before it.
- The end says why: all was searched, enough was found, or it was stopped; and, unless all was searched, where to go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from retention.text.encodings import Encoding
from retention.text.lines import Block, Line, lines_of, split_blocks
from retention.text.pattern import Pattern
from retention.text.times import UNKNOWN_ZONE, Zone, find_time


@dataclass(frozen=True, slots=True)
class Position:
    """Where to go on: a place in the file, the number of its line, and if that is the rest of a line that was cut.

    `seen` is the time that a line without one has there.
    """

    offset: int = 0
    number: int = 1
    continues: bool = False
    seen: datetime | None = None


BEGINNING = Position()


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for. `since` and `until` (excluded) are the time window; `most` bounds the lines found."""

    pattern: Pattern
    before: int = 0
    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    most: int = 1000
    zone: Zone = UNKNOWN_ZONE

    @property
    def windowed(self) -> bool:
        return self.since is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class Hit:
    """A line found, or one of its context (`found` is False)."""

    line: Line
    found: bool


class Why(StrEnum):
    """Why a search ended."""

    COMPLETE = "complete"
    ENOUGH = "enough"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """How a search ended; `go_on` is None when all was searched."""

    why: Why
    found: int
    go_on: Position | None


def search(
    chunks: Iterable[bytes],
    encoding: Encoding,
    query: Query,
    *,
    begin: Position = BEGINNING,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Hit | SearchEnd]:
    """Yield the lines found in the bytes that begin at `begin`, each once and in order, and then the end.

    `stop` is asked before each block (256 KiB or a cut line's piece).
    """
    blocks = split_blocks(
        chunks, encoding, offset=begin.offset, number=begin.number, continues=begin.continues
    )
    return LineSearch(encoding, query, begin.seen).run(blocks, stop)


class LineSearch:
    """A search that is given its lines: by `take` one at a time, by `run` in blocks."""

    def __init__(self, encoding: Encoding, query: Query, seen: datetime | None) -> None:
        self._encoding, self._query, self._seen = encoding, query, seen
        self._before: deque[Line] = deque(maxlen=query.before)
        self._after = 0
        self.found = 0

    def run(self, blocks: Iterator[Block], stop: Callable[[], bool]) -> Iterator[Hit | SearchEnd]:
        for block in blocks:
            if stop():
                here = Position(block.offset, block.number, block.continues, self._seen)
                yield SearchEnd(Why.STOPPED, self.found, here)
                return
            found = self._hits(block) if self._by_block(block) else None
            if found == set() and not self._after and not self._enough and not self._query.before:
                continue
            for at, line in enumerate(lines_of(block, self._encoding)):
                for told in self.take(line, None if found is None else at in found):
                    yield told
                    if isinstance(told, SearchEnd):
                        return
        yield SearchEnd(Why.COMPLETE, self.found, None)

    def take(self, line: Line, hit: bool | None = None) -> Iterator[Hit | SearchEnd]:
        """Yield what the next line adds: itself, with context, or the end before it once enough was found. `hit`: if it
        is known whether it matches."""
        seen, hit = self._seen, self._hit(line) if hit is None else hit
        if self._enough and (hit or not self._after):
            here = Position(line.offset, line.number, line.continues, seen)
            yield SearchEnd(Why.ENOUGH, self.found, here)
            return
        yield from self._with_context(line, hit)

    @property
    def _enough(self) -> bool:
        return self.found >= self._query.most

    def _by_block(self, block: Block) -> bool:
        return not (self._query.pattern.alone or self._query.windowed or block.cut)

    def _with_context(self, line: Line, hit: bool) -> Iterator[Hit]:
        if hit:
            yield from (Hit(earlier, found=False) for earlier in self._before)
            self._before.clear()
            self._after = self._query.after
            self.found += 1
            yield Hit(line, found=True)
        elif self._after:
            self._after -= 1
            yield Hit(line, found=False)
        else:
            self._before.append(line)

    def _hits(self, block: Block) -> set[int]:
        """Find the lines of the block with a match, as their places in it from 0."""
        text = (
            self._encoding.decode(block.raw)
            .replace("\r\n", "\n")
            .removesuffix("\n")
            .encode("utf-8", "replace")
        )
        found: set[int] = set()
        at = place = 0
        while (span := self._query.pattern.find(text, at)) is not None:
            place += text.count(b"\n", at, span[0])
            found.add(place)
            at = text.find(b"\n", span[1]) + 1
            if not at:
                break
            place += 1
        return found

    def _hit(self, line: Line) -> bool:
        text = self._encoding.decode(line.raw)
        if self._query.windowed:
            stamp = None if line.continues else find_time(text, self._query.zone)
            self._seen = self._seen if stamp is None else stamp.at
            since, until = self._query.since, self._query.until
            if self._seen is None or (since and self._seen < since) or (until and self._seen >= until):
                return False
        return self._query.pattern.find(text.encode("utf-8", "replace")) is not None
