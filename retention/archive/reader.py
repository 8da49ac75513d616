r"""Listing the files inside a bundle, and reading one of them without opening the rest.

1. An archive's magic bytes say what it is; names are hints for people.
2. Nothing is written anywhere (P1): a stored nested archive is read in place, a packed one is inflated into memory
   up to a limit.
3. `outer.zip!/inner.zip!/path`: each `!/` goes one archive deeper. A file's key is its name exactly as in the archive,
   after the keys of the archives around it.
4. Of several files of one name the first is readable; the later ones are listed as not readable. So reading never goes
   past the file it looks for.
5. A file that must not be read is listed with its reason, and the same rule refuses to open it.
6. Old Windows tools write `\` between folders, so both slashes separate. A name that would be saved outside its folder
   is refused, not repaired: a repaired name could be another file's.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator

from retention.archive import tar_archive, zip_archive
from retention.archive.inflate import GzipStream
from retention.archive.model import (
    ArchiveDamaged,
    ArchivedFile,
    ArchiveKind,
    ArchiveTooLarge,
    Budget,
    FileKind,
    FileNotReadable,
    Limits,
    NoSuchFile,
    NotAnArchive,
    OpenedFile,
    Reason,
)
from retention.archive.source import CHUNK, Member, Source, since_epoch, whole

SEPARATOR = "!/"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Beside those: line breaks, and the characters that reverse the direction of text.
_UNSHOWABLE = re.compile(_CONTROL.pattern[:-1] + "\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"(\./+)*[A-Za-z]:")
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz")


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _climbs(name: str) -> bool:
    """Find `..`, also as `...` or `.. `, where Windows drops the dots and spaces at the end."""
    return any(part.startswith("..") and not part.rstrip(". ") for part in name.split("/"))


_RULES: tuple[tuple[Reason, Callable[[str], bool]], ...] = (
    (Reason.CONTROL_NAME, lambda name: _CONTROL.search(name) is not None),
    (Reason.ABSOLUTE_PATH, lambda name: name.startswith("/")),
    (Reason.DRIVE_PATH, lambda name: _DRIVE.match(name) is not None),
    (Reason.PARENT_PATH, _climbs),
    (Reason.SEPARATOR_NAME, lambda name: SEPARATOR in name),
    (Reason.EMPTY_NAME, lambda name: not name.strip("/. ")),
)


def name_trick(name: str, max_name: int) -> Reason | None:
    """Return why a file of this name must not be read, or None."""
    if len(name) > max_name:
        return Reason.LONG_NAME
    slashed = _slashed(name)
    return next((reason for reason, holds in _RULES if holds(slashed)), None)


def shown(name: str, max_name: int) -> str:
    """Make the name safe for a screen: one kind of slash, nothing that moves a cursor, hides or reverses text."""
    safe = _UNSHOWABLE.sub("\ufffd", _slashed(name[:max_name]))
    return (safe.removeprefix("./") or safe) + ("…" if len(name) > max_name else "")


def looks_archive(name: str) -> bool:
    """Tell whether a name looks like an archive's."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def inner_name(name: str) -> str:
    """Name a single gzipped file: the outer name without `.gz`. The name inside the gzip is only a claim."""
    last = _slashed(name.rsplit(SEPARATOR, 1)[-1]).rsplit("/", 1)[-1]
    return last[:-3] if last.lower().endswith(".gz") and len(last) > 3 else last


_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry, or the end record of an empty zip
_GZIP_MAGIC = b"\x1f\x8b\x08"
_DEFAULTS = Limits()
_BY_KIND = {
    FileKind.FOLDER: Reason.FOLDER,
    FileKind.LINK: Reason.LINK,
    FileKind.DEVICE: Reason.DEVICE,
}


def detect(source: Source, limits: Limits = _DEFAULTS) -> ArchiveKind:
    """Detect the archive's kind by its first block (for a gzip also by the first inflated block)."""
    head = whole(source).read(tar_archive.BLOCK)
    if head.startswith(_ZIP_MAGICS):
        return ArchiveKind.ZIP
    if head.startswith(_GZIP_MAGIC):
        return ArchiveKind.TAR_GZIP if tar_archive.is_tar(_gzip_head(source, limits)) else ArchiveKind.GZIP
    return ArchiveKind.TAR if tar_archive.is_tar(head) else ArchiveKind.PLAIN


def _gzip_head(source: Source, limits: Limits) -> bytes:
    try:
        return io.BufferedReader(GzipStream(whole(source), limits, Budget(limits))).read(tar_archive.BLOCK)
    except ArchiveDamaged:
        return b""  # still a gzip; reading it will report the damage


def list_files(
    source: Source, name: str, limits: Limits = _DEFAULTS, *, inside: str = ""
) -> Iterator[ArchivedFile]:
    """List the files of the archive called `name`, or of the nested archive with the key `inside`, in stored order.

    Raises at once when there is no such archive; on damage or a limit while iterating, after the files before it.
    """
    keys = inside.split(SEPARATOR) if inside else []
    members = _inside(source, name, keys, limits)
    deeper = len(keys) + 1 < limits.max_depth
    return (
        _listed(inside, member, reason, limits, deeper=deeper) for member, reason in _judged(members, limits)
    )


