"""The sealed contents index of a bundle (P1, P7): made by the clock once the bundle is complete, read under a grant.

Order of writing:
  * claimed: the next try is put off, further each time
  bundle opened and walked, index sealed as it grows -> durable object -> objects.keep_index: the only one of the bundle
  -> * the record names it, and no try waits
- It is made after the read-back has verified the bundle, in a pass of its own: a zip's directory is at its end, and
  nothing in an archive must touch the read-back's verdict.
- Cut anywhere, the next try makes it anew; what a cut try stored goes when the next index is kept, or with the bundle.
- It is sealed under the bundle's data key and lies with its objects, so it ends with them. The record has its id alone;
  nothing of it is in the log, in a log line or on a disk unsealed.
- It changes no entry: making it reads for nobody, and reading it is part of a read that was decided and entered.
- Without it, or where it is missing, altered or of another version, a bundle is read by walking it. The scrubbing finds
  such an index and has it made anew.
- One process makes it, unless clocks differ by more than LEASE; then the later one is kept.
"""

from __future__ import annotations

import logging
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, or_, select, update

from retention.archive import Memory
from retention.archive.contents import ContentsIndex, UnknownIndex
from retention.archive.indexing import write_index
from retention.custody.context import Custody
from retention.custody.uploads.completion import DAMAGE, confirm_damage, opener, received_manifest
from retention.custody.uploads.manifests import destroy_if_gone
from retention.domain.bundle import BundleState
from retention.domain.ids import Kind, new_id
from retention.envelope.bundle_file import SealedFile
from retention.envelope.format import SealBroken
from retention.envelope.sealed_index import SealedIndex
from retention.objects.store_errors import KeyDestroyed, PartMissing
from retention.records.tables import UNINDEXED, bundles
from retention.records.unit_of_work import Transaction

LOG = logging.getLogger(__name__)
MEMORY = 96 << 20
"""Bytes that the decoders of one pass may lease together."""
LEASE = timedelta(minutes=10)
LONGEST = timedelta(days=1)
RENEW_SECONDS = 60.0
OpenIndex = Callable[[str], AbstractContextManager[SealedIndex]]
"""Opens the stored index with this id."""
UNREADABLE = (SealBroken, PartMissing, UnknownIndex, zlib.error, ValueError)
"""The errors of an index that is not there or not what was kept: reading goes on without it."""


class Stopped(Exception):
    """The end of the process: the index is made later."""


class ClaimLost(Exception):
    """The loss of a claim: the bundle is being erased, or another process has it, after a silence longer than LEASE."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one index may take, in seconds of `ticks`; what is not reached by then is left out of it. `rest` is
    called at every read of the bundle with the seconds since the last; it may raise Stopped."""

    seconds: float
    rest: Callable[[float], object] = lambda _seconds: None
    ticks: Callable[[], float] = time.monotonic


def index_next(custody: Custody, pace: Pace) -> bool:
    """Make the index of the bundle that waits longest for it; return whether there was one to try."""
    claim = _claim(custody)
    if claim is None:
        return False
    try:
        with custody.observer.work("index"):
            _make(custody, claim, pace)
    except Stopped:
        claim.let_go()
        return False
    except ClaimLost:
        LOG.warning(
            "the claim to index %s was lost: the bundle is being erased, or another process has it",
            claim.id,
        )
    except KeyDestroyed:
        destroy_if_gone(custody, claim.id)
    except Exception as error:  # whatever a hostile archive causes; a message could name what is in it
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        LOG.warning("indexing %s failed and will be tried again: %s", claim.id, where)
        if isinstance(error, DAMAGE):
            confirm_damage(custody, claim.bundle, error)
        destroy_if_gone(custody, claim.id)
    return True


class _Claim:
    """A bundle whose index this process makes. `until` is when another may try."""

    def __init__(self, custody: Custody, bundle: Row[Any], wait: timedelta, until: datetime) -> None:
        self.id: str = bundle.id
        self.bundle = bundle
        self._custody, self._wait, self.until = custody, wait, until

    def renew(self) -> None:
        """Hold it for longer. ClaimLost."""
        until = self._custody.clock.now() + self._wait
        if not self._custody.records.write(lambda tx: self.change(tx, index_next_at=until)):
            raise ClaimLost(self.id)
        self.until = until

    def let_go(self) -> None:
        """Let the next process try at once: nothing was wrong."""
        values = {"index_next_at": self.bundle.index_next_at, "index_tries": self.bundle.index_tries}
        self._custody.records.write(lambda tx: self.change(tx, **values))

    def change(self, tx: Transaction, **values: object) -> bool:
        """Change the record if the claim still holds; return whether it did."""
        mine = bundles.c.id == self.id, bundles.c.index_next_at == self.until, UNINDEXED
        return tx.change(update(bundles).where(*mine).values(values)) > 0


