r"""Listing the files inside a bundle, and reading one of them without opening the rest.

1. An archive's magic bytes say what it is; names are hints for people.
2. Nothing is written anywhere (P1): a stored nested archive is read in place, a packed one through seek points
   (`seekable`), so its size is no limit.
3. A file's key is its name exactly as in the archive, after the keys of the archives around it (`names`).
4. Reading never goes past the file it looks for, and a decoder is made (and its memory leased) as its first byte is
   asked for: of a file's whole and its parts, only what is read costs anything.
5. A file that must not be read is listed with its reason, and the same rule refuses to open it with that reason, asked
   for by its name or as it was shown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import cache

from retention.archive import (
    cab_archive,
    codings,
    seven_zip_archive,
    seven_zip_directory,
    tar_archive,
    zip_archive,
    zip_directory,
)
from retention.archive.inflate import Coding, Forward, chunks_of, plain
from retention.archive.limits import PROCESS, Bounds, Limits, Memory
from retention.archive.model import (
    ArchiveBusy,
    ArchiveDamaged,
    ArchivedFile,
    ArchiveError,
    ArchiveKind,
    ArchiveTooLarge,
    FileKind,
    FileNotReadable,
    NoSuchFile,
    NotAnArchive,
    OpenedFile,
    Reason,
    SplitArchive,
    Walked,
)
from retention.archive.names import SEPARATOR, Ordinals, inner_name, looks_archive, name_trick, shown
from retention.archive.seekable import Unpacked
from retention.archive.source import Member, Source, Window, since_epoch, whole
from retention.sandbox.children import ChildFailed

_PROGRAM = b"MZ"
_TO_THE_END = 1 << 62
_PACKED: tuple[tuple[re.Pattern[bytes], Coding, ArchiveKind, ArchiveKind], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), codings.GZIP, ArchiveKind.GZIP, ArchiveKind.TAR_GZIP),
    (
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),  # a first block, or the end of an empty one
        codings.BZIP2_FILE,
        ArchiveKind.BZIP2,
        ArchiveKind.TAR_BZIP2,
    ),
    (re.compile(rb"\xfd7zXZ\x00"), codings.XZ, ArchiveKind.XZ, ArchiveKind.TAR_XZ),
    (
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame, or one to be skipped before it
        codings.ZSTD,
        ArchiveKind.ZSTD,
        ArchiveKind.TAR_ZSTD,
    ),
    (  # no magic: the usual properties, a dictionary of whole 64 KiB, no size or one below 1 TiB, a first byte of 0
        re.compile(rb"\x5d\0\0(?:\0|[\x01-\x80])[\0-\x08](?:\xff{8}|[\0-\xff]{5}\0{3})\0"),
        codings.LZMA_FILE,
        ArchiveKind.LZMA,
        ArchiveKind.TAR_LZMA,
    ),
)
"""How packed files begin, their coding, and what they are: of one file, or of a tar."""
_CODINGS = {kind: coding for _, coding, *kinds in _PACKED for kind in kinds}
_PACKED_TARS = frozenset(tar for *_, tar in _PACKED)
_DEFAULTS = Limits()
_BY_KIND = {
    FileKind.FOLDER: Reason.FOLDER,
    FileKind.LINK: Reason.LINK,
    FileKind.DEVICE: Reason.DEVICE,
}


def detect(source: Source, limits: Limits = _DEFAULTS, *, memory: Memory = PROCESS) -> ArchiveKind:
    """Detect the archive's kind by its first block (for a packed one also by the first decoded block). SplitArchive."""
    return _detect(source, Bounds.of(limits, memory))


def _detect(source: Source, bounds: Bounds) -> ArchiveKind:
    head = whole(source).read(tar_archive.BLOCK)
    if head.startswith((zip_directory.LOCAL, zip_directory.END)):
        return ArchiveKind.ZIP
    if head.startswith(zip_directory.SPANNED):
        if head[4:8] != zip_directory.LOCAL or not zip_directory.has_directory(source):
            raise SplitArchive
        return ArchiveKind.ZIP
    if head.startswith(seven_zip_directory.MAGIC) and len(head) >= seven_zip_directory.START.size:
        return ArchiveKind.SEVEN_ZIP
    if head.startswith(cab_archive.MAGIC) and len(head) >= cab_archive.HEADER.size:
        return ArchiveKind.CAB
    for begins, coding, single, tar in _PACKED:
        if begins.match(head):
            return tar if tar_archive.is_tar(_unpacked_head(source, coding, bounds)) else single
    if tar_archive.is_tar(head):
        return ArchiveKind.TAR
    behind_program = head.startswith(_PROGRAM) and zip_directory.has_directory(source)
    return ArchiveKind.ZIP if behind_program else ArchiveKind.PLAIN


