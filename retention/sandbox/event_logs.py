"""Windows event logs in a child: a chunk of a log in, its events out, a line of JSON each.

- The library is given one chunk behind a file header of our own, so what is wrong with a chunk costs no other.
- System/EventRecordID and System/TimeCreated count: a record's header has other numbers in extracts, and no time in 1 %
  of real records.
- What is asked for passes over most events unread, by what stands in their XML as the library writes it: a value cannot
  look like a tag there. It never passes over one that is wanted; the parent looks at those that are left.
- A record that cannot be read is a line that says so. The library's words stay here: they may hold the log's bytes.
"""

from __future__ import annotations

import io
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evtx import PyEvtxParser

from retention.sandbox.worker import Stepwise

_LONGEST = 256 << 10
"""Characters of one event's XML; a template can repeat one value until it has millions."""
_RECORDS = 4096
"""More than a chunk can hold: 64 KiB by records of at least 28 bytes."""
_STAMP = re.compile(r'<TimeCreated SystemTime="(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z"', re.ASCII)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _header() -> bytes:
    """Make the file header of a log of one chunk."""
    head = bytearray(4096)
    struct.pack_into("<8sQQQIHHHH", head, 0, b"ElfFile\0", 0, 0, 1, 128, 1, 3, 4096, 1)
    struct.pack_into("<I", head, 124, zlib.crc32(head[:120]))
    return bytes(head)


_HEADER = _header()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for: texts of which one must be in the XML, and the window's seconds; `xml`: it is to be given."""

    levels: tuple[str, ...]
    ids: tuple[str, ...]
    since: str
    until: str
    xml: bool

    def may_want(self, text: str) -> bool:
        """Say whether the event with this XML may be one of those asked for."""
        return (
            (not self.levels or any(level in text for level in self.levels))
            and (not self.ids or any(one in text for one in self.ids))
            and (not (self.since or self.until) or self._in_window(text))
        )

    def _in_window(self, text: str) -> bool:
        stamp = _STAMP.search(text)
        if stamp is None:  # written in another way: the parent reads it
            return True
        return (not self.since or stamp[1] >= self.since) and (not self.until or stamp[1] <= self.until)


class _Chunks:
    """Reads chunks: each is one input, and more is asked for when its last line is given."""

    eof, unused_data = False, b""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._lines: Iterator[bytes] = iter(())
        self._rest = b""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._lines, self.needs_input = _lines(data, self._asked), False
        out = bytearray(self._rest)
        while len(out) < max_length and not self.needs_input:
            line = next(self._lines, None)
            if line is None:
                self.needs_input = True
            else:
                out += line
        self._rest = bytes(out[max_length:])
        self.needs_input = self.needs_input and not self._rest
        return bytes(out[:max_length])


def event_chunks(
    *, xml: bool, levels: Sequence[int] = (), ids: Sequence[int] = (), since: str = "", until: str = ""
) -> Stepwise:
    """Make a reader of chunks; with `xml` each event has its XML too. Of events without one of the levels (winmeta's
    numbers) or ids, or from other seconds than `since` to `until` (like 2026-11-29T02:10:00, UTC), most are left out.
    """
    asked = _Asked(
        tuple(f"<Level>{level}</Level>" for level in levels),
        tuple(f">{one}</EventID>" for one in ids),
        since,
        until,
        xml,
    )
    return _Chunks(asked)


def _lines(chunk: bytes, asked: _Asked) -> Iterator[bytes]:
    records: Iterator[Any] = iter(PyEvtxParser(io.BytesIO(_HEADER + chunk), number_of_threads=1).records())
    for index in range(_RECORDS):
        try:
            text = next(records)["data"]
            if not asked.may_want(text):
                continue
            told = _event(text, xml=asked.xml)
        except StopIteration:
            return
        except (RuntimeError, ElementTree.ParseError, ValueError, AttributeError):
            told = {"fault": True}
        yield json.dumps({"index": index, **told}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _event(text: str, *, xml: bool) -> dict[str, Any]:
    if len(text) > _LONGEST:
        return {"fault": True}
    try:
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError:
        root = ElementTree.fromstring(_NOT_XML.sub("\ufffd", text))  # noqa: S314
    parts = {_name(part): part for part in root}
    system = {_name(field): field for field in parts["System"]} if "System" in parts else {}
    return {
        "record": _text(system, "EventRecordID"),
        "time": _attribute(system, "TimeCreated", "SystemTime"),
        "level": _text(system, "Level"),
        "provider": _attribute(system, "Provider", "Name")
        or _attribute(system, "Provider", "EventSourceName"),
        "id": _text(system, "EventID"),
        "computer": _text(system, "Computer"),
        "channel": _text(system, "Channel"),
        "data": [pair for name, part in parts.items() if name != "System" for pair in _values(part)],
        **({"xml": text} if xml else {}),
    }


def _values(part: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """Yield the names and values of what has no parts of its own, in order. EventData names each in an attribute."""
    for field in part.iter():
        text = (field.text or "").strip()
        if field is not part and len(field) == 0 and (text or field.attrib):
            yield field.get("Name") or _name(field), text


def _name(field: ElementTree.Element) -> str:
    return field.tag.rpartition("}")[2]


def _text(system: dict[str, ElementTree.Element], name: str) -> str:
    return (system[name].text or "").strip() if name in system else ""


def _attribute(system: dict[str, ElementTree.Element], name: str, attribute: str) -> str:
    return system[name].get(attribute, "") if name in system else ""
