"""The files of a bundle's archive, listed: whole, or a page at a time.

Rules:
- The first page is a read: decided, entered before the first name (P3), and its end entered. The archive is walked
  once; what stands behind the page is kept (`kept_lists`).
- A further page comes from what was kept, under that same entry, while the access stands. Otherwise it is a read of its
  own, which walks the archive anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audit.entry import Action
from retention.archive import ArchiveBusy, ArchivedFile, ArchiveError, list_files
from retention.custody.context import Custody
from retention.custody.reading.bundle_reads import OpenBundle, open_bundle
from retention.custody.reading.kept_lists import ListKeeper, list_key
from retention.domain.actor import Actor
from retention.envelope.bundle_file import SealedFile


class Listing:
    """The files of an archive. Where it is damaged after some of them, they are the list; `incomplete` says why."""

    def __init__(self, opened: OpenBundle, inside: str) -> None:
        self._files = list_files(SealedFile(opened.sealed), opened.bundle.file_name, inside=inside)
        self.incomplete: str | None = None

    def __iter__(self) -> Iterator[ArchivedFile]:
        number = 0
        try:
            for file in self._files:
                number += 1
                yield file
        except ArchiveBusy:
            raise
        except ArchiveError as error:
            if not number:
                raise
            self.incomplete = str(error)


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files of a list; `more` if others follow, else `incomplete` says why it ends before its archive does."""

    files: list[ArchivedFile]
    more: bool
    incomplete: str | None


def open_list(custody: Custody, actor: Actor, bundle: str, inside: str) -> OpenBundle:
    """Open a bundle to list its files. Raises as `open_bundle` does."""
    asked = {"inside": inside} if inside else {}
    return open_bundle(custody, actor, bundle, lambda _: (), action=Action.BUNDLE_LISTED, particulars=asked)


def list_page(custody: Custody, actor: Actor, bundle: str, inside: str, start: int, limit: int) -> FilePage:
    """List `limit` files from place `start` on. Raises as `open_bundle` does, and ArchiveError."""
    key = list_key(actor, bundle, inside)
    kept = custody.lists.find(key) if start else None
    if kept is not None:
        more = kept.kept.number > start + limit
        return FilePage(kept.page(start, limit), more, None if more else kept.incomplete)
    custody.lists.drop(key)
    opened = open_list(custody, actor, bundle, inside)
    keeper, page, number = ListKeeper(custody.lists.memory), list[ArchivedFile](), 0
    try:
        listing = Listing(opened, inside)
        for file in opened.passing(iter(listing)):
            if start <= number < start + limit:
                page.append(file)
            number += 1
            keeper.add(file)
            if not keeper.able and number > start + limit:
                break
    except Exception as error:
        raise opened.failed(error) from None
    opened.done()
    opened.close()
    more = number > start + limit
    if more:
        custody.lists.keep(key, keeper, listing.incomplete, opened.standing.check)
    return FilePage(page, more, None if more else listing.incomplete)
