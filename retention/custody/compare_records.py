"""Comparison of the records with the log, the key store and the object store, after a start (P7).

It finds what a restored store or database brought back, in bounded steps, beside all other work: the log goes on.
1. the stores are listed. Bundles with keys or objects but no record came after the back-up: reported, in an entry too.
   `reconcile.erase_unrecorded` ends them; their records are lost, so nothing else can be done with them.
2. every bundle alive on record is looked up in the log and among the keys. One that the log says is erasing or erased,
   or whose data key is destroyed: * its erasure begins again with the cause `restored`; the sweep completes it, ahead
   of scheduled work. One whose key is missing but was never destroyed is reported.

Everything is derived from state: a comparison that a stop or a crash cut short is made by the next start. Of all that
is kept only the ids of the bundles with a key are held, in about 50 bytes each.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from json import dumps

from sqlalchemy import select

from audit.entry import Action, Detail
from audit.log.tables import GONE_ACTS, audit_entries
from retention.custody.context import Custody, entry
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.domain.actor import CLOCK
from retention.domain.bundle import LIVE, BundleState
from retention.objects.store_errors import KeyDestroyed, KeyMissing
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction

RESTORED = "restored"
STEP = 1000
"""Bundles looked up in one step: some milliseconds where the records are a file."""
_AT_ONCE = 200
_NAMED = 100  # ids in one entry: a leaf is bounded


@dataclass(slots=True)
class Differences:
    """What a comparison has found so far."""

    erasing: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    unrecorded: set[str] = field(default_factory=set)


class Comparison:
    """The comparison of one process, a step at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin(())

    def begin(self, erasing: Iterable[str] = ()) -> None:
        """Begin anew; `erasing` are bundles whose erasure began again before, for the entry."""
        with self._lock:
            self._begin(erasing)

    def _begin(self, erasing: Iterable[str]) -> None:
        self._erasing = tuple(erasing)
        self.found = Differences(erasing=list(self._erasing))
        self._steps: Iterator[None] | None = None
        self.is_done = False

    def step(self, custody: Custody) -> bool:
        """Do the next step; return False if there was none left. After an error it begins anew."""
        with self._lock:
            if self.is_done:
                return False
            if self._steps is None:
                self._steps = compare(custody, self.found)
            try:
                next(self._steps)
            except StopIteration:
                self.is_done = True
            except BaseException:
                self._begin(self._erasing)
                raise
            return not self.is_done


class _Ids:
    """A set of ids in a third of the memory that Python's takes."""

    def __init__(self) -> None:
        self._held = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._held.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, some: Iterable[str]) -> None:
        self._held.execute("INSERT OR IGNORE INTO ids SELECT value FROM json_each(?)", (dumps(list(some)),))

    def lacks(self, some: Sequence[str]) -> set[str]:
        """Return those that are not in the set."""
        asked = "SELECT value FROM json_each(?) WHERE value NOT IN ids"
        return {found for (found,) in self._held.execute(asked, (dumps(list(some)),))}

    def close(self) -> None:
        self._held.close()


def compare(custody: Custody, found: Differences) -> Iterator[None]:
    """Compare in steps, adding to `found` what differs; the differences become an entry at the end."""
    with closing(_Ids()) as present:
        # The stores first: a bundle that comes meanwhile has its record before its first object.
        for some in in_batches(custody.keys.list_bundles(), STEP):
            present.add(some)
            found.unrecorded |= without_record(custody, some)
            yield
        for some in in_batches(custody.objects.list_bundles(), STEP):
            found.unrecorded |= without_record(custody, some)
            yield
        for page in _live(custody):
            _compare_page(custody, page, present, found)
            yield
    if found.erasing or found.keyless or found.unrecorded:
        details: dict[str, Detail] = {
            "erasing": len(found.erasing),
            "keyless": found.keyless[:_NAMED],
            "unrecorded": sorted(found.unrecorded)[:_NAMED],
            "unrecorded_count": len(found.unrecorded),
        }
        noted = entry(CLOCK, Action.RECORDS_RECONCILED, custody.clock.now(), details=details)
        custody.records.write(lambda tx: tx.audit(noted))


def _compare_page(custody: Custody, page: dict[str, str], present: _Ids, found: Differences) -> None:
    gone = gone_by_log(custody, list(page))
    for bundle_id in sorted(present.lacks(list(page)) - gone):
        try:
            custody.keys.get(bundle_id)
        except KeyDestroyed:
            gone.add(bundle_id)
        except KeyMissing:
            if page[bundle_id] != BundleState.RECEIVING:  # an upload has no key before its first byte
                found.keyless.append(bundle_id)
    found.erasing += erase_again(custody, sorted(gone))


def gone_by_log(custody: Custody, some: Sequence[str]) -> set[str]:
    """Return those of these bundles that the log says are erasing or erased."""
    # Asked of each bundle: for a list of them SQLite would rather go through all such acts of the whole log.
    said = select(audit_entries.c.row).where(audit_entries.c.bundle == bundles.c.id, GONE_ACTS).exists()
    with custody.records.read() as reads:
        return set(reads.execute(select(bundles.c.id).where(bundles.c.id.in_(some), said)).scalars())


def without_record(custody: Custody, some: Sequence[str]) -> set[str]:
    """Return those of these bundles that are not on record."""
    known = select(bundles.c.id).where(bundles.c.id.in_(some))
    with custody.records.read() as reads:
        return set(some) - set(reads.execute(known).scalars())


def _live(custody: Custody) -> Iterator[dict[str, str]]:
    """Yield the ids and states of the bundles that are alive on record, a page at a time."""
    page = select(bundles.c.id, bundles.c.state).order_by(bundles.c.id).limit(STEP)
    last = ""
    while True:
        with custody.records.read() as reads:
            rows = reads.execute(page.where(bundles.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        if live := {row.id: row.state for row in rows if row.state in LIVE}:
            yield live


def erase_again(custody: Custody, found: Iterable[str]) -> list[str]:
    """* Begin the erasure of those of these bundles that are alive on record; return which."""
    begun: list[str] = []
    for some in in_batches(found, _AT_ONCE):

        def work(tx: Transaction, some: list[str] = some) -> list[str]:
            held = tx.execute(select(bundles).where(bundles.c.id.in_(some), bundles.c.state.in_(LIVE))).all()
            for row in held:
                start(tx, CLOCK, [row], row.tenant_id, row.case_id, BUNDLE, RESTORED, custody.clock.now())
            return [row.id for row in held]

        begun += custody.records.write(work)
    return begun


def in_batches(found: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield what is found, up to `most` at a time."""
    left = iter(found)
    while some := list(islice(left, most)):
        yield some
