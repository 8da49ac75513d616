"""A bundle's files as text: lines and events searched, over a bundle that is open.

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

from retention.archive import (
    ArchiveBusy,
    ArchivedFile,
    ArchiveError,
    FileKind,
    NoSuchFile,
    NotAnArchive,
    Walked,
    fits,
    walk_files,
)
from retention.custody.reading.bundle_reads import OpenBundle
from retention.custody.reading.event_logs import EVENT_TEXT, Damage, NotAnEventLog, search_log
from retention.custody.reading.file_bytes import as_text, open_inside, passing_on, whole
from retention.envelope.bundle_file import SealedFile
from retention.text.encodings import Encoding
from retention.text.events import FILE_MAGIC
from retention.text.search import BEGINNING, Hit, Position, Query, SearchEnd, Why, search


@dataclass(frozen=True, slots=True)
class Found:
    """A line that a search found, or one of its context, with its file's key (None: the bundle is one file). Of an
    event log it is an event as one line, by its record id, and `place` is where it is."""

    file: str | None
    encoding: Encoding
    hit: Hit
    place: int | None = None


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
            for told in _search_file(opened, walked, encoding, one, begin, stop):
                if isinstance(told, SearchEnd):
                    end = told
                elif isinstance(told, Found):
                    yield from _handed_over(opened, told)
                else:
                    yield told
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


def _search_file(
    opened: OpenBundle,
    walked: Walked | None,
    encoding: Encoding | None,
    query: Query,
    begin: Position,
    stop: Callable[[], bool],
) -> Iterator[Found | Passed | SearchEnd]:
    """Search one file as what its bytes say it is: an event log by its events, anything else by its lines."""
    file = None if walked is None else walked.file.key
    begun = whole(opened, walked)
    first = next(begun, b"")
    begun = chain((first,), begun)
    if encoding is None and first.startswith(FILE_MAGIC):
        try:
            for found in search_log(opened, walked, begun, query, begin, stop):
                if isinstance(found, Hit):
                    yield Found(file, EVENT_TEXT, found, place=found.line.offset)
                else:
                    yield Passed(file, None, found.words) if isinstance(found, Damage) else found
        except NotAnEventLog:
            yield Passed(file, None, "it begins as an event log, and ends within its header")
            yield SearchEnd(Why.COMPLETE, 0, None)
        return
    detected, chunks = as_text(opened, walked, encoding, begin.offset, begun)
    for told in search(chunks, detected.encoding, query, begin=begin, stop=stop):
        yield Found(file, detected.encoding, told) if isinstance(told, Hit) else told


def _handed_over(opened: OpenBundle, found: Found) -> Iterator[Found]:
    for _ in opened.deliver(iter((found.hit.line.raw,))):
        yield found


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
