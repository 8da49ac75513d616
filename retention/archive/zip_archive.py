"""Zip: the files of a directory (`zip_directory`), their bytes by our own bounded decoding.

A file is read from one window: from its local header to the next entry's start. The local header must name the same
file; sizes and checksum are the directory's, so data descriptors do not matter.
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from retention.archive import codings, zip_directory
from retention.archive.inflate import Coding, Forward, chunks_of, crc_checked, exactly, plain
from retention.archive.limits import Bounds
from retention.archive.model import ArchiveDamaged, FileKind, FileNotReadable, Reason
from retention.archive.names import decoded_in_zip, extra_field
from retention.archive.seekable import Unpacked
from retention.archive.source import READ_AHEAD, Member, Source, Window, dos_time, since_1601, since_epoch
from retention.archive.zip_directory import LOCAL, LOCAL_HEADER, ZipEntry

_ENCRYPTED, _MARKS_LZMA_END, _PATCH, _HIDDEN = 0x1, 0x2, 0x20, 0x2040
_DOS_FOLDER = 0x10
_STORED, _LZMA = 0, 14
_CODINGS: dict[int, Coding] = {  # APPNOTE 4.4.5
    8: codings.RAW_DEFLATE,
    9: codings.DEFLATE64,
    12: codings.BZIP2,
    _LZMA: codings.RAW_LZMA,
    20: codings.ZSTD,  # as it was numbered first
    93: codings.ZSTD,
    95: codings.XZ,
    98: codings.PPMD,
}
_KINDS = {stat.S_IFLNK: FileKind.LINK, stat.S_IFDIR: FileKind.FOLDER} | dict.fromkeys(
    (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK), FileKind.DEVICE
)


@dataclass(frozen=True, slots=True)
class _Zip:
    source: Source
    bounds: Bounds

    def member(self, entry: ZipEntry) -> Member:
        name, guessed = decoded_in_zip(entry.raw_name, entry.extra)
        return Member(
            name=name,
            kind=_kind(entry, name),
            size=entry.size,
            packed_size=entry.packed_size,
            modified=_modified(entry),
            reason=_reason(entry),
            chunks=lambda: self._chunks(entry),
            source=lambda: self._seekable(entry),
            guessed=guessed,
        )

    def _chunks(self, entry: ZipEntry) -> Iterator[bytes]:
        data, coding = self._data(entry), _CODINGS.get(entry.method)
        raw = chunks_of(lambda: Forward(data, coding, entry.size, self.bounds)) if coding else plain(data)
        ends_itself = entry.method != _LZMA or bool(entry.flags & _MARKS_LZMA_END)
        return crc_checked(exactly(raw, entry.size, ends_itself=ends_itself), entry.crc)

    def _seekable(self, entry: ZipEntry) -> Source:
        data, coding = self._data(entry), _CODINGS.get(entry.method)
        if coding is None:
            return data
        return Unpacked(lambda: Forward(data, coding, entry.size, self.bounds), entry.size, self.bounds)

    def _data(self, entry: ZipEntry) -> Window:
        """Return the packed bytes, after the local header, whose name must agree with the directory's."""
        room = entry.ceiling - entry.offset
        extent = io.BufferedReader(Window(self.source, entry.offset, room), READ_AHEAD)
        head = extent.read(LOCAL_HEADER.size)
        if len(head) < LOCAL_HEADER.size or not head.startswith(LOCAL):
            raise ArchiveDamaged("a file's own header is not where the directory says")
        fields = LOCAL_HEADER.unpack(head)
        flags, name_length, extra_length = fields[2], fields[-2], fields[-1]
        if extent.read(name_length) != entry.raw_name:
            raise ArchiveDamaged("a file's own header and the directory give it different names")
        if flags & (_ENCRYPTED | _HIDDEN):
            raise FileNotReadable(Reason.ENCRYPTED)
        start = LOCAL_HEADER.size + name_length + extra_length
        if start + entry.packed_size > room:
            raise FileNotReadable(Reason.OVERLAP)
        return Window(extent, start, entry.packed_size)


def members(source: Source, bounds: Bounds) -> Iterator[Member]:
    """Yield every entry, in the directory's order."""
    reader = _Zip(source, bounds)
    return (reader.member(entry) for entry in zip_directory.entries(source, bounds.limits))


def _kind(entry: ZipEntry, name: str) -> FileKind:
    """Tell the kind by the Unix mode if any; Windows tools mark a folder by its last slash or the DOS attribute."""
    by_mode = _KINDS.get(stat.S_IFMT(entry.attributes >> 16), FileKind.FILE)
    folder = name.endswith(("/", "\\")) or bool(entry.attributes & _DOS_FOLDER)
    return FileKind.FOLDER if by_mode is FileKind.FILE and folder else by_mode


def _reason(entry: ZipEntry) -> Reason | None:
    if entry.reason is not None:
        return entry.reason
    if entry.flags & (_ENCRYPTED | _HIDDEN):
        return Reason.ENCRYPTED
    if entry.flags & _PATCH or (entry.method != _STORED and entry.method not in _CODINGS):
        return Reason.METHOD
    if entry.method == _STORED and entry.size != entry.packed_size:
        return Reason.METHOD
    end = entry.offset + LOCAL_HEADER.size + entry.packed_size
    return Reason.OVERLAP if end > entry.ceiling else None


def _modified(entry: ZipEntry) -> datetime | None:
    """Return the UTC time from the extra fields; else the DOS time, which has no zone, read as UTC."""
    unix, ntfs = extra_field(entry.extra, 0x5455), extra_field(entry.extra, 0x000A)
    if unix is not None and len(unix) >= 5 and unix[0] & 1:  # Info-ZIP's extended timestamp
        return since_epoch(struct.unpack_from("<i", unix, 1)[0])
    if ntfs is not None and len(ntfs) >= 16 and ntfs[4:8] == b"\x01\x00\x18\x00":  # APPNOTE 4.5.5
        return since_1601(struct.unpack_from("<Q", ntfs, 8)[0])
    return dos_time(*entry.dos_time)
