"""A zip's list of files: its central directory, or its local headers where that is cut off (APPNOTE 4.3).

1. The directory is read a block at a time; of each entry a place of 8 bytes is kept, so that a hundred thousand are no
   burden. It is found from the end record, so a zip may stand behind a program (MZ) or any other bytes.
2. No byte serves two readable files: an entry whose extent reaches the next entry's start is refused (Fifield's
   overlapping bombs), and so is one that does not begin before the directory. Of several at one place the first
   counts.
3. A zip without its directory lists what its local headers give, and is then said to be cut short. An entry whose size
   stands only behind its bytes ends that list.
4. A volume of a split zip is said to be one.
"""

from __future__ import annotations

import io
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from retention.archive.limits import Limits
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, Reason, SplitArchive
from retention.archive.names import extra_field
from retention.archive.source import READ_AHEAD, Source, Window, whole

LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE 4.3.7
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
SPANNED = (b"PK\x07\x08", b"PK00")  # APPNOTE 8.5.3: a first volume, and one that was to be and stayed alone
_CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")  # 4.3.12
_END = struct.Struct("<4s4H2IH")  # 4.3.16
_LOCATOR = struct.Struct("<4sIQI")  # 4.3.15
_END_64 = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
_PLAIN_END = _END.size + _LOCATOR.size + _END_64.size
_LONGEST_END = _PLAIN_END + 65_535  # with the longest comment
_SIZE_FOLLOWS = 0x8
_FULL, _FULL_SHORT = 0xFFFF_FFFF, 0xFFFF


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """An entry as its header declares it. `ceiling`: where the next thing begins; the entry's bytes end by then."""

    raw_name: bytes
    flags: int
    method: int
    dos_time: tuple[int, int]  # date, time
    crc: int
    packed_size: int
    size: int
    extra: bytes
    attributes: int
    offset: int
    ceiling: int
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    start: int  # of the directory, in the source
    size: int
    shift: int  # bytes before the zip: offsets count from there


def entries(source: Source, limits: Limits) -> Iterator[ZipEntry]:
    """Yield the entries in the directory's order. Raises at the end of a list that is not whole."""
    place = _find_directory(source)
    if place is None:
        return _local_entries(source)
    return _central_entries(source, place, limits)


def has_directory(source: Source) -> bool:
    """Tell whether a whole zip ends a source: an end record, and a directory where it says. The record's four bytes
    alone say nothing: they stand in every program that reads zips."""
    with suppress(SplitArchive, ArchiveDamaged):
        place = _find_directory(source)
        return place is not None and Window(source, place.start, place.size).read(4) == CENTRAL
    return False


def _find_directory(source: Source) -> _Place | None:
    """Find the directory by the end record; None if there is none. SplitArchive."""
    return _directory_in_tail(source, _PLAIN_END) or _directory_in_tail(source, _LONGEST_END)


def _directory_in_tail(source: Source, length_of_tail: int) -> _Place | None:
    window = whole(source)
    size = window.seek(0, io.SEEK_END)
    begin = window.seek(max(0, size - length_of_tail))
    tail = window.read(length_of_tail)
    at = tail.rfind(END)
    while at >= 0 and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") > len(tail):
        at = tail.rfind(END, 0, at)
    if at < 0:
        return None
    _, disk, first_disk, here, count, length, offset, _ = _END.unpack_from(tail, at)
    end = at
    if _FULL in (length, offset) or _FULL_SHORT in (disk, here, count):
        wide = _end_64(tail, at)
        if wide is not None:
            end, (disk, first_disk, here, count, length, offset) = wide
    if (disk, first_disk) not in {(0, 0), (_FULL_SHORT, _FULL_SHORT)} or here != count:
        raise SplitArchive
    start = begin + end - length
    if start < 0:
        raise ArchiveDamaged("its end record gives its directory more bytes than there are")
    return _Place(start, length, start - offset)


def _end_64(tail: bytes, at: int) -> tuple[int, tuple[int, int, int, int, int, int]] | None:
    """Return where the zip64 end record stands in the tail, with its numbers; None if there is none."""
    locator = at - _LOCATOR.size
    if locator < 0 or tail[locator : locator + 4] != b"PK\x06\x07":
        return None
    end = tail.rfind(b"PK\x06\x06", 0, locator)
    if end < 0 or end + _END_64.size > locator:
        return None
    _, _, _, _, disk, first_disk, here, count, length, offset = _END_64.unpack_from(tail, end)
    return end, (disk, first_disk, here, count, length, offset)


