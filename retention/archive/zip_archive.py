"""Zip: the directory by zipfile, the bytes by our own bounded inflating.

1. Listing reads the end record and the central directory, nothing else.
2. The central directory's size and number of entries are refused before they are parsed.
3. No byte serves two readable files: an entry whose extent reaches the next entry's start is refused (Fifield's
   overlapping bombs). Python's zipfile checks this only in later versions than the oldest we run on.
4. A file is read from one window: from its local header to the next entry's start. The local header must name the same
   file; sizes and checksum are the central directory's, so data descriptors do not matter.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, cast

from retention.archive.inflate import (
    DecoderFor,
    bzip2,
    crc_checked,
    exactly,
    inflated,
    plain,
    raw_deflate,
    raw_lzma,
)
from retention.archive.model import (
    ArchiveDamaged,
    ArchiveTooLarge,
    Budget,
    FileKind,
    FileNotReadable,
    Limits,
    Reason,
)
from retention.archive.source import (
    READ_AHEAD,
    GuardedReads,
    Member,
    Source,
    Window,
    parsing,
    since_epoch,
    whole,
)

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE 4.3.7
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_END_RECORDS = 2 * (
    65_535 + 22 + 20 + 56
)  # end record with the longest comment, zip64 locator and record; read twice
_ENCRYPTED, _MARKS_LZMA_END, _PATCH, _UTF8, _HIDDEN = 0x1, 0x2, 0x20, 0x800, 0x2040
_DOS_FOLDER = 0x10
_DECODERS: dict[int, DecoderFor] = {
    zipfile.ZIP_DEFLATED: raw_deflate,
    zipfile.ZIP_BZIP2: bzip2,
    zipfile.ZIP_LZMA: raw_lzma,
}
_KINDS = {stat.S_IFLNK: FileKind.LINK, stat.S_IFDIR: FileKind.FOLDER} | dict.fromkeys(
    (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK), FileKind.DEVICE
)
_FILETIME_EPOCH_SECONDS = 11_644_473_600  # from 1601 to 1970


class _DirectoryReads(GuardedReads):
    """Reads that count the entries which zipfile is about to parse: each becomes an object of half a kilobyte."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(
            whole(source), limits.max_directory_bytes + _END_RECORDS, "its directory is too large"
        )
        self._max_entries = limits.max_entries

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if data.count(_CENTRAL_SIGNATURE) > self._max_entries:
            raise ArchiveTooLarge(f"it holds more than {self._max_entries} files")
        return data


@dataclass(frozen=True, slots=True)
class _Zip:
    source: Source
    limits: Limits
    budget: Budget

    def member(self, info: zipfile.ZipInfo, ceiling: int) -> Member:
        return Member(
            name=info.orig_filename,
            kind=_kind(info),
            size=info.file_size,
            packed_size=info.compress_size,
            modified=_modified(info),
            reason=_reason(info, ceiling),
            chunks=lambda: self._chunks(info, ceiling),
            window=lambda: self._stored(info, ceiling),
        )

    def _chunks(self, info: zipfile.ZipInfo, ceiling: int) -> Iterator[bytes]:
        packed = self._data(info, ceiling)
        make = _DECODERS.get(info.compress_type)
        raw = (
            inflated(packed, make(packed, info.file_size, self.limits), self.budget)
            if make
            else plain(packed)
        )
        ends_itself = info.compress_type != zipfile.ZIP_LZMA or bool(info.flag_bits & _MARKS_LZMA_END)
        return crc_checked(exactly(raw, info.file_size, ends_itself=ends_itself), info.CRC)

    def _stored(self, info: zipfile.ZipInfo, ceiling: int) -> Window | None:
        as_it_is = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        return self._data(info, ceiling) if as_it_is else None

    def _data(self, info: zipfile.ZipInfo, ceiling: int) -> Window:
        """Return the packed bytes, after the local header, whose name must agree with the directory's."""
        room = ceiling - info.header_offset
        extent = io.BufferedReader(Window(self.source, info.header_offset, room), READ_AHEAD)
        head = extent.read(_LOCAL_HEADER.size)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
            raise ArchiveDamaged("a file's own header is not where the directory says")
        flags, (name_length, extra_length) = _LOCAL_HEADER.unpack(head)[2], _LOCAL_HEADER.unpack(head)[-2:]
        name = extent.read(name_length).decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        if name != info.orig_filename:
            raise ArchiveDamaged("a file's own header and the directory give it different names")
        if flags & (_ENCRYPTED | _HIDDEN):
            raise FileNotReadable(Reason.ENCRYPTED)
        start = _LOCAL_HEADER.size + name_length + extra_length
        if start + info.compress_size > room:
            raise FileNotReadable(Reason.OVERLAP)
        return Window(extent, start, info.compress_size)


def members(source: Source, limits: Limits, budget: Budget) -> Iterator[Member]:
    """Yield every entry, in the directory's order. The directory is read at once, the entries are made one by one."""
    reads = _DirectoryReads(source, limits)
    with parsing(reads, "its zip directory cannot be read"):
        directory = zipfile.ZipFile(cast(IO[bytes], reads))
    reader = _Zip(source, limits, budget)
    infos = directory.infolist()
    return (reader.member(*pair) for pair in zip(infos, _ceilings(infos, directory.start_dir), strict=True))


def _ceilings(infos: list[zipfile.ZipInfo], directory_start: int) -> list[int]:
    """Return for each entry where the next thing in the file begins: the entry's bytes must end by then."""
    ceilings = [directory_start] * len(infos)
    ceiling = directory_start
    for index in sorted(range(len(infos)), key=lambda i: (infos[i].header_offset, i), reverse=True):
        ceilings[index] = ceiling
        ceiling = min(ceiling, infos[index].header_offset)
    return ceilings


def _kind(info: zipfile.ZipInfo) -> FileKind:
    """Tell the kind by the Unix mode if any; Windows tools mark a folder by its last slash or the DOS attribute."""
    by_mode = _KINDS.get(stat.S_IFMT(info.external_attr >> 16), FileKind.FILE)
    folder = info.orig_filename.endswith(("/", "\\")) or bool(info.external_attr & _DOS_FOLDER)
    return FileKind.FOLDER if by_mode is FileKind.FILE and folder else by_mode


def _reason(info: zipfile.ZipInfo, ceiling: int) -> Reason | None:
    if info.flag_bits & (_ENCRYPTED | _HIDDEN):
        return Reason.ENCRYPTED
    if info.flag_bits & _PATCH or info.compress_type not in {zipfile.ZIP_STORED, *_DECODERS}:
        return Reason.METHOD
    end = info.header_offset + _LOCAL_HEADER.size + info.compress_size
    return Reason.OVERLAP if info.header_offset < 0 or end > ceiling else None


def _modified(info: zipfile.ZipInfo) -> datetime | None:
    """Return the UTC time from the extra fields; else the DOS time, which has no zone, read as UTC."""
    extra = info.extra
    while len(extra) >= 4:
        tag, size = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if tag == 0x5455 and len(field) >= 5 and field[0] & 1:  # Info-ZIP's extended timestamp
            return since_epoch(struct.unpack_from("<i", field, 1)[0])
        if (
            tag == 0x000A and len(field) >= 16 and field[4:8] == b"\x01\x00\x18\x00"
        ):  # NTFS times (APPNOTE 4.5.5)
            return since_epoch(struct.unpack_from("<Q", field, 8)[0] / 10**7 - _FILETIME_EPOCH_SECONDS)
    try:
        return datetime(*info.date_time, tzinfo=UTC)
    except ValueError:
        return None
