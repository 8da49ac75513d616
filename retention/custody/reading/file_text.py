"""A bundle's files as text: what they are encoded in, and searching, over a bundle that is open.

Rules:
- Everything here reads an `OpenBundle`, so the decision was made and its entry is durable (P3). What is looked through
  passes its check of the grant; what is handed over is counted: the raw bytes of the lines shown.
- Nothing is kept: memory is a line and its context, bounded in number and in bytes.
- A file that cannot be read does not end the search of the others: it is named, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from retention.archive import (
    ArchiveBusy,
    ArchivedFile,
    ArchiveError,
    FileKind,
    NoSuchFile,
    NotAnArchive,
    Walked,
    fits,
    open_file,
    walk_files,
)
from retention.custody.reading.bundle_reads import OpenBundle
from retention.envelope.bundle_file import SealedFile
from retention.text.encodings import HEAD, Detected, Encoding, detect
from retention.text.search import BEGINNING, Hit, Position, Query, SearchEnd, Why, search

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A line that a search found, or one of its context, with its file's key (None: the bundle is one file)."""

    file: str | None
    encoding: Encoding
    hit: Hit


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that a search has done with; `unread` says why it could not be read."""

    file: str | None
    end: SearchEnd | None
    unread: str | None = None


def search_bundle(
    opened: OpenBundle,
    query: Query,
    encoding: Encoding | None,
    *,
    only: str | None = None,
    named: str | None = None,
    resume: str | None = None,
    begin: Position = BEGINNING,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Found | Passed]:
    """Search the file with the key `only`, or every file whose key fits the pattern `named`, from `resume` on.

    `begin` is where to begin in the first file. `query.most` counts for all files together; with it reached, or
    stopped, the last thing is that file's Passed. `stop` is asked before each file but the first, searched or not, and
    before each block of text: each call gets further.
    """
    left, is_first = query.most, True
    for walked in [open_inside(opened, only)] if only is not None else _walk(opened):
        if isinstance(walked, str):  # what is left of a damaged bundle
            yield Passed(None, None, walked)
            continue
        file = None if walked is None else walked.file.key
        fault = None if walked is None else walked.fault
        if resume is not None and (fault is not None or file != resume):
            continue
        resume = None
        if walked is not None and fault is not None:
            if _fits(walked.file, named):
                yield Passed(walked.file.path, None, fault)
            continue
        if not is_first and stop():
            yield Passed(file, SearchEnd(Why.STOPPED, 0, BEGINNING))
            return
        is_first = False
        if walked is not None and (walked.opened is None or not _fits(walked.file, named)):
            continue
        one = Query(query.pattern, query.before, query.after, query.since, query.until, left, query.zone)
        end: SearchEnd | None = None
        try:
            detected, chunks = as_text(opened, walked, encoding, begin.offset)
            for told in search(chunks, detected.encoding, one, begin=begin, stop=stop):
                if isinstance(told, SearchEnd):
                    end = told
                else:
                    yield from _handed_over(opened, Found(file, detected.encoding, told))
        except ArchiveError as error:
            if only is not None:
                raise opened.failed(error) from None
            yield Passed(file, None, str(error))
        if end is not None:
            yield Passed(file, end)
            left -= end.found
            if end.why is not Why.COMPLETE:
                return
        begin = BEGINNING
    if resume is not None:
        raise NoSuchFile


def _handed_over(opened: OpenBundle, found: Found) -> Iterator[Found]:
    for _ in opened.deliver(iter((found.hit.line.raw,))):
        yield found


def open_inside(opened: OpenBundle, path: str) -> Walked:
    """Open the file with the key `path`. ArchiveError."""
    file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
    return Walked(file.file, file)


def as_text(
    opened: OpenBundle, walked: Walked | None, encoding: Encoding | None, offset: int = 0
) -> tuple[Detected, Iterator[bytes]]:
    """Take a file (None: the bundle itself) as bytes from `offset` on, and say what they are encoded in."""
    size = opened.bundle.size
    if walked is None or walked.opened is None:
        chunks = opened.sealed.read(0, size)
        rest = opened.sealed.read(min(offset, size), max(0, size - offset))
    else:
        chunks, rest = walked.opened.chunks, walked.opened.part(offset, None)
    checked = passing_on(opened, chunks)
    head: list[bytes] = []
    while sum(map(len, head)) < HEAD and (chunk := next(checked, None)) is not None:
        head.append(chunk)
    detected = detect(b"".join(head)) if encoding is None else Detected(encoding, guessed=False)
    return detected, passing_on(opened, rest) if offset else chain(head, checked)


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


def _walk(opened: OpenBundle) -> Iterator[Walked | str | None]:
    """Yield every file, also in nested archives; None if the bundle is no archive. Where it is damaged after some of
    them, the walk ends with the reason; ArchiveError if nothing can be listed."""
    number = 0
    try:
        walk = walk_files(SealedFile(opened.sealed), opened.bundle.file_name)
        for walked in passing_on(opened, walk):
            number += 1
            if walked.file.kind is not FileKind.FOLDER:
                yield walked
    except NotAnArchive:
        yield None
    except ArchiveBusy:
        raise
    except ArchiveError as error:
        if not number:
            raise
        yield str(error)


def _fits(file: ArchivedFile, named: str | None) -> bool:
    return named is None or fits(file.path, named)