def _central_entries(source: Source, place: _Place, limits: Limits) -> Iterator[ZipEntry]:
    ordered = _ordered_offsets(source, place, limits)
    seen: set[int] = set()  # of the places that several claim
    for entry in _headers(source, place, limits):
        if not 0 <= entry.offset < place.start:
            yield replace(entry, reason=entry.reason or Reason.OVERLAP)
            continue
        index = bisect_right(ordered, entry.offset)
        ceiling = ordered[index] if index < len(ordered) else place.start
        shared = index >= 2 and ordered[index - 2] == entry.offset
        if shared and entry.offset in seen:
            ceiling = entry.offset
        if shared:
            seen.add(entry.offset)
        yield replace(entry, ceiling=min(ceiling, place.start))


def _ordered_offsets(source: Source, place: _Place, limits: Limits) -> array[int]:
    """Return where the entries begin; those before a damaged place or a limit, since only they are listed."""
    offsets: array[int] = array("Q")
    with suppress(ArchiveDamaged, ArchiveTooLarge):
        for entry in islice(_headers(source, place, limits), limits.max_entries):
            if 0 <= entry.offset < place.start:
                offsets.append(entry.offset)
    return array("Q", sorted(offsets))


def _headers(source: Source, place: _Place, limits: Limits) -> Iterator[ZipEntry]:
    """Yield the directory's headers, one by one."""
    window = whole(source)
    window.seek(place.start)
    raw = io.BufferedReader(window, READ_AHEAD)
    left = place.size
    while left:
        if place.size - left > limits.max_directory_bytes:
            raise ArchiveTooLarge(f"its directory has more than {limits.max_directory_bytes} bytes")
        head = raw.read(_CENTRAL_HEADER.size)
        if len(head) < _CENTRAL_HEADER.size or not head.startswith(CENTRAL):
            raise ArchiveDamaged("its zip directory cannot be read to its end")
        fields = _CENTRAL_HEADER.unpack(head)
        lengths = fields[10:13]
        rest = raw.read(sum(lengths))
        left -= len(head) + len(rest)
        if len(rest) < sum(lengths) or left < 0:
            raise ArchiveDamaged("its zip directory cannot be read to its end")
        yield _entry(fields, rest[: lengths[0]], rest[lengths[0] : lengths[0] + lengths[1]], place)


def _entry(fields: tuple[int, ...], name: bytes, extra: bytes, place: _Place) -> ZipEntry:
    flags, method, time, date, crc = fields[3:8]
    packed, size, disk, attributes, offset = fields[8], fields[9], fields[13], fields[15], fields[16]
    size, packed, offset = _widened(extra, size, packed, offset)
    reason = Reason.OTHER_VOLUME if disk not in (0, _FULL_SHORT) else None
    return ZipEntry(
        name,
        flags,
        method,
        (date, time),
        crc,
        packed,
        size,
        extra,
        attributes,
        offset + place.shift,
        0,
        reason,
    )


def _widened(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return the values, each that is full replaced by the next of the zip64 field (APPNOTE 4.5.3)."""
    wide = extra_field(extra, 0x0001) or b""
    found = []
    for value in values:
        if value == _FULL and len(wide) >= 8:
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        found.append(value)
    return tuple(found)


def _local_entries(source: Source) -> Iterator[ZipEntry]:
    """Yield what the local headers give, then raise: the directory is missing."""
    window = whole(source)
    end = window.seek(0, io.SEEK_END)
    raw, at = io.BufferedReader(window, READ_AHEAD), 0
    raw.seek(0)
    if raw.read(4) in SPANNED:
        at = 4
    while at < end:
        raw.seek(at)
        head = raw.read(LOCAL_HEADER.size)
        if len(head) < LOCAL_HEADER.size or not head.startswith(LOCAL):
            break
        _, _, flags, method, time, date, crc, packed, size, name_length, extra_length = LOCAL_HEADER.unpack(
            head
        )
        rest = raw.read(name_length + extra_length)
        if len(rest) < name_length:
            break  # half a name would be another file's
        name, extra = rest[:name_length], rest[name_length:]
        size, packed = _widened(extra, size, packed)
        if flags & _SIZE_FOLLOWS and not packed:
            break
        after = at + len(head) + len(rest) + packed
        reason = Reason.CUT if after > end else None
        yield ZipEntry(
            name, flags, method, (date, time), crc, packed, size, extra, 0, at, min(after, end), reason
        )
        at = after
    raise ArchiveDamaged("it is a zip without its directory; what its files' own headers give is listed")
