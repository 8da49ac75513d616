"""A bundle's files as Windows event logs, over a bundle that is open.

Rules:
- Everything here reads an `OpenBundle`: the decision was made and its entry is durable (P3). What is looked through
  passes its check of the grant; each event that is handed over is counted, by the bytes of what the parser says of it.
- The parser runs in a child (`retention.sandbox.event_logs`), which is given one chunk at a time: memory is a chunk and
  the child, however long the log.
- A damaged chunk is named and costs itself alone, also where it takes the child with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

from retention.archive import CHILDREN, PROCESS, ArchiveBusy, Walked
from retention.custody.reading.bundle_reads import OpenBundle
from retention.custody.reading.file_bytes import open_inside, rest, whole
from retention.domain.faults import Invalid
from retention.sandbox.children import ChildFailed, Kind, Refused, SandboxBusy, Session, Task
from retention.text import events
from retention.text.encodings import Encoding
from retention.text.events import CHUNK, HEADER, PLACES, Event, EventQuery, LogHeader
from retention.text.lines import Line
from retention.text.search import Hit, LineSearch, Position, Query, SearchEnd, Why

PARSER = Kind("retention.sandbox.event_logs", memory=96 << 20, cpu_s=600, step_s=15.0)
"""A step is milliseconds' work; a damaged chunk can make the library go round for ever."""
_CHILD_ITSELF = 32 << 20
"""What a child takes to read a real log's chunks."""
_STEP = 64 << 10
_ALL = 1 << 62
EVENT_TEXT = Encoding("utf-8")
"""What an event as one line is encoded in."""
_LONGEST = 4 << 20
"""Bytes of one event; the parser itself gives up sooner."""


class NotAnEventLog(Invalid):
    """A file that is something else."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a chunk (None: with the file's header), which begins `offset` bytes into the file."""

    chunk: int | None
    offset: int
    why: str

    @property
    def words(self) -> str:
        """What is damaged, and why, as a sentence."""
        where = "its header" if self.chunk is None else f"chunk {self.chunk}, {self.offset} bytes into it"
        return f"{where}: {self.why}"


@dataclass(frozen=True, slots=True)
class EventsEnd:
    """Why the events end, how many were found, and the place to go on from (None: all were looked at)."""

    why: Why
    found: int
    go_on: int | None


