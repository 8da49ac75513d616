"""Tar and tar.gz: the headers by tarfile, over guarded reads; a plain tar is skipped through, a packed one streamed.

1. Only headers are read to list a plain tar. A tar.gz has no directory: listing it inflates it once, keeping nothing.
2. tarfile believes sizes: a negative one walks it backwards for ever, an extended header may ask for gigabytes, and its
   patterns for extended records take quadratic time. Progress, size and form of headers are checked here.
3. Sparse files are refused: tarfile never returns from a read under a contradictory map of holes.
4. An archive without its end mark is damaged, and reported as such after the files before the cut are listed.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from retention.archive.inflate import Coding, Forward, exactly, plain
from retention.archive.limits import Bounds, Limits
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, FileKind, Reason
from retention.archive.names import decoded
from retention.archive.seekable import Unpacked
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

BLOCK = 512
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,7}) [^=\n]{1,256}=")
_DIGIT_RUN = re.compile(rb"[0-9]{256}")
_MAX_GLOBAL_RECORDS = 100
_DAMAGED = "its tar headers cannot be read"


class _TarFile(tarfile.TarFile):
    members: list[tarfile.TarInfo]  # exists at run time, missing from the type stubs


class _HeaderReads(GuardedReads):
    """Reads that grant each member its headers' share, and check pax records before tarfile's pattern sees them."""

    def __init__(self, raw: io.BufferedReader, limits: Limits) -> None:
        super().__init__(raw, 0, "a file's tar headers are too large")
        self._share = 4 * BLOCK + limits.max_header_bytes
        self._pax_follows = False
        self.last = b""

    def next_member(self) -> None:
        self.allow(self._share)

    def read(self, size: int = -1) -> bytes:
        self.last = data = super().read(size)
        if self._pax_follows and not _well_formed_pax(data):
            raise ArchiveDamaged(_DAMAGED)
        self._pax_follows = not self._pax_follows and len(data) == BLOCK and data[156:157] in _PAX_TYPES
        return data


def _well_formed_pax(body: bytes) -> bool:
    """Check `length keyword=value\\n` records (POSIX pax, "Extended header") in one pass; zeros fill the last block."""
    position, end = 0, len(body.rstrip(b"\0"))
    while position < end:
        record = _PAX_RECORD.match(body, position)
        if record is None:
            return False
        after = position + int(record[1])
        if not record.end() < after <= end or body[after - 1 : after] != b"\n":
            return False
        position = after
    return _DIGIT_RUN.search(body) is None


def is_tar(head: bytes) -> bool:
    """Tell whether the first block is a tar header, by its checksum (V7 archives have no magic)."""
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "replace")
    except (tarfile.TarError, ValueError):
        return False
    return True


def members(source: Source, limits: Limits) -> Iterator[Member]:
    """Yield the members of a plain tar, skipping from header to header."""
    return _walk(io.BufferedReader(whole(source), READ_AHEAD), limits, in_place=True)


def packed_members(source: Source, coding: Coding, bounds: Bounds) -> Iterator[Member]:
    """Yield the members of a packed tar, in one pass."""
    packed = whole(source)
    stream = Unpacked(lambda: Forward(packed, coding, None, bounds), None, bounds)
    return _walk(io.BufferedReader(stream, READ_AHEAD), bounds.limits, in_place=False)


def _walk(raw: io.BufferedReader, limits: Limits, *, in_place: bool) -> Iterator[Member]:
    reads = _HeaderReads(raw, limits)
    reads.next_member()
    with parsing(reads, _DAMAGED):
        archive = _TarFile(fileobj=cast(IO[bytes], reads), encoding="utf-8", errors="surrogateescape")
    before = -1
    while info := _next(archive, reads):
        if info.size < 0 or archive.offset <= before:
            raise ArchiveDamaged(_DAMAGED)
        if len(archive.pax_headers) > _MAX_GLOBAL_RECORDS:
            raise ArchiveTooLarge("it has too many global tar headers")
        before = archive.offset
        yield _member(raw, info, in_place=in_place)
    if reads.last != bytes(BLOCK):
        raise ArchiveDamaged("it ends without a tar end mark")


def _next(archive: _TarFile, reads: _HeaderReads) -> tarfile.TarInfo | None:
    reads.next_member()
    with parsing(reads, _DAMAGED):
        info = archive.next()
    archive.members.clear()  # tarfile keeps every member it has seen
    return info


def _member(raw: io.BufferedReader, info: tarfile.TarInfo, *, in_place: bool) -> Member:
    kind, reason = _judge(info)
    size = info.size if info.isreg() else 0

    def data() -> Window:
        return Window(raw, info.offset_data, size)  # one for each reader, who has its own place in it

    name, guessed = _name(info.name)
    return Member(
        name=name + "/" * info.isdir(),  # tarfile strips the slash
        kind=kind,
        size=size,
        packed_size=size if in_place else None,
        modified=since_epoch(info.mtime),
        reason=reason,
        chunks=lambda: exactly(plain(data()), size),
        source=data,
        guessed=guessed,
    )


def _name(found: str) -> tuple[str, str | None]:
    """Decode a name that tarfile could not; surrogates that were in it as such stay, and are refused."""
    try:
        return decoded(found.encode(errors="surrogateescape"), "cp1252")
    except UnicodeEncodeError:
        return found, None


def _judge(info: tarfile.TarInfo) -> tuple[FileKind, Reason | None]:
    table = (
        (info.issparse(), FileKind.FILE, Reason.SPARSE),
        (info.isreg(), FileKind.FILE, None),
        (info.isdir(), FileKind.FOLDER, None),
        (info.issym() or info.islnk(), FileKind.LINK, None),
        (info.isdev(), FileKind.DEVICE, None),
    )
    return next(((kind, reason) for holds, kind, reason in table if holds), (FileKind.FILE, Reason.METHOD))
