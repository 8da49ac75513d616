"""A file of a bundle as bytes, over a bundle that is open, passed on while the grant lives.

What is read here passes the check of the grant (`OpenBundle.passing`); a fault of the file leaves the bundle open.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TypeVar

from retention.archive import ArchiveError, Walked, open_file
from retention.custody.reading.bundle_reads import OpenBundle
from retention.envelope.bundle_file import SealedFile
from retention.text.encodings import HEAD, Detected, Encoding, detect

T = TypeVar("T")


def open_inside(opened: OpenBundle, path: str) -> Walked:
    """Open the file with the key `path`. ArchiveError."""
    file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
    return Walked(file.file, file)


def whole(opened: OpenBundle, walked: Walked | None) -> Iterator[bytes]:
    """Take a file (None: the bundle itself) as bytes."""
    if walked is None or walked.opened is None:
        return passing_on(opened, opened.sealed.read(0, opened.bundle.size))
    return passing_on(opened, walked.opened.chunks)


def rest(opened: OpenBundle, walked: Walked | None, offset: int) -> Iterator[bytes]:
    """Take a file (None: the bundle itself) as bytes from `offset` on."""
    if walked is None or walked.opened is None:
        size = opened.bundle.size
        return passing_on(opened, opened.sealed.read(min(offset, size), max(0, size - offset)))
    return passing_on(opened, walked.opened.part(offset, None))


def as_text(
    opened: OpenBundle,
    walked: Walked | None,
    encoding: Encoding | None,
    offset: int = 0,
    begun: Iterator[bytes] | None = None,
) -> tuple[Detected, Iterator[bytes]]:
    """Take a file as bytes from `offset` on, and say what they are encoded in. `begun` is all of it, if
    it was begun."""
    checked = whole(opened, walked) if begun is None else begun
    head: list[bytes] = []
    while sum(map(len, head)) < HEAD and (chunk := next(checked, None)) is not None:
        head.append(chunk)
    detected = detect(b"".join(head)) if encoding is None else Detected(encoding, guessed=False)
    return detected, rest(opened, walked, offset) if offset else chain(head, checked)


def passing_on(opened: OpenBundle, found: Iterator[T]) -> Iterator[T]:
    """Pass things on while the grant lives. A file's own fault leaves the bundle open for the others."""
    fault: list[ArchiveError] = []

    def until_fault() -> Iterator[T]:
        try:
            yield from found
        except ArchiveError as error:
            fault.append(error)

    yield from opened.passing(until_fault())
    if fault:
        raise fault[0]