def open_file(source: Source, name: str, path: str, limits: Limits = _DEFAULTS) -> OpenedFile:
    """Open the file with the key `path`. Raises before the first byte if there is none or it must not be read."""
    *around, last = path.split(SEPARATOR)
    member = _find(_inside(source, name, around, limits), last, limits)
    deeper = len(around) + 1 < limits.max_depth
    listed = _listed(SEPARATOR.join(around), member, None, limits, deeper=deeper)
    return OpenedFile(listed, member.chunks())


def _inside(source: Source, name: str, keys: list[str], limits: Limits) -> Iterator[Member]:
    """Yield the members of the archive reached by `keys`, one archive deeper for each."""
    if len(keys) >= limits.max_depth:
        raise FileNotReadable(Reason.DEPTH)
    budget = Budget(limits)
    for key in keys:
        member = _find(_members(source, name, limits, budget), key, limits)
        source, name = member.window() or _in_memory(member, limits), key
    return _members(source, name, limits, budget)


def _find(members: Iterator[Member], key: str, limits: Limits) -> Member:
    for member, reason in _judged(members, limits):
        if member.name == key:
            if reason is not None:
                raise FileNotReadable(reason)
            return member
    raise NoSuchFile


def _in_memory(member: Member, limits: Limits) -> Source:
    """Inflate a packed archive into memory, up to the limit, and keep it while it is read."""
    buffer = io.BytesIO()
    if (member.size or 0) <= limits.max_nested_bytes:
        for chunk in member.chunks():
            buffer.write(chunk)
            if buffer.tell() > limits.max_nested_bytes:
                break
        else:
            return buffer
    raise ArchiveTooLarge(f"a packed archive inside it inflates to more than {limits.max_nested_bytes} bytes")


def _members(source: Source, name: str, limits: Limits, budget: Budget) -> Iterator[Member]:
    match detect(source, limits):
        case ArchiveKind.ZIP:
            return zip_archive.members(source, limits, budget)
        case ArchiveKind.TAR:
            return tar_archive.members(source, limits)
        case ArchiveKind.TAR_GZIP:
            return tar_archive.packed_members(source, limits, budget)
        case ArchiveKind.GZIP:
            return iter([_single(source, name, limits, budget)])
        case ArchiveKind.PLAIN:
            raise NotAnArchive


def _single(source: Source, name: str, limits: Limits, budget: Budget) -> Member:
    """Make the member of a single gzipped file. Only inflating tells its size: the one at its end is modulo 4 GiB."""
    window = whole(source)
    seconds = int.from_bytes(window.read(8)[4:], "little")  # RFC 1952 2.3.1 MTIME; 0 is none
    stream = GzipStream(whole(source), limits, budget)
    return Member(
        name=inner_name(name),
        kind=FileKind.FILE,
        size=None,
        packed_size=window.seek(0, io.SEEK_END),
        modified=since_epoch(seconds) if seconds else None,
        reason=None,
        chunks=lambda: iter(lambda: stream.read(CHUNK) or b"", b""),
        window=lambda: None,
    )


def _judged(members: Iterator[Member], limits: Limits) -> Iterator[tuple[Member, Reason | None]]:
    seen: set[bytes] = set()  # digests: a hundred thousand long names would be a hundred megabytes
    for count, member in enumerate(members, start=1):
        if count > limits.max_entries:
            raise ArchiveTooLarge(f"it holds more than {limits.max_entries} files")
        digest = hashlib.blake2b(member.name.encode(errors="surrogatepass"), digest_size=16).digest()
        again = digest in seen
        seen.add(digest)
        yield member, _reason(member, limits) or (Reason.DUPLICATE if again else None)


def _reason(member: Member, limits: Limits) -> Reason | None:
    """Return the first reason why this file must not be read, if any."""
    size, packed = member.size or 0, member.packed_size
    return (
        _BY_KIND.get(member.kind)
        or name_trick(member.name, limits.max_name)
        or member.reason
        or (Reason.TOO_LARGE if size > limits.max_inflated_bytes else None)
        or (Reason.RATIO if packed is not None and limits.bomb_like(size, packed) else None)
    )


def _listed(
    inside: str, member: Member, reason: Reason | None, limits: Limits, *, deeper: bool
) -> ArchivedFile:
    archive = deeper and reason is None and member.kind is FileKind.FILE and looks_archive(member.name)
    outer = [shown(key, limits.max_name) for key in inside.split(SEPARATOR)] if inside else []
    return ArchivedFile(
        key=SEPARATOR.join([inside, member.name] if inside else [member.name]),
        path=SEPARATOR.join([*outer, shown(member.name, limits.max_name)]),
        kind=FileKind.ARCHIVE if archive else member.kind,
        size=member.size,
        packed_size=member.packed_size,
        modified=member.modified,
        reason=reason,
    )