def _unpacked_head(source: Source, coding: Coding, bounds: Bounds) -> bytes:
    try:
        stream = Unpacked(lambda: Forward(whole(source), coding, None, bounds), None, bounds)
        return io.BufferedReader(stream).read(tar_archive.BLOCK)
    except ArchiveDamaged:
        return b""  # still packed; reading it will report the damage


def list_files(
    source: Source, name: str, limits: Limits = _DEFAULTS, *, inside: str = "", memory: Memory = PROCESS
) -> Iterator[ArchivedFile]:
    """List the files of the archive called `name`, or of the nested archive with the key `inside`, in stored order.

    Raises at once when there is no such archive; on damage or a limit while iterating, after the files before it.
    """
    bounds = Bounds.of(limits, memory)
    keys = inside.split(SEPARATOR) if inside else []
    members = _inside(source, name, keys, bounds)
    deeper = len(keys) + 1 < limits.max_depth

    def listed() -> Iterator[ArchivedFile]:
        for key, member, reason in _judged(members, limits):
            bounds.work.renew()  # a name is something handed over
            yield _listed(inside, key, member, reason, limits, deeper=deeper)

    return listed()


def open_file(
    source: Source, name: str, path: str, limits: Limits = _DEFAULTS, *, memory: Memory = PROCESS
) -> OpenedFile:
    """Open the file with the key `path`. Raises before the first byte if there is none or it must not be read; what its
    decoder needs and is not to be had is said with the first byte."""
    bounds = Bounds.of(limits, memory)
    *around, last = path.split(SEPARATOR)
    member = _find(_inside(source, name, around, bounds, last), last, "", limits)
    deeper = len(around) + 1 < limits.max_depth
    listed = _listed(SEPARATOR.join(around), last, member, None, limits, deeper=deeper)
    return _opened(listed, member, bounds)


def walk_files(
    source: Source, name: str, limits: Limits = _DEFAULTS, *, memory: Memory = PROCESS
) -> Iterator[Walked]:
    """Walk all files of the archive called `name`, at every depth, in stored order and in one pass: each can be read
    while the walk stands at it. Raises as `list_files` does; damage of a nested archive ends that one alone."""
    bounds = Bounds.of(limits, memory)
    return _walked(_members(source, name, bounds), "", 1, bounds)


def _walked(members: Iterator[Member], inside: str, depth: int, bounds: Bounds) -> Iterator[Walked]:
    for key, member, reason in _judged(members, bounds.limits):
        bounds.work.renew()
        listed = _listed(inside, key, member, reason, bounds.limits, deeper=depth < bounds.limits.max_depth)
        if reason is not None:
            yield Walked(listed, fault=f"The file cannot be read: {reason.message}.", inside=inside)
        elif listed.kind is FileKind.ARCHIVE:
            yield from _entered(inside, listed, member, depth, bounds)
        else:
            yield _met(inside, listed, member, bounds)


def _entered(
    inside: str, listed: ArchivedFile, member: Member, depth: int, bounds: Bounds
) -> Iterator[Walked]:
    """Walk a nested archive, itself first; what only has an archive's name is a file."""
    try:
        source = member.source()
        kind = _detect(source, bounds)
        inner = _members_of(kind, source, member.name, bounds)
        yield Walked(listed, inside=inside, entered=kind)
        yield from _walked(inner, listed.key, depth + 1, bounds)
    except NotAnArchive:
        yield _met(inside, listed, member, bounds)
    except ArchiveError as error:
        yield _faulty(inside, listed, error)


def _met(inside: str, listed: ArchivedFile, member: Member, bounds: Bounds) -> Walked:
    """Open a file on the way. A fault that only its own header tells (`zip_archive`) is this file's alone."""
    try:
        return Walked(listed, _opened(listed, member, bounds), inside=inside)
    except ArchiveError as error:
        return _faulty(inside, listed, error)


def _faulty(inside: str, listed: ArchivedFile, error: ArchiveError) -> Walked:
    busy, lost = isinstance(error, ArchiveBusy), isinstance(error.__cause__, ChildFailed)
    return Walked(listed, fault=str(error), inside=inside, busy=busy, lost=lost)


def _opened(listed: ArchivedFile, member: Member, bounds: Bounds) -> OpenedFile:
    return OpenedFile(listed, _renewing(member.chunks(), bounds), _parts(member, bounds))


def _parts(member: Member, bounds: Bounds) -> Callable[[int, int | None], Iterator[bytes]]:
    source = cache(member.source)  # one for all parts: its seek points serve the later ones

    def part(offset: int, length: int | None) -> Iterator[bytes]:
        window = Window(source(), offset, _TO_THE_END if length is None else length)
        yield from _renewing(plain(window) if length is None else _all_of(window, length), bounds)

    return part


