"""The files inside a bundle: listed, and read singly, over the opened bundle's ranges. Nothing is written to a disk."""

from __future__ import annotations

from retention.archive.errors import (
    ArchiveDamaged,
    ArchiveError,
    ArchiveTooLarge,
    FileNotReadable,
    NoSuchFile,
    NotAnArchive,
)
from retention.archive.limits import Limits
from retention.archive.model import ArchivedFile, ArchiveKind, FileKind, OpenedFile, Reason
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
