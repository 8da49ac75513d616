"""An archive as an engineer sees it: its files and its errors.

- `key` names a file exactly as the archive does, for `open_file`; `path` is the same made safe to show, and so is the
  `key` of a file whose name is too long, which nothing opens. Both stay out of reprs: file names are particulars (the
  personal details of an entry, stored apart so that they can be erased).
- Each error has a machine `code` and a message for a person. Messages never repeat a name from the archive: a log keeps
  messages.
- A list that ends before the archive does says so: what was found is shown, and the error that ended it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import ClassVar


class ArchiveKind(StrEnum):
    """The format of an archive."""

    ZIP = "zip"
    SEVEN_ZIP = "7z"
    CAB = "cab"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    GZIP = "gzip"
    TAR_BZIP2 = "tar.bz2"
    BZIP2 = "bzip2"
    TAR_XZ = "tar.xz"
    XZ = "xz"
    TAR_ZSTD = "tar.zst"
    ZSTD = "zstd"
    TAR_LZMA = "tar.lzma"
    LZMA = "lzma"
    PLAIN = "plain"


class FileKind(StrEnum):
    """The kind of a file. `ARCHIVE` is a hint from its name: listing opens nothing; opening goes by magic bytes."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    ARCHIVE = "archive"


class Reason(Enum):
    """A reason why a file cannot be read: a machine code, and words for a person."""

    FOLDER = ("folder", "it is a folder")
    LINK = ("link", "it is a link, and links are not followed")
    DEVICE = ("device", "it is a device or a pipe, not a file")
    EMPTY_NAME = ("empty_name", "its name is empty")
    LONG_NAME = ("long_name", "its name is too long")
    CONTROL_NAME = ("control_name", "its name holds control characters")
    ABSOLUTE_PATH = ("absolute_path", "its name is an absolute path")
    DRIVE_PATH = ("drive_path", "its name begins with a drive letter")
    PARENT_PATH = ("parent_path", "its name climbs out of its folder")
    SEPARATOR_NAME = (
        "separator_name",
        "its name holds '!/' or '!#', which keys of nested and of equal names need",
    )
    ENCRYPTED = ("encrypted", "it is encrypted inside the archive, with a password we do not have")
    METHOD = ("method", "it is compressed by an unsupported method")
    SPARSE = ("sparse", "it is stored as a sparse file")
    OVERLAP = ("overlap", "its bytes overlap those of another file in the archive")
    CUT = ("cut", "the archive is cut short before its last byte")
    OTHER_VOLUME = ("other_volume", "its bytes lie in another volume of a split archive, which is not here")
    DEPTH = ("depth", "it lies in more nested archives than are opened")

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A listed file. `size` is None where only inflating would tell; `packed_size` is its size in the archive. Bytes.

    `modified` is UTC. A zip without extended time stamps has a local time of an unknown zone, read as UTC.
    `guessed` is the code page by which a name was read whose bytes do not say theirs.
    """

    key: str = field(repr=False)
    path: str = field(repr=False)
    kind: FileKind
    size: int | None
    packed_size: int | None
    modified: datetime | None
    reason: Reason | None
    guessed: str | None = None

    @property
    def readable(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file being read. `chunks` is all of it, and ends with an ArchiveError unless every byte arrived as the archive
    declares. `part(offset, length)` is a run of it (without a length, the rest), in any order and as often as wanted,
    by seek points where it is packed. A part's length is checked; the checksum is the whole file's, and is not."""

    file: ArchivedFile
    chunks: Iterator[bytes] = field(repr=False)
    part: Callable[[int, int | None], Iterator[bytes]] = field(repr=False)

    @property
    def size(self) -> int | None:
        return self.file.size


@dataclass(frozen=True, slots=True)
class Walked:
    """A file met on a walk, in the archive with the key `inside`. `opened` can be read until the walk goes on; `fault`
    says why it cannot be. An archive that is entered has neither, but its `entered` kind: its files follow, and where
    it is damaged it comes again, with the fault. `busy`: the fault is one that passes; `lost`: it is
    that of a decoder's child, and another may do better."""

    file: ArchivedFile
    opened: OpenedFile | None = None
    fault: str | None = None
    inside: str = ""
    entered: ArchiveKind | None = None
    busy: bool = False
    lost: bool = False


class ArchiveError(Exception):
    """The base of this package's errors about the archive itself (a fault of the source passes unchanged)."""

    code: ClassVar[str] = "archive_error"


class NotAnArchive(ArchiveError):
    """A bundle that is no archive."""

    code = "not_an_archive"

    def __init__(self) -> None:
        super().__init__(
            "The bundle is neither a zip, a 7z, a cab, a tar, nor a gzip, bzip2, xz, lzma or zstd file, so it "
            "has no files to list."
        )


class NoSuchFile(ArchiveError):
    """A key that no file in the archive has."""

    code = "no_such_file"

    def __init__(self) -> None:
        super().__init__(
            "The archive holds no file of that name. List its files, and use a key exactly as listed."
        )


class FileNotReadable(ArchiveError):
    """A file that must not be read, with the reason."""

    code = "file_not_readable"

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"The file cannot be read on its own: {reason.message}.")
        self.reason = reason


class ArchiveDamaged(ArchiveError):
    """An archive that is damaged or cut short."""

    code = "archive_damaged"

    def __init__(self, what: str) -> None:
        super().__init__(f"The archive is damaged or cut short: {what}.")


class ArchiveTooLarge(ArchiveError):
    """An archive beyond a limit."""

    code = "archive_too_large"

    def __init__(self, what: str) -> None:
        super().__init__(f"The archive exceeds a limit for opening it: {what}.")


class SplitArchive(ArchiveError):
    """One volume of an archive that was split."""

    code = "archive_split"

    def __init__(self) -> None:
        super().__init__(
            "This is one volume of a split archive, which cannot be opened without the others. Join the volumes into "
            "one file before it is sent, or fetch them all and join them."
        )


class ArchiveBusy(ArchiveError):
    """No memory left for now: too many archives are being read at once."""

    code = "archive_busy"

    def __init__(self) -> None:
        super().__init__(
            "Too many archives are being read at once: there is no memory left to open this one. Try again later."
        )
