"""The files inside a bundle: listed, and read one at a time, over the opened bundle's ranges. Nothing is written to a
disk.

inflate.py      Inflating in bounded steps: every decoder is asked for at most a chunk, however much the input could
                become.
model.py        An archive as an engineer sees it: its files, its errors, and the limits on opening it.
reader.py       Listing the files inside a bundle, and reading one of them without opening the rest.
source.py       The source of an archive's bytes, the guards that parsers read it through, and a format's view of a
                file.
tar_archive.py  Tar and tar.gz: the headers by tarfile, over guarded reads; a plain tar is skipped through, a packed one
                streamed.
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