def _claim(custody: Custody) -> _Claim | None:
    """* Claim the bundle that waits longest, if one does."""
    now, at = custody.clock.now(), bundles.c.index_next_at
    # A time much later than any that is given came from a clock that was wrong.
    due = select(bundles).where(UNINDEXED, or_(at <= now, at > now + 2 * LONGEST)).order_by(at, bundles.c.id)
    with custody.records.read() as reads:  # without the lock that writers wait for: mostly there is none
        if reads.execute(due.limit(1)).first() is None:
            return None

    def work(tx: Transaction) -> _Claim | None:
        bundle = tx.execute(due.limit(1)).first()
        if bundle is None:
            return None
        wait = min(LONGEST, LEASE * (1 << min(bundle.index_tries, 20)))
        until = now + wait
        values = {"index_next_at": until, "index_tries": bundle.index_tries + 1}
        same = bundles.c.id == bundle.id, at == bundle.index_next_at
        taken = tx.change(update(bundles).where(*same).values(values))
        return _Claim(custody, bundle, wait, until) if taken else None

    return custody.records.write(work)


def _make(custody: Custody, claim: _Claim, pace: Pace) -> None:
    begun = asked = renewed = pace.ticks()

    def stop() -> bool:
        nonlocal asked, renewed
        now = pace.ticks()
        pace.rest(now - asked)
        asked = pace.ticks()
        if now - renewed >= RENEW_SECONDS:
            claim.renew()
            renewed = now
        return now - begun > pace.seconds

    manifest, index_id = received_manifest(custody, claim.id), new_id(Kind.INDEX)
    with opener(custody, manifest) as sealed, custody.objects.new_part(claim.id, index_id) as out:
        writer = sealed.index_sealer(index_id, out)
        source, name = SealedFile(sealed), claim.bundle.file_name
        if not write_index(source, name, writer.write, Memory(MEMORY), stop=stop):
            LOG.info("the index of %s ends before the bundle does: the rest is read without it", claim.id)
        writer.finish()
        out.commit()  # durable object
    custody.objects.keep_index(claim.id, index_id)
    values = {"index_id": index_id, "index_next_at": None, "index_tries": 0}
    if not custody.records.write(lambda tx: claim.change(tx, **values)):  # * it is used from here
        destroy_if_gone(custody, claim.id)


@contextmanager
def stored_contents(open_index: OpenIndex, index_id: str | None) -> Iterator[ContentsIndex | None]:
    """Open the index of an opened bundle, by its `stored_index`. None where there is none, or none that can be read."""
    with ExitStack() as held:
        found = None
        if index_id is not None:
            try:
                stored = held.enter_context(open_index(index_id))
                found = ContentsIndex(stored.read_at, stored.length)
            except UNREADABLE as error:
                _note_unreadable(index_id, error)
        yield found


def _note_unreadable(index_id: str, error: Exception) -> None:
    LOG.warning(
        "the index %s cannot be read (%s): its bundle is walked instead", index_id, type(error).__name__
    )


def recheck_index(custody: Custody, bundle: Row[Any]) -> None:
    """Read the index of a complete bundle back; one that is not what was kept is made anew."""
    if bundle.index_id is None:
        return
    try:
        manifest = received_manifest(custody, bundle.id)
        with opener(custody, manifest) as sealed, sealed.stored_index(bundle.index_id) as stored:
            for at in range(0, stored.length, 1 << 20):
                stored.read_at(at, 1 << 20)
            ContentsIndex(stored.read_at, stored.length)
    except UNREADABLE as error:
        _note_unreadable(bundle.index_id, error)
        _have_made_anew(custody, bundle)


def _have_made_anew(custody: Custody, bundle: Row[Any]) -> None:
    """* Forget the index: the clock makes another."""
    now = custody.clock.now()
    same = bundles.c.id == bundle.id, bundles.c.index_id == bundle.index_id
    kept = *same, bundles.c.state == BundleState.COMPLETE
    values = {"index_id": None, "index_next_at": now, "index_tries": 0}
    custody.records.write(lambda tx: tx.change(update(bundles).where(*kept).values(values)))
