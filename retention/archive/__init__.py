"""The files inside a bundle: listed, and read one at a time, over the opened bundle's ranges. Nothing is written to a
disk.

cab_archive.py          Cab: its files, and their bytes by decoding the run of files that they are packed in.
codings.py              The codings of packed bytes: how each one's decoder is made, and what memory its header may
                        ask for.
contents.py             The contents index of a bundle: what every file in it is, written once and read a page at a
                        time.
indexing.py             Making a contents index: one walk of all archives of a bundle.
inflate.py              Decoding in bounded steps: every decoder is asked for at most a chunk, however much it could
                        become.
limits.py               The limits on opening an archive, and the budgets of work and memory.
model.py                An archive as an engineer sees it: its files and its errors.
names.py                The names of files in archives: read, judged, shown and told apart.
reader.py               Listing the files inside a bundle, and reading one of them without opening the rest.
seekable.py             A packed file as bytes to seek in, by seek points: what nested archives are read through.
seven_zip_archive.py    7z: its files, and their bytes by decoding the run of files that they are packed in.
seven_zip_directory.py  A 7z's list of files: the header at its end, which may be packed itself.
seven_zip_fields.py     The fields of a 7z's header: numbers, a run's coders, and what is said of files.
source.py               The source of an archive's bytes, the guards that parsers read it through, and a format's view
                        of a file.
tar_archive.py          Tar and tar.gz: the headers by tarfile, over guarded reads; a plain tar is skipped through.
zip_archive.py          Zip: its files, and their bytes by our own bounded decoding.
zip_directory.py        A zip's list of files: its central directory, or its local headers where that is cut off.
"""

from __future__ import annotations

from retention.archive.limits import CHILDREN, PROCESS, Limits, Memory
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
from retention.archive.names import fits
from retention.archive.reader import detect, list_files, open_file, walk_files
from retention.archive.source import Source, Window

__all__ = [
    "CHILDREN",
    "PROCESS",
    "ArchiveBusy",
    "ArchiveDamaged",
    "ArchiveError",
    "ArchiveKind",
    "ArchiveTooLarge",
    "ArchivedFile",
    "FileKind",
    "FileNotReadable",
    "Limits",
    "Memory",
    "NoSuchFile",
    "NotAnArchive",
    "OpenedFile",
    "Reason",
    "Source",
    "SplitArchive",
    "Walked",
    "Window",
    "detect",
    "fits",
    "list_files",
    "open_file",
    "walk_files",
]
