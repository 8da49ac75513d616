"""Windows event logs written by hand: valid ones of any shape, for what no sample shows.

Written as [MS-EVEN6] and the format's public descriptions say, without templates: elements stand in the records.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

HEADER, CHUNK, RECORDS = 4096, 65536, 512
DIRTY, FULL = 1, 2
BEGAN = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
_NAMESPACE = "http://schemas.microsoft.com/win/2004/08/events/event"
_1601 = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    """An event to write."""

    record: int
    level: int = 4
    provider: str = "Service Control Manager"
    id: int = 7036
    computer: str = "node-7"
    channel: str = "System"
    data: Sequence[tuple[str, str]] = field(default_factory=lambda: (("param1", "running"),))
    time: datetime | None = None
    stamp: str = ""
    """The time as it is written, whatever it is."""

    @property
    def at(self) -> datetime:
        return self.time or BEGAN + timedelta(seconds=self.record)


def _utf16(text: str) -> bytes:
    raw = text.encode("utf-16-le", "surrogatepass")
    return struct.pack("<H", len(raw) // 2) + raw


class _Writer:
    """BinXML at a place of a chunk: names stand where they are first used."""

    def __init__(self, at: int) -> None:
        self.at, self.out = at, bytearray()

    def _name(self, name: str) -> bytes:
        """A name's offset, and the name itself behind it."""
        here = self.at + len(self.out) + 4
        digest = 0
        for unit in struct.unpack(f"<{len(name)}H", name.encode("utf-16-le")):
            digest = (digest * 65599 + unit) & 0xFFFFFFFF
        return struct.pack("<IIH", here, 0, digest & 0xFFFF) + _utf16(name) + b"\0\0"

    def element(self, name: str, attributes: dict[str, str], *inner: object) -> None:
        begins = len(self.out)
        self.out += struct.pack("<BI", 0x41 if attributes else 0x01, 0)
        self.out += self._name(name)
        if attributes:
            listed = len(self.out)
            self.out += bytes(4)
            for number, (key, value) in enumerate(attributes.items(), 1):
                self.out += bytes([0x06 if number == len(attributes) else 0x46])
                self.out += self._name(key)
                self.out += b"\x05\x01" + _utf16(value)
            struct.pack_into("<I", self.out, listed, len(self.out) - listed - 4)
        self.out += b"\x02"
        for part in inner:
            if isinstance(part, str):
                self.out += b"\x05\x01" + _utf16(part) if part else b""
            else:
                self.element(*part)  # type: ignore[misc]
        self.out += b"\x04"
        struct.pack_into("<I", self.out, begins + 1, len(self.out) - begins - 5)


def _record(event: Made, at: int) -> bytes:
    writer = _Writer(at + 24 + 4)
    stamp = event.stamp or event.at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    system = (
        ("Provider", {"Name": event.provider}),
        ("EventID", {}, str(event.id)),
        ("Level", {}, str(event.level)),
        ("TimeCreated", {"SystemTime": stamp}),
        ("EventRecordID", {}, str(event.record)),
        ("Channel", {}, event.channel),
        ("Computer", {}, event.computer),
    )
    data = [("Data", {"Name": name}, value) for name, value in event.data]
    writer.element("Event", {"xmlns": _NAMESPACE}, ("System", {}, *system), ("EventData", {}, *data))
    body = b"\x0f\x01\x01\x00" + bytes(writer.out) + b"\0"
    size = 24 + len(body) + 4
    size += -size % 8
    filetime = (event.at - _1601) // timedelta(microseconds=1) * 10
    head = struct.pack("<4sIQQ", b"**\0\0", size, event.record, filetime)
    return (head + body).ljust(size - 4, b"\0") + struct.pack("<I", size)


def chunk_of(events: Sequence[Made]) -> bytes:
    """A chunk of these events; ValueError when they do not fit."""
    out, last = bytearray(RECORDS), RECORDS
    for event in events:
        last = len(out)
        out += _record(event, last)
    if len(out) > CHUNK:
        raise ValueError(f"{len(events)} events take {len(out)} bytes")
    first_id, last_id = (events[0].record, events[-1].record) if events else (1, 0)
    struct.pack_into(
        *("<8sQQQQIIII", out, 0, b"ElfChnk\0", first_id, last_id, first_id, last_id, 128),
        *(last, len(out), zlib.crc32(out[RECORDS:])),
    )
    struct.pack_into("<I", out, 124, zlib.crc32(out[128:RECORDS], zlib.crc32(out[:120])))
    return bytes(out).ljust(CHUNK, b"\0")


def header_of(chunks: int, flags: int = 0) -> bytes:
    head = bytearray(HEADER)
    struct.pack_into(
        "<8sQQQIHHHH", head, 0, b"ElfFile\0", 0, max(0, chunks - 1), 1, 128, 1, 3, HEADER, chunks
    )
    struct.pack_into("<I", head, 120, flags)
    struct.pack_into("<I", head, 124, zlib.crc32(head[:120]))
    return bytes(head)


def log_of(*chunks: Sequence[Made], flags: int = 0, unused: int = 0) -> bytes:
    """A log of one chunk for each list of events, with unused ones behind them."""
    return header_of(len(chunks), flags) + b"".join(map(chunk_of, chunks)) + bytes(unused * CHUNK)
