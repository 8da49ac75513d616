"""What can go wrong with an archive. Each error has a machine `code` and a message for a person.

Messages never repeat a name out of the archive: names are the customer's particulars, and a log keeps messages.
"""

from __future__ import annotations

from typing import ClassVar

from retention.archive.model import Reason


class ArchiveError(Exception):
    """Base of everything this package raises about the archive itself (a fault of the source passes as it is)."""

    code: ClassVar[str] = "archive_error"


class NotAnArchive(ArchiveError):
    code = "not_an_archive"

    def __init__(self) -> None:
        super().__init__(
            "This is neither a zip, a tar nor a gzip file, so there are no files to list inside it."
        )


class NoSuchFile(ArchiveError):
    code = "no_such_file"

    def __init__(self) -> None:
        super().__init__(
            "The archive holds no file of that name. List its files, and use a key as it is listed."
        )


class FileNotReadable(ArchiveError):
    code = "file_not_readable"

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"This file cannot be read singly: {reason.message}.")
        self.reason = reason


class ArchiveDamaged(ArchiveError):
    code = "archive_damaged"

    def __init__(self, what: str) -> None:
        super().__init__(f"The archive is damaged or cut short: {what}.")


class ArchiveTooLarge(ArchiveError):
    code = "archive_too_large"

    def __init__(self, what: str) -> None:
        super().__init__(f"The archive goes past what is opened here: {what}.")