def _all_of(window: Window, length: int) -> Iterator[bytes]:
    for chunk in plain(window):
        length -= len(chunk)
        yield chunk
    if length:
        raise ArchiveDamaged("a file ends before the bytes that were asked for")


def _renewing(chunks: Iterator[bytes], bounds: Bounds) -> Iterator[bytes]:
    """Pass chunks on; each is something handed over."""
    for chunk in chunks:
        bounds.work.renew()
        yield chunk


def _inside(source: Source, name: str, keys: list[str], bounds: Bounds, last: str = "") -> Iterator[Member]:
    """Yield the members of the archive reached by `keys`, one archive deeper for each; `last` is asked for in it."""
    if len(keys) >= bounds.limits.max_depth:
        raise FileNotReadable(Reason.DEPTH)
    for number, key in enumerate(keys):
        rest = SEPARATOR.join([*keys[number:], last])
        member = _find(_members(source, name, bounds), key, rest, bounds.limits)
        source, name = member.source(), key
    return _members(source, name, bounds)


def _find(members: Iterator[Member], key: str, rest: str, limits: Limits) -> Member:
    """Find the member by its key. A refused one raises its reason, also when it was asked for as it is shown; `rest` is
    the key with what follows: a refused name may hold the separator itself."""
    for found, member, reason in _judged(members, limits):
        if reason is None and found == key:
            return member
        if reason is not None and {found, shown(found, limits.max_name)} & {key, rest}:
            raise FileNotReadable(reason)
    raise NoSuchFile


def _members(source: Source, name: str, bounds: Bounds) -> Iterator[Member]:
    return _members_of(_detect(source, bounds), source, name, bounds)


def _members_of(kind: ArchiveKind, source: Source, name: str, bounds: Bounds) -> Iterator[Member]:
    match kind:
        case ArchiveKind.ZIP:
            return zip_archive.members(source, bounds)
        case ArchiveKind.SEVEN_ZIP:
            return seven_zip_archive.members(source, bounds)
        case ArchiveKind.CAB:
            return cab_archive.members(source, bounds)
        case ArchiveKind.TAR:
            return tar_archive.members(source, bounds.limits)
        case ArchiveKind.PLAIN:
            raise NotAnArchive
    if kind in _PACKED_TARS:
        return tar_archive.packed_members(source, _CODINGS[kind], bounds)
    return iter([_single(source, name, _CODINGS[kind], bounds)])


def _single(source: Source, name: str, coding: Coding, bounds: Bounds) -> Member:
    """Make the member of a single packed file. Only decoding tells its size: a gzip's own is modulo 4 GiB."""
    window = whole(source)
    seconds = (
        int.from_bytes(window.read(8)[4:], "little") if coding is codings.GZIP else 0
    )  # RFC 1952 2.3.1 MTIME

    def begin() -> Forward:
        return Forward(whole(source), coding, None, bounds)

    return Member(
        name=inner_name(name),
        kind=FileKind.FILE,
        size=None,
        packed_size=window.seek(0, io.SEEK_END),
        modified=since_epoch(seconds) if seconds else None,
        reason=None,
        chunks=lambda: chunks_of(begin),
        source=lambda: Unpacked(begin, None, bounds),
    )


def _judged(members: Iterator[Member], limits: Limits) -> Iterator[tuple[str, Member, Reason | None]]:
    """Yield each member with its key and the reason why it must not be read, if any."""
    ordinals = Ordinals()
    for count, member in enumerate(members, start=1):
        if count > limits.max_entries:
            raise ArchiveTooLarge(f"it holds more than {limits.max_entries} files")
        reason = _BY_KIND.get(member.kind) or name_trick(member.name, limits.max_name) or member.reason
        yield ordinals.key(member.name), member, reason


def _listed(
    inside: str, key: str, member: Member, reason: Reason | None, limits: Limits, *, deeper: bool
) -> ArchivedFile:
    archive = deeper and reason is None and member.kind is FileKind.FILE and looks_archive(member.name)
    outer = [shown(around, limits.max_name) for around in inside.split(SEPARATOR)] if inside else []
    if reason is Reason.LONG_NAME:  # it opens nothing, and a page of such names would be many megabytes
        key = shown(key, limits.max_name)
    return ArchivedFile(
        key=SEPARATOR.join([inside, key] if inside else [key]),
        path=SEPARATOR.join([*outer, shown(key, limits.max_name)]),
        kind=FileKind.ARCHIVE if archive else member.kind,
        size=member.size,
        packed_size=member.packed_size,
        modified=member.modified,
        reason=reason,
        guessed=member.guessed,
    )
