"""Windows event logs (.evtx): the layout of a file, and an event as people look for it.

Rules:
- A file is a header of 4 KiB and chunks of 64 KiB, each complete in itself. A chunk of zeros was never used.
- A chunk whose checksum does not hold is named, and what can be read of it is shown. All chunks are shown, also past
  the number in the header: that is older than they are in a log that was open when it was collected.
- A place is the number of a chunk, and of a record in it: record ids are not unique, and a circular log is not in their
  order.
- What an event says of itself counts (System/TimeCreated, System/EventRecordID); one without a time is in no window.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from retention.text.levels import Level
from retention.text.pattern import Pattern

FILE_MAGIC, _CHUNK_MAGIC = b"ElfFile\0", b"ElfChnk\0"
HEADER, CHUNK = 4096, 65536
PLACES = 4096
"""Places of one chunk; it has fewer records."""
_RECORDS_BEGIN = 512
_DIRTY, _FULL, _NO_CHECKSUMS = 1, 2, 4
_LEVELS = (Level.INFORMATION, Level.CRITICAL, Level.ERROR, Level.WARNING, Level.INFORMATION, Level.DEBUG)
"""By winmeta's numbers; 0 is "log always", which Event Viewer shows as information."""
_SEVERITY = {level: number for number, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class LogHeader:
    """What a log's header says: how many chunks are used, if it was open (`dirty`), if it reached its greatest size
    (`full`), if its chunks have checksums, and whether its own holds (`sound`)."""

    chunks: int
    dirty: bool
    full: bool
    checksums: bool
    sound: bool


@dataclass(frozen=True, slots=True)
class Event:
    """An event. `time` is UTC, None where it says none; `data` its names and values in order. `unreadable`: there is a
    record at that place, and nothing of it can be said. `told` is what the parser says of it."""

    place: int
    record: int | None
    time: datetime | None
    level: Level
    provider: str = field(repr=False)
    id: int | None
    computer: str = field(repr=False)
    channel: str = field(repr=False)
    data: tuple[tuple[str, str], ...] = field(repr=False)
    xml: str | None = field(repr=False)
    unreadable: bool = False
    told: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """The events to show: `level` or worse, in the time window (`until` excluded), of a provider (a name, or a pattern
    with * and ?), with one of these ids, with the pattern in a name or value; at most `most`."""

    since: datetime | None = None
    until: datetime | None = None
    level: Level | None = None
    provider: str | None = None
    ids: frozenset[int] = frozenset()
    pattern: Pattern | None = None
    most: int = 1000

    def wants(self, event: Event) -> bool:
        """Say whether the event is one of those to show."""
        return (
            (self.level is None or _SEVERITY[event.level] <= _SEVERITY[self.level])
            and (not self.ids or event.id in self.ids)
            and (self.provider is None or fnmatchcase(event.provider.lower(), self.provider.lower()))
            and self._in_window(event.time)
            and (self.pattern is None or _found(self.pattern, event))
        )

    @property
    def level_numbers(self) -> list[int]:
        """The numbers of the levels to show, as records have them; none where every level is shown."""
        if self.level is None or self.level is Level.NONE:
            return []
        return [number for number, level in enumerate(_LEVELS) if _SEVERITY[level] <= _SEVERITY[self.level]]

    def _in_window(self, time: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        return (
            time is not None
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )


def read_header(head: bytes) -> LogHeader | None:
    """Read a log's header; None where the bytes are not an event log's."""
    if len(head) < HEADER or not head.startswith(FILE_MAGIC):
        return None
    (chunks,), (flags, checksum) = struct.unpack_from("<H", head, 42), struct.unpack_from("<II", head, 120)
    return LogHeader(
        chunks,
        dirty=bool(flags & _DIRTY),
        full=bool(flags & _FULL),
        checksums=not flags & _NO_CHECKSUMS,
        sound=zlib.crc32(head[:120]) == checksum,
    )


def is_unused(chunk: bytes) -> bool:
    """Say whether the chunk was never written to."""
    return not chunk.strip(b"\0")


def is_chunk(chunk: bytes) -> bool:
    """Say whether the bytes are a chunk's."""
    return chunk.startswith(_CHUNK_MAGIC)


def fault_of(chunk: bytes, header: LogHeader) -> str | None:
    """Say what is wrong with a chunk before it is taken apart, or None."""
    if not is_chunk(chunk):
        return "it does not begin as a chunk does: nothing of it can be shown"
    if len(chunk) < CHUNK:
        return f"the file ends {len(chunk)} bytes into it: what can be read of it is shown"
    if not header.checksums:
        return None
    free, records, (whole,) = *struct.unpack_from("<II", chunk, 48), struct.unpack_from("<I", chunk, 124)
    if (
        zlib.crc32(chunk[128:_RECORDS_BEGIN], zlib.crc32(chunk[:120])) == whole
        and _RECORDS_BEGIN <= free <= CHUNK
        and zlib.crc32(chunk[_RECORDS_BEGIN:free]) == records
    ):
        return None
    return "its checksum does not hold: what can be read of it is shown"


def make_event(told: Mapping[str, Any], chunk: int) -> Event:
    """Make an event of what the parser tells of one record of that chunk. ValueError, KeyError, TypeError."""
    place = chunk * PLACES + _within_chunk(told["index"])
    if told.get("fault"):
        return Event(place, None, None, Level.NONE, "", None, "", "", (), None, unreadable=True)
    level = _number(told["level"])
    return Event(
        place,
        record=_number(told["record"]),
        time=_moment(told["time"]),
        level=_LEVELS[level] if level is not None and level < len(_LEVELS) else Level.NONE,
        provider=str(told["provider"]),
        id=_number(told["id"]),
        computer=str(told["computer"]),
        channel=str(told["channel"]),
        data=tuple((str(name), str(value)) for name, value in told["data"]),
        xml=None if "xml" not in told else str(told["xml"]),
    )


def write_line(event: Event) -> str:
    """Write an event as one line of text: its time, what it is, and its names and values."""
    stamp = (
        "" if event.time is None else event.time.isoformat(timespec="microseconds").replace("+00:00", "Z ")
    )
    fields = {
        "level": event.level.value,
        "provider": event.provider,
        "id": event.id,
        "record": event.record,
        "computer": event.computer,
        "channel": event.channel,
    }
    pairs = (*fields.items(), *event.data)
    return stamp + " ".join(f"{name}={' '.join(str(value).split())}" for name, value in pairs)


def _within_chunk(index: object) -> int:
    if not isinstance(index, int) or not 0 <= index < PLACES:
        raise ValueError(f"a chunk has no record {index}")
    return index


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # also what is outside the years 1 to 9999 in UTC
        return None


def _found(pattern: Pattern, event: Event) -> bool:
    parts = (event.provider, str(event.id), event.computer, event.channel)
    text = "\n".join((*parts, *(f"{name}={value}" for name, value in event.data)))
    lines = text.splitlines() if pattern.alone else [text.replace("\r\n", "\n")]
    return any(pattern.find(line.encode("utf-8", "replace")) is not None for line in lines)
