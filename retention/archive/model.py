"""What an engineer sees of an archive: its kind, its files, and why a file cannot be read.

`key` names a file exactly as the archive does and is what `open_file` takes; `path` is the same made safe to show.
Both stay out of reprs: file names are particulars.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum


class ArchiveKind(StrEnum):
    ZIP = "zip"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    GZIP = "gzip"
    PLAIN = "plain"


class FileKind(StrEnum):
    """`ARCHIVE` is a hint from the name (nothing is opened to list it); opening one goes by its magic bytes."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    ARCHIVE = "archive"


class Reason(Enum):
    """Why a file cannot be read: the machine code, and the words for a person."""

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
    METHOD = ("method", "it is compressed by a method that is not supported")
    SPARSE = ("sparse", "it is stored as a sparse file")
    OVERLAP = ("overlap", "its bytes overlap those of another file in the archive")
    TOO_LARGE = ("too_large", "it is larger than the limit")
    RATIO = ("ratio", "it would inflate far more than logs do, as a decompression bomb does")
    DUPLICATE = ("duplicate", "an earlier file in the archive has the same name")
    DEPTH = ("depth", "it lies in more nested archives than are opened")

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file as listed. `size` is None where only inflating would tell; `packed_size` is what it takes inside.

    `modified` is UTC. A zip without the extended time stamps has a local time of an unknown zone: it is read as UTC.
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
    """One file being read: `chunks` ends with an ArchiveError unless every byte arrived as the archive declares."""

    file: ArchivedFile
    chunks: Iterator[bytes] = field(repr=False)

    @property
    def size(self) -> int | None:
        return self.file.size
