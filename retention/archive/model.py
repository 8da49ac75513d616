"""An archive as an engineer sees it: its files, its errors, and the limits on opening it.

- `key` names a file exactly as the archive does, for `open_file`; `path` is the same made safe to show. Both stay out
  of reprs: file names are particulars (the personal details of an entry, stored apart so that they can be erased).
- Each error has a machine `code` and a message for a person. Messages never repeat a name from the archive: a log keeps
  messages.
- An archive is written by others: every size in it is a claim until counted. Memory for one call stays below about:
  5 x max_directory_bytes (measured: 65 MiB for 90,000 entries with long names), max_nested_bytes x (max_depth - 1),
  max_dictionary_bytes, and a few chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import ClassVar


class ArchiveKind(StrEnum):
    """The format of an archive."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    GZIP = "gzip"
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
    SEPARATOR_NAME = ("separator_name", "its name holds '!/', which separates nested archives")
    ENCRYPTED = ("encrypted", "it is encrypted inside the archive, with a password we do not have")
    METHOD = ("method", "it is compressed by an unsupported method")
    SPARSE = ("sparse", "it is stored as a sparse file")
    OVERLAP = ("overlap", "its bytes overlap those of another file in the archive")
    TOO_LARGE = ("too_large", "it is larger than the limit")
    RATIO = ("ratio", "it expands far beyond the limit for logs; it looks like a decompression bomb")
    DUPLICATE = ("duplicate", "an earlier file in the archive has the same name")
    DEPTH = ("depth", "it lies in more nested archives than are opened")

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A listed file. `size` is None where only inflating would tell; `packed_size` is its size in the archive. Bytes.

    `modified` is UTC. A zip without extended time stamps has a local time of an unknown zone, read as UTC.
    """

    key: str = field(repr=False)
    path: str = field(repr=False)
    kind: FileKind
    size: int | None
    packed_size: int | None
    modified: datetime | None
    reason: Reason | None

    @property
    def readable(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file being read: `chunks` ends with an ArchiveError unless every byte arrived as the archive declares."""

    file: ArchivedFile
    chunks: Iterator[bytes] = field(repr=False)

    @property
    def size(self) -> int | None:
        return self.file.size


class ArchiveError(Exception):
    """The base of this package's errors about the archive itself (a fault of the source passes unchanged)."""

    code: ClassVar[str] = "archive_error"


class NotAnArchive(ArchiveError):
    """A bundle that is no archive."""

    code = "not_an_archive"

    def __init__(self) -> None:
        super().__init__("The bundle is neither a zip, a tar nor a gzip file, so it has no files to list.")


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


KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on opening an archive, in bytes unless named otherwise."""

    max_entries: int = 100_000
    max_directory_bytes: int = 16 * MIB  # a zip's central directory
    max_header_bytes: int = 32 * KIB  # one tar member's extended headers
    max_name: int = 1024
    max_depth: int = 3  # archives opened to reach a file; the bundle itself is the first
    max_inflated_bytes: int = 32 * GIB  # in one call, all levels together; also for a single file
    max_ratio: int = 200
    ratio_free_bytes: int = 64 * MIB  # below this the ratio does not count: empty logs pack very well
    max_nested_bytes: int = (
        64 * MIB
    )  # a nested archive that is packed is inflated into memory, never onto a disk (P1)
    max_dictionary_bytes: int = 64 * MIB  # LZMA's window

    def bomb_like(self, inflated: int, packed: int) -> bool:
        return inflated > self.ratio_free_bytes and inflated > self.max_ratio * packed


class Budget:
    """The bytes that one call may inflate, at all levels; spending more raises."""

    def __init__(self, limits: Limits) -> None:
        self._left = limits.max_inflated_bytes

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ArchiveTooLarge("it inflates past the limit for one read")
