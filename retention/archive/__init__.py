"""The files inside a bundle: listed, and read singly, over the opened bundle's ranges. Nothing is written to a
disk.

inflate.py      Inflating in bounded steps: every decoder is asked for at most a chunk, whatever the input could
                become.
model.py        What an engineer sees of an archive: its kind, its files, and why a file cannot be read.
reader.py       Listing the files inside a bundle, and reading one of them singly, without opening the rest.
source.py       Where an archive's bytes come from, and the guards the standard library's parsers read them through.
tar_archive.py  Tar and tar.gz: the headers by tarfile, over guarded reads; a plain tar is hopped through, a packed
                one streamed.
zip_archive.py  Zip: the directory by zipfile, the bytes by our own bounded inflating.
"""

from __future__ import annotations

from retention.archive.model import (
    ArchiveDamaged,
    ArchivedFile,
    ArchiveError,
    ArchiveKind,
    ArchiveTooLarge,
    FileKind,
    FileNotReadable,
    Limits,
    NoSuchFile,
    NotAnArchive,
    OpenedFile,
    Reason,
)
from retention.archive.reader import detect, list_files, open_file
from retention.archive.source import Source, Window

__all__ = [
    "ArchiveDamaged",
    "ArchiveError",
    "ArchiveKind",
    "ArchiveTooLarge",
    "ArchivedFile",
    "FileKind",
    "FileNotReadable",
    "Limits",
    "NoSuchFile",
    "NotAnArchive",
    "OpenedFile",
    "Reason",
    "Source",
    "Window",
    "detect",
    "list_files",
    "open_file",
]