def read_events(
    opened: OpenBundle,
    path: str,
    query: EventQuery,
    *,
    begin: int = 0,
    xml: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[LogHeader | Event | Damage | EventsEnd]:
    """Yield the log's header, then the events to show from the place `begin` on and what is damaged, in the order of
    the file, and then the end. `stop` is asked after each step of a chunk: each call gets further.

    NotAnEventLog; ArchiveError.
    """
    walked = open_inside(opened, path)
    for one in _read_log(opened, walked, whole(opened, walked), query, begin, stop, xml=xml):
        if isinstance(one, Event):
            for _ in opened.deliver(iter((one.told,))):
                yield one
        else:
            yield one


def search_log(
    opened: OpenBundle,
    walked: Walked | None,
    chunks: Iterator[bytes],
    query: Query,
    begin: Position,
    stop: Callable[[], bool],
) -> Iterator[Hit | Damage | SearchEnd]:
    """Search the events of a log (None: the bundle itself), each as one line: its number is the record's id, its offset
    the event's place, from the place `begin.offset` on. `chunks` is the whole file. ArchiveError."""
    search = LineSearch(EVENT_TEXT, query, begin.seen)
    every = EventQuery(most=_ALL)
    for one in _read_log(opened, walked, chunks, every, begin.offset, stop, xml=False):
        if isinstance(one, Event):
            line = Line(max(1, one.record or 1), one.place, events.write_line(one).encode("utf-8", "replace"))
            for told in search.take(line):
                if isinstance(told, SearchEnd):  # a record's id is any number: only its place leads on
                    seen = None if told.go_on is None else told.go_on.seen
                    yield replace(told, go_on=Position(one.place, seen=seen))
                    return
                yield told
        elif isinstance(one, EventsEnd):
            go_on = None if one.go_on is None else Position(one.go_on)
            yield SearchEnd(one.why, search.found, go_on)
        elif isinstance(one, Damage):
            yield one


def _read_log(
    opened: OpenBundle,
    walked: Walked | None,
    pieces: Iterator[bytes],
    query: EventQuery,
    begin: int,
    stop: Callable[[], bool],
    *,
    xml: bool,
) -> Iterator[LogHeader | Event | Damage | EventsEnd]:
    header, chunks = _opened(opened, walked, pieces, begin // PLACES)
    lease = PROCESS.need(_CHILD_ITSELF, "the parser of event logs")
    session = CHILDREN.session()
    try:
        yield header
        if not header.sound and not begin:
            yield Damage(None, 0, "the checksum of its header does not hold")
        yield from _Reading(query, header, session, xml=xml).run(chunks, begin, stop)
    finally:
        session.close()
        lease.release()


def _opened(
    opened: OpenBundle, walked: Walked | None, pieces: Iterator[bytes], first: int
) -> tuple[LogHeader, Iterator[bytes]]:
    """Read a log's header, and take its chunks from that one on."""
    head = b""
    while len(head) < HEADER and (piece := next(pieces, None)) is not None:
        head += piece
    header = events.read_header(head)
    if header is None:
        raise NotAnEventLog(
            "the file is not a Windows event log: it does not begin as one does; read it as text, or fetch it",
            {"path": "must be an event log (.evtx), as a key that the list of files has"},
        )
    if first:
        return header, _in_chunks(rest(opened, walked, HEADER + first * CHUNK))
    return header, _in_chunks(chain((head[HEADER:],), pieces))


def _in_chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= CHUNK:
            yield bytes(held[:CHUNK])
            del held[:CHUNK]
    if held:
        yield bytes(held)


class _Reading:
    """One call: what was found so far, and the child that reads."""

    def __init__(self, query: EventQuery, header: LogHeader, session: Session, *, xml: bool) -> None:
        self._query, self._header = query, header
        self._session, self._xml = session, xml
        self._task: Task | None = None
        self._found = 0

    def run(
        self, chunks: Iterator[bytes], begin: int, stop: Callable[[], bool]
    ) -> Iterator[Event | Damage | EventsEnd]:
        """Yield what is in the chunks, which are those from the one of `begin` on, and the end."""
        for number, chunk in enumerate(chunks, begin // PLACES):
            here = max(begin, number * PLACES)
            if here > begin and stop():
                yield EventsEnd(Why.STOPPED, self._found, here)
                return
            if events.is_unused(chunk):
                continue
            if (fault := events.fault_of(chunk, self._header)) and here == number * PLACES:
                yield _damage(number, fault)
            if not events.is_chunk(chunk):
                continue
            try:
                for one in self._events(number, chunk.ljust(CHUNK, b"\0"), begin, stop):
                    yield one
                    if isinstance(one, EventsEnd):
                        return
            except (Refused, ChildFailed) as error:
                self._end_child()
                yield _damage(number, _failure(error))
        yield EventsEnd(Why.COMPLETE, self._found, None)

    def _events(
        self, number: int, chunk: bytes, begin: int, stop: Callable[[], bool]
    ) -> Iterator[Event | Damage | EventsEnd]:
        unreadable, following, least = 0, begin, number * PLACES
        end: EventsEnd | None = None
        for told in self._told(chunk):
            if told is None:  # a step is done with
                if following > begin and stop():
                    end = EventsEnd(Why.STOPPED, self._found, following)
                    break
                continue
            event = _read(told, number)
            if event.place < least:  # whoever goes on from there would go round
                raise ChildFailed("it went back in its chunk")
            following = least = event.place + 1
            if event.place < begin:
                continue
            unreadable += event.unreadable
            if event.unreadable or not self._query.wants(event):
                continue
            if self._found == self._query.most:
                end = EventsEnd(Why.ENOUGH, self._found, event.place)
                break
            self._found += 1
            yield event
        if unreadable:
            yield _damage(number, f"{unreadable} of its records cannot be read")
        if end is not None:
            yield end

    def _told(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield what the child says of a chunk, a line for each record, and None after each step.

        What the child says is held to what an honest one can say: the chunk may have taken it over.
        """
        data, rest, count = chunk, b"", 0
        try:
            if self._task is None:
                self._task = self._session.start(PARSER, "event_chunks", **_asked(self._query, xml=self._xml))
            task = self._task
            while data or not task.needs_input:
                out = task.decompress(data, _STEP)
                *lines, rest = (rest + out).split(b"\n")
                data = b""
                count += len(lines)
                if count > PLACES or len(rest) > _LONGEST or not (out or task.needs_input):
                    raise ChildFailed("it said more of a chunk than a chunk can hold")
                yield from lines
                if lines and not task.needs_input:
                    yield None
        except SandboxBusy as error:
            raise ArchiveBusy from error

    def _end_child(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.end()


def _asked(query: EventQuery, *, xml: bool) -> dict[str, object]:
    """Return what the child is told of the query, so that it leaves out most of what is not wanted."""
    return {
        "xml": xml,
        "levels": query.level_numbers,
        "ids": sorted(query.ids),
        "since": _second(query.since),
        "until": _second(query.until),
    }


def _second(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")[:19]


def _read(told: bytes, chunk: int) -> Event:
    try:
        return replace(events.make_event(json.loads(told), chunk), told=told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ChildFailed("what it said of a record makes no sense") from error


def _damage(chunk: int, why: str) -> Damage:
    return Damage(chunk, HEADER + chunk * CHUNK, why)


def _failure(error: Refused | ChildFailed) -> str:
    if isinstance(error, ChildFailed) and error.excess:
        return "to read it takes too much time or memory: the rest of it is not shown"
    return "its records cannot be taken apart: the rest of it is not shown"
