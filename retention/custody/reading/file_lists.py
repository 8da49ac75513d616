"""The files of a bundle's archive, listed: whole, or a page at a time.

Rules:
- The first page is a read: decided, entered before the first name (P3), and its end entered.
- Where the bundle has a contents index that knows the archive, a page is read from it, in its own blocks alone; so is a
  further page, under that same entry, while the access stands: the data key is unwrapped for each, and never kept.
- Otherwise the archive is walked once; what stands behind the page is kept for the further ones (`kept_lists`), which
  come under that same entry, while the access stands.
- A page that cannot be had so is a read of its own.
- An index that turns out not to be what was kept is left where that is found: the walk goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from audit.entry import Action
from retention.archive import ArchiveBusy, ArchivedFile, ArchiveError, FileKind, fits, list_files
from retention.archive.contents import ContentsIndex
from retention.custody.contents_index import UNREADABLE
from retention.custody.context import Custody
from retention.custody.reading.bundle_reads import OpenBundle, open_bundle
from retention.custody.reading.kept_lists import Files, ListKeeper, list_key
from retention.domain.actor import Actor
from retention.envelope.bundle_file import SealedFile


@dataclass(frozen=True, slots=True)
class Asked:
    """Which files to list: of the archive with the key `inside` (empty: the bundle itself), those whose path or name
    fits `named` (wildcards), of this `kind`."""

    inside: str = ""
    named: str | None = None
    kind: FileKind | None = None

    def fits(self, file: ArchivedFile) -> bool:
        """Tell whether a file of that archive is asked for."""
        return (self.named is None or fits(file.path, self.named)) and self.kind in (None, file.kind)


class Listing:
    """The files of an archive from place `start` on. Where it is damaged after some of them, they are the list;
    `incomplete` says why, once they are through."""

    def __init__(self, opened: OpenBundle, inside: str, start: int = 0, *, walk: bool = False) -> None:
        self._opened, self._inside, self._start = opened, inside, start
        self.incomplete: str | None = None
        self._index = None if walk else opened.contents
        self._archive = None if self._index is None else self._index.archive(inside)
        self._files = self._walk() if self._archive is None else iter(())

    def _walk(self) -> Iterator[ArchivedFile]:
        return list_files(SealedFile(self._opened.sealed), self._opened.bundle.file_name, inside=self._inside)

    def __iter__(self) -> Iterator[ArchivedFile]:
        place = self._start
        if self._index is not None and self._archive is not None:
            try:
                for one in self._index.files(self._archive, place):
                    place += 1
                    yield one.file
            except UNREADABLE:
                self._files = self._walk()
            else:
                self.incomplete = self._archive.incomplete
                return
        number = 0
        try:
            for file in self._files:
                number += 1
                if number > place:
                    yield file
        except ArchiveBusy:
            raise
        except ArchiveError as error:
            if not number:
                raise
            self.incomplete = str(error)


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files of a list. `following`: the place to go on from, if others follow; else `incomplete` says why the list
    ends before its archive does."""

    files: list[ArchivedFile]
    following: int | None
    incomplete: str | None


@dataclass(slots=True)
class IndexedFiles:
    """A list in a contents index, opened anew for each page."""

    number: int
    inside: str
    reopen: Callable[[], AbstractContextManager[ContentsIndex | None]]
    size: int = 1024

    def files(self, start: int) -> Generator[ArchivedFile]:
        """Yield the files from place `start` on; ValueError where the index is not to be had any more."""
        with self.reopen() as index:
            archive = None if index is None else index.archive(self.inside)
            if index is None or archive is None:
                raise ValueError("the index is gone")
            for one in index.files(archive, start):
                yield one.file


def open_list(custody: Custody, actor: Actor, bundle: str, inside: str) -> OpenBundle:
    """Open a bundle to list its files. Raises as `open_bundle` does."""
    asked = {"inside": inside} if inside else {}
    return open_bundle(custody, actor, bundle, lambda _: (), action=Action.BUNDLE_LISTED, particulars=asked)


def list_page(custody: Custody, actor: Actor, bundle: str, asked: Asked, start: int, limit: int) -> FilePage:
    """List `limit` files from place `start` on. Raises as `open_bundle` does, and ArchiveError."""
    key = list_key(actor, bundle, asked.inside)
    kept = custody.lists.find(key) if start else None
    if kept is not None:
        with suppress(Exception):  # whatever it is: the new read decides, and enters why it is refused
            return _page(kept.kept, kept.incomplete, asked, start, limit)
    custody.lists.drop(key)
    opened = open_list(custody, actor, bundle, asked.inside)
    try:
        page, keep = _indexed(opened, asked, start, limit) or _walked(
            opened, asked, start, limit, ListKeeper(custody.lists.memory)
        )
    except Exception as error:
        raise opened.failed(error) from None
    opened.done()
    opened.close()
    if page.following is not None and keep is not None:
        custody.lists.keep(key, *keep, opened.standing.check)
    return page


_Kept = tuple[Files, str | None]
"""A whole list, to be kept for further pages, and why it ends before its archive does."""


def _page(whole: Files, incomplete: str | None, asked: Asked, start: int, limit: int) -> FilePage:
    """Take a page of a whole list."""
    page, place = list[ArchivedFile](), start
    with closing(whole.files(start)) as files:
        for file in files:
            place += 1
            if asked.fits(file):
                page.append(file)
                if len(page) == limit:
                    break
    more = place < whole.number
    return FilePage(page, place if more else None, None if more else incomplete)


def _indexed(opened: OpenBundle, asked: Asked, start: int, limit: int) -> tuple[FilePage, _Kept] | None:
    """Take a page from the contents index; None where it does not know the archive, or cannot be read."""
    index = opened.contents
    archive = None if index is None else index.archive(asked.inside)
    if index is None or archive is None:
        return None
    found = index
    reopen = partial(opened.standing.contents, opened.bundle.index_id)
    here = IndexedFiles(archive.number, asked.inside, lambda: nullcontext(found))
    try:
        page = _page(here, archive.incomplete, asked, start, limit)
    except UNREADABLE:
        return None
    for _ in opened.passing(iter(page.files)):
        pass
    return page, (IndexedFiles(archive.number, asked.inside, reopen), archive.incomplete)


def _walked(
    opened: OpenBundle, asked: Asked, start: int, limit: int, keeper: ListKeeper
) -> tuple[FilePage, _Kept | None]:
    """Take a page by walking the archive to its end, and the list that was kept meanwhile."""
    page, place, number = list[ArchivedFile](), start, 0
    listing = Listing(opened, asked.inside, walk=True)
    for file in opened.passing(iter(listing)):
        number += 1
        keeper.add(file)
        if number > start and len(page) < limit:
            place = number
            if asked.fits(file):
                page.append(file)
        if not keeper.able and len(page) == limit and number > place:
            break
    keeper.finish()
    more = number > place
    return (
        FilePage(page, place if more else None, None if more else listing.incomplete),
        (keeper, listing.incomplete) if keeper.able else None,
    )
